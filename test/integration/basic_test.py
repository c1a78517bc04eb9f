"""What people do first and every day: the two walk-throughs, each memcached command, all
ways to listen and to connect, many requests at once."""

import contextlib
import os
import random
import re
import socket
import stat
import time

import pytest

from support import (
    HOST,
    FakeServer,
    Memcached,
    Proxy,
    RawClient,
    free_port,
    memcached_servers,
    silent,
    wait_until,
)

SHARDED = {"hash": "md5", "distribution": "ketama", "timeout": 5000}


@pytest.fixture(scope="module")
def proxy(servers):
    with Proxy({"alpha": {**SHARDED, "servers": servers}}) as running:
        yield running


@pytest.fixture
def client(proxy):
    with proxy.client() as connected:
        yield connected


def holders(servers, key):
    """Indexes of the servers that have `key`, asked directly."""
    return [i for i, s in enumerate(servers) if s.popen.poll() is None and s.get(key) is not None]


# The walk-throughs.


def test_walk_through_one_kill_a_server_and_its_keys_move(fresh_servers):
    pool = {
        "listen": "%s:%d" % (HOST, free_port()),
        "hash": "fnv1a_64",
        "distribution": "ketama",
        "timeout": 400,
        "backlog": 1024,
        "preconnect": True,
        "auto_eject_hosts": True,
        "server_retry_timeout": 30000,
        "server_failure_limit": 3,
        "servers": fresh_servers,
    }
    with Proxy({"alpha": pool}) as proxy, proxy.client() as telnet:
        telnet.ask("set greeting 0 0 5\r\nhello\r\n", "STORED\r\n")
        telnet.ask("get greeting\r\n", "VALUE greeting 0 5\r\nhello\r\nEND\r\n")
        (home,) = holders(fresh_servers, "greeting")
        fresh_servers[home].kill9()

        errors = 0
        while telnet.set("greeting", "hello") != b"STORED":
            errors += 1
            assert errors <= 3, "the failure limit is 3"
        (new_home,) = holders(fresh_servers, "greeting")
        assert new_home != home
        assert telnet.get("greeting") == b"hello"

        name = "s%d" % home
        stats = proxy.wait_stats(
            lambda s: s["alpha"]["server_ejects"] == 1
            and s["alpha"]["forward_error"] == errors
            and s["alpha"][name]["server_ejected_at"] > 0,
            what="the stats to tell of one ejection",
        )["alpha"]
        assert stats[name]["server_eof"] + stats[name]["server_err"] >= 3
        assert stats[name]["server_connections"] == 0
        assert abs(stats[name]["server_ejected_at"] / 1e6 - time.time()) < 60
        assert stats["s%d" % new_home]["responses"] >= 2


def test_walk_through_two_the_stats_port_tells_the_story(fresh_servers):
    pool = {
        "listen": "%s:%d" % (HOST, free_port()),
        "redis": False,
        "hash": "md5",
        "timeout": 300,
        "auto_eject_hosts": True,
        "server_retry_timeout": 10000,
        "server_failure_limit": 2,
        "servers": fresh_servers[:1],
    }
    server = fresh_servers[0]
    with Proxy({"pool1": pool}) as proxy, proxy.client() as telnet:
        requests = [b"set a 0 0 5\r\nhello\r\n", b"get a\r\n", b"get nosuchkey\r\n"]
        replies = [b"STORED\r\n", b"VALUE a 0 5\r\nhello\r\nEND\r\n", b"END\r\n"]
        for request, reply in zip(requests, replies):
            telnet.ask(request, reply)
        told = proxy.wait_stats(lambda s: s["pool1"]["s0"]["responses"] == 3)["pool1"]["s0"]
        assert told["requests"] == 3
        assert told["request_bytes"] == sum(map(len, requests))
        assert told["response_bytes"] == sum(map(len, replies))
        assert told["server_connections"] == 1
        for name in ("in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes"):
            assert told[name] == 0
        for name in ("server_eof", "server_err", "server_timedout", "server_ejected_at"):
            assert told[name] == 0

        server.pause()
        try:
            telnet.send("get a\r\n")
            waiting = proxy.wait_stats(lambda s: s["pool1"]["s0"]["out_queue"] == 1, 0.3)
            assert waiting["pool1"]["s0"]["out_queue_bytes"] == len("get a\r\n")
            telnet.expect("SERVER_ERROR Connection timed out\r\n")
            proxy.wait_stats(lambda s: s["pool1"]["s0"]["server_timedout"] == 1)
        finally:
            server.resume()


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_dying_server_is_counted_for_what_it_did(how):
    pool = {"hash": "md5", "timeout": 200}
    with Memcached() as server, Proxy({"p": {**pool, "servers": [server]}}) as proxy:
        with proxy.client() as client:
            assert client.set("a", "1") == b"STORED"
            if how == "kill":
                server.kill9()
                proxy.wait_stats(lambda s: s["p"]["s0"]["server_eof"] == 1, what="server_eof")
                assert client.command("get a") == b"SERVER_ERROR Connection refused"
                proxy.wait_stats(lambda s: s["p"]["s0"]["server_err"] == 1, what="server_err")
            else:
                server.pause()
                assert client.command("get a") == b"SERVER_ERROR Connection timed out"
                proxy.wait_stats(lambda s: s["p"]["s0"]["server_timedout"] >= 1)
                server.resume()
            proxy.wait_stats(lambda s: s["p"]["forward_error"] == 1, what="forward_error")


# Commands.

CONVERSATIONS = {
    "set and get": [("set K 7 0 3\r\nabc\r\n", "STORED\r\n"), ("get K\r\n", "VALUE K 7 3\r\nabc\r\nEND\r\n")],
    "a miss": [("get K\r\n", "END\r\n")],
    "an empty value": [("set K 0 0 0\r\n\r\n", "STORED\r\n"), ("get K\r\n", "VALUE K 0 0\r\n\r\nEND\r\n")],
    "add": [("add K 0 0 1\r\na\r\n", "STORED\r\n"), ("add K 0 0 1\r\nb\r\n", "NOT_STORED\r\n")],
    "replace": [
        ("replace K 0 0 1\r\na\r\n", "NOT_STORED\r\n"),
        ("set K 0 0 1\r\na\r\n", "STORED\r\n"),
        ("replace K 0 0 1\r\nb\r\n", "STORED\r\n"),
        ("get K\r\n", "VALUE K 0 1\r\nb\r\nEND\r\n"),
    ],
    "append and prepend": [
        ("append K 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
        ("set K 0 0 1\r\nb\r\n", "STORED\r\n"),
        ("append K 0 0 1\r\nc\r\n", "STORED\r\n"),
        ("prepend K 0 0 1\r\na\r\n", "STORED\r\n"),
        ("get K\r\n", "VALUE K 0 3\r\nabc\r\nEND\r\n"),
    ],
    "incr and decr": [
        ("incr K 1\r\n", "NOT_FOUND\r\n"),
        ("set K 0 0 2\r\n10\r\n", "STORED\r\n"),
        ("incr K 5\r\n", "15\r\n"),
        ("decr K 20\r\n", "0\r\n"),
    ],
    "incr of what is no number": [
        ("set K 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("incr K 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        ("get K\r\n", "VALUE K 0 1\r\nx\r\nEND\r\n"),
    ],
    "delete": [
        ("delete K\r\n", "NOT_FOUND\r\n"),
        ("set K 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("delete K\r\n", "DELETED\r\n"),
        ("get K\r\n", "END\r\n"),
    ],
    "touch": [
        ("touch K 0\r\n", "NOT_FOUND\r\n"),
        ("set K 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("touch K 0\r\n", "TOUCHED\r\n"),
        ("touch K -1\r\n", "TOUCHED\r\n"),
        ("get K\r\n", "END\r\n"),
    ],
    "noreply": [
        ("set K 0 0 2 noreply\r\n10\r\nincr K 5 noreply\r\nget K\r\n", "VALUE K 0 2\r\n15\r\nEND\r\n"),
        ("add K 0 0 1 noreply\r\nx\r\nappend K 0 0 1 noreply\r\n0\r\n", ""),
        ("decr K 50 noreply\r\nget K\r\n", "VALUE K 0 3\r\n100\r\nEND\r\n"),
        ("touch K 0 noreply\r\ndelete K noreply\r\nget K\r\n", "END\r\n"),
    ],
    "cas of what is not there": [("cas K 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n")],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_command_answers_as_memcached_does(client, name):
    key = "basic-" + re.sub(r"\W", "-", name)
    for request, reply in CONVERSATIONS[name]:
        client.ask(request.replace("K", key), re.sub(r"\bK\b", key, reply))
    client.expect_silence()


def test_cas_stores_once_and_then_refuses(client):
    client.ask("set casual 0 0 1\r\na\r\n", "STORED\r\n")
    unique = int(client.command("gets casual").split()[-1])
    client.expect("a\r\nEND\r\n")
    client.ask("cas casual 0 0 1 %d\r\nb\r\n" % unique, "STORED\r\n")
    client.ask("cas casual 0 0 1 %d\r\nc\r\n" % unique, "EXISTS\r\n")
    assert client.get("casual") == b"b"


@pytest.mark.improved
@pytest.mark.parametrize("command", ["gat", "gats"])
def test_gat_gets_and_touches(client, servers, command):
    keys = ["%s-%d" % (command, i) for i in range(12)]
    for key in keys:
        client.ask("set %s 0 0 1\r\nx\r\n" % key, "STORED\r\n")
    client.send("%s 300 %s\r\n" % (command, " ".join(keys)))
    for key in keys:
        assert client.recv_line().split()[:4] == [b"VALUE", key.encode(), b"0", b"1"]
        client.expect("x\r\n")
    client.expect("END\r\n")
    for key in keys:
        (home,) = holders(servers, key)
        with servers[home].client() as direct:
            ttl = int(direct.command("mg %s t" % key).split(b"t")[1])
        assert 200 < ttl <= 300


@pytest.mark.improved
def test_a_negative_exptime_is_forwarded(client):
    client.ask("set gone 0 -1 1\r\nx\r\n", "STORED\r\n")
    client.ask("get gone\r\n", "END\r\n")


def test_version_is_a_servers(client):
    assert re.fullmatch(rb"VERSION \d\S*", client.command("version"))


def test_quit_answers_what_came_before_and_closes(client):
    client.send("set quitter 0 0 1\r\nx\r\nget quitter\r\nquit\r\nget quitter\r\n")
    client.expect("STORED\r\nVALUE quitter 0 1\r\nx\r\nEND\r\n")
    client.expect_closed()


@pytest.mark.improved
@pytest.mark.parametrize(
    "line, reply",
    [
        ("nosuchcommand x", rb"ERROR.*"),
        ("GET x", rb"ERROR.*"),
        ("get", rb"(CLIENT_)?ERROR.*"),
        ("get " + "k" * 251, rb"CLIENT_ERROR .*"),
        ("incr x abc", rb"CLIENT_ERROR .*"),
        ("flush_all", rb"(CLIENT_|SERVER_)?ERROR.*"),
        ("stats items", rb"(CLIENT_|SERVER_)?ERROR.*"),
        ("shutdown", rb"(CLIENT_|SERVER_)?ERROR.*"),
        ("verbosity 1", rb"OK"),
        ("mn", rb"MN"),
    ],
)
def test_what_is_not_forwarded_gets_a_line_and_the_connection_stays(client, line, reply):
    client.ask("set before 0 0 1\r\nx\r\n", "STORED\r\n")
    client.send("get before\r\n%s\r\n" % line)  # pipelined: the earlier reply is not lost
    client.expect("VALUE before 0 1\r\nx\r\nEND\r\n")
    got = client.recv_line()
    assert re.fullmatch(reply, got), got
    client.ask("get before\r\n", "VALUE before 0 1\r\nx\r\nEND\r\n")


@pytest.mark.improved
@pytest.mark.parametrize("numbers", ["x 0 12", "0 y 12", "0 0 -12", "0 0 99999999999"])
def test_the_value_of_a_set_that_is_refused_is_never_taken_for_a_command(client, numbers):
    client.ask("set behind 0 0 1\r\nx\r\n", "STORED\r\n")
    client.send("set refused %s\r\nget behind\r\n\r\n" % numbers)
    assert re.match(rb"(CLIENT_ERROR|SERVER_ERROR|ERROR)", client.recv_line())
    while client.more(0.2):  # it may close, or go on after the value
        pass
    assert b"VALUE" not in client.buffer


@pytest.mark.improved
def test_stats_is_answered_by_the_proxy(client):
    client.send("stats\r\n")
    text = client.read_until("END\r\n").decode("latin-1")
    assert all(line.startswith("STAT ") for line in text.split("\r\n")[:-2])


@pytest.mark.improved
def test_a_line_feed_cannot_smuggle_a_command_into_a_key(proxy, servers):
    with proxy.client() as victim, proxy.client() as attacker:
        victim.ask("set smuggled 0 0 6\r\nsecret\r\n", "STORED\r\n")
        attacker.send("get a\nget smuggled\r\n")
        assert re.match(rb"(CLIENT_)?ERROR", attacker.recv_line())
        victim.ask("get smuggled\r\n", "VALUE smuggled 0 6\r\nsecret\r\nEND\r\n")


# Multi-key gets, pipelines, sizes.


def test_a_multi_key_get_answers_in_request_order_with_duplicates(client, servers):
    keys = ["order-%d" % i for i in range(60)]
    for key in keys:
        assert client.set(key, "value of " + key) == b"STORED"
    assert all(any(s.get(k) for k in keys) for s in servers), "the keys are on all servers"
    asked = keys[::-1] + keys[:7] + [keys[3]] * 3
    client.send("get %s\r\n" % " ".join(asked))
    for key in asked:
        value = "value of " + key
        client.expect("VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value))
    client.expect("END\r\n")


@pytest.mark.improved
def test_misses_leave_the_order_alone(client):
    keys = ["gaps-%d" % i for i in range(60)]
    for key in keys[::3]:
        assert client.set(key, key) == b"STORED"
    client.send("get %s\r\n" % " ".join(keys))
    for key in keys[::3]:
        client.expect("VALUE %s 0 %d\r\n%s\r\n" % (key, len(key), key))
    client.expect("END\r\n")


def test_each_server_gets_one_part_of_a_multi_key_get(fresh_servers):
    with Proxy({"alpha": {**SHARDED, "servers": fresh_servers}}) as proxy:
        with proxy.client() as client:
            client.ask("get %s\r\n" % " ".join("part-%d" % i for i in range(100)), "END\r\n")
        stats = proxy.wait_stats(
            lambda s: sum(s["alpha"]["s%d" % i]["responses"] for i in range(3)) == 3
        )
        assert [stats["alpha"]["s%d" % i]["requests"] for i in range(3)] == [1, 1, 1]


def test_ten_thousand_keys_in_one_get(client):
    keys = ["many-%05d" % i for i in range(10000)]
    client.timeout = 60
    for key in keys[::1000]:
        assert client.set(key, "here") == b"STORED"
    values = client.get_many(keys)
    assert sorted(values) == [k.encode() for k in keys[::1000]]


def test_a_deep_pipeline_is_answered_in_order(client):
    client.send(b"".join(b"set pipe-%d 0 0 4\r\n%04d\r\n" % (i, i) for i in range(1000)))
    client.expect(b"STORED\r\n" * 1000)
    client.send(b"".join(b"get pipe-%d\r\n" % i for i in range(1000)))
    client.expect(b"".join(b"VALUE pipe-%d 0 4\r\n%04d\r\nEND\r\n" % (i, i) for i in range(1000)))


def test_a_request_may_come_byte_by_byte(client):
    for byte in b"set slow 0 0 5\r\nhello\r\nget slow\r\n":
        client.send(bytes([byte]))
        time.sleep(0.002)
    client.expect("STORED\r\nVALUE slow 0 5\r\nhello\r\nEND\r\n")


@pytest.mark.parametrize("size", [1, 1023, 16383, 16384, 65535, 65536, 262144, 1000000])
def test_values_of_every_size_come_back(client, size):
    value = random.Random(size).randbytes(size)
    assert client.set("size-%d" % size, value) == b"STORED"
    assert client.get("size-%d" % size) == value


def test_the_longest_key_that_memcached_takes(client):
    key = "k" * 250
    assert client.set(key, "x") == b"STORED"
    assert client.get(key) == b"x"


def test_a_value_that_is_too_large_fails_alone(client):
    assert client.set("large-neighbour", "fine") == b"STORED"
    client.send(b"set too-large 0 0 3000000\r\n" + b"v" * 3000000 + b"\r\n")
    assert client.recv_line().startswith(b"SERVER_ERROR ")
    wait_until(lambda: _get_or_none(client, "large-neighbour") == b"fine", what="the neighbour")


def test_two_clients_do_not_mix(proxy):
    with proxy.client() as a, proxy.client() as b:
        a.send("set half 0 0 10\r\nhello")
        b.ask("set whole 0 0 2\r\nok\r\n", "STORED\r\n")
        b.ask("get whole\r\n", "VALUE whole 0 2\r\nok\r\nEND\r\n")
        a.ask("world\r\n", "STORED\r\n")
        b.ask("get half\r\n", "VALUE half 0 10\r\nhelloworld\r\nEND\r\n")


def test_a_client_that_leaves_early_harms_nobody(proxy, client):
    for _ in range(20):
        leaver = proxy.client()
        leaver.send("get %s\r\n" % " ".join("leave-%d" % i for i in range(50)) * 5)
        leaver.close()
    assert client.set("stayed", "1") == b"STORED"
    assert client.get("stayed") == b"1"


def test_half_close_still_gets_every_reply(proxy):
    with proxy.client() as client:
        client.send("set halfclose 0 0 1\r\nx\r\n" + "get halfclose\r\n" * 50)
        client.half_close()
        client.expect("STORED\r\n" + "VALUE halfclose 0 1\r\nx\r\nEND\r\n" * 50)
        client.expect_closed()


def test_half_close_drops_an_unfinished_request(proxy):
    with proxy.client() as client:
        client.ask("set unfinished 0 0 1\r\nx\r\n", "STORED\r\n")
        client.send("get unfini")
        time.sleep(0.1)  # nutcracker misses a FIN that comes with the bytes
        client.half_close()
        client.expect_closed()


# Where it listens and connects.


def test_a_unix_socket_with_its_permissions(servers, tmp_path):
    path = str(tmp_path / "cashew.sock")
    os.chmod(tmp_path, 0o755)
    with Proxy({"alpha": {"listen": path + " 0640", "servers": servers}}) as proxy:
        mode = os.stat(path).st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o640
        with RawClient(path) as client:
            assert client.set("unix", "1") == b"STORED"
            assert client.get("unix") == b"1"
        was_cashew = proxy.is_cashew
    assert os.path.exists(path) != was_cashew, "Cashew takes its socket away when it ends"


def test_a_stale_unix_socket_is_replaced(servers, tmp_path):
    path = str(tmp_path / "stale.sock")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    with Proxy({"alpha": {"listen": path, "servers": servers}}):
        wait_until(lambda: _connects(path), what="the proxy on the old path")


def test_a_server_on_a_unix_socket(tmp_path):
    path = str(tmp_path / "memcached.sock")
    with Memcached(unix_path=path) as server, Proxy({"a": {"servers": [server]}}) as proxy:
        with proxy.client() as client:
            assert client.set("unix", "1") == b"STORED"
            assert server.get("unix") == b"1"
        if proxy.is_cashew:  # nutcracker does not count them and goes negative
            assert proxy.wait_stats(lambda s: s["a"]["s0"]["responses"] == 1)["a"]["s0"][
                "server_connections"
            ] == 1


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")


@needs_ipv6
@pytest.mark.parametrize(
    "form", ["::1", pytest.param("[::1]", marks=pytest.mark.improved)], ids=["bare", "brackets"]
)
def test_ipv6_clients_and_servers(form):
    with Memcached(host="::1") as server:
        line = "%s:%d:1 s0" % (form, server.port)
        pool = {"listen": "%s:%d" % (form, free_port()), "timeout": 2000, "servers": [line]}
        with Proxy({"six": pool}) as proxy, RawClient(("::1", proxy.address())) as client:
            assert client.set("v6", "1") == b"STORED"
            assert client.get("v6") == b"1"
            assert server.get("v6") == b"1"


def test_a_host_name_for_listener_and_server(servers):
    line = "localhost:%d:1 s0" % servers[0].port
    pool = {"listen": "localhost:%d" % free_port(), "timeout": 2000, "servers": [line]}
    with Proxy({"named": pool}) as proxy:
        with RawClient(("localhost", proxy.address())) as client:
            assert client.set("named", "1") == b"STORED"
            assert client.get("named") == b"1"


def test_two_pools_are_separate(fresh_servers):
    pools = {
        "alpha": {"servers": fresh_servers[:1]},
        "beta": {"servers": fresh_servers[1:]},
    }
    with Proxy(pools) as proxy, proxy.client("alpha") as a, proxy.client("beta") as b:
        assert a.set("pool", "alpha") == b"STORED"
        assert b.get("pool") is None
        assert fresh_servers[0].get("pool") == b"alpha"


def test_preconnect_opens_connections_before_any_request(fresh_servers):
    with Proxy({"alpha": {"preconnect": True, "servers": fresh_servers}}) as proxy:
        proxy.wait_stats(
            lambda s: all(s["alpha"]["s%d" % i]["server_connections"] == 1 for i in range(3)),
            what="a connection to each server",
        )


def test_preconnect_to_a_dead_server_is_only_a_warning(servers):
    dead = "%s:%d:1 dead" % (HOST, free_port())
    pool = {"preconnect": True, "servers": [dead, servers[0].server_line("live")]}
    with Proxy({"alpha": pool}) as proxy:
        wait_until(lambda: _connects(proxy.address()), what="the proxy to listen")


def test_server_connections_is_the_total_to_each_server():
    with Memcached() as server:
        with Proxy({"a": {"server_connections": 4, "servers": [server]}}) as proxy:
            with contextlib.ExitStack() as stack:
                for i in range(24):
                    client = stack.enter_context(proxy.client())
                    assert client.set("c%d" % i, "1") == b"STORED"
                counted = proxy.wait_stats(lambda s: s["a"]["s0"]["responses"] == 24)
                assert counted["a"]["s0"]["server_connections"] <= 4
                # Its own three: ours, and two that it keeps for itself, are not the proxy's.
                assert int(server.stats()["curr_connections"]) <= 4 + 3


@pytest.mark.improved
def test_client_connections_limits_a_pools_clients(servers):
    with Proxy({"alpha": {"client_connections": 5, "servers": servers}}) as proxy:
        with contextlib.ExitStack() as stack:
            inside = [stack.enter_context(proxy.client()) for _ in range(5)]
            for client in inside:
                assert client.set("limit", "1") == b"STORED"
            with proxy.client() as outside:
                wait_until(lambda: _is_refused(outside), what="the sixth client to be turned away")
            for client in inside:
                assert client.get("limit") == b"1"
            inside[0].close()
            proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 4)
            with proxy.client() as next_one:
                assert next_one.get("limit") == b"1"


def test_tcpkeepalive_is_set_on_client_sockets(servers):
    with Proxy({"alpha": {"tcpkeepalive": True, "servers": servers}}) as proxy:
        with proxy.client() as client:
            assert client.set("alive", "1") == b"STORED"
            with open("/proc/net/tcp", encoding="ascii") as f:
                rows = [line.split() for line in f.readlines()[1:]]
            ends = [client.sock.getpeername()[1], client.sock.getsockname()[1]]
            (row,) = [r for r in rows if [int(end[-4:], 16) for end in r[1:3]] == ends]
            assert row[5].split(":")[0] == "02", "the keepalive timer of the proxy's side"


@pytest.mark.improved
def test_a_multi_key_get_with_a_dead_server_keeps_the_client(fresh_servers):
    pool = {**SHARDED, "servers": fresh_servers}
    with Proxy({"alpha": pool}) as proxy, proxy.client() as client:
        keys = ["half-dead-%d" % i for i in range(50)]
        for key in keys:
            assert client.set(key, "1") == b"STORED"
        fresh_servers[1].kill9()
        assert client.command("get " + " ".join(keys)) == b"SERVER_ERROR Connection refused"
        alive = next(k for k in keys if fresh_servers[0].get(k))
        assert client.get(alive) == b"1"


def test_a_silent_server_holds_up_only_its_own_requests(servers):
    with FakeServer(silent()) as mute:
        pool = {"hash": "md5", "timeout": 400}
        lines = [servers[0].server_line("good"), mute.address("mute")]
        with Proxy({"alpha": {**pool, "servers": lines}}) as proxy, proxy.client() as probe:
            good, bad = None, None
            for i in range(100):
                key = "which-%d" % i
                if probe.set(key, "1") == b"STORED":
                    good = good or key
                else:
                    bad = key
                if good and bad:
                    break
            with proxy.client() as waiting, proxy.client() as busy:
                waiting.send("get %s\r\n" % bad)
                start = time.monotonic()
                for _ in range(50):
                    assert busy.get(good) == b"1"
                assert time.monotonic() - start < 0.4
                waiting.expect("SERVER_ERROR Connection timed out\r\n")


def test_the_proxy_ends_while_clients_are_connected(servers):
    with Proxy({"alpha": {"servers": servers}}) as proxy:
        clients = [proxy.client() for _ in range(20)]
        for client in clients:
            assert client.set("end", "1") == b"STORED"
        proxy.stop()
        for client in clients:
            client.expect_closed()
            client.close()


def test_no_descriptor_is_left_behind(proxy, client):
    assert client.set("fds", "1") == b"STORED"
    client.send("get %s\r\n" % " ".join("fds-%d" % i for i in range(100)))
    client.read_until("END\r\n")
    before = proxy.usage.fds()
    for i in range(200):
        with proxy.client() as passing:
            passing.send("get fds\r\nget unfinish" if i % 2 else "set fds 0 0 1\r\n1\r\n")
            passing.recv_line()
    wait_until(lambda: proxy.usage.fds() <= before, what="the descriptors of 200 clients to go")


def _connects(address):
    try:
        RawClient(address).close()
        return True
    except OSError:
        return False


def _is_refused(client):
    """Closed, after an error line at most."""
    if client.more(0.2) or client.buffer:
        assert client.buffer.startswith(b"SERVER_ERROR ")
    return client.eof


def _get_or_none(client, key):
    try:
        return client.get(key)
    except AssertionError:
        return None


@pytest.mark.improved
def test_an_idle_proxy_does_nothing(servers):
    """No thread of it spins or wakes without need."""
    with Proxy({"alpha": {"servers": servers}}, settings={"grpc": "unix:{dir}/grpc.sock"}) as proxy:
        def cpu_ms():
            total = 0
            for task in os.listdir("/proc/%d/task" % proxy.pid):
                with open("/proc/%d/task/%s/schedstat" % (proxy.pid, task), encoding="ascii") as f:
                    total += int(f.read().split()[0])
            return total / 1e6

        time.sleep(0.5)  # what a start leaves to do
        before = cpu_ms()
        time.sleep(1)
        assert cpu_ms() - before < 30
