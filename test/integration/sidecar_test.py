"""cashew-sidecar between a scripted API server, over TLS, and a real proxy with real
memcached servers."""

import json
import socket

import grpc_client
import pytest
from reloadable import Reloadable
from sidecar import GOING, READY, STARTING, ApiServer, Sidecar, make_certificate
from support import Memcached, Proxy, RawClient, free_port, wait_until


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def api(certificate):
    with ApiServer(certificate) as server:
        yield server


@pytest.fixture
def memcacheds():
    """Two servers on one port and two loopback addresses, as pods are."""
    port = free_port()
    with Memcached(port, host="127.0.0.2") as a, Memcached(port, host="127.0.0.3") as b:
        yield port, a, b


def grpc_proxy(**pool):
    pool = {"distribution": "ketama", "hash": "fnv1a_64", "timeout": 1000,
            "membership": "grpc", **pool}
    return Proxy({"cache": pool}, settings={"grpc": "unix:{dir}/grpc.sock",
                                            "state_dir": "{dir}/state"})


def grpc_target(proxy):
    return "unix:%s/grpc.sock" % proxy.dir


def ports(port):
    return [{"name": "memcached", "port": port, "protocol": "TCP"}]


def set_key(proxy, key):
    with RawClient(proxy.address("cache")) as client:
        client.send(b"set %s 0 0 1\r\nx\r\n" % key)
        return client.recv_line()


def keys_on(proxy, count=40):
    """Answers to `count` sets of different keys, without repetition."""
    return {set_key(proxy, b"key%d" % i) for i in range(count)}


def items(port, host):
    with socket.create_connection((host, port), timeout=5) as s:
        s.sendall(b"stats\r\nquit\r\n")
        text = s.makefile("rb").read().decode()
    return int(text.split("STAT curr_items ")[1].split()[0])


def test_the_proxy_serves_from_the_pods_of_the_service(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        assert keys_on(proxy) == {b"STORED"}
        assert items(port, "127.0.0.2") == 40
        assert items(port, "127.0.0.3") == 0
        # A second pod in a second slice takes its share.
        api.put("mc-y", [("mc-1", "127.0.0.3", READY)], ports(port))
        wait_until(lambda: sidecar.metric('cashew_sidecar_updates_acked_total{pool="cache"}') == 2,
                   20, "the second list")
        assert keys_on(proxy) == {b"STORED"}
        assert items(port, "127.0.0.3") > 0
        assert sidecar.metric('cashew_sidecar_servers{pool="cache",state="ready"}') == 2
        # The first goes: its keys move to the other, after one list for the burst of changes.
        api.put("mc-x", [("mc-0", "127.0.0.2", GOING)], ports(port))
        api.put("mc-x", None, None)
        wait_until(lambda: sidecar.metric('cashew_sidecar_servers{pool="cache",state="ready"}') == 1
                   and sidecar.metric('cashew_sidecar_pool_in_sync{pool="cache"}') == 1,
                   20, "the third list")
        assert keys_on(proxy) == {b"STORED"}
        assert items(port, "127.0.0.3") == 40


def test_restart_of_the_proxy_brings_the_list_back(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        proxy.kill9()
        api.put("mc-x", [("mc-0", "127.0.0.3", READY)], ports(port))
        proxy.start()
        wait_until(lambda: sidecar.metric('cashew_sidecar_pool_in_sync{pool="cache"}') == 1,
                   20, "the list to be sent again")
        assert set_key(proxy, b"after") == b"STORED"
        assert items(port, "127.0.0.3") == 1


def test_a_pool_that_was_static_for_a_while_has_the_list_again(
        tmp_path, api, certificate, memcacheds):
    """As after an emergency; no pod has come or gone meanwhile."""
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY), ("mc-1", "127.0.0.3", READY)], ports(port))
    pool = {"distribution": "ketama", "hash": "fnv1a_64", "timeout": 1000}
    with Reloadable({"cache": {**pool, "membership": "grpc"}}) as r, Sidecar(
            tmp_path, api, certificate, "--pool", "cache=mc:memcached", "--grpc", r.address,
            "--updater", "sidecar-a") as sidecar:
        def runs():
            view = r.client.get_pool("cache")
            return [s.server.name for s in view.servers], view.updater

        wait_until(sidecar.is_ready, 20, "the first list")
        assert runs() == (["mc-0", "mc-1"], "sidecar-a")
        listen = r.pools["cache"]["listen"]
        r.pools["cache"] = {"listen": listen, **pool, "servers": ["127.0.0.2:%d:1 other" % port]}
        r.write()
        r.reload()
        assert runs() == (["other"], "")
        refused = 'cashew_sidecar_updates_refused_total{pool="cache"}'
        wait_until(lambda: sidecar.metric(refused) > 0, 20, "its list to be refused")
        r.pools["cache"] = {"listen": listen, **pool, "membership": "grpc"}
        r.write()
        r.reload()
        wait_until(lambda: runs() == (["mc-0", "mc-1"], "sidecar-a"), 30, "the sidecar's list")
        assert api.version == 101
        assert r.client.get_pool("cache").source == "stream"
        wait_until(lambda: sidecar.metric('cashew_sidecar_pool_in_sync{pool="cache"}') == 1,
                   20, "the acknowledgement")


def test_loss_of_the_api_server_changes_nothing(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        api.refuse = (500, {"kind": "Status", "code": 500, "message": "etcd is away"})
        api.cut_watches()
        errors = 'cashew_sidecar_source_errors_total{source="demo/mc"}'
        wait_until(lambda: sidecar.metric(errors) >= 1, 20, "an error to be seen")
        assert sidecar.is_ready()
        assert set_key(proxy, b"meanwhile") == b"STORED"
        api.refuse = None
        api.put("mc-x", [("mc-0", "127.0.0.3", READY)], ports(port))
        wait_until(lambda: sidecar.metric('cashew_sidecar_updates_acked_total{pool="cache"}') == 2,
                   20, "the change to come through")
        # An expired version is listed again and is no change either.
        lists = 'cashew_sidecar_lists_total{source="demo/mc"}'
        before = sidecar.metric(lists)
        api.expire()
        wait_until(lambda: sidecar.metric(lists) == before + 1, 20, "another list")
        assert sidecar.metric('cashew_sidecar_updates_acked_total{pool="cache"}') == 2


def test_service_that_empties_keeps_its_last_list(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        api.put("mc-x", None, None)
        kept = 'cashew_sidecar_updates_kept_empty_total{pool="cache"}'
        wait_until(lambda: sidecar.metric(kept) == 1, 20, "the empty list to be noticed")
        assert set_key(proxy, b"still") == b"STORED"


def test_refused_list_is_reported_and_not_ready(tmp_path, api, certificate):
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(11211))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "other=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        refused = 'cashew_sidecar_updates_refused_total{pool="other"}'
        wait_until(lambda: sidecar.metric(refused) >= 1, 20, "the refusal")
        code, reasons = sidecar.get("/readyz")
        assert code == 503
        assert 'pool "other": the proxy has taken no list yet' in reasons


def test_once_sends_one_list_and_says_how_it_went(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy:
        sidecar = Sidecar(tmp_path, api, certificate, "--grpc", grpc_target(proxy), "--once")
        done = sidecar.run("--pool", "cache=mc:memcached")
        assert done.returncode == 0, done.stderr
        assert set_key(proxy, b"a") == b"STORED"
        refused = sidecar.run("--pool", "missing=mc:memcached")
        assert refused.returncode == 1
        assert 'pool "missing"' in refused.stderr


def test_dry_run_prints_the_list(tmp_path, api, certificate):
    api.put("mc-x", [("mc-10", "127.0.0.4", STARTING), ("mc-2", "127.0.0.3", GOING),
                     ("mc-1", "127.0.0.2", READY)], ports(11211))
    sidecar = Sidecar(tmp_path, api, certificate, "--dry-run", "--once")
    done = sidecar.run("--pool", "cache=demo/mc:memcached")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "pool": "cache",
        "source_version": "101",
        "servers": [
            {"name": "mc-1", "address": "127.0.0.2:11211", "state": "READY"},
            {"name": "mc-2", "address": "127.0.0.3:11211", "state": "DRAINING"},
            {"name": "mc-10", "address": "127.0.0.4:11211", "state": "DOWN"},
        ],
    }
    wrong = sidecar.run("--pool", "cache=mc:redis")
    assert wrong.returncode == 1
    assert "none of 3 endpoints can be used" in wrong.stderr


def test_annotations_of_pods_give_weights_and_names(tmp_path, api, certificate, memcacheds):
    port, *_ = memcacheds
    api.put("mc-x", [("mc-0", "127.0.0.2", READY), ("mc-1", "127.0.0.3", READY)], ports(port))
    api.annotate("mc-0", {"cashew/weight": "3"})
    api.annotate("mc-1", {"something": "else"})
    with grpc_proxy() as proxy, grpc_client.Client(grpc_target(proxy)) as client:
        with Sidecar(tmp_path, api, certificate, "--pool", "cache=mc", "--pod-annotations",
                     "--grpc", grpc_target(proxy)) as sidecar:
            def servers():
                return [(s.server.name, s.server.weight) for s in client.get_pool("cache").servers]

            def becomes(*wanted):
                wait_until(lambda: servers() == list(wanted), 10, "servers %r" % (wanted,))

            wait_until(sidecar.is_ready, 10, "the first list")
            assert servers() == [("mc-0", 3), ("mc-1", 1)], "the very first list has the weights"
            api.annotate("mc-1", {"cashew/weight": "2", "cashew/name": "second"})
            becomes(("mc-0", 3), ("second", 2))
            sent = sidecar.metric('cashew_sidecar_updates_sent_total{pool="cache"}')
            api.annotate("mc-1", {"cashew/weight": "2", "cashew/name": "second", "more": "text"})
            api.annotate("mc-0", None)  # the pod goes before its endpoint does
            wait_until(lambda: sidecar.metric(
                'cashew_sidecar_watch_events_total{source="pods:demo"}') == 3, 10, "the events")
            api.put("mc-x", [("mc-0", "127.0.0.2", GOING), ("mc-1", "127.0.0.3", READY)],
                    ports(port))
            wait_until(lambda: sidecar.metric(
                'cashew_sidecar_updates_acked_total{pool="cache"}') == sent + 1, 10, "the list")
            assert servers() == [("mc-0", 3), ("second", 2)]
            api.annotate("mc-1", {"cashew/weight": "many"})
            becomes(("mc-0", 3), ("mc-1", 1))
            assert 'annotation cashew/weight "many" is no number from 1 to 1000' in sidecar.log()


def test_no_list_is_sent_without_the_right_to_its_weights(tmp_path, api, certificate):
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(11211))
    api.refuse_pods = (403, {"kind": "Status", "code": 403, "reason": "Forbidden",
                             "message": "pods is forbidden"})
    sidecar = Sidecar(tmp_path, api, certificate, "--dry-run", "--once", "--timeout", "1")
    done = sidecar.run("--pool", "cache=mc", "--pod-annotations", "--pod-selector", "app=mc")
    assert done.returncode == 1 and done.stdout == ""
    assert ("not allowed to list pods in namespace demo: bind a Role with the verbs get, list and "
            'watch on pods (apiGroup "")') in sidecar.log()
    assert {"labelSelector": "app=mc", "limit": "500"} in api.requests


def test_missing_right_is_named_with_verb_and_namespace(tmp_path, api, certificate):
    api.refuse = (403, {"kind": "Status", "code": 403, "reason": "Forbidden",
                        "message": "endpointslices is forbidden"})
    sidecar = Sidecar(tmp_path, api, certificate, "--dry-run", "--once", "--timeout", "1")
    done = sidecar.run("--pool", "cache=mc")
    assert done.returncode == 1
    assert "not allowed to list endpointslices.discovery.k8s.io in namespace demo" in sidecar.log()


def test_unknown_authority_is_not_trusted(tmp_path, api, certificate):
    sidecar = Sidecar(tmp_path, api, certificate, "--dry-run", "--once", "--timeout", "1")
    text = sidecar.kubeconfig.read_text()
    sidecar.kubeconfig.write_text(
        text.replace(certificate[0], "/etc/ssl/certs/ca-certificates.crt"))
    done = sidecar.run("--pool", "cache=mc")
    assert done.returncode == 1
    assert "certificate" in sidecar.log()
    assert api.requests == []


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "no pool to follow"),
        (["--pool", "cache"], "the form is POOL=[NAMESPACE/]SERVICE[:PORT]"),
        (["--pool", "a=mc", "--pool", "a=mc"], "given twice"),
        (["--pool", "a=mc", "--grpc", "10.0.0.1:9152"], "needs TLS"),
        (["--config", "/nonexistent"], "/nonexistent: cannot read the file"),
        (["--dns", "a=mc.demo.svc", "--pod-annotations"], "no pool follows a Service"),
        (["--pool", "a=mc", "--pod-selector", "app=mc"], "with --pod-annotations only"),
    ],
)
def test_wrong_options_say_what_would_be_right(tmp_path, api, certificate, args, message):
    done = Sidecar(tmp_path, api, certificate).run(*args)
    assert done.returncode == 1
    assert message in done.stderr
