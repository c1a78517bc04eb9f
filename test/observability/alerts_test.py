"""Each alert of helm/cashew fires in a real Prometheus, on the fault that it is for. The rules'
patience is cut to seconds, and those thresholds are lower that a test cannot reach in seconds."""

import contextlib
import threading
import time

from dashboard import RULES, alerts, impatient, read
from figures_test import POOL, TWO
from prometheus_server import Prometheus
from reloadable import Reloadable

from support import (
    FakeServer,
    Memcached,
    Proxy,
    RawClient,
    VerifyingClient,
    memcached_servers,
    slow_reply,
    two_replies,
    wait_until,
)

LOWER = {"queuedRequests": 100, "workerBusyRatio": 0.15, "membershipAgeSeconds": 3,
         "healthChanges": 2}
OF_REQUESTS = ["CashewMembershipDisagreement", "CashewRingDisagreement", "CashewCertificateExpires",
               "CashewConnectionLimit", "CashewOutOfStep", "CashewLatencySLOBurn",
               "CashewServerEjected", "CashewAllServersEjected", "CashewErrorRatioHigh",
               "CashewDown"]
OF_OPERATION = ["CashewReloadFailed", "CashewMembershipRefused", "CashewMembershipStale",
                "CashewServerFlapping", "CashewQueueGrowing", "CashewWorkerSaturated",
                "CashewSheddingLoad"]
PATIENT = {**POOL, "auto_eject_hosts": False, "timeout": 60000}


def rules():
    return [impatient(read(path), **LOWER) for path in RULES]


def all_texts_are_filled_in(prometheus):
    for alert in prometheus.get("/api/v1/alerts")["alerts"]:
        for text in alert["annotations"].values():
            assert "<error" not in text and "<no value>" not in text, text


def test_every_alert_has_its_fault_here():
    assert sorted(a["alert"] for a in alerts()) == sorted(OF_REQUESTS + OF_OPERATION)


def test_alerts_of_servers_and_requests(certificate):
    with memcached_servers(3) as servers, FakeServer(
        slow_reply(b"END\r\n", delay=0.06)
    ) as slow, FakeServer(two_replies(b"END\r\n")) as mad:
        alpha = {**POOL, "server_failure_limit": 1}
        lazy = {**POOL, "auto_eject_hosts": False, "timeout": 5000}
        pools = {
            "alpha": {**alpha, "servers": servers},
            "slow": {**lazy, "servers": [slow]},
            "mad": {**lazy, "servers": [mad]},
            "full": {**lazy, "servers": servers, "client_connections": 1},
            "safe": {**lazy, "servers": servers, "tls": certificate},
        }
        # Another weight: other keys at other servers.
        lines = ["127.0.0.1:%d:%d s%d" % (s.port, 1 + (i == 0), i) for i, s in enumerate(servers)]
        other = {"alpha": {**alpha, "servers": lines}}
        with Proxy(pools, settings=TWO) as proxy, Proxy(other) as odd:
            with Prometheus([proxy, odd], rules=rules()) as prometheus:
                prometheus.wait_alert("CashewMembershipDisagreement")
                prometheus.wait_alert("CashewRingDisagreement")
                prometheus.wait_alert("CashewCertificateExpires")

                with proxy.client("full"), proxy.client("full") as refused:
                    refused.closed(5)
                with proxy.client("mad") as client:
                    client.send(b"get k\r\n")
                    client.recv_line()
                prometheus.wait_alert("CashewConnectionLimit")
                prometheus.wait_alert("CashewOutOfStep")

                with proxy.client("slow") as client:
                    end = time.monotonic() + 20
                    while ("CashewLatencySLOBurn", "firing") not in prometheus.alerts():
                        client.ask(b"get k\r\n", b"END\r\n")
                        assert time.monotonic() < end

                load = VerifyingClient(proxy.address("alpha"), rate=300)
                load.start()
                servers[0].kill9()
                alert = prometheus.wait_alert("CashewServerEjected")
                assert alert["labels"]["server"] == "s0" and alert["labels"]["pool"] == "alpha"
                for server in servers[1:]:
                    server.kill9()
                prometheus.wait_alert("CashewAllServersEjected")
                prometheus.wait_alert("CashewErrorRatioHigh")
                load.stop()

                odd.kill9()
                prometheus.wait_alert("CashewDown")
                all_texts_are_filled_in(prometheus)
                odd.start()
                wait_until(
                    lambda: ("CashewDown", "firing") not in prometheus.alerts(), 20, "it to calm"
                )


@contextlib.contextmanager
def over_and_over(step):
    """`step` is called by a thread of its own until the end."""
    stop, errors = threading.Event(), []

    def run():
        try:
            while not stop.is_set():
                step()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    assert not errors, errors[0]


def reload_fails(proxy, prometheus):
    spoilt = proxy.text().replace("timeout: 60000", "timeout: soon", 1)
    assert spoilt != proxy.text()
    proxy.write(spoilt)
    proxy.proxy.signal(1)
    prometheus.wait_alert("CashewReloadFailed")
    proxy.write()
    proxy.proxy.signal(1)
    wait_until(lambda: ("CashewReloadFailed", "firing") not in prometheus.alerts(), 20,
               "the good file to end it")


def sidecar_sends_nonsense_and_leaves(proxy, prometheus, server):
    same = {"name": "a", "address": "127.0.0.1:%d" % server.port}
    with proxy.client.stream("sidecar") as stream:
        assert stream.update("listed", [same]).error.code == 0
        assert stream.update("listed", [same, same]).error.code != 0
        prometheus.wait_alert("CashewMembershipRefused")
        assert ("CashewMembershipStale", "firing") not in prometheus.alerts()
    alert = prometheus.wait_alert("CashewMembershipStale")
    assert alert["labels"]["pool"] == "listed"


def server_comes_and_goes(proxy, prometheus, server):
    def step():
        server.pause()
        time.sleep(1.2)
        server.resume()
        time.sleep(1.2)

    with VerifyingClient(proxy.port("flaps"), rate=50), over_and_over(step):
        alert = prometheus.wait_alert("CashewServerFlapping")
    assert alert["labels"]["pool"] == "flaps"


def server_stands_still(proxy, prometheus, server):
    server.pause()
    try:
        with VerifyingClient(proxy.port("still"), rate=100) as load:
            alert = prometheus.wait_alert("CashewQueueGrowing")
            server.resume()
        assert alert["labels"]["pool"] == "still" and not load.errors
    finally:
        server.resume()


def clients_ask_without_end(proxy, prometheus):
    with proxy.connect("busy") as client:
        def step():
            client.send(b"get nothing\r\n" * 2000)
            client.recv_exact(len(b"END\r\n") * 2000)

        with over_and_over(step):
            prometheus.wait_alert("CashewWorkerSaturated")


def memory_runs_short(prometheus, proxy, server):
    server.pause()
    try:
        with proxy.client(timeout=20) as holder:
            value = b"v" * 500000
            for i in range(58):
                if proxy.metric("cashew_buffer_bytes") > 0.82 * (32 << 20):
                    break
                holder.send(b"set k%d 0 0 500000\r\n%s\r\n" % (i, value))
            with RawClient(proxy.address()) as late:
                assert b"out of memory" in late.recv_line()
            prometheus.wait_alert("CashewSheddingLoad")
    finally:
        server.resume()


def test_alerts_of_operation():
    with memcached_servers(3) as servers, Memcached(args=("-m", "256", "-t", "1")) as full:
        calm, flapping, still = servers
        pools = {
            "busy": {**PATIENT, "servers": [calm]},
            "listed": {**PATIENT, "membership": "grpc"},
            "flaps": {**POOL, "timeout": 200, "server_retry_timeout": 200,
                      "server_failure_limit": 1, "servers": [flapping]},
            "still": {**PATIENT, "servers": [still]},
        }
        pools = {name: {**keys, "servers": [s.server_line("s%d" % i) for i, s in enumerate(
            keys["servers"])]} if "servers" in keys else keys for name, keys in pools.items()}
        with Reloadable(pools) as proxy, Proxy(
            {"tight": {**PATIENT, "servers": [full]}}, settings={"max_buffer_memory": "32mb"}
        ) as tight, Prometheus([proxy.proxy, tight], rules=rules()) as prometheus:
            reload_fails(proxy, prometheus)
            sidecar_sends_nonsense_and_leaves(proxy, prometheus, calm)
            server_comes_and_goes(proxy, prometheus, flapping)
            server_stands_still(proxy, prometheus, still)
            clients_ask_without_end(proxy, prometheus)
            memory_runs_short(prometheus, tight, full)
            all_texts_are_filled_in(prometheus)
