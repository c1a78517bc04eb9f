"""Several workers act as one proxy: clients are spread, each reads its own writes, a
verdict is everyone's, the figures add up; and the end is orderly."""

import collections
import contextlib
import os
import random
import signal
import socket
import threading
import time

import pytest

from support import (
    HOST,
    FakeServer,
    Memcached,
    Proxy,
    RawClient,
    VerifyingClient,
    wait_until,
)
from support.net import connect

pytestmark = pytest.mark.improved

TWO = {"workers": 2}
POOL = {"hash": "md5", "distribution": "ketama", "server_connections": 2}
EJECTING = {
    **POOL,
    "timeout": 400,
    "auto_eject_hosts": True,
    "server_failure_limit": 3,
    "server_retry_timeout": 1000,
}


def answer_misses(peer):
    """A server in which every get misses."""
    pending = b""
    for data in peer.requests():
        lines = (pending + data).split(b"\r\n")
        pending = lines.pop()
        peer.send(b"END\r\n" * len(lines))


def keys_by_connection(server):
    """For each server connection, so for each worker, the keys that were asked on it."""
    with server.lock:
        received = [bytes(data) for data in server.received]
    return [[line.split()[1] for line in data.split(b"\r\n") if line] for data in received]


# Clients and workers.


def test_clients_are_spread_evenly_and_the_emptier_worker_gets_the_next():
    with FakeServer(answer_misses) as server, Proxy(
        {"alpha": {**POOL, "servers": [server]}}, settings=TWO
    ) as proxy, contextlib.ExitStack() as stack:
        clients = {b"c%d" % i: stack.enter_context(proxy.client()) for i in range(40)}
        for name, client in clients.items():
            assert client.get(name) is None
        asked = keys_by_connection(server)
        assert sorted(map(len, asked)) == [20, 20]

        # A client stays where it is: the same keys again on the same connections.
        for name, client in clients.items():
            assert client.get(name) is None
        assert [set(keys) for keys in keys_by_connection(server)] == [set(k) for k in asked]

        # One worker loses all its clients; newcomers go there until both have as many.
        for name in set(asked[0]):
            clients[name].close()
        proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 20)
        newcomers = [stack.enter_context(proxy.client()) for _ in range(20)]
        for i, client in enumerate(newcomers):
            assert client.get("n%d" % i) is None
        new_on_first = [key for key in keys_by_connection(server)[0] if key.startswith(b"n")]
        assert len(new_on_first) == 20
        assert proxy.pool_stats()["s0"]["server_connections"] == 2


def test_a_pool_of_one_server_connection_stays_on_one_worker():
    with FakeServer(answer_misses) as server, Proxy(
        {"alpha": {**POOL, "server_connections": 1, "servers": [server]}}, settings=TWO
    ) as proxy, contextlib.ExitStack() as stack:
        for i in range(10):
            assert stack.enter_context(proxy.client()).get("c%d" % i) is None
        assert server.connections() == 1
        assert "server_connections: 2" in proxy.log(), "the start-up log says what to set"


def test_pools_of_one_connection_are_spread_over_the_workers(servers):
    pools = {
        name: {**POOL, "server_connections": 1, "servers": servers[:1]} for name in ("one", "two")
    }
    with Proxy(pools, settings=TWO) as proxy:
        before = _cpu_by_worker(proxy)
        with VerifyingClient(proxy.address("one"), rate=2000, connections=4, tag="one") as one:
            with VerifyingClient(proxy.address("two"), rate=2000, connections=4, tag="two") as two:
                wait_until(lambda: one.answered > 1500 and two.answered > 1500, 10, "traffic")
        used = [now - was for now, was in zip(_cpu_by_worker(proxy), before)]
        assert len(used) == 2 and min(used) > 0.2 * max(used), used
    assert not one.errors and not two.errors


def _cpu_by_worker(proxy):
    used = []
    for task in os.listdir("/proc/%d/task" % proxy.pid):
        path = "/proc/%d/task/%s/" % (proxy.pid, task)
        with open(path + "comm", encoding="ascii") as comm, open(path + "schedstat") as stat:
            if comm.read().startswith("worker-"):
                used.append((int(task), int(stat.read().split()[0])))
    return [ns for _, ns in sorted(used)]


@pytest.mark.parametrize("connections", [2, 3, 4])
def test_a_client_reads_its_own_writes(servers, connections):
    pool = {**POOL, "server_connections": connections, "servers": servers}
    with Proxy({"alpha": pool}, settings=TWO) as proxy:
        tag = "own%d" % connections
        with VerifyingClient(
            proxy.address(), rate=4000, connections=24, keys=48, set_ratio=0.5, tag=tag
        ) as load:
            wait_until(lambda: load.hits > 2000, 10, "hits")
            load.stop()
        assert (load.errors, load.mismatches, load.stale) == ([], [], []), load.summary()
        stats = proxy.pool_stats()
        assert [stats["s%d" % i]["server_connections"] for i in range(3)] == [connections] * 3


# A verdict is everyone's.


@pytest.mark.parametrize("how", ["kill9", "pause"])
def test_an_ejection_is_seen_by_both_workers(fresh_servers, how):
    with Proxy({"alpha": {**EJECTING, "servers": fresh_servers}}, settings=TWO) as proxy:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(proxy.client()) for _ in range(10)]
            keys = ["eject-%d" % i for i in range(200)]
            for key in keys:
                assert clients[0].set(key, "1") == b"STORED"
            for client in clients:
                client.get_many(keys)
            home = fresh_servers[1].get_many(keys)
            victim_keys = [key for key in keys if key.encode() in home]
            getattr(fresh_servers[1], how)()
            try:
                # One worker's clients alone meet the failures.
                errors = 0
                while proxy.pool_stats()["server_ejects"] == 0:
                    errors += clients[0].set(victim_keys[0], "2") != b"STORED"
                    assert errors <= 3
                wait_until(lambda: _live_servers(proxy) == 2, what="the ring without it")
                for client in clients:
                    for key in victim_keys[:10]:
                        assert client.set(key, "3") == b"STORED"
                assert proxy.pool_stats()["server_ejects"] == 1
            finally:
                fresh_servers[1].resume() if how == "pause" else fresh_servers[1].restart()
            wait_until(lambda: _live_servers(proxy) == 3, what="the server to be back")
            for i, client in enumerate(clients):
                assert client.set(victim_keys[i % len(victim_keys)], "4") == b"STORED"
            assert set(fresh_servers[1].get_many(victim_keys[:10]).values()) == {b"4"}


def _live_servers(proxy):
    return proxy.metric("cashew_live_servers")


def test_one_kill_is_one_failure_however_many_connections_it_ends(fresh_servers):
    """Four connections on two workers end at once; the limit of 2 is not reached by that."""
    pool = {**EJECTING, "server_connections": 4, "server_failure_limit": 2}
    with Proxy({"alpha": {**pool, "servers": fresh_servers[:2]}}, settings=TWO) as proxy:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(proxy.client()) for _ in range(16)]
            keys = ["once-%d" % i for i in range(50)]
            for client in clients:
                for key in keys:
                    assert client.set(key, "1") == b"STORED"
            victim = next(k for k in keys if fresh_servers[1].get(k))
            fresh_servers[1].pause()
            for client in clients:
                client.send("get %s\r\n" % victim)
            proxy.wait_stats(lambda s: s["alpha"]["s1"]["out_queue"] == 16, 0.35, "16 gets")
            fresh_servers[1].restart()  # kill -9, then the same port answers again
            for client in clients:
                assert client.recv_line().startswith(b"SERVER_ERROR ")
            assert proxy.pool_stats()["server_ejects"] == 0
            for client in clients:
                assert client.set(victim, "2") == b"STORED"


# The figures.


class Tally:
    """Closed-loop clients that write down what they sent and what came."""

    def __init__(self, proxy, clients=8):
        self.requests = collections.Counter()
        self.stop = threading.Event()
        self.failure = None
        self.lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self._guarded, args=(proxy.address(), i), daemon=True)
            for i in range(clients)
        ]
        for thread in self.threads:
            thread.start()

    def finish(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive(), "a client got no answer"
        assert self.failure is None, self.failure
        return self.requests

    def _guarded(self, address, seed):
        try:
            self._run(address, random.Random(seed), seed)
        except Exception as error:  # pylint: disable=broad-except  # shown by finish()
            self.failure = "%s: %s" % (type(error).__name__, error)

    def _run(self, address, rng, seed):
        mine = collections.Counter()
        with RawClient(address) as client:
            while not self.stop.is_set():
                key = b"tally-%d-%d" % (seed, rng.randrange(200))
                if rng.random() < 0.3:
                    value = b"v" * rng.randrange(300)
                    request = b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)
                else:
                    request = b"get %s\r\n" % key
                client.send(request)
                reply = self._reply(client)
                if reply.startswith(b"SERVER_ERROR"):
                    mine["errors"] += 1
                    mine["error_bytes"] += len(request)
                    continue
                mine["answered"] += 1
                mine["request_bytes"] += len(request)
                mine["reply_bytes"] += len(reply)
                mine["hits"] += reply.startswith(b"VALUE")
                mine["misses"] += reply == b"END\r\n"
                mine["sets"] += reply == b"STORED\r\n"
        with self.lock:
            self.requests += mine

    @staticmethod
    def _reply(client):
        line = client.recv_line() + b"\r\n"
        if line.startswith(b"VALUE"):
            return line + client.recv_exact(int(line.split()[3]) + len(b"\r\nEND\r\n"))
        return line


def totals(proxy, name):
    stats = proxy.pool_stats()
    return sum(stats[s][name] for s in ("s0", "s1", "s2"))


QUEUES = ("in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes")


def test_the_figures_of_all_workers_add_up_to_what_was_sent(fresh_servers):
    with Proxy({"alpha": {**POOL, "servers": fresh_servers}}, settings=TWO) as proxy:
        tally = Tally(proxy)
        time.sleep(2)
        sent = tally.finish()
        assert sent["errors"] == 0 and sent["hits"] > 100
        assert totals(proxy, "requests") == sent["answered"]
        assert totals(proxy, "responses") == sent["answered"]
        assert totals(proxy, "request_bytes") == sent["request_bytes"]
        assert totals(proxy, "response_bytes") == sent["reply_bytes"]
        for name in ("requests", "responses", "request_bytes", "response_bytes"):
            assert proxy.metric("cashew_server_%s_total" % name) == totals(proxy, name)
        assert proxy.metric("cashew_requests_total") == sent["answered"]
        assert proxy.metric("cashew_client_accepted_total") == 8
        assert [totals(proxy, name) for name in QUEUES] == [0] * 4
        told = [server.stats() for server in fresh_servers]
        assert sum(int(t["get_hits"]) for t in told) == sent["hits"]
        assert sum(int(t["get_misses"]) for t in told) == sent["misses"]
        assert sum(int(t["cmd_set"]) for t in told) == sent["sets"]
        proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 0)
        assert proxy.pool_stats()["client_eof"] == 8


def test_the_figures_add_up_after_a_server_was_killed(fresh_servers):
    with Proxy({"alpha": {**EJECTING, "servers": fresh_servers}}, settings=TWO) as proxy:
        tally = Tally(proxy)
        time.sleep(0.7)
        fresh_servers[1].kill9()
        time.sleep(0.7)
        fresh_servers[1].restart()
        wait_until(lambda: _live_servers(proxy) == 3, 5, "the server to be back")
        time.sleep(0.3)
        sent = tally.finish()
        stats = proxy.pool_stats()
        # Each failure up to the limit costs a client the one request it has under way.
        assert 0 < sent["errors"] <= EJECTING["server_failure_limit"] * len(tally.threads)
        assert stats["forward_error"] == sent["errors"]
        assert totals(proxy, "responses") == sent["answered"]
        assert totals(proxy, "response_bytes") == sent["reply_bytes"]
        requests = totals(proxy, "requests")
        assert sent["answered"] <= requests <= sent["answered"] + sent["errors"]
        assert (
            sent["request_bytes"]
            <= totals(proxy, "request_bytes")
            <= sent["request_bytes"] + sent["error_bytes"]
        )
        assert [totals(proxy, name) for name in QUEUES] == [0] * 4
        assert stats["server_ejects"] == 1
        assert stats["s1"]["server_connections"] <= 2
        assert proxy.metric("cashew_requests_total") == sent["answered"] + sent["errors"]


def test_the_connections_gauge_of_a_unix_server_is_never_negative(tmp_path):
    path = str(tmp_path / "memcached.sock")
    pool = {**EJECTING, "server_failure_limit": 1}
    with Memcached(unix_path=path) as server, Memcached() as other:
        with Proxy({"alpha": {**pool, "servers": [server, other]}}, settings=TWO) as proxy:
            seen = set()
            with VerifyingClient(proxy.address(), rate=500, connections=8) as load:
                for _ in range(3):
                    proxy.wait_stats(lambda s: s["alpha"]["s0"]["server_connections"] == 2)
                    server.kill9()
                    end = time.monotonic() + 0.5
                    while time.monotonic() < end:
                        seen.add(proxy.pool_stats()["s0"]["server_connections"])
                    os.unlink(path)
                    server.restart()
                    proxy.wait_stats(
                        lambda s: s["alpha"]["s0"]["server_connections"] == 2, 5, "it to be back"
                    )
                load.stop()
            load.assert_no_mismatch()
            assert 0 in seen and min(seen) == 0 and max(seen) <= 2
            assert proxy.metric("cashew_connections") >= 0


# The end.


class Counting(threading.Thread):
    """Pipelines `incr` of a counter of its own until the proxy closes; then `replies` is
    how many were answered and `end` how the connection ended."""

    def __init__(self, address, name, depth):
        super().__init__(daemon=True)
        self.address, self.counter, self.depth = address, name, depth
        self.replies, self.end, self.started = 0, None, threading.Event()
        self.start()

    def run(self):
        request = b"incr %s 1\r\n" % self.counter
        inbox = b""
        with contextlib.closing(connect(self.address)) as sock:
            sock.sendall(request * self.depth)
            while True:
                try:
                    data = sock.recv(65536)
                except ConnectionError as error:
                    self.end = "reset: %s" % error
                    return
                except socket.timeout:
                    self.end = "silence"
                    return
                if not data:
                    self.end = "FIN" if not inbox else "FIN after a torn reply %r" % inbox
                    return
                lines = (inbox + data).split(b"\r\n")
                inbox = lines.pop()
                for line in lines:
                    self.replies += 1
                    if line != b"%d" % self.replies:
                        self.end = "reply %d was %r" % (self.replies, line)
                        return
                self.started.set()
                try:
                    sock.sendall(request * len(lines))
                except ConnectionError as error:
                    self.end = "reset: %s" % error
                    return


@pytest.mark.parametrize("depth", [1, 20])
@pytest.mark.parametrize("round_", range(3))
def test_sigterm_under_load_answers_all_that_was_read(fresh_servers, tmp_path, depth, round_):
    listen = str(tmp_path / "proxy.sock")
    pools = {
        "tcp": {**POOL, "servers": fresh_servers},
        "unix": {**POOL, "listen": listen, "servers": fresh_servers},
    }
    proxy = Proxy(pools, settings={**TWO, "drain_timeout": "5s"})
    try:
        clients = []
        counters = [b"count-%d-%d-%d" % (depth, round_, i) for i in range(16)]
        with proxy.client("tcp") as setter:
            for name in counters:
                assert setter.set(name, "0") == b"STORED"
        for i, name in enumerate(counters):
            clients.append(Counting(proxy.address("unix" if i % 4 == 0 else "tcp"), name, depth))
        for client in clients:
            assert client.started.wait(5)
        time.sleep(random.uniform(0.05, 0.15))  # anywhere in the middle of it
        proxy.signal(signal.SIGTERM)
        for client in clients:
            client.join(10)
        assert proxy.popen.wait(10) == 0
        proxy.popen = None
        assert [client.end for client in clients] == ["FIN"] * 16
        for client in clients:
            executed = next(v for v in (s.get(client.counter) for s in fresh_servers) if v)
            assert int(executed) == client.replies, "executed and not answered"
        assert not os.path.exists(proxy.pid_path)
        assert not os.path.exists(listen)
    finally:
        proxy.close()


def test_sigterm_waits_for_a_server_that_is_slow_and_ends_idle_clients_at_once(fresh_servers):
    server = fresh_servers[0]
    proxy = Proxy({"alpha": {**POOL, "servers": [server]}}, settings=TWO)
    try:
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(proxy.client()) for _ in range(12)]
            idle = [stack.enter_context(proxy.client()) for _ in range(6)]
            for client in waiting + idle:
                assert client.set("slow", "value") == b"STORED"
            server.pause()
            for client in waiting:
                client.send("get slow\r\n" * 3 + "set slow 0 0 5\r\nvalue\r\n")
            proxy.wait_stats(
                lambda s: s["alpha"]["s0"]["in_queue"] + s["alpha"]["s0"]["out_queue"] == 48,
                what="all requests to be read",
            )
            proxy.signal(signal.SIGTERM)
            for client in idle:
                client.expect_closed(2)
            for client in waiting:
                client.expect_silence(0.01)
            assert proxy.popen.poll() is None
            server.resume()
            for client in waiting:
                client.expect("VALUE slow 0 5\r\nvalue\r\nEND\r\n" * 3 + "STORED\r\n")
                client.expect_closed()
            assert proxy.popen.wait(5) == 0
            proxy.popen = None
    finally:
        proxy.close()


def test_while_draining_nobody_new_is_accepted_and_requests_under_way_may_finish(fresh_servers):
    server = fresh_servers[0]
    proxy = Proxy({"alpha": {**POOL, "servers": [server]}}, settings=TWO)
    try:
        with proxy.client() as torn, proxy.client() as plain:
            assert torn.get("a") is None
            torn.send("set a 0 0 10\r\nhello")
            server.pause()
            plain.send("get a\r\n")
            proxy.wait_stats(
                lambda s: s["alpha"]["s0"]["in_queue"] + s["alpha"]["s0"]["out_queue"] == 1
            )
            port = proxy.address()
            proxy.signal(signal.SIGTERM)
            wait_until(lambda: _refused(port), what="new connections to be refused")
            server.resume()
            plain.expect("END\r\n")
            plain.expect_closed()
            torn.send("world\r\n")
            torn.expect("STORED\r\n")
            torn.expect_closed()
            assert proxy.popen.wait(5) == 0
            proxy.popen = None
        assert server.get("a") == b"helloworld"
    finally:
        proxy.close()


def _refused(port):
    try:
        socket.create_connection((HOST, port), 1).close()
        return False
    except ConnectionResetError:  # the socket was closed between SYN and ACK
        return False
    except ConnectionRefusedError:
        return True


def test_drain_timeout_ends_what_does_not_end(fresh_servers):
    server = fresh_servers[0]
    pool = {**POOL, "servers": [server]}
    proxy = Proxy({"alpha": pool}, settings={**TWO, "drain_timeout": "500ms"})
    try:
        with proxy.client() as client:
            assert client.get("a") is None
            server.pause()
            client.send("get a\r\n")
            proxy.wait_stats(
                lambda s: s["alpha"]["s0"]["in_queue"] + s["alpha"]["s0"]["out_queue"] == 1
            )
            began = time.monotonic()
            proxy.signal(signal.SIGTERM)
            assert proxy.popen.wait(5) == 0
            proxy.popen = None
            assert 0.4 < time.monotonic() - began < 4
    finally:
        server.resume()
        proxy.close()


def test_a_unix_socket_left_by_a_killed_proxy_is_taken_over(fresh_servers, tmp_path):
    path = str(tmp_path / "proxy.sock")
    pool = {**POOL, "listen": path, "servers": fresh_servers}
    with Proxy({"alpha": pool}, settings=TWO) as proxy:
        with proxy.client() as client:
            assert client.set("a", "1") == b"STORED"
        proxy.kill9()
        assert os.path.exists(path), "nobody was there to remove it"
        assert os.path.exists(proxy.pid_path)
        proxy.start()
        wait_until(lambda: _answers(path), what="the second proxy")
        with proxy.client() as client:
            assert client.get("a") == b"1"
        with open(proxy.pid_path, encoding="ascii") as pid_file:
            assert int(pid_file.read()) == proxy.pid
    assert not os.path.exists(path)


def _answers(path):
    try:
        with RawClient(path) as client:
            return client.get("a") == b"1"
    except OSError:
        return False
