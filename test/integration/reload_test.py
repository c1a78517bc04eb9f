"""Reload: SIGHUP, gRPC and a watched file change what they should, touch nothing else, and
say why when they refuse."""

import contextlib
import itertools
import os
import signal
import time
from concurrent import futures

import grpc
import pytest

import grpc_client
from reloadable import Reloadable
from support import (
    HOST,
    Memcached,
    RawClient,
    VerifyingClient,
    free_port,
    seldom_used_port,
    wait_until,
)

pytestmark = pytest.mark.improved


@pytest.fixture(scope="module")
def caches():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Memcached()) for _ in range(3)]


@pytest.fixture(autouse=True)
def empty(caches):
    for cache in caches:
        with cache.client() as c:
            assert c.command("flush_all") == b"OK"


def servers(caches):
    return ["%s:%d:1 cache-%d" % (HOST, c.port, i) for i, c in enumerate(caches)]


POOL = {"hash": "fnv1a_64", "distribution": "ketama", "timeout": 400, "server_connections": 2}


def test_pools_come_change_and_go_and_the_rest_is_untouched(caches):
    with Reloadable({"stays": {**POOL, "servers": servers(caches)},
                     "goes": {**POOL, "servers": servers(caches[:1])}}) as r:
        with VerifyingClient(r.proxy.address("stays"), rate=1500, connections=8) as load:
            with r.connect("goes") as gone, r.connect("stays") as kept:
                assert gone.set("a", "1") == b"STORED"
                assert kept.set("k", "1") == b"STORED"
                del r.pools["goes"]
                r.pools["comes"] = {"listen": "%s:%d" % (HOST, free_port()), **POOL,
                                    "servers": servers(caches[:2])}
                r.write()
                answer = r.reload()
                assert (list(answer.added), list(answer.removed), list(answer.modified)) == (
                    ["comes"], ["goes"], [])
                gone.expect_closed()
                with r.connect("comes") as new:
                    assert new.set("b", "2") == b"STORED"
                assert kept.get("k") == b"1"
                r.pools["comes"]["timeout"] = 250
                r.write()
                assert list(r.reload().modified) == ["comes"]
                assert not r.reload().changed
        assert not load.errors and not load.mismatches and load.closed == 0
        assert {p.name for p in r.client.list_pools()} == {"stays", "comes"}
        pools = r.proxy.stats()
        assert "goes" not in pools and "comes" in pools


def test_a_static_list_changes_under_load(caches):
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}) as r:
        with VerifyingClient(r.proxy.address(), rate=2000, connections=8) as load:
            wait_until(lambda: load.answered > 0, 10, "traffic")
            reloads, deadline = 0, time.monotonic() + 20
            while reloads < 40 or (load.answered <= 500 and time.monotonic() < deadline):
                r.pools["alpha"]["servers"] = servers(caches[: 2 + reloads % 2])
                r.write()
                assert r.reload().changed
                reloads += 1
        assert not load.errors and not load.mismatches, (load.errors[:3], load.mismatches[:3])
        assert load.closed == 0 and load.answered > 500


BAD = [
    ("not YAML", lambda text: text + "\n}{", "cashew.yml"),
    ("a wrong value", lambda text: text.replace("timeout: 400", "timeout: soon"), "timeout"),
    ("an unknown hash", lambda text: text.replace("fnv1a_64", "best"), "hash"),
    ("empty", lambda text: "", "cashew.yml"),
]


@pytest.mark.parametrize("what, spoil, named", BAD, ids=[b[0] for b in BAD])
def test_a_bad_file_changes_nothing_and_says_why(caches, what, spoil, named):
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}) as r:
        with r.connect("alpha") as c:
            assert c.set("a", "1") == b"STORED"
            good = r.text()
            r.write(spoil(good))
            with pytest.raises(grpc.RpcError) as error:
                r.reload()
            assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert named in error.value.details() and "nothing changed" in error.value.details()
            assert r.client.admin("GetStatus").last_reload_error == error.value.details()
            r.proxy.signal(signal.SIGHUP)
            wait_until(lambda: r.proxy.log().count("reload refused") == 2, 5, "the second refusal")
            assert c.get("a") == b"1"
            r.write(good)
            r.reload()
            assert r.client.admin("GetStatus").last_reload_error == ""


def test_an_address_that_cannot_be_had_changes_nothing(caches):
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}) as r:
        r.pools["alpha"]["timeout"] = 300
        r.pools["beta"] = {"listen": "%s:%d" % (HOST, caches[0].port), **POOL,
                           "servers": servers(caches)}
        r.write()
        with pytest.raises(grpc.RpcError) as error:
            r.reload()
        assert 'pool "beta"' in error.value.details()
        assert str(caches[0].port) in error.value.details()
        assert [p.name for p in r.client.list_pools()] == ["alpha"]


def test_a_listening_address_moves_and_two_pools_swap_theirs(caches):
    with Reloadable({"alpha": {**POOL, "servers": servers(caches[:1])},
                     "beta": {**POOL, "servers": servers(caches[1:2])}}) as r:
        with caches[0].client() as c:
            c.set("who", "zero")
        with caches[1].client() as c:
            c.set("who", "one")
        alpha, beta = r.pools["alpha"]["listen"], r.pools["beta"]["listen"]
        r.pools["alpha"]["listen"], r.pools["beta"]["listen"] = beta, alpha
        r.write()
        assert sorted(r.reload().modified) == ["alpha", "beta"]
        with r.connect("alpha") as c:
            assert c.get("who") == b"zero"
        with r.connect("beta") as c:
            assert c.get("who") == b"one"
        r.pools["alpha"]["listen"] = "%s:%d" % (HOST, free_port())
        r.write()
        r.reload()
        with r.connect("alpha") as c:
            assert c.get("who") == b"zero"
        with pytest.raises(ConnectionRefusedError):
            RawClient(int(beta.split(":")[-1]))


def test_a_grpc_pool_keeps_its_list(caches):
    pool = {**POOL, "membership": "grpc", "servers": servers(caches[:1])}
    with Reloadable({"alpha": pool}) as r:
        assert r.client.get_pool("alpha").version == 1
        specs = [{"name": "x%d" % i, "address": "%s:%d" % (HOST, c.port)}
                 for i, c in enumerate(caches)]
        r.client.set_servers("alpha", specs)
        for key, value in (("timeout", 100), ("hash", "murmur"), ("redis_db", 0)):
            r.pools["alpha"][key] = value
            r.write()
            r.reload()
            assert [s.server.name for s in r.client.get_pool("alpha").servers] == ["x0", "x1", "x2"]


def test_a_grpc_pool_that_comes_by_a_reload_keeps_its_list_over_a_restart(
        caches, tmp_path, monkeypatch):
    """There was nothing to keep at the start, so that nothing had been opened to keep it in."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}, state_dir=None) as r:
        r.pools["beta"] = {"listen": "%s:%d" % (HOST, free_port()), **POOL, "membership": "grpc"}
        r.write()
        assert list(r.reload().added) == ["beta"]
        r.client.set_servers("beta", [{"name": "x", "address": "%s:%d" % (HOST, caches[0].port)}])
        r.proxy.restart()
        with grpc_client.Client(r.address) as client:
            pool = client.get_pool("beta")
            assert ([s.server.name for s in pool.servers], pool.source) == (["x"], "state")
            assert client.admin("GetStatus").state_dir == str(tmp_path / "state")
        with r.connect("beta") as c:
            assert c.set("a", "1") == b"STORED"


def test_home_workers_follow_server_connections(caches):
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}) as r:
        with VerifyingClient(r.proxy.address(), rate=1000, connections=8) as load:
            for connections in (1, 2, 4, 1, 2):
                r.pools["alpha"]["server_connections"] = connections
                r.write()
                r.reload()
                with r.connect("alpha") as c:
                    assert c.set("a", "1") == b"STORED"
        # Clients of a worker that is no home any more are closed at a request boundary.
        assert not load.mismatches
        assert all("closed" in str(e).lower() for e in load.errors), load.errors[:5]


def test_global_keys_that_need_a_restart_are_named(caches):
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}) as r:
        r.write(r.text().replace("workers: 2", "workers: 1"))
        assert ["global.workers" in w for w in r.reload().warnings] == [True]


def test_a_changed_file_is_noticed_when_it_is_watched(caches):
    """As a ConfigMap volume changes it: the file is a link into a folder that is swapped."""
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}, watch_config=True) as r:
        base = os.path.dirname(r.proxy.conf_path)
        for generation, timeout in (("one", 111), ("two", 222)):
            r.pools["alpha"]["timeout"] = timeout
            folder = os.path.join(base, generation)
            os.mkdir(folder)
            with open(os.path.join(folder, "cashew.yml"), "w", encoding="utf-8") as f:
                f.write(r.text())
            link = os.path.join(base, "..data.new")
            os.symlink(folder, link)
            os.rename(link, os.path.join(base, "..data"))
            if not os.path.islink(r.proxy.conf_path):
                os.symlink("..data/cashew.yml", r.proxy.conf_path + ".new")
                os.rename(r.proxy.conf_path + ".new", r.proxy.conf_path)
            wait_until(lambda t=timeout: '"timeout": %d' % t in r.proxy.http("/config")[1], 10,
                       "timeout %d" % timeout)


def test_an_override_that_is_set_just_before_its_pool_leaves_is_answered(caches, monkeypatch):
    """It is answered when the workers have it; by then the reload behind it was done."""
    monkeypatch.setenv("MALLOC_PERTURB_", "85")  # what is read of freed memory is no version
    with Reloadable({"stays": {**POOL, "servers": servers(caches)},
                     "goes": {**POOL, "membership": "grpc"}}) as r:
        goes = r.pools["goes"]
        with futures.ThreadPoolExecutor(2) as threads:
            for _ in range(5):
                r.pools["goes"] = goes
                r.write()
                r.reload()
                version = r.client.set_servers("goes", ["%s:%d" % (HOST, caches[0].port)]).version
                del r.pools["goes"]
                r.write()
                r.proxy.signal(signal.SIGSTOP)  # then it finds both at once
                override = threads.submit(r.client.admin, "SetOverride", pool="goes", weight=2,
                                          server="%s:%d" % (HOST, caches[0].port))
                assert not futures.wait([override], 0.05).done
                reload = threads.submit(r.reload)
                assert not futures.wait([reload], 0.05).done
                r.proxy.signal(signal.SIGCONT)
                assert list(reload.result(20).removed) == ["goes"]
                if override.exception(20) is None:
                    assert override.result().version == version + 1
                else:
                    assert override.exception().code() == grpc.StatusCode.NOT_FOUND


def test_a_good_file_that_is_put_back_ends_the_fault_of_a_bad_one_when_it_is_watched(caches):
    """Though it says what the proxy runs already."""
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}, watch_config=True) as r:
        def failed():
            return r.proxy.metric("cashew_config_reload_failed")

        good = r.text()
        r.write(good + "\n}{")
        wait_until(failed, 10, "the refusal")
        assert "nothing changed" in r.client.admin("GetStatus").last_reload_error
        r.write(good)
        wait_until(lambda: not failed(), 10, "the end of the fault")
        assert r.client.admin("GetStatus").last_reload_error == ""


def test_a_thousand_reloads_under_load_leave_nothing_behind(caches):
    """Every second one changes a pool, adds or removes one; a client asks all the while."""
    with Reloadable({"alpha": {**POOL, "servers": servers(caches)}}) as r:
        extra = {"listen": "%s:%d" % (HOST, seldom_used_port()), **POOL,
                 "servers": servers(caches[:2])}
        turn = itertools.count(1)

        def reloads(count):
            for i in itertools.islice(turn, count):
                r.pools["alpha"]["timeout"] = 400 + i % 7
                r.pools.pop("extra", None)
                if i % 2:
                    r.pools["extra"] = extra
                r.write()
                assert r.reload().changed

        with VerifyingClient(r.proxy.address("alpha"), rate=500, connections=8) as load:
            reloads(200)
            time.sleep(0.6)
            usage = r.proxy.usage
            descriptors, rss = usage.fds(), usage.rss()
            reloads(800)
            time.sleep(0.6)
            print("descriptors %d then %d, RSS %d KiB then %d" %
                  (descriptors, usage.fds(), rss // 1024, usage.rss() // 1024))
            assert usage.fds() <= descriptors + 4
            assert r.proxy.is_sanitized or usage.rss() <= rss + 3000 * 1024
        assert not load.errors and not load.mismatches, (load.errors[:3], load.mismatches[:3])
        assert load.closed == 0
