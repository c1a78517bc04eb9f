"""Redis pools: what clients say first, transactions, blocking commands, and servers that
do not do as they should. The command table as a whole is redis_model_test's."""

import random
import re
import subprocess
import threading
import time

import pytest

from support import (
    FakeServer,
    Proxy,
    Redis,
    RedisError,
    RespClient,
    decode,
    encode,
    wait_until,
)

pytestmark = pytest.mark.improved

POOL = {"redis": True, "hash": "md5", "hash_tag": "{}", "timeout": 2000}
ONE_WORKER = {"workers": 1}


@pytest.fixture(scope="module")
def servers():
    with Redis() as a, Redis() as b, Redis() as c:
        yield [a, b, c]


@pytest.fixture(scope="module")
def proxy(servers):
    pools = {
        "r": {**POOL, "servers": servers},
        "all": {**POOL, "servers": servers, "cluster_commands": True, "dangerous_commands": True},
        "few": {**POOL, "servers": servers, "exclusive_connections": 2},
    }
    with Proxy(pools, settings=ONE_WORKER) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(request):
    if "servers" in request.fixturenames or "proxy" in request.fixturenames:
        for server in request.getfixturevalue("servers"):
            server.ask("FLUSHALL")


def client(proxy, pool="r", protocol=2, **options):
    return RespClient(proxy.address(pool), protocol=protocol, **options)


# What clients say first.


@pytest.mark.parametrize("protocol", [2, 3])
def test_keys_are_spread_and_multi_key_commands_merged(proxy, servers, protocol):
    with client(proxy, protocol=protocol) as c:
        keys = ["key:%d" % i for i in range(60)]
        assert c("MSET", *[x for k in keys for x in (k, "v" + k)]) == "OK"
        assert c("MGET", *keys, "none", keys[0]) == [b"v" + k.encode() for k in keys] + [
            None,
            b"vkey:0",
        ]
        held = [server.ask("DBSIZE") for server in servers]
        assert sum(held) == 60 and min(held) > 5
        assert c("EXISTS", *keys, "none", keys[0]) == 61
        assert c("TOUCH", *keys) == 60
        assert c("DEL", *keys[:30], "none") == 30
        assert c("UNLINK", *keys) == 30


def test_hello_moves_a_client_to_resp3_and_back(proxy):
    with client(proxy) as c:
        c("HSET", "h", "f", "v")
        assert c.reply("HGETALL", "h").startswith(b"*2\r\n")
        hello = c("HELLO", 3)
        assert hello[b"proto"] == 3 and hello[b"server"] == b"redis"
        assert c.reply("HGETALL", "h").startswith(b"%1\r\n")
        assert c.reply("GET", "none") == b"_\r\n"
        c("HELLO", 2)
        assert c.reply("HGETALL", "h").startswith(b"*2\r\n")
        assert c.error("HELLO", 4).startswith("NOPROTO")


def test_requests_pipelined_around_hello_keep_their_order_and_protocol(proxy):
    with client(proxy) as c:
        c("HSET", "h", "f", "v")
        c.raw.send(
            encode("HGETALL", "h") + encode("HELLO", 3) + encode("HGETALL", "h") + encode("PING")
        )
        assert c.read_raw().startswith(b"*2\r\n")
        assert c.read_raw().startswith(b"%7\r\n")
        assert c.read_raw().startswith(b"%1\r\n")
        assert c.read_raw() == b"+PONG\r\n"


def test_what_libraries_and_health_checkers_send(proxy):
    with client(proxy) as c:
        for words in (
            ("CLIENT", "SETNAME", "me"),
            ("CLIENT", "SETINFO", "LIB-NAME", "redis-py"),
            ("CLIENT", "SETINFO", "lib-ver", "7.0"),
            ("CLIENT", "NO-EVICT", "on"),
            ("SELECT", 0),
            ("READONLY",),
            ("READWRITE",),
        ):
            assert c(*words) == "OK", words
        assert c("CLIENT", "GETNAME") == b"me"
        assert isinstance(c("CLIENT", "ID"), int)
        assert b"name=me" in c("CLIENT", "INFO")
        assert c("PING") == "PONG" and c("PING", "x") == b"x" and c("ECHO", "e") == b"e"
        assert len(c("TIME")) == 2
        assert b"role:master" in c("INFO")
        assert c("COMMAND", "COUNT") > 200
        assert c("COMMAND", "GETKEYS", "MSET", "a", 1, "b", 2) == [b"a", b"b"]
        assert "database 0" in c.error("SELECT", 1)
        assert c.error("CLIENT", "TRACKING", "ON").startswith("ERR")
        assert c("RESET") == "RESET" and c("CLIENT", "GETNAME") is None
        c.raw.send(b"PING\r\nping\n\r\nQUIT\r\n")
        assert [c.read() for _ in range(3)] == ["PONG", "PONG", "OK"]
        c.raw.expect_closed()


def test_refused_commands_say_why_and_the_connection_stays(proxy):
    with client(proxy) as c:
        for words, why in (
            (("SUBSCRIBE", "c"), "pub/sub"),
            (("MONITOR",), "share"),
            (("CLIENT", "REPLY", "OFF"), "share"),
            (("CONFIG", "GET", "*"), "administration"),
            (("SYNC",), "replication"),
            (("KEYS", "*"), "dangerous_commands"),
            (("DBSIZE",), "cluster_commands"),
            (("NOSUCH", "a\r\nb"), "unknown command"),
            (("GET",), "wrong number of arguments"),
            (("CLIENT", "NOSUCH"), "unknown subcommand"),
            (("COPY", "{t}a", "{t}b", "db", "3"), "one database"),
            (("EVAL", "return 1", 5, "a"), "can't be greater"),
        ):
            assert why in c.error(*words), words
        assert c("PING") == "PONG"


def test_keys_on_several_servers_are_refused_unless_tagged(proxy):
    with client(proxy) as c:
        assert c.error("MSETNX", *[x for i in range(9) for x in (i, i)]).startswith("CROSSSLOT")
        assert c("MSETNX", "{t}a", 1, "{t}b", 2) == 1
        assert c("RENAME", "{t}a", "{t}c") == "OK"
        assert c("EVAL", "return {KEYS[1],KEYS[2]}", 2, "{t}a", "{t}b") == [b"{t}a", b"{t}b"]
        error = c.error("EVAL", "return 1", 9, *range(9))
        assert error.startswith("CROSSSLOT") and "hash" in error


# Passwords, databases.


def test_a_password_is_asked_of_clients_and_said_to_servers():
    with Redis(password="sekret") as server:
        pools = {"p": {**POOL, "redis_auth": "sekret", "redis_db": 3, "servers": [server]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
            assert c.error("GET", "a").startswith("NOAUTH")
            assert c.error("HELLO", 3).startswith("NOAUTH")
            assert c("AUTH", "sekret") == "OK"
            assert c("SET", "a", 1) == "OK"
            with client(proxy, "p") as resp3:
                hello = resp3("HELLO", 3, "AUTH", "default", "sekret", "SETNAME", "x")
                assert hello[b"proto"] == 3
                assert resp3("GET", "a") == b"1"
            with server.client() as direct:
                assert direct("GET", "a") is None
                direct("SELECT", 3)
                assert direct("GET", "a") == b"1"


def test_wrong_passwords_are_counted_and_delayed_and_others_go_on():
    with Redis(password="sekret") as server:
        pools = {"p": {**POOL, "redis_auth": "sekret", "servers": [server]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as good:
            good("AUTH", "sekret")
            guessers = [client(proxy, "p", timeout=20) for _ in range(200)]
            began = time.monotonic()
            for guesser in guessers:
                guesser.raw.send(encode("AUTH", "guess") + encode("AUTH", "default", "guess"))
            while time.monotonic() - began < 0.3:
                assert good("SET", "a", 1) == "OK"
            for guesser in guessers:
                assert "invalid password" in _error(guesser)
                assert _error(guesser).startswith("WRONGPASS")
                guesser.close()
            assert time.monotonic() - began > 0.3
            assert proxy.metric("cashew_client_logins_failed_total") == 400


def _error(c):
    with pytest.raises(RedisError) as caught:
        c.read()
    return str(caught.value)


def test_a_stranger_cannot_make_the_proxy_hold_much():
    with Redis(password="sekret") as server:
        pools = {"p": {**POOL, "redis_auth": "sekret", "servers": [server]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy:
            with client(proxy, "p") as c:
                c.raw.send(b"*2\r\n$4\r\nAUTH\r\n$100000\r\n")
                assert "unauthenticated bulk length" in _error(c)
                c.raw.expect_closed()
            with client(proxy, "p") as c:
                c.raw.send(b"*1000\r\n")
                assert "unauthenticated multibulk" in _error(c)
                c.raw.expect_closed()


def test_a_refused_database_fails_the_connection_and_nothing_lands_elsewhere(servers):
    pools = {"p": {**POOL, "redis_db": 99, "servers": servers[:1]}}
    with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
        assert "redis_db 99" in c.error("SET", "a", 1)
        assert servers[0].ask("EXISTS", "a") == 0
        wait_until(lambda: "redis_db 99" in proxy.log(), what="the log, which is asynchronous")


def test_a_unix_socket_server_gets_its_database_too(tmp_path):
    with Redis(unix_path=str(tmp_path / "r.sock")) as server:
        pools = {"p": {**POOL, "redis_db": 2, "servers": [server]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
            assert c("SET", "a", 1) == "OK"
            with server.client() as direct:
                direct("SELECT", 2)
                assert direct("GET", "a") == b"1"


def test_a_server_without_resp3_gives_noproto():
    def old(peer):
        for data in peer.requests():
            if b"HELLO" in data:
                peer.send(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
            else:
                peer.send(b"$1\r\nx\r\n")

    with FakeServer(old) as server:
        pools = {"p": {**POOL, "servers": [server.address("s0")]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy:
            with client(proxy, "p", protocol=3) as c:
                assert c.error("GET", "a").startswith("NOPROTO")
            with client(proxy, "p") as c:
                assert c.error("HELLO", 3).startswith("NOPROTO")
                assert c("GET", "a") == b"x", "and RESP2 goes on"


# Transactions.


def test_multi_is_sent_in_one_piece_and_only_execs_reply_comes_back(proxy, servers):
    with client(proxy) as c, client(proxy) as other:
        assert c("MULTI") == "OK"
        for words in (("SET", "{t}a", 1), ("INCR", "{t}a"), ("LPUSH", "{t}a", "x"), ("PING",)):
            assert c(*words) == "QUEUED"
        assert other("GET", "{t}a") is None, "nothing happens before EXEC"
        c.send("EXEC")
        reply = decode(c.read_raw())
        assert reply[:2] == ["OK", 2] and str(reply[2]).startswith("WRONGTYPE")
        assert reply[3] == "PONG"
        assert c("GET", "{t}a") == b"2"


def test_a_bad_command_spoils_the_transaction(proxy):
    with client(proxy) as c:
        for bad in (("NOSUCH",), ("GET",), ("SUBSCRIBE", "x"), ("SELECT", 0)):
            c("MULTI")
            c("SET", "{t}a", 1)
            c.error(*bad)
            assert c.error("EXEC").startswith("EXECABORT")
        assert c("GET", "{t}a") is None
        assert c.error("EXEC").startswith("ERR EXEC without MULTI")
        assert c.error("DISCARD").startswith("ERR DISCARD without MULTI")
        c("MULTI")
        assert "nested" in c.error("MULTI")
        assert c("DISCARD") == "OK"
        c("MULTI")
        assert c("EXEC") == []
        c("MULTI")
        c("SET", "a", 1)
        c("SET", "b", 1)
        c("SET", "c", 1)
        c("SET", "d", 1)
        assert c.error("EXEC").startswith("CROSSSLOT")


def test_transactions_of_many_clients_do_not_mix_on_one_connection(proxy):
    failures = []

    def run(number):
        with client(proxy) as c:
            for i in range(100):
                key = "{t}%d" % number
                c.raw.send(
                    encode("MULTI")
                    + encode("SET", key, i)
                    + encode("GET", key)
                    + encode("INCR", "{t}all")
                    + encode("EXEC")
                )
                replies = [c.read() for _ in range(5)]
                if replies[4][:2] != ["OK", b"%d" % i]:
                    failures.append(replies)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with client(proxy) as c:
        assert c("GET", "{t}all") == b"1000"


@pytest.mark.parametrize("protocol", [2, 3])
def test_watch_notices_other_clients_writes(proxy, protocol):
    with client(proxy, protocol=protocol) as c, client(proxy) as other:
        c("SET", "{t}a", 1)
        for disturbed in (False, True):
            assert c("WATCH", "{t}a") == "OK"
            before = int(c("GET", "{t}a"))
            if disturbed:
                other("SET", "{t}a", 100)
            c("MULTI")
            c("SET", "{t}a", before + 1)
            assert c("EXEC") == (None if disturbed else ["OK"])
        c("WATCH", "{t}a")
        other("SET", "{t}a", 7)
        assert c("UNWATCH") == "OK"
        c("MULTI")
        c("SET", "{t}a", 8)
        assert c("EXEC") == ["OK"]
        c("WATCH", "{t}a")
        c("MULTI")
        assert c("DISCARD") == "OK"
        assert c.error("WATCH", *range(20)).startswith("CROSSSLOT")
        c("WATCH", "{t}a")
        assert "watched" in c.error("HELLO", 5 - protocol)
        assert c("UNWATCH") == "OK"
        c("HELLO", 5 - protocol)


def test_watch_transactions_reuse_their_connections(proxy, servers):
    with client(proxy) as c:
        c("SET", "{t}n", 0)
        run_watch(c)
        opened = sum(s.connections_opened() for s in servers)
        for _ in range(500):
            run_watch(c)
        # Only these questions have connected since.
        assert sum(s.connections_opened() for s in servers) - opened <= len(servers)
        assert c("GET", "{t}n") == b"501"
    wait_until(lambda: proxy.metric("cashew_server_exclusive_connections") == 0)


def run_watch(c):
    c.raw.send(
        encode("WATCH", "{t}n") + encode("MULTI") + encode("INCR", "{t}n") + encode("EXEC")
    )
    assert [c.read() for _ in range(3)] == ["OK", "OK", "QUEUED"]
    assert len(c.read()) == 1


def test_a_client_that_leaves_in_mid_watch_leaves_nothing_to_the_next(proxy, servers):
    for _ in range(20):
        with client(proxy) as gone:
            gone("WATCH", "{t}a")
            gone("MULTI")
            gone("SET", "{t}a", "gone")
    wait_until(lambda: proxy.metric("cashew_server_exclusive_connections") == 0)
    with client(proxy) as c, client(proxy) as other:
        assert c("WATCH", "{t}b") == "OK"
        other("SET", "{t}a", 1)  # which those that left had watched
        c("MULTI")
        c("SET", "{t}b", 1)
        assert c("EXEC") == ["OK"]


def test_a_watch_whose_connection_is_lost_fails_the_transaction():
    with Redis() as server:
        with Proxy({"p": {**POOL, "servers": [server]}}, settings=ONE_WORKER) as proxy:
            with client(proxy, "p") as c:
                c("WATCH", "a")
                server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                c("MULTI")
                c("SET", "a", 1)
                assert "watched keys was lost" in c.error("EXEC")
                assert server.ask("GET", "a") is None
                assert c("SET", "a", 2) == "OK"


# Blocking commands.


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_blocked_client_gets_what_another_pushes_and_holds_up_nobody(proxy, protocol):
    with client(proxy, protocol=protocol) as blocked, client(proxy) as other:
        blocked.raw.send(encode("BLPOP", "{q}1", "{q}2", 0) + encode("PING"))
        time.sleep(0.1)
        for i in range(50):
            assert other("SET", "{q}x", i) == "OK", "the shared connection is free"
        other("LPUSH", "{q}2", "job")
        assert blocked.read() == [b"{q}2", b"job"]
        assert blocked.read() == "PONG"
        began = time.monotonic()
        assert blocked("BRPOP", "{q}1", 0.2) is None
        assert 0.15 < time.monotonic() - began < 2
        began = time.monotonic()
        blocked.send("XREAD", "BLOCK", 1000, "STREAMS", "{q}s", 0)
        time.sleep(0.05)
        assert other("EXISTS", "{q}s") == 0
        assert time.monotonic() - began < 0.5, "the shared connection is free"
        assert blocked.read() is None
        other("ZADD", "{q}z", 1, "m")
        assert blocked("BZPOPMIN", "{q}z", 1)[:2] == [b"{q}z", b"m"]


def test_a_wait_longer_than_the_pools_timeout_is_no_timeout(servers):
    pools = {"p": {**POOL, "timeout": 200, "servers": servers[:1]}}
    with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
        assert c("BLPOP", "nothing", 0.7) is None
        assert proxy.metric("cashew_server_timedout_total") == 0


def test_nothing_is_popped_for_a_client_that_left(proxy, servers):
    for _ in range(10):
        gone = client(proxy)
        gone.send("BLPOP", "{q}gone", 0)
        time.sleep(0.02)
        gone.close()
    wait_until(lambda: sum(int(s.info()["blocked_clients"]) for s in servers) == 0)
    with client(proxy) as c:
        c("LPUSH", "{q}gone", "job")
        assert c("LPOP", "{q}gone") == b"job"


def test_a_client_that_leaves_before_it_blocks_is_not_waited_for():
    """It pipelines behind a request that takes its time, and is gone when its turn comes."""
    with Redis() as server:
        with Proxy({"p": {**POOL, "servers": [server]}}, settings=ONE_WORKER) as proxy:
            server.pause()
            gone = client(proxy, "p")
            gone.raw.send(encode("SET", "a", 1) + encode("BLPOP", "q", 0))
            time.sleep(0.1)
            gone.close()
            time.sleep(0.1)
            server.resume()
            wait_until(lambda: proxy.metric("cashew_client_connections") == 0, 3, "its end")
            wait_until(lambda: int(server.info()["blocked_clients"]) == 0)


def test_exclusive_connections_are_capped_and_the_refusal_says_so(proxy):
    waiting = [client(proxy, "few") for _ in range(2)]
    for c in waiting:
        c.send("BLPOP", "{q}few", 0)
    with client(proxy, "few") as c:
        time.sleep(0.1)
        assert "exclusive_connections: 2" in c.error("BLPOP", "{q}few", 0)
        assert c("SET", "{q}other", 1) == "OK"
        c("LPUSH", "{q}few", 1, 2)
        for w in waiting:
            assert w.read()[0] == b"{q}few"
        assert c("BLPOP", "{q}few", 0.05) is None
    for w in waiting:
        w.close()


def test_draining_ends_blocked_clients_at_the_latest_at_drain_timeout(servers):
    pools = {"p": {**POOL, "servers": servers[:1]}}
    settings = {"workers": 1, "drain_timeout": "500ms"}
    with Proxy(pools, settings=settings) as proxy, client(proxy, "p") as c:
        c.send("BLPOP", "nothing", 0)
        time.sleep(0.1)
        began = time.monotonic()
        proxy.stop()
        assert time.monotonic() - began < 3
        c.raw.expect_closed()


# All servers.


@pytest.mark.parametrize("protocol", [2, 3])
def test_commands_over_all_servers(proxy, servers, protocol):
    with client(proxy, "all", protocol=protocol) as c:
        assert c("RANDOMKEY") is None
        keys = {b"key:%d" % i for i in range(500)}
        for key in keys:
            c("SET", key, 1)
        assert c("DBSIZE") == 500
        assert set(c("KEYS", "*")) == keys
        assert c("RANDOMKEY") in keys
        cursor, seen = b"0", []
        while True:
            cursor, some = c("SCAN", cursor, "COUNT", 50)
            seen += some
            if cursor == b"0":
                break
            assert 0 < int(cursor) < 1 << 63
        assert sorted(seen) == sorted(keys)
        sha = c("SCRIPT", "LOAD", "return 41 + 1")
        assert c("SCRIPT", "EXISTS", sha, "f" * 40) == [1, 0]
        for i in range(20):
            assert c("EVALSHA", sha, 1, i) == 42
        assert c("SCRIPT", "FLUSH") == "OK"
        assert c("SCRIPT", "EXISTS", sha) == [0]
        assert c("FLUSHALL") == "OK"
        assert c("DBSIZE") == 0
        assert "begin again" in c.error("SCAN", (1 << 41) + (5 << 40))
        assert "invalid cursor" in c.error("SCAN", "x")


def test_one_dead_server_is_an_error_and_not_a_short_answer():
    with Redis() as a, Redis() as b:
        pools = {"p": {**POOL, "cluster_commands": True, "servers": [a, b]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
            for i in range(50):
                c("SET", i, i)
            assert c("DBSIZE") == 50
            b.kill9()
            assert "onnection" in c.error("DBSIZE")
            assert "onnection" in c.error("MGET", *range(50))
            with pytest.raises(RedisError):
                cursor = b"0"
                for _ in range(100):
                    cursor, _ = c("SCAN", cursor)
                    assert cursor != b"0", "a walk that ended without the dead server"


# Servers that do not do as they should.


def test_push_messages_from_a_server_are_dropped_and_counted(servers):
    with Redis() as server:
        pools = {"p": {**POOL, "servers": [server]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p", protocol=3) as c:
            c("SET", "a", 1)
            with server.client() as admin:
                # Redis sends this to RESP3 connections, and to nobody else, when told to track.
                listed = admin("CLIENT", "LIST").decode().splitlines()
                assert any("resp=3" in line for line in listed)

    def pushy(peer):
        for data in peer.requests():
            if b"HELLO" in data:
                peer.send(b"%1\r\n+proto\r\n:3\r\n")
            else:
                push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
                peer.send(push + b"$1\r\nx\r\n" + push[:9])
                time.sleep(0.02)
                peer.send(push[9:])

    with FakeServer(pushy) as server:
        pools = {"p": {**POOL, "servers": [server.address("s0")]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p", protocol=3) as c:
            for _ in range(20):
                assert c("GET", "a") == b"x"
            wait_until(lambda: proxy.metric("cashew_server_push_messages_total") == 40)
            assert proxy.metric("cashew_server_desync_total") == 0


@pytest.mark.parametrize(
    "reply",
    [
        b"what\r\n",
        b"$5\r\nabcdefgh\r\n",
        b"*-5\r\n",
        b"$?\r\n",
        b"_\r\n",
        b"+OK\r\n+OK\r\n",
        b"*99999999999999999999\r\n",
        b"$99999999999\r\n",
    ],
)
def test_a_reply_out_of_protocol_fails_that_request_and_counts(reply):
    with FakeServer(lambda peer: [peer.send(reply) for _ in peer.requests()]) as server:
        pools = {"p": {**POOL, "servers": [server.address("s0")]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
            if reply.startswith(b"+OK"):
                assert c("GET", "a") == "OK"
            else:
                assert c.error("GET", "a") == "ERR Invalid argument"
            names = ("cashew_server_err_total", "cashew_server_desync_total")
            wait_until(lambda: sum(proxy.metric(name) for name in names) == 1)


def test_ten_thousand_levels_of_nesting_pass(servers):
    deep = b"*1\r\n" * 10000 + b":1\r\n"
    with FakeServer(lambda peer: [peer.send(deep) for _ in peer.requests()]) as server:
        pools = {"p": {**POOL, "servers": [server.address("s0")]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
            c.send("GET", "a")
            assert c.raw.recv_exact(len(deep)) == deep


def test_loading_busy_and_oom_are_relayed_and_counted_and_close_nothing():
    texts = [b"-LOADING x\r\n", b"-BUSY x\r\n", b"-OOM x\r\n", b"-READONLY x\r\n", b"-MASTERDOWN x\r\n"]

    def troubled(peer):
        for i, _ in enumerate(peer.requests()):
            peer.send(texts[i % len(texts)])

    with FakeServer(troubled) as server:
        pools = {"p": {**POOL, "servers": [server.address("s0")]}}
        with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
            for text in texts:
                assert c.reply("GET", "a") == text
            for name in ("loading", "busy", "oom", "readonly", "masterdown"):
                assert proxy.metric("cashew_server_%s_replies_total" % name) == 1
            assert server.connections() == 1


def test_a_scripts_error_reply_disturbs_nobody(proxy):
    with client(proxy) as hostile, client(proxy) as neighbour:
        for word in ("OOM", "BUSY", "LOADING", "NOAUTH", "MOVED 1 1.2.3.4:5", "WRONGTYPE"):
            script = "return redis.error_reply('%s x')" % word
            hostile.send("EVAL", script, 1, "{t}a")
            assert neighbour("SET", "{t}b", 1) == "OK"
            assert _error(hostile).startswith(word.split()[0])
        hostile.send("EVAL", "return string.rep('x', 200000)", 1, "{t}a")
        assert len(hostile.read()) == 200000
        hostile.send("EVAL", "return redis.error_reply(string.rep('x', 200000))", 1, "{t}a")
        assert len(_error(hostile)) >= 200000
        assert neighbour("GET", "{t}b") == b"1"
    assert proxy.metric("cashew_server_desync_total") == 0


# Bad input.


@pytest.mark.parametrize(
    "sent, error",
    [
        (b"*2147483647\r\n", "invalid multibulk length"),
        (b"*-1\r\n", "invalid multibulk length"),
        (b"*2\r\n$-2\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n:1\r\n", "expected '$'"),
        (b"*2\r\n$3\r\nGETS\r\n$1\r\na\r\n", "no CRLF"),
        (b"\x04\r\n", "expected '*'"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "expected '*'"),
        (b"get a\r\n", "expected '*'"),
        (b"x" * 1000, "expected '*'"),
        (b"*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$'"),
        (b"*01\r\n$4\r\nPING\r\n", "invalid multibulk length"),
    ],
)
def test_what_is_no_redis_protocol_gets_one_error_and_a_close(proxy, sent, error):
    with client(proxy) as neighbour, client(proxy) as c:
        c.raw.send(encode("SET", "{t}a", 1) + sent)
        assert c.read() == "OK", "what came before is answered"
        assert error in _error(c)
        c.raw.expect_closed()
        assert neighbour("GET", "{t}a") == b"1"


def test_in_step_nonsense_keeps_the_connection(proxy):
    with client(proxy) as c:
        for sent in (b"*1\r\n$0\r\n\r\n", encode("\x00\xff"), encode("A" * 5000)):
            c.raw.send(sent)
            assert "unknown command" in _error(c)
        c.raw.send(b"*0\r\n\r\n" + encode("PING"))
        assert c.read() == "PONG"


def test_a_request_above_client_max_buffer_is_refused_and_passed_over(servers):
    pools = {"p": {**POOL, "client_max_buffer": "256kb", "servers": servers}}
    with Proxy(pools, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
        for words in (
            ("SET", "a", b"x" * 300000),
            ("MSET", "a", b"x" * 200000, "b", b"y" * 200000),
        ):
            c.raw.send(encode(*words) + encode("PING"))
            assert "client_max_buffer" in _error(c)
            assert c.read() == "PONG"
        assert c("EXISTS", "a", "b") == 0


def test_ten_thousand_keys_in_one_command(proxy):
    with client(proxy, timeout=20) as c:
        keys = ["many:%d" % i for i in range(10000)]
        assert c("MSET", *[x for k in keys for x in (k, k)]) == "OK"
        for _ in range(30):  # cut where the reads happen to end
            assert c("MGET", *keys) == [k.encode() for k in keys]
        assert c("DEL", *keys) == 10000


def test_values_of_any_size_and_content(proxy):
    with client(proxy, timeout=30) as c:
        for size in (0, 1, 16383, 16384, 65536, 1 << 20, 20 << 20):
            value = bytes([size % 251]) * size
            assert c("SET", "big", value) == "OK"
            assert c("GET", "big") == value
        value = bytes(range(256)) * 10 + b"\r\n$5\r\n*1\r\n"
        assert c("SET", value, value) == "OK"
        assert c("MGET", value, "none", value) == [value, None, value]


def test_half_a_close_still_gets_its_answers(proxy):
    with client(proxy) as c:
        c.raw.send(encode("SET", "a", 1) + encode("MGET", "a", "b"))
        c.raw.half_close()
        assert c.read() == "OK" and c.read() == [b"1", None]
        c.raw.expect_closed()


def test_a_dead_server_comes_back_into_service_by_ping():
    with Redis(password="p") as server:
        pool = {**POOL, "auto_eject_hosts": True, "server_failure_limit": 1}
        pool.update(server_retry_timeout=300, redis_auth="p", servers=[server])
        with Proxy({"p": pool}, settings=ONE_WORKER) as proxy, client(proxy, "p") as c:
            c("AUTH", "p")
            assert c("SET", "a", 1) == "OK"
            server.kill9()
            c.error("GET", "a")
            assert proxy.wait_stats(lambda s: s["p"]["server_ejects"] == 1)
            server.start()
            wait_until(lambda: proxy.metric("cashew_server_healthy") == 1, 5, "the probe")
            assert c("SET", "a", 1) == "OK"


def test_bytes_cut_anywhere_give_the_same_replies(proxy):
    stream = (
        encode("SET", "{t}a", "v\r\n") + encode("MGET", "{t}a", "x") + encode("MULTI")
        + encode("GET", "{t}a") + encode("EXEC") + b"PING\r\n" + encode("DEL", "{t}a", "x")
    )
    with client(proxy) as c:
        c.raw.send(stream)
        whole = [c.read_raw() for _ in range(7)]
    for cut in range(1, len(stream), 3):
        with client(proxy) as c:
            c.raw.send(stream[:cut])
            time.sleep(0.002)
            c.raw.send(stream[cut:])
            assert [c.read_raw() for _ in range(7)] == whole, cut


# The tools that come with redis, without special options.


def test_redis_benchmark_and_redis_cli_work(proxy):
    port = str(proxy.address("r"))
    done = subprocess.run(
        ["redis-benchmark", "-p", port, "-n", "500", "-c", "10", "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    finished = re.findall(r"([^\r\n]+): [\d.]+ requests per second, p50", done.stdout)
    assert len(finished) >= 18 and "Error from server" not in done.stdout, done.stdout
    stream = b"".join(encode("SET", "pipe:%d" % i, i) for i in range(2000))
    cli = ["redis-cli", "-p", port]
    piped = subprocess.run(
        [*cli, "--pipe"], input=stream, stdout=subprocess.PIPE, timeout=30, check=True
    )
    assert b"errors: 0, replies: 2000" in piped.stdout
    asked = subprocess.run([*cli, "get", "pipe:7"], stdout=subprocess.PIPE, timeout=30, check=True)
    assert asked.stdout == b"7\n"
    asked = subprocess.run([*cli, "-3", "hello"], stdout=subprocess.PIPE, timeout=30, check=True)
    assert b"proto" in asked.stdout


def test_nothing_is_left_behind_by_clients_that_come_and_go_while_servers_die():
    """Every kind of connection, ended at any time by any side."""
    servers = [Redis() for _ in range(3)]
    pool = {**POOL, "timeout": 300, "exclusive_connections": 6, "cluster_commands": True}
    pool.update(auto_eject_hosts=True, server_failure_limit=2, server_retry_timeout=200)
    end = time.monotonic() + 5
    crashes = []

    def live(number, proxy):
        rng = random.Random(number)
        while time.monotonic() < end:
            try:
                with client(proxy, "p", protocol=rng.choice([2, 3]), timeout=2) as c:
                    for _ in range(rng.randrange(1, 12)):
                        key = "{%d}" % rng.randrange(8)
                        rng.choice(
                            [
                                lambda: c("SET", key, number),
                                lambda: c.send("BLPOP", key + "q", rng.choice(["0", "0.05"])),
                                lambda: c("LPUSH", key + "q", 1),
                                lambda: c("WATCH", key),
                                lambda: c.raw.send(
                                    encode("WATCH", key) + encode("MULTI") + encode("EXEC")
                                ),
                                lambda: c("MULTI"),
                                lambda: c("EXEC"),
                                lambda: c("HELLO", rng.choice([2, 3])),
                                lambda: c("MGET", *range(20)),
                                lambda: c("DBSIZE"),
                                lambda: c.raw.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$90000\r\nxx"),
                                lambda: c("RESET"),
                            ]
                        )()
            except (RedisError, OSError, AssertionError, ValueError):
                pass  # servers die: what counts is what is left afterwards
            except Exception as error:  # noqa: BLE001
                crashes.append(repr(error))

    with Proxy({"p": {**pool, "servers": servers}}, settings={"workers": 2}) as proxy:
        threads = [threading.Thread(target=live, args=(n, proxy)) for n in range(16)]
        for thread in threads:
            thread.start()
        rng = random.Random(1)
        while time.monotonic() < end:
            server = rng.choice(servers)
            server.restart()
            time.sleep(0.3)
        for thread in threads:
            thread.join()
        assert crashes == []
        for name in (
            "cashew_client_connections",
            "cashew_server_in_queue",
            "cashew_server_in_queue_bytes",
            "cashew_server_out_queue",
            "cashew_server_out_queue_bytes",
            "cashew_server_exclusive_connections",
        ):
            wait_until(lambda n=name: proxy.metric(n) == 0, 8, name)
        with client(proxy, "p", timeout=10) as c:
            wait_until(lambda: c.reply("SET", "{1}", 1) == b"+OK\r\n", 5, "service")
            wait_until(lambda: c.reply("DBSIZE")[:1] == b":", 5, "all servers")
    for server in servers:
        server.close()
