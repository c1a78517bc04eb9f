"""What the proxy's memory is after thousands of idle clients and after a spike.

Resident memory is what an operator's limit acts on, so that is what is measured."""

import contextlib
import resource
import select
import socket
import time

import pytest

from support import HOST, Memcached, Proxy, wait_until

pytestmark = pytest.mark.improved

IDLE_CLIENTS = 8000
MIB = 1 << 20
# Allocators and the kernel give and take whole pages now and then.
SLACK = 4 * MIB


@pytest.fixture
def descriptors():
    """The proxy is a child of this process and inherits the limit."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = IDLE_CLIENTS + 500
    if old[1] != resource.RLIM_INFINITY and old[1] < need:
        pytest.skip("the hard limit of open files is %d, the test needs %d" % (old[1], need))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(old[0], need), old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, old)


@pytest.fixture
def server():
    with Memcached(args=("-m", "1024", "-t", "1", "-c", "200")) as running:
        yield running
        running.resume()


def start(server, **keys):
    pool = {"hash": "md5", "backlog": 4096, "server_connections": 1, **keys, "servers": [server]}
    return Proxy({"alpha": pool}, settings={"workers": 1})


def warmed_up(proxy):
    """Resident bytes after every code path that matters has run once."""
    with contextlib.ExitStack() as stack:
        for i in range(50):
            client = stack.enter_context(proxy.client())
            assert client.set("warm-%d" % i, "w" * 20000) == b"STORED"
            client.get_many(["warm-%d" % j for j in range(50)])
    proxy.metrics()
    proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 0)
    # What it gives back, it gives back piece by piece.
    lowest, since = proxy.usage.rss(), time.monotonic()

    def settled():
        nonlocal lowest, since
        now = proxy.usage.rss()
        if now < lowest:
            lowest, since = now, time.monotonic()
        return time.monotonic() - since > 1

    wait_until(settled, 20, "resident memory to settle", every=0.05)
    return lowest


def connect_all(proxy, stack, count):
    socks = []
    for i in range(count):
        sock = stack.enter_context(contextlib.closing(socket.socket()))
        sock.connect((HOST, proxy.address()))
        socks.append(sock)
    proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == count, 20, "all clients")
    return socks


def test_an_idle_client_costs_less_than_a_kilobyte_before_and_after_a_request(server, descriptors):
    with start(server) as proxy, contextlib.ExitStack() as stack:
        base = warmed_up(proxy)
        socks = connect_all(proxy, stack, IDLE_CLIENTS)
        connected = (proxy.usage.rss() - base) / IDLE_CLIENTS
        assert connected <= 1024, "%.0f bytes for each client that connected" % connected

        for sock in socks:
            sock.sendall(b"get nothing\r\n")
        for sock in socks:
            sock.settimeout(10)
            assert sock.recv(100) == b"END\r\n"
        wait_until(
            lambda: proxy.usage.rss() - base <= 1024 * IDLE_CLIENTS,
            20,
            "each of %d clients to cost 1 KiB or less after a get" % IDLE_CLIENTS,
            every=0.2,
        )
        after = (proxy.usage.rss() - base) / IDLE_CLIENTS
        print("bytes for each idle client: %.0f, after a get %.0f" % (connected, after))


def test_idle_clients_that_sent_a_large_request_cost_no_more(server, descriptors):
    with start(server) as proxy, contextlib.ExitStack() as stack:
        base = warmed_up(proxy)
        socks = connect_all(proxy, stack, 2000)
        request = b"set large 0 0 30000\r\n" + b"v" * 30000 + b"\r\nget large\r\n"
        expected = len(b"STORED\r\nVALUE large 0 30000\r\n\r\nEND\r\n") + 30000
        for sock in socks:
            # In two pieces, so that the proxy must keep the first.
            sock.sendall(request[:5000])
        for sock in socks:
            sock.sendall(request[5000:])
        for sock in socks:
            sock.settimeout(10)
            got = 0
            while got < expected:
                got += len(sock.recv(65536))
        wait_until(
            lambda: proxy.usage.rss() - base <= 1024 * 2000 + SLACK,
            30,
            "the memory of 2,000 large requests to go back",
            every=0.2,
        )


def _expect_base(proxy, base):
    wait_until(
        lambda: proxy.usage.rss() <= 1.2 * base + SLACK,
        60,
        "resident memory to go back to %.1f MiB" % (1.2 * base / MIB),
        every=0.5,
    )


def test_memory_goes_back_after_300_mb_of_waiting_sets(server):
    with start(server) as proxy:
        base = warmed_up(proxy)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(proxy.client(timeout=30)) for _ in range(300)]
            server.pause()
            for i, client in enumerate(clients):
                client.send(b"set spike-%d 0 0 1000000\r\n%s\r\n" % (i, b"v" * 1000000))
            wait_until(lambda: proxy.usage.rss() > base + 290e6, 30, "the spike", every=0.1)
            server.resume()
            for client in clients:
                client.expect("STORED\r\n")
        _expect_base(proxy, base)


def test_memory_goes_back_after_300_mb_of_replies_and_many_small_requests(server):
    with server.client() as direct:
        assert direct.set("bulky", "b" * 1000000) == b"STORED"
    with start(server) as proxy:
        base = warmed_up(proxy)
        with contextlib.ExitStack() as stack:
            deaf = []
            for _ in range(40):
                sock = stack.enter_context(contextlib.closing(socket.socket()))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.connect((HOST, proxy.address()))
                sock.sendall(b"get bulky\r\n" * 12 + b"get small\r\n" * 1000)
                deaf.append(sock)
            wait_until(lambda: proxy.usage.rss() > base + 290e6, 30, "the spike", every=0.1)
            reply = len(b"VALUE bulky 0 1000000\r\n\r\nEND\r\n") + 1000000
            left = {sock: 12 * reply + 1000 * len(b"END\r\n") for sock in deaf}
            end = time.monotonic() + 60
            while left:
                readable = select.select(list(left), [], [], 5)[0]
                assert readable and time.monotonic() < end, "%d clients wait" % len(left)
                for sock in readable:
                    data = sock.recv(1 << 18)
                    assert data, "closed"
                    left[sock] -= len(data)
                    if left[sock] == 0:
                        del left[sock]
            assert proxy.metric("cashew_client_evicted_total") == 0
            # The clients are still there: what they used must not be.
            _expect_base(proxy, base)
