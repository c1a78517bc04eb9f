"""Hot keys, the slow log, the access log and JSON lines: what they tell is what happened, and
nothing is kept unless a pool asks for it."""

import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time

import grpc
import pytest
from reloadable import Reloadable
from support import HOST, Memcached, free_port, wait_until
from support.processes import default_binary
from support.redis import Redis

pytestmark = pytest.mark.improved

CTL = os.path.join(os.path.dirname(default_binary()), "cashewctl")


class Watched(Reloadable):
    def change(self, pool, **keys):
        """Reloads with other keys of a pool; the answer."""
        self.pools[pool].update(keys)
        self.write()
        return self.reload()

    def hot(self, pool, **fields):
        return self.client.admin("GetHotKeys", pool=pool, **fields)

    def slow(self, pool="", **fields):
        return list(self.client.admin("GetSlowLog", pool=pool, **fields).requests)

    def ctl(self, *args):
        done = subprocess.run([CTL, "--address", self.address, *args], capture_output=True,
                              text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def log(self):
        with open(self.proxy.log_path, encoding="utf-8") as f:
            return f.read()


@pytest.fixture(scope="module")
def cache():
    with Memcached() as server:
        yield server


@pytest.fixture(scope="module")
def redis():
    with Redis() as server:
        yield server


def line(server):
    return server.server_line("s0")


def adds_up(entry):
    return entry.queued_us + entry.server_us + entry.held_us == entry.total_us


def ask(client, *words):
    """A redis command; the first line of its reply."""
    client.send("*%d\r\n" % len(words) + "".join("$%d\r\n%s\r\n" % (len(w), w) for w in words))
    return client.recv_line()


# ---- hot keys ----------------------------------------------------------------------------


def test_a_hot_key_comes_first_with_about_its_share(cache):
    with Watched({"alpha": {"servers": [line(cache)], "hot_keys_sample": 2,
                            "server_connections": 2}}) as watched:
        with watched.connect("alpha") as a, watched.connect("alpha") as b:  # on both workers
            for i in range(3000):
                key = "hot" if i % 4 == 0 else "cold:%d" % i
                assert (a if i % 3 else b).command("get " + key) == b"END"
        seen = watched.hot("alpha")
        assert seen.sample == 2
        assert 1300 < seen.samples < 1700
        assert seen.keys[0].key == "hot"
        assert 0.2 < seen.keys[0].share < 0.3
        assert seen.keys[1].share < 0.01
        assert len(seen.keys) == 20 and len(watched.hot("alpha", limit=3).keys) == 3

        code, table, _ = watched.ctl("hotkeys", "alpha", "--limit", "2")
        rows = table.splitlines()
        assert code == 0 and rows[0].split() == ["SHARE", "PER", "SECOND", "KEY"]
        assert rows[1].endswith("hot") and len(rows) == 5
        code, out, _ = watched.ctl("hotkeys", "alpha", "--output", "json")
        assert json.loads(out)["keys"][0]["key"] == "hot"


def test_each_key_of_a_multi_get_counts_and_any_byte_is_shown(redis):
    with Watched({"alpha": {"servers": [line(redis)], "redis": True,
                            "hot_keys_sample": 1}}) as watched:
        with watched.connect("alpha") as client:
            for _ in range(10):
                client.send("*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\na\r\n")
                assert client.read_until("$-1\r\n" * 3)
            odd = b"\xff\"\x00\r\n\\"
            client.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(odd), odd))
            assert client.recv_line() == b"$-1"
            long = "x" * 1000
            assert ask(client, "GET", long) == b"$-1"
            assert ask(client, "PING") == b"+PONG"  # has no key
        seen = {k.key: k for k in watched.hot("alpha").keys}
        assert {k: seen[k].samples for k in ("a", "b")} == {"a": 20, "b": 10}
        assert "\\xff\\x22\\x00\\x0d\\x0a\\\\" in seen
        assert seen["x" * 250].key_bytes == 1000
        assert len(seen) == 4


def test_off_keeps_nothing_and_a_reload_turns_it_on_and_off(cache):
    with Watched({"alpha": {"servers": [line(cache)]}}) as watched:
        with watched.connect("alpha") as client:
            def some():
                for _ in range(50):
                    assert client.command("get k") == b"END"

            def refusal():
                with pytest.raises(grpc.RpcError) as refused:
                    watched.hot("alpha")
                assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
                return refused.value.details()

            some()
            assert "hot_keys_sample" in refusal()
            assert watched.slow() == [] and " access " not in watched.log()
            assert "alpha" in watched.ctl("hotkeys", "alpha")[2]
            assert watched.change("alpha", hot_keys_sample=1).changed
            some()
            assert watched.hot("alpha").keys[0].samples == 50
            watched.change("alpha", hot_keys_sample=0)
            refusal()
            some()
            watched.change("alpha", hot_keys_sample=1)
            assert watched.hot("alpha").samples == 0  # what was before is gone
            some()  # the client was never disturbed
            assert watched.hot("alpha").samples == 50


def test_a_pool_that_is_not_there_is_not_found(cache):
    with Watched({"alpha": {"servers": [line(cache)]}}) as watched:
        for call in (watched.hot, watched.slow):
            with pytest.raises(grpc.RpcError) as missing:
                call("beta")
            assert missing.value.code() == grpc.StatusCode.NOT_FOUND
        assert watched.ctl("slowlog", "beta")[0] == 4


# ---- the slow log ------------------------------------------------------------------------


def test_a_request_to_a_stopped_server_shows_where_its_time_went():
    with Memcached() as server, Watched({"alpha": {
            "servers": [line(server)], "slow_log": "100ms", "timeout": 5000}}) as watched:
        with watched.connect("alpha") as slow, watched.connect("alpha") as behind:
            assert slow.command("get warm") == b"END"
            server.pause()
            try:
                slow.send("get stuck\r\n")
                behind.send("set behind 0 0 3\r\nabc\r\n")
                time.sleep(0.4)
            finally:
                server.resume()
            assert slow.recv_line() == b"END"
            assert behind.recv_line() == b"STORED"
        entries = {e.key: e for e in watched.slow("alpha")}
        assert set(entries) == {"stuck", "behind"}
        entry = entries["stuck"]
        assert (entry.pool, entry.server, entry.command) == ("alpha", "s0", "get")
        assert (entry.keys, entry.parts, entry.outcome) == (1, 1, "ok")
        assert (entry.request_bytes, entry.reply_bytes) == (11, 5)
        assert entry.total_us > 350_000 and entry.server_us > 0.9 * entry.total_us
        assert adds_up(entry) and adds_up(entries["behind"])
        assert abs(entry.ended_at.seconds - time.time()) < 60

        code, table, _ = watched.ctl("slowlog", "alpha")
        assert code == 0 and "AT SERVER" in table.splitlines()[0]
        assert len(table.splitlines()) == 3
        code, out, _ = watched.ctl("slowlog", "--limit", "1", "--output", "json", "--reset")
        assert len(json.loads(out)["requests"]) == 1
        assert watched.slow() == []
        assert watched.ctl("slowlog")[1] == "no slow requests are kept\n"


def test_a_reply_that_waits_for_an_earlier_one_was_held():
    with Redis() as slow_server, Redis() as quick_server, Watched({"alpha": {
            "servers": [slow_server.server_line("s0"), quick_server.server_line("s1")],
            "redis": True, "slow_log": "100ms", "hash_tag": "{}", "timeout": 5000,
            "distribution": "modula"}}) as watched:
        with watched.connect("alpha") as client:
            key = {}  # one on each server
            for i in range(100):
                name = "k%d" % i
                where = watched.client.admin("Locate", pool="alpha", key=name.encode()).server
                key.setdefault(where, name)
            slow_server.pause()
            try:
                client.send("".join("*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(k), k)
                                    for k in (key["s0"], key["s1"])))
                time.sleep(0.3)
            finally:
                slow_server.resume()
            assert client.read_until("$-1\r\n$-1\r\n")
        entries = {e.server: e for e in watched.slow()}
        assert entries["s0"].server_us > 250_000 > entries["s0"].held_us
        assert entries["s1"].held_us > 250_000 > entries["s1"].server_us
        assert all(adds_up(e) and e.key == key[e.server] for e in entries.values())


def test_a_busy_redis_is_slow_and_a_timeout_says_so(redis):
    with Watched({"alpha": {"servers": [line(redis)], "redis": True, "slow_log": "50ms",
                            "timeout": 300}}) as watched:
        loop = "local n = 0; for i = 1, %d do n = n + 1 end; return n"
        with watched.connect("alpha") as client:
            began = time.monotonic()
            assert ask(client, "EVAL", loop % 10_000_000, "1", "busy") == b":10000000"
            took_us = (time.monotonic() - began) * 1e6
        entry, = watched.slow()
        assert (entry.command, entry.key, entry.outcome) == ("EVAL", "busy", "ok")
        assert entry.server_us > 40_000 and entry.total_us <= took_us and adds_up(entry)
        assert watched.slow(reset=True)
        with watched.connect("alpha") as client:
            redis.pause()
            try:
                assert ask(client, "GET", "k").startswith(b"-ERR")
            finally:
                redis.resume()
        entry = watched.slow()[0]
        assert (entry.outcome, entry.server, entry.key) == ("timeout", "s0", "k")
        assert entry.total_us > 290_000 and adds_up(entry)


def test_a_client_that_gives_up_leaves_a_trace():
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Memcached()) for _ in range(2)]
        watched = stack.enter_context(Watched({"alpha": {
            "servers": [s.server_line("s%d" % i) for i, s in enumerate(servers)],
            "slow_log": "100ms"}}))
        keys = ["k%d" % i for i in range(20)]
        servers[1].pause()
        try:
            with watched.connect("alpha") as client:
                client.send("get %s\r\n" % " ".join(keys))
                time.sleep(0.2)
                # A reset: after a mere FIN it would still be answered.
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(watched.slow, what="the slow log to show the client that left")
        finally:
            servers[1].resume()
        entry, = watched.slow()
        assert (entry.outcome, entry.server) == ("client_left", "s1")
        assert (entry.keys, entry.parts, entry.key) == (20, 2, "k0")
        assert entry.server_us > 150_000 and adds_up(entry)


def test_as_many_as_slow_log_size_are_kept_newest_first(redis):
    with Watched({"alpha": {"servers": [line(redis)], "redis": True, "slow_log": "1ms"}},
                 slow_log_size=5) as watched:
        loop = "local n = 0; for i = 1, 300000 do n = n + 1 end; return n"
        with watched.connect("alpha") as client:
            for i in range(8):
                assert ask(client, "EVAL", loop, "1", "k%d" % i) == b":300000"
        assert [e.key for e in watched.slow()] == ["k7", "k6", "k5", "k4", "k3"]
        text = watched.settings_text.replace("slow_log_size: 5", "slow_log_size: 2")
        watched.settings_text = text
        assert watched.change("alpha").warnings == []
        wait_until(lambda: len(watched.slow()) == 2, what="the slow log to shrink")


# ---- the access log ----------------------------------------------------------------------

ACCESS = re.compile(r'access pool=(\S*) server=(\S*) command=(\S*) key="([^"]*)" '
                    r"request_bytes=(\d+) reply_bytes=(\d+) total_us=(\d+) outcome=(\S+)$")


def access_lines(watched):
    return [m.groups() for m in map(ACCESS.search, watched.log().splitlines()) if m]


def test_the_access_log_has_every_request_when_asked_for_all(cache):
    with Watched({"alpha": {"servers": [line(cache)], "access_log_sample": 1}}) as watched:
        with watched.connect("alpha") as client:
            assert client.command("set a 0 0 5\r\nhello") == b"STORED"
            client.send("get a b\r\n")
            assert client.read_until("END\r\n")
            assert client.command("nonsense").startswith(b"ERROR")
            assert client.command("version").startswith(b"VERSION")
            assert client.command("get quo\"te=\\") == b"END"
            for i in range(200):  # more than any other line may come in a second
                assert client.command("get k%d" % i) == b"END"
        wait_until(lambda: len(access_lines(watched)) == 205, what="205 access lines")
        lines = access_lines(watched)
        assert lines[0][:6] == ("alpha", "s0", "set", "a", "20", "8")
        assert lines[1][:6] == ("alpha", "s0", "get", "a", "9", "25")
        assert (lines[2][1:4], lines[2][7]) == (("", "nonsense", ""), "request")
        assert lines[3][2] == "version" and int(lines[3][5]) > 8
        assert lines[4][3] == "quo\\x22te=\\\\"
        assert {entry[7] for i, entry in enumerate(lines) if i != 2} == {"ok"}


def test_the_access_log_has_one_request_in_n(cache):
    with Watched({"alpha": {"servers": [line(cache)], "access_log_sample": 20}}) as watched:
        with watched.connect("alpha") as client:
            for _ in range(40):
                client.send("get k\r\n" * 100)
                assert client.read_until("END\r\n" * 100)
            watched.change("alpha", access_log_sample=0)
            before = len(access_lines(watched))
            assert 130 < before < 280
            for _ in range(200):
                assert client.command("get k") == b"END"
            watched.proxy.popen.send_signal(1)  # what comes later is written later
            wait_until(lambda: "log reopened" in watched.log(), what="the log to be reopened")
            assert len(access_lines(watched)) == before


# ---- JSON --------------------------------------------------------------------------------


def test_json_lines_all_parse_with_hostile_keys_and_repeats(redis):
    dead = free_port()
    with Watched({"alpha": {"servers": [line(redis)], "redis": True, "access_log_sample": 1},
                  "gone": {"servers": ["%s:%d:1 dead" % (HOST, dead)]}},
                 args=("--log-format", "json", "-v", "7")) as watched:
        hostile = [bytes([b]) * 3 for b in range(256)] + [b'" level=emerg x="', b"{}", b"%s{0}"]
        with watched.connect("alpha") as client:
            for key in hostile:
                client.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
                assert client.recv_line() == b"$-1"
        threads = [threading.Thread(target=storm, args=(watched, "gone")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        watched.proxy.stop()
        entries = [json.loads(text) for text in watched.log().splitlines()]
        with open(watched.proxy.stderr_path, encoding="utf-8") as f:
            assert f.read() == ""
        assert all({"ts", "level", "src", "msg"} <= set(e) for e in entries)
        assert {e["level"] for e in entries} <= {"notice", "info", "warn", "error", "debug"}
        access = [e for e in entries if e["msg"] == "access"]
        assert len(access) == len(hostile)
        assert access[ord("a")]["key"] == "aaa" and access[0]["key"] == "\\x00\\x00\\x00"
        assert access[256]["key"] == "\\x22 level=emerg x=\\x22"
        assert access[0]["total_us"] >= 0 and access[0]["pool"] == "alpha"
        ended = [e for e in entries if e["msg"] == "server connection ended"]
        assert ended and all(e["server"] == "dead" for e in ended)
        listening = [e for e in entries if e["msg"] == "listening"]
        assert sorted(e["pool"] for e in listening) == ["alpha", "gone"]


def storm(watched, pool):
    for _ in range(100):
        with watched.connect(pool) as client:
            assert client.command("get k").startswith(b"SERVER_ERROR")


def test_an_unknown_format_is_refused():
    done = subprocess.run([default_binary(), "--log-format", "xml"], capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 1
    assert "option --log-format value 'xml' is not a format, give text or json" in done.stderr
