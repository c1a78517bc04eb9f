"""Memory is a budget: what a client may hold, what all may hold, and what happens then."""

import contextlib
import select
import socket
import time

import pytest

from support import HOST, Memcached, Proxy, RawClient, VerifyingClient, wait_until

pytestmark = pytest.mark.improved

POOL = {"hash": "md5", "server_connections": 1}
TOO_LARGE = "SERVER_ERROR object too large for cache\r\n"
OUT_OF_MEMORY = "SERVER_ERROR out of memory, the proxy's buffers are full\r\n"
MIB = 1 << 20


@pytest.fixture
def server():
    """It takes values of 16 MiB, and a test may stop it."""
    with Memcached(args=("-m", "256", "-t", "1", "-I", "16m")) as running:
        yield running
        running.resume()


def start(*servers, settings=None, **keys):
    return Proxy(
        {"alpha": {**POOL, **keys, "servers": list(servers)}},
        settings={"workers": 1, **(settings or {})},
    )


def connect(proxy, *, receive=None, send=None):
    """A bare socket whose kernel buffers are small, so that pressure shows."""
    sock = socket.socket()
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    if send:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
    sock.connect((HOST, proxy.address()))
    return sock


def send_until_blocked(sock, data, quiet=0.5):
    """How many bytes go out before the socket takes none for `quiet` seconds."""
    sock.setblocking(False)
    sent = 0
    while sent < len(data):
        if not select.select([], [sock], [], quiet)[1]:
            break
        sent += sock.send(data[sent : sent + 65536])
    return sent


def store(server, values):
    with server.client() as direct:
        direct.send(b"".join(b"set %s 0 0 %d noreply\r\n%s\r\n" % (k, len(v), v)
                             for k, v in values.items()))
        direct.ask("mn\r\n", "MN\r\n")


def wait_for_evictions(proxy, count, timeout=5):
    """A client that does not read sees no FIN behind what it has not read; the proxy's
    figures tell."""
    wait_until(
        lambda: proxy.metric("cashew_client_evicted_total") == count,
        timeout,
        "%d clients to be closed" % count,
    )


def settled(read):
    """The value of a counter once it has stopped moving."""
    seen = [read()]

    def still():
        seen.append(read())
        return seen[-1] == seen[-2]

    wait_until(still, every=0.1, what="a counter to settle")
    return seen[-1]


# What one client may have in flight.


def test_five_thousand_pipelined_gets_stop_being_read_and_are_all_answered(server):
    values = {b"%05d-" % i + b"k" * 244: b"%d" % i for i in range(5000)}
    store(server, values)
    request = b"".join(b"get %s\r\n" % key for key in values)
    reply = b"".join(b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (k, len(v), v) for k, v in values.items())
    with start(server) as proxy, contextlib.closing(connect(proxy, send=8192)) as sock:
        server.pause()
        sent = send_until_blocked(sock, request)
        assert sent < len(request), "the client's send must block"
        stats = proxy.pool_stats()["s0"]
        assert stats["in_queue"] + stats["out_queue"] == 1024  # client_max_inflight
        pauses = proxy.metric("cashew_client_pauses_total")
        assert pauses >= 1
        server.resume()
        got = bytearray()
        while len(got) < len(reply):
            wanted = [sock] if sent < len(request) else []
            readable, writable, _ = select.select([sock], wanted, [], 5)
            assert readable or writable, "%d of %d bytes came" % (len(got), len(reply))
            if writable:
                sent += sock.send(request[sent : sent + 65536])
            if readable:
                data = sock.recv(1 << 18)
                assert data, "closed after %d bytes" % len(got)
                got += data
        assert bytes(got) == reply
        assert proxy.metric("cashew_server_requests_total") == 5000


def test_client_max_inflight_is_per_client(server):
    with start(server, client_max_inflight=10) as proxy, contextlib.ExitStack() as stack:
        server.pause()
        clients = [stack.enter_context(proxy.client()) for _ in range(5)]
        for client in clients:
            client.send("get a\r\n" * 100)
        proxy.wait_stats(
            lambda s: s["alpha"]["s0"]["in_queue"] + s["alpha"]["s0"]["out_queue"] == 50,
            what="ten of each client",
        )
        server.resume()
        for client in clients:
            client.expect("END\r\n" * 100)
        assert proxy.metric("cashew_client_pauses_total") >= 5


def test_a_pause_between_two_reads_is_counted_too(server):
    with start(server, client_max_inflight=1) as proxy, proxy.client() as client:
        server.pause()
        client.send("get a\r\n")
        proxy.wait_stats(
            lambda s: s["alpha"]["s0"]["in_queue"] + s["alpha"]["s0"]["out_queue"] == 1
        )
        client.send("get b\r\n")
        wait_until(lambda: proxy.metric("cashew_client_pauses_total") == 1, 2, "the pause")
        server.resume()
        client.expect("END\r\nEND\r\n")


@pytest.mark.parametrize("how", ["noreply", "local", "split"])
def test_what_needs_no_reply_or_no_server_counts_and_ends_too(server, how):
    """The limit is reached and left again, whatever kind of request it was."""
    request, reply = {
        "noreply": (b"set a 0 0 1 noreply\r\nx\r\n", b""),
        "local": (b"mn\r\n", b"MN\r\n"),
        "split": (b"get a b c d e f\r\n", b"END\r\n"),
    }[how]
    with start(server, client_max_inflight=7) as proxy, proxy.client() as client:
        server.pause()
        client.send("get first\r\n" + "get second\r\n")
        client.send(request * 500 + b"mn\r\n")
        client.expect_silence(0.2)
        server.resume()
        client.expect(b"END\r\nEND\r\n" + reply * 500 + b"MN\r\n")


# What one client may hold.

SMALL = {"client_max_buffer": "1mb", "client_write_timeout": "1s"}


def _answered(proxy, count):
    """False when the last request is not read."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: proxy.metric("cashew_server_responses_total") == count, 0.4)
        return True
    return False


def test_a_client_that_holds_too_much_and_takes_no_byte_is_closed_and_counted(server):
    store(server, {b"bulky": b"b" * 300000})
    with start(server, **SMALL) as proxy, contextlib.closing(connect(proxy, receive=4096)) as sock:
        # One at a time, since the kernel's buffers take the first megabytes.
        for sent in range(1, 100):
            sock.sendall(b"get bulky\r\n")
            if not _answered(proxy, sent):
                break
        held_since = time.monotonic()
        assert MIB < proxy.metric("cashew_buffer_bytes") < 3 * MIB
        assert proxy.metric("cashew_client_evicted_total") == 0
        wait_for_evictions(proxy, 1)
        assert time.monotonic() - held_since < 4
        proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 0)
        assert proxy.pool_stats()["s0"]["responses"] == sent - 1, "the last get was not read"
        wait_until(lambda: proxy.metric("cashew_buffer_bytes") < 64000, what="the memory")


def test_a_client_that_takes_bytes_slowly_is_not_closed(server):
    """It stays above its cap for longer than client_write_timeout, reading all the while."""
    store(server, {b"bulky": b"b" * 300000})
    reply = b"VALUE bulky 0 300000\r\n" + b"b" * 300000 + b"\r\nEND\r\n"
    with start(server, **SMALL) as proxy, contextlib.closing(connect(proxy, receive=4096)) as sock:
        for sent in range(1, 100):
            sock.sendall(b"get bulky\r\n")
            if not _answered(proxy, sent):
                break
        began, got = time.monotonic(), 0
        sock.settimeout(5)
        while time.monotonic() - began < 2.5:
            got += len(sock.recv(4096))  # 200 KB/s: the kernel's buffer alone lasts for seconds
            time.sleep(0.02)
        while got < sent * len(reply):
            data = sock.recv(1 << 18)
            assert data, "closed after %d of %d bytes" % (got, sent * len(reply))
            got += len(data)
        assert proxy.metric("cashew_client_evicted_total") == 0


def test_above_twice_its_cap_a_client_is_closed_at_once(server):
    store(server, {b"bulky": b"b" * 900000})
    with start(server, client_max_buffer="1mb", client_write_timeout="30s") as proxy:
        with contextlib.closing(connect(proxy, receive=4096)) as sock:
            sock.sendall(b"get bulky\r\n" * 20)
            wait_for_evictions(proxy, 1)
            proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 0)
        with proxy.client() as client:
            client.timeout = 20
            assert client.get("bulky") == b"b" * 900000


@pytest.mark.parametrize("pause", [0, 0.02])
def test_a_value_above_the_cap_passes_to_a_client_that_reads(server, pause):
    value = bytes(range(256)) * (8 * MIB // 256)
    store(server, {b"huge": value})
    with start(server, **SMALL) as proxy, contextlib.closing(connect(proxy)) as sock:
        sock.sendall(b"get huge\r\nget none\r\n")
        sock.settimeout(5)
        expected = b"VALUE huge 0 %d\r\n%s\r\nEND\r\nEND\r\n" % (len(value), value)
        got = bytearray()
        while len(got) < len(expected):
            data = sock.recv(1 << 16)
            assert data, "closed after %d of %d bytes" % (len(got), len(expected))
            got += data
            time.sleep(pause)
        assert bytes(got) == expected
        assert proxy.metric("cashew_client_evicted_total") == 0


def test_a_value_above_the_cap_is_dropped_with_a_client_that_does_not_read(server):
    store(server, {b"huge": b"h" * (15 * MIB)})
    with start(server, **SMALL) as proxy, contextlib.closing(connect(proxy, receive=4096)) as sock:
        with VerifyingClient(proxy.address(), rate=500, connections=2) as neighbour:
            sock.sendall(b"get huge\r\n")
            wait_for_evictions(proxy, 1)
            neighbour.stop()
        assert not neighbour.errors and not neighbour.mismatches, neighbour.summary()
        assert proxy.metric("cashew_server_eof_total") == 0


def test_a_set_above_the_cap_is_refused_and_the_connection_stays(server):
    with start(server, **SMALL) as proxy, proxy.client() as client:
        client.timeout = 20
        for size in (MIB + 1, 5 * MIB, 30 * MIB):
            client.send(b"set refused 0 0 %d\r\n" % size)
            client.expect(TOO_LARGE)  # as soon as the line is there
            client.send(b"v" * size + b"\r\n")
            client.ask("get refused\r\n", "END\r\n")
        assert proxy.metric("cashew_client_evicted_total") == 0


@pytest.mark.parametrize("size", [200000, 300000, 600000, MIB - 1000, MIB])
def test_a_set_up_to_the_cap_is_taken(server, size):
    with start(server, **SMALL) as proxy, proxy.client() as client:
        client.send(b"set taken 0 0 %d\r\n" % size)
        wait_until(lambda: proxy.metric("cashew_buffer_bytes") > 1000, what="the line to be read")
        client.ask(b"v" * size + b"\r\n", "STORED\r\n")
        assert client.get("taken") == b"v" * size
        assert proxy.metric("cashew_client_evicted_total") == 0


def test_a_set_as_large_as_the_default_cap_is_answered(server):
    """64 MiB: more than the server takes, and its own words come back."""
    with start(server) as proxy, proxy.client(timeout=5) as client:
        client.send(b"set largest 0 0 %d\r\n" % (64 * MIB) + b"v" * (64 * MIB) + b"\r\n")
        client.expect(TOO_LARGE)
        client.ask("get largest\r\n", "END\r\n")


def test_requests_that_wait_for_a_server_count_against_the_cap(server):
    value = b"v" * 100000
    request = b"".join(b"set waiting-%d 0 0 100000\r\n%s\r\n" % (i, value) for i in range(100))
    with start(server, **SMALL) as proxy, contextlib.closing(connect(proxy, send=8192)) as sock:
        server.pause()
        sent = send_until_blocked(sock, request)
        assert sent < len(request)
        assert proxy.metric("cashew_buffer_bytes") < 3 * MIB
        server.resume()
        sock.setblocking(True)
        sock.settimeout(5)
        sock.sendall(request[sent:])
        got = b""
        while len(got) < 100 * len(b"STORED\r\n"):
            got += sock.recv(65536)
        assert got == b"STORED\r\n" * 100
        assert proxy.metric("cashew_client_evicted_total") == 0


# What all may hold together.

BUDGET = {"max_buffer_memory": "32mb"}


def test_above_80_percent_new_connections_and_large_sets_are_shed_with_a_clear_error(server):
    """A stopped server's share of one client's sets fills the buffers; the other server's
    keys go on."""
    with Memcached(args=("-m", "1024", "-t", "1")) as other, start(
        server, other, distribution="modula", settings=BUDGET
    ) as proxy, proxy.client(timeout=10) as client, proxy.client(timeout=20) as holder:
        keys = ["shed-%d" % i for i in range(40)]
        for key in keys:
            assert client.set(key, "1") == b"STORED"
        there = [key for key in keys if key.encode() in other.get_many(keys)]
        server.pause()
        for i in range(200):
            used = proxy.metric("cashew_buffer_bytes")
            if used > 0.82 * 32 * MIB:
                break
            holder.send(b"set filler-%d 0 0 500000\r\n%s\r\n" % (i, b"v" * 500000))
        wait_until(lambda: proxy.metric("cashew_buffer_bytes") > 0.8 * 32 * MIB, 5, "the load")
        shed = settled(lambda: proxy.metric("cashew_client_shed_total"))
        with RawClient(proxy.address()) as late:
            late.expect(OUT_OF_MEMORY)
            late.expect_closed()
        assert proxy.metric("cashew_client_shed_total") == shed + 1
        client.send(b"set %s 0 0 100000\r\n%s\r\n" % (there[0].encode(), b"v" * 100000))
        client.expect(OUT_OF_MEMORY)
        assert proxy.metric("cashew_client_shed_total") == shed + 2
        for key in there:
            client.ask("get %s\r\n" % key, "VALUE %s 0 1\r\n1\r\nEND\r\n" % key)
            assert client.set(key, "1") == b"STORED"
        assert proxy.metric("cashew_client_evicted_total") == 0
        server.resume()
        wait_until(lambda: proxy.metric("cashew_buffer_bytes") < 4 * MIB, 10, "the memory")
        with proxy.client() as late:
            assert late.set("late", "v" * 100000) == b"STORED"


def test_at_100_percent_the_largest_holder_is_closed_and_small_clients_go_on(server):
    store(server, {b"bulky": b"b" * 900000})
    with start(server, settings=BUDGET) as proxy:
        with VerifyingClient(proxy.address(), rate=500, connections=4) as small:
            wait_until(lambda: small.hits > 5, what="hits")
            with contextlib.closing(connect(proxy, receive=4096)) as lesser, contextlib.closing(
                connect(proxy, receive=4096)
            ) as greedy:
                lesser.sendall(b"get bulky\r\n" * 10)
                wait_until(lambda: proxy.metric("cashew_buffer_bytes") > 4 * MIB, what="some load")
                greedy.sendall(b"get bulky\r\n" * 60)  # 54 MB, below its own cap
                wait_for_evictions(proxy, 1, 10)
                hits = small.hits
                wait_until(lambda: small.hits > hits + 20, what="the small ones to go on")
                small.stop()
                # The lesser holder was left alone: it gets all it asked for.
                lesser.settimeout(5)
                left = 10 * len(b"VALUE bulky 0 900000\r\n\r\nEND\r\n") + 10 * 900000
                while left > 0:
                    data = lesser.recv(1 << 18)
                    assert data, "closed, %d bytes are missing" % left
                    left -= len(data)
            assert not small.errors and not small.mismatches, small.summary()
            assert small.closed == 0
        assert proxy.metric("cashew_client_evicted_total") == 1
        assert proxy.metric("cashew_server_eof_total") == 0


def test_a_length_alone_reserves_no_memory_that_others_need(server):
    """Forty clients announce values of 30 MB each and send nothing."""
    with start(server, settings={"max_buffer_memory": "64mb"}) as proxy:
        with contextlib.ExitStack() as stack:
            for i in range(40):
                client = stack.enter_context(proxy.client())
                client.send("set announced-%d 0 0 30000000\r\n" % i)
            with proxy.client() as client:
                assert client.set("a", "v" * 100000) == b"STORED"
            assert proxy.metric("cashew_client_evicted_total") == 0


# How many clients there may be.


def test_client_connections_is_enforced_and_freed_on_close(server):
    with start(server, client_connections=5) as proxy:
        for attempt in range(1, 4):
            with contextlib.ExitStack() as stack:
                for i in range(5):
                    client = stack.enter_context(proxy.client())
                    assert client.set("inside-%d" % i, "1") == b"STORED"
                for _ in range(3):
                    with proxy.client() as excess:
                        excess.expect_closed()
                assert proxy.metric("cashew_client_refused_total") == 3 * attempt
                assert proxy.pool_stats()["client_connections"] == 5
                client.ask("get inside-0\r\n", "VALUE inside-0 0 1\r\n1\r\nEND\r\n")
            proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 0, what="room again")
        assert proxy.metric("cashew_client_accepted_total") == 15


def test_max_client_connections_counts_all_pools(server):
    pool = {**POOL, "servers": [server]}
    settings = {"workers": 1, "max_client_connections": 4}
    with Proxy({"one": pool, "two": pool}, settings=settings) as proxy:
        with contextlib.ExitStack() as stack:
            for name in ("one", "two", "one", "two"):
                client = stack.enter_context(proxy.client(name))
                assert client.get("a") is None
            for name in ("one", "two"):
                with proxy.client(name) as excess:
                    excess.expect_closed()
            assert proxy.metric("cashew_client_refused_total") == 2
        proxy.wait_stats(lambda s: s["one"]["client_connections"] == 0)
        with proxy.client("two") as client:
            assert client.get("a") is None
