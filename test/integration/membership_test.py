"""Servers change through gRPC while traffic flows, as a sidecar, a script or a person would
change them; lists survive restarts; names are followed."""

import contextlib
import os
import queue
import signal
import threading
import time

import grpc
import pytest

import grpc_client
from reloadable import Reloadable
from support import HOST, Memcached, Proxy, VerifyingClient, wait_until

pytestmark = pytest.mark.improved

POOL = {"hash": "fnv1a_64", "distribution": "ketama", "server_connections": 2, "timeout": 400}
GRPC = {**POOL, "membership": "grpc"}


@pytest.fixture(scope="module")
def caches():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Memcached()) for _ in range(4)]


def spec(name, cache, **fields):
    return {"name": name, "address": "%s:%d" % (HOST, cache.port), **fields}


def specs(caches, count):
    return [spec("cache-%d" % i, cache) for i, cache in enumerate(caches[:count])]


@contextlib.contextmanager
def proxy_with(pools, **settings):
    """A proxy of two workers with its gRPC on a unix socket, and a client of it."""
    settings = {
        "workers": 2,
        "grpc": "unix:{dir}/grpc.sock",
        "state_dir": "{dir}/state",
        **settings,
    }
    with Proxy(pools, settings=settings) as proxy:
        proxy.grpc = "unix:%s/grpc.sock" % proxy.dir
        with grpc_client.Client(proxy.grpc) as client:
            yield proxy, client


def refused(code, call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() == code, (error.value.code(), error.value.details())
    return error.value.details()


# ---- one change --------------------------------------------------------------


def test_services_are_listed_and_described_by_reflection(caches):
    with proxy_with({"alpha": GRPC}) as (_, client):
        assert client.list_services() == [
            "cashew.admin.v1.AdminService",
            "cashew.membership.v1.MembershipService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
        assert client.describe("cashew.membership.v1.Server").package == "cashew.membership.v1"


def test_a_pool_without_a_list_says_so_and_is_not_ready_until_it_has_one(caches):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        with proxy.client() as c:
            c.send("get a\r\n")
            c.expect("SERVER_ERROR the pool has no servers yet: it waits for a list through gRPC\r\n")
            status, text = proxy.http("/readyz")
            assert status == 503 and 'pool "alpha" has no server list yet' in text
            assert client.health() == client.health("alpha") == "NOT_SERVING"
            answer = client.set_servers("alpha", specs(caches, 2))
            assert answer.version == 1 and list(answer.added) == ["cache-0", "cache-1"]
            c.send("set a 0 0 1\r\nx\r\n")
            c.expect("STORED\r\n")
        wait_until(lambda: proxy.http("/readyz")[0] == 200, 5, "readiness")
        assert client.health() == client.health("alpha") == "SERVING"


def test_a_change_says_what_it_changed_and_a_dry_run_changes_nothing(caches):
    with proxy_with({"alpha": GRPC}) as (_, client):
        client.set_servers("alpha", specs(caches, 3))
        changed = [spec("cache-0", caches[3]), *specs(caches, 3)[1:2], spec("new", caches[2])]
        for dry_run in (True, True, False):
            answer = client.set_servers("alpha", changed, dry_run=dry_run)
            assert (list(answer.added), list(answer.removed), list(answer.changed)) == (
                ["new"],
                ["cache-2"],
                ["cache-0"],
            )
            assert answer.version == 2
        pool = client.get_pool("alpha")
        assert pool.version == 2 and pool.ring_checksum == answer.ring_checksum
        # The same list again, in another order, is no change.
        assert client.set_servers("alpha", changed[::-1]).version == 2


BAD = [
    ("two of one name", lambda c: [spec("a", c[0]), spec("a", c[1])], "servers[1].name"),
    ("weight 0", lambda c: [spec("a", c[0], weight=0)], "servers[0].weight"),
    ("a huge weight", lambda c: [spec("a", c[0], weight=2**32 - 1)], "servers[0].weight"),
    ("port 0", lambda c: [{"name": "a", "address": "127.0.0.1:0"}], "servers[0].address"),
    ("no port", lambda c: [{"name": "a", "address": "127.0.0.1"}], "servers[0].address"),
    ("a unix path", lambda c: [{"name": "a", "address": "unix:/run/x"}], "servers[0].address"),
    ("link-local", lambda c: [{"name": "a", "address": "169.254.169.254:80"}], "servers[0]"),
    ("no name", lambda c: [{"name": "", "address": "127.0.0.1:1"}], "servers[0].name"),
    ("empty", lambda c: [], "servers"),
    (
        "too many",
        lambda c: [{"name": "s%d" % i, "address": "127.0.0.1:1"} for i in range(5000)],
        "4096",
    ),
]


@pytest.mark.parametrize("what, bad, named", BAD, ids=[b[0] for b in BAD])
def test_a_bad_list_is_refused_by_name_and_changes_nothing(caches, what, bad, named):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        client.set_servers("alpha", specs(caches, 3))
        before = client.get_pool("alpha")
        text = refused(
            grpc.StatusCode.INVALID_ARGUMENT, lambda: client.set_servers("alpha", bad(caches))
        )
        assert named in text.replace(",", ""), text
        with client.stream("sidecar") as stream:
            nack = stream.update("alpha", bad(caches))
            assert nack.error.code == 3 and nack.version == before.version, nack
        after = client.get_pool("alpha")
        after.updater = before.updater
        assert after == before
        with proxy.client() as c:
            assert c.set("k", "v") == b"STORED"


def test_who_may_not_update_is_told_why(caches):
    pools = {"alpha": GRPC, "fixed": {**POOL, "servers": caches[:1]}}
    with proxy_with(pools) as (_, client):
        code = grpc.StatusCode
        refused(code.NOT_FOUND, lambda: client.set_servers("nope", specs(caches, 1)))
        text = refused(
            code.FAILED_PRECONDITION, lambda: client.set_servers("fixed", specs(caches, 1))
        )
        assert "membership: grpc" in text
        client.set_servers("alpha", specs(caches, 1))
        text = refused(
            code.ABORTED,
            lambda: client.set_servers("alpha", specs(caches, 2), expected_version=7),
        )
        assert "at version 1, not 7" in text
        assert client.set_servers("alpha", specs(caches, 2), expected_version=1).version == 2
        refused(
            code.RESOURCE_EXHAUSTED,
            lambda: client.set_servers("alpha", [spec("x", caches[0], zone="z" * (10 << 20))]),
        )


# ---- streams -----------------------------------------------------------------


def test_a_stream_owns_the_pools_it_speaks_for(caches):
    with proxy_with({"alpha": GRPC, "beta": GRPC}) as (
        _,
        client,
    ):
        with client.stream("sidecar-a") as stream:
            ack = stream.update("alpha", specs(caches, 2), source_version="rv-1")
            assert not ack.HasField("error") and ack.version == 1
            assert stream.update("beta", specs(caches, 1)).version == 1
            pool = client.get_pool("alpha")
            assert (pool.updater, pool.source, pool.source_version) == ("sidecar-a", "stream", "rv-1")
            assert pool.membership_checksum == ack.membership_checksum
            text = refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                lambda: client.set_servers("alpha", specs(caches, 3)),
            )
            assert "sidecar-a" in text
            assert client.set_servers("alpha", specs(caches, 3), take_over=True).version == 2
            assert stream.update("alpha", specs(caches, 2)).version == 3
            with client.stream("other") as other:
                nack = other.update("alpha", specs(caches, 1))
                assert nack.error.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
                assert "sidecar-a" in nack.error.message
        wait_until(lambda: client.get_pool("alpha").updater == "", 5, "the stream's end")
        assert client.set_servers("alpha", specs(caches, 3)).version == 4


def test_an_updater_that_comes_back_replaces_its_old_stream(caches):
    with proxy_with({"alpha": GRPC}) as (_, client):
        with client.stream("sidecar") as old, client.stream("sidecar") as new:
            old.update("alpha", specs(caches, 1))
            assert new.update("alpha", specs(caches, 2)).version == 2
            refused(grpc.StatusCode.ABORTED, old.receive)
            assert client.get_pool("alpha").updater == "sidecar"


ANEW = [
    ("another password", {"redis": True, "redis_auth": "one"}, {"redis_auth": "two"}),
    ("another protocol", {}, {"redis": True}),
]


@pytest.mark.parametrize("what, keys, others", ANEW, ids=[a[0] for a in ANEW])
def test_a_pool_that_a_reload_makes_anew_keeps_its_owner_and_its_watchers(
        caches, what, keys, others):
    with Reloadable({"alpha": {**GRPC, **keys}}) as r:
        with r.client.stream("sidecar", timeout=60) as stream:
            stream.update("alpha", specs(caches, 2))
            watch = r.client.watch("alpha", timeout=60)
            assert len(next(watch).pool.servers) == 2
            r.pools["alpha"].update(others)
            r.write()
            assert list(r.reload().modified) == ["alpha"]
            assert r.client.get_pool("alpha").updater == "sidecar"
            text = refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                lambda: r.client.set_servers("alpha", specs(caches, 4)),
            )
            assert "sidecar" in text
            assert not stream.update("alpha", specs(caches, 3)).HasField("error")
            while len(next(watch).pool.servers) != 3:
                pass  # as it is made anew, it is told of, too
            watch.cancel()


@pytest.mark.parametrize("now", ["static", "gone"])
def test_the_updater_of_a_pool_that_takes_no_lists_any_more_is_told(caches, now):
    fixed = {**POOL, "servers": [caches[2].server_line("by-hand")]}
    with Reloadable({"alpha": GRPC, "beta": fixed}) as r:
        with r.client.stream("sidecar", timeout=20) as stream:
            stream.update("alpha", specs(caches, 2))
            if now == "gone":
                del r.pools["alpha"]
            else:
                r.pools["alpha"].update(fixed, membership="static")
            r.write()
            assert r.reload().changed
            text = refused(grpc.StatusCode.UNAVAILABLE, stream.receive)
            assert 'pool "alpha"' in text
            assert ("membership: static" in text) == (now == "static")
        if now == "static":
            pool = r.client.get_pool("alpha")
            assert [s.server.name for s in pool.servers] == ["by-hand"] and pool.updater == ""


def test_health_of_a_pool_that_left_is_not_serving(caches):
    pool = {**POOL, "servers": [caches[0].server_line("cache-0")]}
    with Reloadable({"alpha": pool, "beta": pool}) as r:
        assert r.client.health("alpha") == r.client.health("beta") == "SERVING"
        beta = r.pools.pop("beta")
        r.write()
        assert list(r.reload().removed) == ["beta"]
        assert r.client.health("beta") == "NOT_SERVING"
        assert r.client.health("alpha") == r.client.health() == "SERVING"
        r.pools["beta"] = beta
        r.write()
        r.reload()
        assert r.client.health("beta") == "SERVING"


def test_a_watcher_sees_the_pool_then_topology_then_health():
    with Memcached() as one, Memcached() as two:
        pool = {
            **GRPC,
            "auto_eject_hosts": True,
            "server_failure_limit": 1,
            "server_retry_timeout": 1000,
                    }
        with proxy_with({"alpha": pool}) as (proxy, client):
            client.set_servers("alpha", [spec("one", one)])
            seen = queue.Queue()
            call = client.watch("alpha", timeout=60)
            threading.Thread(
                target=lambda: [seen.put(m) for m in _until_cancelled(call)], daemon=True
            ).start()
            first = seen.get(timeout=10)
            assert [s.server.name for s in first.pool.servers] == ["one"] and not first.added
            client.set_servers("alpha", [spec("one", one), spec("two", two)])
            second = seen.get(timeout=10)
            assert list(second.added) == ["two"] and len(second.pool.servers) == 2
            two.kill9()
            with proxy.client() as c:
                for i in range(40):
                    c.send("get key%x\r\n" % (i * 7919))
                    c.recv_line()

            def ejected():
                message = seen.get(timeout=10)
                return [s.server.name for s in message.pool.servers if not s.healthy] == ["two"]

            wait_until(ejected, 10, "a message that says two is ejected")
            call.cancel()


def _until_cancelled(call):
    with contextlib.suppress(grpc.RpcError):
        yield from call


# ---- under load --------------------------------------------------------------


@pytest.mark.parametrize("rate", [1500, 4000])
def test_three_four_three_a_hundred_times_under_load(caches, rate):
    """No error, no other key's reply; keys whose owner stays the same never miss. A key that
    moves away and back may show the value it had before: counted and printed."""
    for cache in caches:
        with cache.client() as c:
            assert c.command("flush_all") == b"OK"
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        client.set_servers("alpha", specs(caches, 3))
        load = VerifyingClient(proxy.address(), rate=rate, connections=8, keys=2000, tag="r%d" % rate)
        owners = []
        for count in (4, 3):
            client.set_servers("alpha", specs(caches, count))
            owners.append(
                {k: client.admin("Locate", pool="alpha", key=k).server for k in load.keys()}
            )
        stays = {k for k in load.keys() if owners[0][k] == owners[1][k]}
        assert 0.6 * len(load.keys()) < len(stays) < 0.9 * len(load.keys())
        with load:
            wait_until(lambda: load.answered > 500, 10, "traffic")
            for _ in range(100):
                for count in (4, 3):
                    client.set_servers("alpha", specs(caches, count))
                    time.sleep(0.02)
        print("answered %d, stale %d, lost %d" % (load.answered, len(load.stale), len(load.lost)))
        assert not load.errors and not load.mismatches, (load.errors[:3], load.mismatches[:3])
        assert [k for k in load.lost if k in stays] == []
        assert [k for _, k, _, _ in load.stale if k in stays] == []
        assert load.answered > 1000
        assert client.get_pool("alpha").version == 1 + 2 + 200


def test_a_changed_address_moves_no_key_and_loses_no_request(caches):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        client.set_servers("alpha", specs(caches, 3))
        before = client.get_pool("alpha")
        with VerifyingClient(proxy.address(), rate=3000, connections=8, tag="addr") as load:
            wait_until(lambda: load.answered > 500, 10, "traffic")
            for i in range(30):
                moved = specs(caches, 3)
                moved[0] = spec("cache-0", caches[3] if i % 2 == 0 else caches[0])
                client.set_servers("alpha", moved)
                time.sleep(0.03)
        assert not load.errors and not load.mismatches, (load.errors[:3], load.mismatches[:3])
        after = client.get_pool("alpha")
        assert after.ring_checksum == before.ring_checksum
        assert after.membership_checksum == before.membership_checksum


# ---- states, holds, overrides ------------------------------------------------


def test_states_route_as_the_eject_mode_says(caches):
    pools = {
        "rehash": GRPC,
        "keep": {**GRPC, "eject_mode": "keep_ring", "auto_eject_hosts": True},
    }
    with proxy_with(pools) as (_, client):
        for pool in pools:
            servers = specs(caches, 3)
            servers[1]["state"] = 2
            servers[2]["state"] = 3
            client.set_servers(pool, servers)
        routed = {p: [s.routed for s in client.get_pool(p).servers] for p in pools}
        assert routed == {"rehash": [True, False, False], "keep": [True, False, True]}


def test_a_pod_that_goes_and_comes_back_elsewhere_moves_no_key(caches):
    pool = {**GRPC, "eject_mode": "keep_ring", "get_errors": "miss", "hold_down": "30s"}
    with proxy_with({"alpha": {**pool}}) as (proxy, client):
        with client.stream("sidecar") as stream, proxy.client() as c:
            stream.update("alpha", specs(caches, 3))
            before = client.get_pool("alpha")
            keys = ["key%x" % (i * 7919) for i in range(60)]
            owner = {k: client.admin("Locate", pool="alpha", key=k.encode()).owner for k in keys}
            for key in keys:
                assert c.set(key, "v") == b"STORED"
            stream.update("alpha", specs(caches, 2))
            held = client.get_pool("alpha")
            assert [s.held for s in held.servers] == [False, False, True]
            assert held.membership_checksum == before.membership_checksum
            for key in keys:
                expected = None if owner[key] == "cache-2" else b"v"
                assert c.get(key) == expected, key
            stream.update("alpha", [*specs(caches, 2), spec("cache-2", caches[3])])
            again = client.get_pool("alpha")
            assert again.ring_checksum == before.ring_checksum
            assert {k: client.admin("Locate", pool="alpha", key=k.encode()).owner for k in keys} == owner
            for key in keys:
                assert c.set(key, "w") == b"STORED"


def test_a_hold_ends(caches):
    pool = {**GRPC, "eject_mode": "keep_ring", "hold_down": "300ms"}
    with proxy_with({"alpha": {**pool}}) as (_, client):
        with client.stream("sidecar") as stream:
            stream.update("alpha", specs(caches, 3))
            stream.update("alpha", specs(caches, 2))
            assert len(client.get_pool("alpha").servers) == 3
            wait_until(lambda: len(client.get_pool("alpha").servers) == 2, 5, "the hold's end")


def test_what_a_person_says_stands_above_lists_and_restarts(caches):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        client.set_servers("alpha", specs(caches, 3))
        client.admin("SetOverride", pool="alpha", server="cache-1", state=2)
        client.admin("SetOverride", pool="alpha", server="cache-0", weight=5)
        client.set_servers("alpha", specs(caches, 4))
        proxy.restart()
        with grpc_client.Client(proxy.grpc) as again:
            pool = again.get_pool("alpha")
            assert [s.routed for s in pool.servers] == [True, False, True, True]
            assert pool.servers[0].override.weight == 5
            text = refused(
                grpc.StatusCode.NOT_FOUND,
                lambda: again.admin("SetOverride", pool="alpha", server="nobody", state=2),
            )
            assert "nobody" in text
            again.admin("ClearOverride", pool="alpha", server="cache-1")
            assert all(s.routed for s in again.get_pool("alpha").servers)


def test_an_override_expires(caches):
    with proxy_with({"alpha": GRPC}) as (_, client):
        client.set_servers("alpha", specs(caches, 2))
        client.admin(
            "SetOverride",
            pool="alpha",
            server="cache-1",
            state=2,
            expires_in={"nanos": 400_000_000},
        )
        assert not client.get_pool("alpha").servers[1].routed
        wait_until(lambda: client.get_pool("alpha").servers[1].routed, 5, "the override's end")


# ---- restarts ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "kill -9"])
def test_the_last_good_list_survives(caches, how):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        for count in (1, 2, 3):
            client.set_servers("alpha", specs(caches, count))
        before = client.get_pool("alpha")
        path = "%s/state/alpha.state" % proxy.dir
        wait_until(lambda: b"cache-2" in _read(path), 5, "the state file")
        if how == "stop":
            proxy.stop()
        else:
            proxy.kill9()
        assert oct(os.stat("%s/state" % proxy.dir).st_mode & 0o777) == "0o700"
        proxy.start()
        with grpc_client.Client(proxy.grpc) as again:
            after = again.get_pool("alpha")
            assert after.source == "state"
            assert after.membership_checksum == before.membership_checksum
            assert [s.server for s in after.servers] == [s.server for s in before.servers]
        with proxy.client() as c:
            assert c.set("k", "v") == b"STORED"


def test_a_hold_begins_anew_after_a_restart(caches):
    pool = {**GRPC, "eject_mode": "keep_ring", "hold_down": "4s"}
    with proxy_with({"alpha": pool}) as (proxy, client):
        with client.stream("sidecar") as stream:
            stream.update("alpha", specs(caches, 3))
            stream.update("alpha", specs(caches, 2))
            before = client.get_pool("alpha")
        proxy.restart()
        with grpc_client.Client(proxy.grpc) as again:
            after = again.get_pool("alpha")
            assert [s.held for s in after.servers] == [False, False, True]
            assert after.ring_checksum == before.ring_checksum
            wait_until(lambda: len(again.get_pool("alpha").servers) == 2, 10, "the hold's end")


def test_a_torn_state_file_is_set_aside_and_the_proxy_starts(caches):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        client.set_servers("alpha", specs(caches, 2))
        proxy.stop()
        path = "%s/state/alpha.state" % proxy.dir
        whole = _read(path)
        with open(path, "wb") as f:
            f.write(whole[: len(whole) // 2])
        proxy.start()
        with grpc_client.Client(proxy.grpc) as again:
            assert again.get_pool("alpha").version == 0
        assert "alpha.state" in proxy.log() and os.path.exists(path + ".bad-1")


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""


# ---- numbers -----------------------------------------------------------------


def test_a_thousand_watchers_and_updates_as_fast_as_they_are_taken(caches):
    """1,000 subscribers all see the last of 200 updates; memory comes back."""
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        client.set_servers("alpha", specs(caches, 1))
        calls = [client.watch("alpha", timeout=120) for _ in range(1000)]
        for call in calls:
            assert next(call).pool.version >= 1
        began = time.monotonic()
        with client.stream("storm") as stream:
            for i in range(200):
                stream.update("alpha", specs(caches, 1 + i % 3))
            last = stream.update("alpha", specs(caches, 4)).version
        print("200 acknowledged updates with 1,000 watchers: %.2f s" % (time.monotonic() - began))
        for call in calls:
            while next(call).pool.version < last:
                pass
            call.cancel()
        assert proxy.popen.poll() is None


def test_a_stream_that_never_reads_holds_nobody_up(caches):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        with client.stream("deaf") as deaf:
            for i in range(500):
                deaf.send("alpha", specs(caches, 1 + i % 4))
            wait_until(lambda: client.get_pool("alpha").version > 0, 10, "an update")
            began = time.monotonic()
            client.get_pool("alpha")
            assert time.monotonic() - began < 2
        assert proxy.popen.poll() is None
        os.kill(proxy.popen.pid, signal.SIGHUP)
        client.set_servers("alpha", specs(caches, 2), take_over=True)


def test_metrics_tell_of_updates_refusals_streams_and_the_disk(caches):
    with proxy_with({"alpha": GRPC}) as (proxy, client):
        with client.stream("sidecar") as stream:
            stream.update("alpha", specs(caches, 2))
            stream.update("alpha", specs(caches, 3))
            stream.update("alpha", [])
            assert proxy.metric("cashew_membership_updates_total", pool="alpha") == 2
            assert proxy.metric("cashew_membership_nacks_total") == 1
            assert proxy.metric("cashew_membership_stream_connected") == 1
            assert proxy.metric("cashew_membership_version", pool="alpha") == 2
            updated = proxy.metric("cashew_membership_updated_timestamp_seconds", pool="alpha")
            assert 0 <= time.time() - updated < 60
        wait_until(lambda: proxy.metric("cashew_membership_stream_connected") == 0, 5, "its end")
        wait_until(
            lambda: proxy.metric("cashew_membership_state_saved_timestamp_seconds") > 0, 5, "disk"
        )
        os.kill(proxy.popen.pid, signal.SIGHUP)
        wait_until(lambda: proxy.metric("cashew_config_reloads_total") == 1, 5, "a reload")
