"""Troubled servers, greedy clients and reloads in the middle of it: the worker goes on, nobody
pays for another, a client that reads is served, and what nobody waits for is given back."""

import contextlib
import os
import select
import signal
import socket
import threading
import time

import limits_test
import pytest
from limits_test import server, wait_for_evictions  # noqa: F401  (a fixture)

from support import (
    HOST,
    FakeServer,
    Memcached,
    Proxy,
    Redis,
    RespClient,
    encode,
    silent,
    wait_until,
)

pytestmark = pytest.mark.improved

KIB = 1 << 10
MIB = 1 << 20
POOL = {"distribution": "modula", "hash": "fnv1a_64", "server_connections": 1}
# A client that holds too much and takes no byte this long is one that does not read.
UNREAD_S = 1.0
BUDGET = {"max_buffer_memory": "32mb"}
TIMED_OUT = "Connection timed out"


@pytest.fixture
def redis():
    """A test may stop it."""
    with Redis() as running:
        yield running
        running.resume()


def start(*servers, **keys):
    return limits_test.start(*servers, **{**POOL, **keys})


def start_redis(*servers, **keys):
    return start(*servers, redis=True, **keys)


def resp(proxy, pool=None, **options):
    return RespClient(proxy.address(pool), **options)


def connect(proxy, pool=None, *, receive=None):
    """A bare socket. With a small receive buffer, pressure shows soon."""
    sock = socket.socket()
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.connect((HOST, proxy.address(pool)))
    sock.settimeout(5)
    return contextlib.closing(sock)


def reload(proxy, old, new):
    """Rewrites the configuration file and waits until it is in force."""
    with open(proxy.conf_path, encoding="utf-8") as f:
        text = f.read()
    assert old in text
    with open(proxy.conf_path + ".new", "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))
    os.rename(proxy.conf_path + ".new", proxy.conf_path)
    before = proxy.log().count("reloaded added=")
    proxy.signal(signal.SIGHUP)
    wait_until(lambda: proxy.log().count("reloaded added=") > before, 10, "the reload")


def queued(proxy, pool="alpha"):
    """Requests that its first server has not answered."""
    stats = proxy.pool_stats(pool)["s0"]
    return stats["in_queue"] + stats["out_queue"]


def blocked_clients(redis):
    return int(redis.info()["blocked_clients"])


# A client with a blocking command that goes under.


def test_a_blocked_client_that_does_not_read_its_large_reply_takes_nobody_along():
    """It is closed for what it holds when its reply's last bytes come, or before."""
    size = 16 * MIB
    most, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def behave(peer):
        for request in peer.requests():
            if b"BLPOP" not in request:
                peer.send(b"$-1\r\n")
                continue
            reply = b"*2\r\n$1\r\nl\r\n$%d\r\n%s\r\n" % (size, b"x" * size)
            try:
                peer.send(reply[:-50000])
                most.set()
                go_on.wait(10)
                peer.send(reply[-50000:])
            finally:
                most.set()
                done.set()

    with FakeServer(behave) as fake, start_redis(fake, client_max_buffer="1mb") as proxy:
        with resp(proxy) as other, connect(proxy, receive=4096) as deaf:
            assert other("GET", "a") is None
            deaf.sendall(encode("BLPOP", "l", 0))
            assert most.wait(10)
            time.sleep(1.3 * UNREAD_S)
            go_on.set()
            assert done.wait(10)
            wait_for_evictions(proxy, 1)
            assert other("GET", "a") is None
            assert proxy.metric("cashew_server_exclusive_connections") == 0


def test_the_blocking_command_of_an_evicted_client_is_not_left_to_another(redis):
    """The command itself, with a key of its client's own size, is what was too much."""
    redis.ask("SET", "bulky", "b" * (500 * KIB))
    limits = {"client_max_buffer": "8mb", "client_write_timeout": "1s"}
    with start_redis(redis, exclusive_connections=1, **limits) as proxy:
        with connect(proxy, receive=4096) as deaf, resp(proxy) as heir:
            # More than the kernel's buffers take, and below the cap.
            for count in range(1, 100):
                deaf.sendall(encode("GET", "bulky"))
                wait_until(lambda n=count: proxy.metric("cashew_server_responses_total") == n)
                if proxy.metric("cashew_buffer_bytes") > 3 * MIB:
                    break
            deaf.sendall(encode("GET", "bulky") * 6)
            deaf.sendall(encode("BLPOP", "theirs", b"k" * (7500 * KIB), 0))
            wait_for_evictions(proxy, 1)
            wait_until(lambda: blocked_clients(redis) == 0, what="nobody to wait for theirs")
            heir.send("BLPOP", "mine", 0)
            wait_until(lambda: blocked_clients(redis) == 1, what="the other to wait")
            redis.ask("RPUSH", "theirs", "for nobody")
            redis.ask("RPUSH", "mine", "for the other")
            assert heir.read() == [b"mine", b"for the other"]
            assert redis.ask("LLEN", "theirs") == 1
            assert heir("GET", "none") is None


# Clients that read what they asked for.


@pytest.mark.parametrize("how", ["BLPOP", "GET"])
def test_a_client_that_was_idle_gets_a_value_many_times_its_cap(redis, how):
    """That it has taken no byte for long means nothing when there was none."""
    value = b"v" * (3 * MIB)
    store, command, reply = {
        "BLPOP": (("RPUSH", "k", value), ("BLPOP", "k", 0), [b"k", value]),
        "GET": (("SET", "k", value), ("GET", "k"), value),
    }[how]
    with start_redis(redis, client_max_buffer="16kb") as proxy, resp(proxy) as c:
        # The kernel learns to take much from this server at once.
        for _ in range(5):
            redis.ask(*store)
            assert c(*command) == reply
        redis.ask(*store)
        redis.pause()
        c.send(*command)
        time.sleep(1.2 * UNREAD_S)
        proxy.signal(signal.SIGSTOP)
        redis.resume()
        time.sleep(0.1)
        proxy.signal(signal.SIGCONT)
        assert c.read() == reply
        assert proxy.metric("cashew_client_evicted_total") == 0


def test_pipelined_gets_of_four_times_its_cap_reach_a_client_that_reads(redis):
    redis.ask("SET", "k", b"v" * (600 * KIB))
    reply = b"$%d\r\n%s\r\n" % (600 * KIB, b"v" * (600 * KIB))
    with start_redis(redis, client_max_buffer="2mb") as proxy, connect(proxy) as sock:
        sock.sendall(encode("GET", "k") * 13)
        time.sleep(0.3 * UNREAD_S)  # it is slower than the server
        for i in range(13):
            got = bytearray()
            while len(got) < len(reply):
                data = sock.recv(len(reply) - len(got))
                assert data, "closed in reply %d" % i
                got += data
            assert got == reply
        assert proxy.metric("cashew_client_evicted_total") == 0


def test_a_client_that_reads_slowly_what_it_asked_for_fast_holds_no_more_than_that(redis):
    redis.ask("SET", "k", b"v" * (900 * KIB))
    with start_redis(redis, client_max_buffer="1mb") as proxy, resp(proxy) as other:
        with connect(proxy, receive=64 * KIB) as sock:
            sock.sendall(encode("GET", "k") * 500)
            with contextlib.suppress(OSError):
                while sock.recv(16 * KIB):  # it takes some all the time
                    time.sleep(0.02)
                    assert proxy.metric("cashew_buffer_bytes") < 24 * MIB
            wait_for_evictions(proxy, 1)
            assert other("PING") == "PONG"


def test_two_sets_that_together_are_below_twice_the_cap_wait_for_a_late_server(server):
    values = {b"a": b"a" * (7 * MIB), b"b": b"b" * (7 * MIB)}
    request = b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(v), v) for k, v in values.items())
    with start(server, client_max_buffer="8mb") as proxy, proxy.client() as client:
        assert client.get("a") is None
        server.pause()
        client.send(request)
        wait_until(lambda: queued(proxy) == 2, what="both to be with the server")
        server.resume()
        client.expect("STORED\r\nSTORED\r\n")
        assert client.get_many(values) == values


def test_a_merged_reply_larger_than_may_be_held_is_an_error_and_the_connection_stays():
    """One server's part alone is too much; the other server's comes later, and is nobody's."""
    with Redis() as quick, Redis() as late:
        with start_redis(quick, late, client_max_buffer="1mb") as proxy, resp(proxy) as c:
            values = {"k%d" % i: b"%02d" % i * (50 * KIB) for i in range(20)}
            for key, value in values.items():
                assert c("SET", key, value) == "OK"
            there = [key for key in values if late.ask("EXISTS", key)]
            here = [key for key in values if key not in there]
            assert here and there
            late.pause()
            try:
                c.send("MGET", *(here * 80)[:80], there[0])
                assert "larger than the pool's client_max_buffer" in _error(c)
                assert c("GET", here[0]) == values[here[0]]
            finally:
                late.resume()
            few = (there[0], here[0], there[-1])
            assert c("MGET", *few) == [values[key] for key in few]
            assert proxy.metric("cashew_client_evicted_total") == 0


def _error(c):
    raw = c.read_raw()
    assert raw.startswith(b"-ERR "), raw[:100]
    return raw.decode()


# Timeouts.


def test_a_reload_may_remove_the_timeout_that_a_request_waits_under(server):
    with start(server, timeout=1500) as proxy, proxy.client() as waiting, proxy.client() as other:
        assert waiting.get("a") is None
        server.pause()
        sent = time.monotonic()
        waiting.send("get a\r\n")
        wait_until(lambda: queued(proxy) == 1, what="the request to be with the server")
        reload(proxy, "  timeout: 1500\n", "")
        time.sleep(max(0, sent + 1.8 - time.monotonic()))
        other.ask("mn\r\n", "MN\r\n")
        waiting.expect_silence()
        server.resume()
        waiting.expect("END\r\n")


def test_a_reload_that_lowers_the_timeout_counts_for_a_server_that_hangs(server):
    with start(server, timeout=60000) as proxy, proxy.client() as client:
        assert client.get("a") is None
        reload(proxy, "  timeout: 60000\n", "  timeout: 200\n")
        server.pause()
        client.ask("get a\r\n", "SERVER_ERROR %s\r\n" % TIMED_OUT)


def test_a_lent_connection_does_not_keep_the_long_wait_of_whom_it_served_before(redis):
    with start_redis(redis, timeout=300, exclusive_connections=1) as proxy:
        with resp(proxy) as first, resp(proxy) as second:
            redis.ask("RPUSH", "l", "x")
            assert first("BLPOP", "l", 1000) == [b"l", b"x"]
            # It has been cleaned up, and can be lent again.
            wait_until(lambda: b"cmdstat_unwatch" in redis.ask("INFO", "commandstats"))
            wait_until(lambda: queued(proxy) == 0)
            redis.pause()
            assert TIMED_OUT in second.error("WATCH", "k")


# One of the servers is in trouble.


def test_get_errors_miss_has_no_part_in_a_redis_pool(redis):
    """A command whose servers did not all answer is one error, and the next reply is its own."""
    with FakeServer() as dead, start_redis(redis, dead, get_errors="miss") as proxy:
        with resp(proxy) as c:
            keys = ["k%d" % i for i in range(20)]
            live = [k for k in keys if c.reply("SET", k, "v" + k) == b"+OK\r\n"]
            down = [k for k in keys if k not in live]
            assert len(live) > 1 and down
            c.raw.send(encode("MGET", live[0], down[0], live[1]) + encode("GET", live[1]))
            assert c.read_raw() == b"-ERR Connection refused\r\n"
            assert c.read() == b"v" + live[1].encode()
            for words in (("EXISTS", live[0], down[0]), ("HGETALL", down[0]), ("GET", down[0])):
                assert c.error(*words) == "ERR Connection refused"


def _value_by_value(peer):
    """Finds every key of a get, and takes its time."""
    asked = b""
    for data in peer.requests():
        asked += data
        if asked.endswith(b"\r\n"):
            break
    keys = asked.split()[1:]
    for i in range(0, len(keys), 2):
        peer.send(b"".join(b"VALUE %s 0 1\r\nx\r\n" % key for key in keys[i : i + 2]))
        time.sleep(0.00005)
    peer.send(b"END\r\n")


def test_a_multi_get_from_two_troubled_servers_ends_and_holds_up_nobody():
    """One is late and goes on sending; meanwhile the other, silent, is given up."""
    keys = {"timeout": 200, "get_errors": "miss"}
    eject = {"auto_eject_hosts": True, "server_failure_limit": 1}
    with FakeServer(_value_by_value) as late, FakeServer(silent()) as mute:
        for _ in range(2):  # a value must come between the end of the one and of the other
            with start(late, mute, **keys, **eject) as proxy:
                with proxy.client() as client, proxy.client() as other:
                    client.send(b"get %s\r\n" % b" ".join(b"k%d" % i for i in range(12000)))
                    assert client.read_until("END\r\n")
                    other.ask("mn\r\n", "MN\r\n")


# A sick server's requests are not everybody's burden.

SMALL_SET = b"set k 0 0 15000\r\n%s\r\n" % (b"v" * 15000)


def _takes_slowly(peer):
    """One answer for each chunk that it reads, so that it is never silent for long."""
    while peer.recv():
        time.sleep(0.05)
        peer.send(b"STORED\r\n")


def pump(proxy, pool, total):
    """Small sets as fast as they are taken, `total` bytes of them; reads what comes."""
    with connect(proxy, pool) as sock:
        sock.setblocking(False)
        left = b""
        while total > 0:
            left = left or SMALL_SET * 16
            readable, writable, _ = select.select([sock], [sock], [], 5)
            assert readable or writable
            if readable:
                assert sock.recv(1 << 16), "closed, %d bytes before the end" % total
            if writable:
                taken = sock.send(left)
                left, total = left[taken:], total - taken


@pytest.mark.parametrize("how", ["slowly", "not at all"])
def test_a_server_that_takes_requests_slowly_or_not_costs_other_pools_nothing(server, how):
    with FakeServer(_takes_slowly) if how == "slowly" else Memcached() as sick:
        pools = {
            "sick": {**POOL, "timeout": 200, "client_max_inflight": 512, "servers": [sick]},
            "well": {**POOL, "servers": [server]},
        }
        with Proxy(pools, settings={"workers": 1, **BUDGET}) as proxy, proxy.client("well") as old:
            assert old.set("a", "1") == b"STORED"
            if how == "not at all":
                sick.pause()
            pump(proxy, "sick", 64 * MIB)
            assert proxy.metric("cashew_client_evicted_total") == 0
            assert proxy.metric("cashew_client_shed_total") == 0
            with proxy.client("well") as new:
                assert new.get("a") == old.get("a") == b"1"
            wait_until(lambda: proxy.pool_stats("sick")["s0"]["in_queue_bytes"] == 0)
            wait_until(lambda: proxy.metric("cashew_buffer_bytes") < MIB, what="the memory")


def test_what_evicted_clients_had_for_a_stopped_server_is_given_back(server):
    """There is no timeout that would end it."""
    with Memcached() as hung, contextlib.ExitStack() as stack:
        pools = {"sick": {**POOL, "servers": [hung]}, "well": {**POOL, "servers": [server]}}
        with Proxy(pools, settings={"workers": 1, **BUDGET}) as proxy, proxy.client("well") as old:
            assert old.set("a", "1") == b"STORED"
            hung.pause()
            for sock in [stack.enter_context(connect(proxy, "sick")) for _ in range(6)]:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(SMALL_SET * 500)
            wait_until(lambda: proxy.metric("cashew_client_evicted_total") > 0, what="an eviction")
            wait_until(lambda: proxy.metric("cashew_buffer_bytes") < MIB, what="the memory")
            with proxy.client("well") as new:
                assert new.get("a") == old.get("a") == b"1"


def test_queued_transactions_count_as_memory_and_the_largest_holder_goes(redis):
    words = encode("SET", "k", b"v" * 15000)
    with start_redis(redis, settings=BUDGET) as proxy, contextlib.ExitStack() as stack:
        before = proxy.usage.rss()
        clients = [stack.enter_context(resp(proxy)) for _ in range(4)]
        for i, c in enumerate(clients):
            assert c("MULTI") == "OK"
            for _ in range(16):
                c.raw.send(words * 100)
                c.raw.expect(b"+QUEUED\r\n" * 100)
            wait_for_evictions(proxy, i)  # each is at last larger than the one before
            assert 22 * MIB < proxy.metric("cashew_buffer_bytes") < 33 * MIB
            if not proxy.is_sanitized:
                assert proxy.usage.rss() < before + 64 * MIB
        for c in clients[:3]:
            c.raw.expect_closed()
        assert clients[3]("DISCARD") == "OK"
        wait_until(lambda: proxy.metric("cashew_buffer_bytes") < MIB, what="the memory")


def test_many_small_values_in_one_command_cost_little_more_than_one_large_value(redis):
    """Of the same 16 MiB. What comes in many reads must not be copied anew with each."""
    with start_redis(redis) as proxy, resp(proxy, timeout=20) as c:

        def cpu_ns(request):
            before = proxy.usage.cpu_ns()
            for _ in range(2):
                c.raw.send(request)
                assert c.read() == "OK"
            return proxy.usage.cpu_ns() - before

        pairs = [w for i in range(16 * MIB // 220) for w in (b"k%d" % i, b"v" * 200)]
        one = cpu_ns(encode("SET", "k", b"v" * (16 * MIB)))
        many = cpu_ns(encode("MSET", *pairs))
        assert many < 20 * one or proxy.is_sanitized, "%.0f times" % (many / one)


# Pools whose list of servers is empty, or changes.


def test_a_command_for_all_servers_of_a_pool_without_any_is_answered():
    pools = {
        "r": {"redis": True, "membership": "grpc", "cluster_commands": True},
        "m": {"membership": "grpc", "allow_flush": True},
    }
    with Proxy(pools, settings={"workers": 1}) as proxy:
        with resp(proxy, "r") as c:
            c.raw.send(encode("DBSIZE") + encode("PING"))
            assert "has no servers yet" in _error(c)
            assert c.read() == "PONG"
        with proxy.client("m") as client:
            client.send("flush_all\r\nmn\r\n")
            assert b"has no servers yet" in client.recv_line()
            client.expect("MN\r\n")


def test_a_cursor_is_of_the_list_of_servers_that_was_asked():
    """The list changes while a server takes its time over SCAN."""
    asked, go_on = threading.Event(), threading.Event()

    def behave(peer):
        for _ in peer.requests():
            asked.set()
            go_on.wait(10)
            peer.send(b"*2\r\n$2\r\n77\r\n*1\r\n$1\r\nx\r\n")

    with FakeServer(behave) as first, FakeServer(behave) as second:
        keys = {"cluster_commands": True}
        line = "   - %s\n" % second.address("b")
        with start_redis(second.address("b"), **keys) as proxy, resp(proxy) as c:
            c.send("SCAN", 0)
            assert asked.wait(10)
            reload(proxy, line, "   - %s\n%s" % (first.address("a"), line))
            proxy.wait_stats(lambda s: "a" in s["alpha"])
            go_on.set()
            cursor, found = c.read()
            assert found == [b"x"]
            assert "begin again" in c.error("SCAN", cursor.decode())
            assert c("SCAN", 0)[1] == [b"x"]
