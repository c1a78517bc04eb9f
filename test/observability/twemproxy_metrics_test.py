"""Each of twemproxy's metrics is made to move, in the JSON and in Prometheus' text alike."""

import contextlib
import time

import pytest
from figures_test import POOL, POOL_METRICS, SERVER_METRICS, TWO

from support import FakeServer, Memcached, Proxy, closes, silent, wait_until

PATIENT = {**POOL, "auto_eject_hosts": False, "timeout": 20000}


@contextlib.contextmanager
def one_server(server, **pool):
    with Proxy({"alpha": {**PATIENT, **pool, "servers": [server]}}, settings=TWO) as proxy:
        yield proxy


def json_value(proxy, name):
    stats = proxy.pool_stats()
    return stats["s0"][name] if name in SERVER_METRICS else stats[name]


def prometheus_value(proxy, name):
    if name in POOL_METRICS:
        return proxy.metric(POOL_METRICS[name], pool="alpha")
    value = proxy.metric(SERVER_METRICS[name], pool="alpha", server="s0")
    return value * 1e6 if name == "server_ejected_at" else value


def assert_reaches(proxy, name, want, timeout=5.0):
    """Both exports show a value that `want` accepts, and the same one."""
    wait_until(lambda: want(json_value(proxy, name)), timeout, name)
    wait_until(
        lambda: prometheus_value(proxy, name) == pytest.approx(json_value(proxy, name), rel=1e-9),
        timeout,
        name + " to agree",
    )


def at_least(n):
    return lambda value: value >= n


def test_client_connections_eof_and_err():
    with Memcached() as server, one_server(server) as proxy:
        with proxy.client() as client:
            client.set(b"k", b"v")
            assert_reaches(proxy, "client_connections", at_least(1))
        assert_reaches(proxy, "client_eof", at_least(1))
        with proxy.client() as client:
            client.send(b"get " + b"x" * 9000 + b"\r\n" + b"\0" * 70000)
            client.closed(5)
        assert_reaches(proxy, "client_err", at_least(1))
        assert_reaches(proxy, "client_connections", lambda n: n == 0)


def test_requests_responses_and_their_bytes():
    with Memcached() as server, one_server(server) as proxy, proxy.client() as client:
        client.ask(b"set k 0 0 3\r\nabc\r\n", b"STORED\r\n")
        for name, n in (("requests", 1), ("request_bytes", 18), ("responses", 1), ("response_bytes", 8)):
            assert_reaches(proxy, name, lambda value, n=n: value == n)


def test_fragments():
    with Memcached() as one, Memcached() as two:
        with Proxy({"alpha": {**PATIENT, "servers": [one, two]}}) as proxy, proxy.client() as client:
            keys = b" ".join(b"k%d" % i for i in range(20))
            client.ask(b"get " + keys + b"\r\n", b"END\r\n")
            assert_reaches(proxy, "fragments", lambda n: n == 2)


def test_server_connections_eof_and_forward_error():
    with FakeServer(closes(after_bytes=1)) as server, one_server(server) as proxy:
        with proxy.client() as client:
            client.send(b"get k\r\n")
            assert client.recv_line().startswith(b"SERVER_ERROR")
        assert_reaches(proxy, "server_eof", at_least(1))
        assert_reaches(proxy, "forward_error", at_least(1))
        assert proxy.metric("cashew_client_errors_total", kind="lost") == 1
        assert_reaches(proxy, "server_connections", lambda n: n == 0)


def test_server_err_when_nobody_listens():
    with Memcached() as server, one_server(server) as proxy:
        server.kill9()
        with proxy.client() as client:
            client.send(b"get k\r\n")
            assert client.recv_line().startswith(b"SERVER_ERROR")
        assert_reaches(proxy, "server_err", at_least(1))
        assert proxy.metric("cashew_client_errors_total", kind="unreachable") == 1


def test_server_timedout():
    with FakeServer(silent()) as server, one_server(server, timeout=200) as proxy:
        with proxy.client() as client:
            client.send(b"get k\r\n")
            assert client.recv_line().startswith(b"SERVER_ERROR")
        assert_reaches(proxy, "server_timedout", at_least(1))
        assert proxy.metric("cashew_client_errors_total", kind="timeout") == 1


def test_server_ejects_and_when():
    with Memcached() as server, one_server(
        server, auto_eject_hosts=True, server_failure_limit=1
    ) as proxy:
        begin = time.time() * 1e6
        server.kill9()
        with proxy.client() as client:
            client.send(b"get k\r\n")
            assert client.recv_line().startswith(b"SERVER_ERROR")
        wait_until(lambda: proxy.pool_stats()["server_ejects"] == 1, 5, "the ejection")
        assert proxy.metric("cashew_server_ejects_total", server="s0") == 1
        assert_reaches(proxy, "server_ejected_at", at_least(begin))
        assert proxy.metric("cashew_server_healthy", server="s0") == 0
        assert proxy.metric("cashew_live_servers") == 0
        with proxy.client() as client:
            client.send(b"get k\r\n")
            assert client.recv_line().startswith(b"SERVER_ERROR")
        assert proxy.metric("cashew_client_errors_total", kind="no_server") == 1


def test_out_queue_while_the_server_is_stopped_and_in_queue_when_its_socket_is_full():
    with Memcached() as server, one_server(server) as proxy, proxy.client() as client:
        client.set(b"k", b"v")
        server.pause()
        client.send(b"get k\r\n")
        assert_reaches(proxy, "out_queue", lambda n: n == 1)
        assert_reaches(proxy, "out_queue_bytes", lambda n: n == 7)
        value = b"x" * 500_000
        client.sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(60):
                client.sock.sendall(b"set k 0 0 %d\r\n%s\r\n" % (len(value), value))
        assert_reaches(proxy, "in_queue", at_least(1))
        assert_reaches(proxy, "in_queue_bytes", at_least(500_000))
        server.resume()
        for name in ("in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes"):
            assert_reaches(proxy, name, lambda n: n == 0, timeout=15)
        # The time they waited shows, too.
        assert proxy.metric("cashew_queue_duration_seconds_sum") > 0.1


def test_total_and_current_connections():
    with Memcached() as server, one_server(server) as proxy:
        before = proxy.stats()
        with proxy.client() as client:
            client.set(b"k", b"v")
            now = proxy.stats()
            # The client's, and the one to its server.
            assert now["total_connections"] == before["total_connections"] + 2
            assert now["curr_connections"] == before["curr_connections"] + 2
            assert proxy.metric("cashew_connections") == now["curr_connections"]
        proxy.wait_stats(lambda s: s["curr_connections"] == before["curr_connections"] + 1)


def test_telegrafs_twemproxy_input_finds_all_it_reads():
    """Its fields, by the documentation of that plugin; it decodes every number as a float."""
    of_process = ("total_connections", "curr_connections", "timestamp")
    of_pool = ("client_connections", "forward_error", "client_err", "server_ejects", "fragments",
               "client_eof")
    of_server = ("in_queue_bytes", "server_err", "response_bytes", "requests", "request_bytes",
                 "server_timedout", "server_connections", "server_eof", "in_queue", "out_queue",
                 "responses", "out_queue_bytes")
    with Memcached() as server, one_server(server) as proxy:
        stats = proxy.stats()
        assert isinstance(stats["source"], str) and stats["source"]
        for place, names in ((stats, of_process), (stats["alpha"], of_pool),
                             (stats["alpha"]["s0"], of_server)):
            for name in names:
                assert isinstance(place[name], int) and not isinstance(place[name], bool), name
