"""Reply N belongs to request N.

Server connections are shared, so one reply too many or too few would hand a client
another client's data. Each test puts a client that verifies every reply on the same
server connection (one worker, server_connections: 1) as a hostile client, or behind a
server that misbehaves.
"""

import base64
import contextlib
import itertools
import random
import re
import socket
import statistics
import string
import time

import pytest

from support import HOST, FakeServer, Memcached, Proxy, VerifyingClient, wait_until

pytestmark = pytest.mark.improved

SHARED = {"hash": "md5", "timeout": 2000, "server_connections": 1}
ONE_WORKER = {"workers": 1}


@pytest.fixture(scope="module")
def server():
    with Memcached() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server):
    with Proxy({"alpha": {**SHARED, "servers": [server]}}, settings=ONE_WORKER) as running:
        yield running


def trouble(proxy):
    """What a healthy server must never be charged with."""
    names = ("server_eof_total", "server_err_total", "server_timedout_total", "server_desync_total")
    return {name: proxy.metric("cashew_" + name) for name in names}


NO_TROUBLE = dict.fromkeys(
    ("server_eof_total", "server_err_total", "server_timedout_total", "server_desync_total"), 0
)


_tags = ("neighbour-%d" % i for i in itertools.count())  # of keys that no earlier test wrote


@contextlib.contextmanager
def neighbour(proxy, server, rate=1500):
    """A verifying client that must not notice what the block does, on a server
    connection that must live through it."""
    client = VerifyingClient(
        proxy.address(), rate=rate, connections=4, keys=20, set_ratio=0.3, tag=next(_tags)
    )
    with client:
        wait_until(lambda: client.hits > 5, what="the neighbour's first hits")
        opened = int(server.stats()["total_connections"])
        before = trouble(proxy)
        yield client
        hits = client.hits
        wait_until(lambda: client.hits > hits + 5, what="the neighbour to go on")
        client.stop()
    assert (client.errors, client.mismatches, client.stale) == ([], [], []), client.summary()
    assert client.closed == 0
    assert client.answered == client.sent
    assert trouble(proxy) == before
    # Only these questions have connected to memcached since.
    assert int(server.stats()["total_connections"]) == opened + 1
    assert server.stats()["cmd_flush"] == "0"


# (a) What a client may send.

BAD_LINE = "CLIENT_ERROR bad command line format"
BAD_KEY = "CLIENT_ERROR key has a control character"
BAD_CHUNK = "CLIENT_ERROR bad data chunk"
LONG_KEY = "CLIENT_ERROR key is longer than 250 bytes"
LONG_LINE = "CLIENT_ERROR line too long"
BARE_LF = "CLIENT_ERROR line must end in CRLF"
BAD_FLAG = "CLIENT_ERROR invalid flag"
BAD_TOKEN = "CLIENT_ERROR bad token in command line format"
TOO_LARGE = "SERVER_ERROR object too large for cache"

# What is sent, the line that answers it, and whether the two sides still agree where the
# next command begins: if so, a get that follows in the same write is answered.
STAYS, CLOSES = True, False
HOSTILE = {
    "a line feed in a key": ("get a\nget secret\r\n", BARE_LF, CLOSES),
    "a line feed in a set's key": ("set a\nb 0 0 1\r\nx\r\n", BARE_LF, CLOSES),
    "a bare line feed": ("get a\n", BARE_LF, CLOSES),
    "a bare line feed after a set": ("set a 0 0 1\nx\r\n", BARE_LF, CLOSES),
    "a carriage return in a key": ("get a\rget secret\r\n", BARE_LF, CLOSES),
    "two carriage returns": ("get a\r\r\n", BARE_LF, CLOSES),
    "a NUL in a key": ("get a\0b\r\n", BAD_KEY, STAYS),
    "a NUL in one of many keys": ("get a b\0 c\r\n", BAD_KEY, STAYS),
    "a NUL in a set's key": ("set a\0b 0 0 1\r\nx\r\n", BAD_KEY, STAYS),
    "a NUL in a meta key": ("mg a\0b v\r\n", BAD_KEY, STAYS),
    "a negative length": ("set a 0 0 -1\r\n", BAD_CHUNK, CLOSES),
    "a length with a sign": ("set a 0 0 +1\r\nx\r\n", BAD_CHUNK, CLOSES),
    "a length over 31 bits": ("set a 0 0 2147483647\r\n", BAD_CHUNK, CLOSES),
    "a length over 32 bits": ("set a 0 0 4294967297\r\nx\r\n", BAD_CHUNK, CLOSES),
    "a length over 64 bits": ("set a 0 0 18446744073709551617\r\nx\r\n", BAD_CHUNK, CLOSES),
    "a length that is no number": ("set a 0 0 x\r\nx\r\n", BAD_CHUNK, CLOSES),
    "a negative meta length": ("ms a -1\r\n", BAD_CHUNK, CLOSES),
    "a huge meta length": ("ms a 99999999999\r\n", BAD_CHUNK, CLOSES),
    "flags over 32 bits": ("set a 4294967296 0 1\r\nx\r\n", BAD_LINE, STAYS),
    "negative flags": ("set a -1 0 1\r\nx\r\n", BAD_LINE, STAYS),
    "an exptime over 32 bits": ("set a 0 2147483648 1\r\nx\r\n", BAD_LINE, STAYS),
    "an exptime over 64 bits": ("set a 0 99999999999999999999 1\r\nx\r\n", BAD_LINE, STAYS),
    "an exptime under 32 bits": ("set a 0 -2147483649 1\r\nx\r\n", BAD_LINE, STAYS),
    "a touch's exptime": (
        "touch a 2147483648\r\n",
        "CLIENT_ERROR invalid exptime argument",
        STAYS,
    ),
    "a gat's exptime": (
        "gat 2147483648 a b\r\n",
        "CLIENT_ERROR invalid exptime argument",
        STAYS,
    ),
    "a cas unique over 64 bits": ("cas a 0 0 1 18446744073709551616\r\nx\r\n", BAD_LINE, STAYS),
    "a delta over 64 bits": (
        "incr a 18446744073709551616\r\n",
        "CLIENT_ERROR invalid numeric delta argument",
        STAYS,
    ),
    "a negative delta": (
        "decr a -1\r\n",
        "CLIENT_ERROR invalid numeric delta argument",
        STAYS,
    ),
    "a value without CRLF": ("set a 0 0 3\r\nabcdefgh\r\n", BAD_CHUNK, CLOSES),
    "a meta value without CRLF": ("ms a 3\r\nabcdefgh\r\n", BAD_CHUNK, CLOSES),
    "a value with LF alone": ("set a 0 0 3\r\nabc\n\r\n", BAD_CHUNK, CLOSES),
    "a binary request": (
        b"\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\0\0\0\0\0\0\0\0\0\0\0\0a",
        "CLIENT_ERROR the binary protocol is not supported, use the text protocol",
        CLOSES,
    ),
    "100,000 spaces": (" " * 100000, LONG_LINE, CLOSES),
    "100,000 spaces in a delete": ("delete" + " " * 100000 + "a\r\n", LONG_LINE, CLOSES),
    "100,000 spaces in a set": ("set a 0" + " " * 100000 + "0 1\r\nx\r\n", LONG_LINE, CLOSES),
    "100,000 spaces in a meta get": ("mg a" + " " * 100000 + "v\r\n", LONG_LINE, CLOSES),
    "100,000 bytes without a line end": ("x" * 100000, LONG_LINE, CLOSES),
    "a key of 251 bytes": ("get " + "k" * 251 + "\r\n", LONG_KEY, STAYS),
    "a set's key of 251 bytes": ("set " + "k" * 251 + " 0 0 1\r\nx\r\n", LONG_KEY, STAYS),
    "an opaque of 32 bytes": (
        "mg a v O" + "o" * 32 + "\r\n",
        "CLIENT_ERROR opaque token too long",
        STAYS,
    ),
    "an opaque of 32 bytes with a value": (
        "ms a 1 O" + "o" * 32 + "\r\nx\r\n",
        "CLIENT_ERROR opaque token too long",
        STAYS,
    ),
    "an unknown meta flag": ("mg a !\r\n", BAD_FLAG, STAYS),
    "a set's meta flag on a get": ("mg a F1\r\n", BAD_FLAG, STAYS),
    "an unknown meta flag with a value": ("ms a 5 !\r\nget a\r\n", BAD_FLAG, STAYS),
    "a meta flag twice": ("mg a v v\r\n", "CLIENT_ERROR duplicate flag", STAYS),
    "a meta time that is no number": ("mg a Tsoon\r\n", BAD_TOKEN, STAYS),
    "a meta time over 32 bits": ("mg a T2147483648\r\n", BAD_TOKEN, STAYS),
    "a meta delta over 64 bits": ("ma a D18446744073709551616\r\n", BAD_TOKEN, STAYS),
    "30 meta flags": (
        "mg a" + "".join(" k%d" % i for i in range(30)) + "\r\n",
        "CLIENT_ERROR options flags are too long",
        STAYS,
    ),
    "a key that is no base64": ("mg a*b= b v\r\n", "CLIENT_ERROR error decoding key", STAYS),
    "an object of 10 MB": (
        b"set a 0 0 10000000\r\n" + b"get secret\r\n" * 833333 + b"1234\r\n",
        TOO_LARGE,
        STAYS,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_client_gets_its_error_and_its_neighbour_notices_nothing(proxy, server, name):
    request, answer, stays = HOSTILE[name]
    request = request if isinstance(request, bytes) else request.encode("latin-1")
    with proxy.client() as owner:
        assert owner.set("secret", "another client's") == b"STORED"
    with neighbour(proxy, server), proxy.client() as client:
        client.send(request + b"get nothing\r\n")
        client.expect(answer + "\r\n" + ("END\r\n" if stays else ""))
        if stays:
            assert client.set("afterwards", "1") == b"STORED"
            assert client.get("afterwards") == b"1"
        else:
            client.expect_closed()


@pytest.mark.parametrize("command", ["gat 0", "gats 0", "get", "gets"])
def test_many_long_keys_are_more_than_memcacheds_line_and_are_answered(proxy, server, command):
    keys = ["%s-%03d-%s" % (command.split()[0], i, "k" * 190) for i in range(200)]
    with neighbour(proxy, server), proxy.client() as client:
        for key in keys[::7]:
            assert client.set(key, "of " + key[:8]) == b"STORED"
        client.send("%s %s\r\n" % (command, " ".join(keys)))
        for key in keys[::7]:
            assert client.recv_line().startswith(b"VALUE %s 0 11" % key.encode())
            client.expect("of %s\r\n" % key[:8])
        client.expect("END\r\n")


def test_spaces_between_the_keys_of_a_get_are_no_harm(proxy, server):
    with neighbour(proxy, server), proxy.client() as client:
        assert client.set("spaced", "1") == b"STORED"
        client.ask("get" + " " * 100000 + "spaced\r\n", "VALUE spaced 0 1\r\n1\r\nEND\r\n")
        client.ask("get spaced" + " " * 100000 + "x \r\n", "VALUE spaced 0 1\r\n1\r\nEND\r\n")


def test_the_largest_numbers_that_memcached_takes_are_forwarded(proxy, server):
    with neighbour(proxy, server), proxy.client() as client:
        client.ask("set numbers 4294967295 2147483647 1\r\n1\r\n", "STORED\r\n")
        client.ask("get numbers\r\n", "VALUE numbers 4294967295 1\r\n1\r\nEND\r\n")
        client.ask("incr numbers 18446744073709551614\r\n", "18446744073709551615\r\n")
        client.ask("touch numbers 2147483647\r\n", "TOUCHED\r\n")
        client.ask("cas numbers 0 0 1 18446744073709551615\r\nx\r\n", "EXISTS\r\n")
        client.ask("mg numbers s k Oooooooooooooooooooooooooooooooo\r\n",
                   "HD s20 knumbers Oooooooooooooooooooooooooooooooo\r\n")


def test_a_client_that_leaves_in_the_middle_of_its_value_takes_nothing_with_it(proxy, server):
    with neighbour(proxy, server):
        for size in (1, 100, 50000, 900000):
            with proxy.client() as client:
                client.send(b"set torn 0 0 1000000\r\n" + b"get secret\r\n" * (size // 12))
            with proxy.client() as client:
                client.send(b"set whole 0 0 %d\r\n%s\r\nget whole\r\n" % (size, b"v" * size))
        with proxy.client() as client:
            assert client.get("torn") is None


# Right by memcached's grammar, in one write, and longer than the 2,048 bytes that memcached
# reads without a line end before it hangs up.
OVERLONG = {
    "flags": "set a %s1 0 1\r\nx\r\n" % ("0" * 30000),
    "an exptime": "set a 0 %s1 1\r\nx\r\n" % ("0" * 30000),
    "a length": "set a 0 0 %s1\r\nx\r\n" % ("0" * 30000),
    "a cas unique": "cas a 0 0 1 %s1\r\nx\r\n" % ("0" * 30000),
    "a delta": "incr a %s1\r\n" % ("0" * 30000),
    "a touch's exptime": "touch a %s1\r\n" % ("0" * 30000),
    "a gat's exptime": "gat %s1 a\r\n" % ("0" * 30000),
    "a gat's exptime, several keys": "gat %s1 a b\r\n" % ("0" * 30000),
    "a gat's exptime of 100,000 digits": "gat %s1 a b\r\n" % ("0" * 100000),
    "a meta length": "ms a %s1\r\nx\r\n" % ("0" * 30000),
    "a meta time": "mg a v T%s1\r\n" % ("0" * 30000),
    "a meta flag's argument": "mg a v k%s\r\n" % ("x" * 30000),
    "a meta set's flag's argument": "ms a 1 k%s\r\nx\r\n" % ("x" * 30000),
    "a meta mode": "ms a 1 MS%s\r\nx\r\n" % ("x" * 30000),
}


@pytest.mark.parametrize("name", OVERLONG)
def test_a_line_longer_than_memcached_reads_never_reaches_it(proxy, server, name):
    with neighbour(proxy, server), proxy.client() as client:
        client.send(OVERLONG[name])
        assert not client.recv_line().startswith(b"SERVER_ERROR")


class Fuzz:
    """Lines that are nearly right, from a fixed seed."""

    KEYS = ["a", "b" * 250, "c" * 251, "YQ==", "====", "ä", "a\tb", "-1", "0", "noreply", "\x7f"]
    NUMBERS = ["0", "1", "-1", "00", "007", "+1", "4294967295", "4294967296", "2147483647",
               "2147483648", "-2147483648", "18446744073709551615", "1e3", "0x1", "", "x",
               "0" * 300 + "1"]
    FLAGS = ["b", "c", "f", "h", "k", "l", "O1", "O", "q", "s", "t", "v", "v1", "E1", "N0", "N30",
             "R30", "T0", "T-1", "T", "F5", "I", "MA", "MS", "MX", "M", "MI", "MD", "D5", "J3",
             "C1", "x", "z", "S2", "!", "k" * 100]
    SPACES = [" ", " ", " ", " ", "  ", "   "]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def line(self):
        pick = self.random.choice
        shape = pick(["mg", "ms", "md", "ma", "me", "get", "gets", "gat", "set", "cas", "incr",
                      "touch", "delete", "keyless"])
        key, value = pick(self.KEYS), ""
        if shape in ("mg", "md", "ma", "me", "ms"):
            words = [shape, key]
            if shape == "ms":
                value = "v" * pick([0, 1, 2, 10, 300])
                words.append(str(len(value)))
                value += "\r\n"
            words += [pick(self.FLAGS) for _ in range(self.random.randrange(5))]
        elif shape in ("get", "gets"):
            words = [shape] + [pick(self.KEYS) for _ in range(self.random.randrange(4))]
        elif shape == "gat":
            words = [pick(["gat", "gats"]), pick(self.NUMBERS), key, pick(self.KEYS)]
        elif shape in ("set", "cas"):
            value = "v" * pick([0, 1, 5, 400])
            verb = pick(["set", "add", "replace", "append", "prepend"]) if shape == "set" else "cas"
            words = [verb, key, pick(self.NUMBERS), pick(self.NUMBERS), str(len(value))]
            if shape == "cas":
                words.append(pick(self.NUMBERS))
            if self.random.random() < 0.3:
                words.append(pick(["noreply", "norepl", "noreply "]))
            value += "\r\n"
        elif shape == "incr":
            words = [pick(["incr", "decr"]), key, pick(self.NUMBERS)]
        elif shape == "touch":
            words = ["touch", key, pick(self.NUMBERS)]
        elif shape == "delete":
            words = ["delete", key] + pick([[], ["0"], ["noreply"], ["0", "noreply"], ["1"]])
        else:
            words = [pick(["version", "stats", "verbosity", "verbosity 1", "mn", "mn x", "lru",
                           "slabs", "flush_all", "flush_all 0", "stats items", "debug", "",
                           "version 1 2 3", "set", "ms", "ms a"])]
        line = words[0] + "".join(pick(self.SPACES) + word for word in words[1:] if word)
        return (line + "\r\n" + value).encode("latin-1")


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_nearly_right_lines_do_no_harm(proxy, server, seed):
    fuzz = Fuzz(seed)
    with neighbour(proxy, server, rate=300):
        sent, before = 0, trouble(proxy)
        while sent < 1500:
            with proxy.client() as client:
                lines = [fuzz.line() for _ in range(100)]
                sent += len(lines)
                client.send(b"".join(lines) + b"quit\r\n")
                while client.more(5):
                    pass
                assert client.eof, "no answer to %r" % b"".join(lines)
            assert trouble(proxy) == before, lines


# (b) noreply and q: the proxy hides what memcached would.

QUIET = {
    "set": "set K 0 0 1 noreply\r\nx\r\n",
    "add, stored and not": "add K 0 0 1 noreply\r\nx\r\nadd K 0 0 1 noreply\r\ny\r\nget K\r\n",
    "replace, not stored": "replace K 0 0 1 noreply\r\nx\r\n",
    "append and prepend": "set K 0 0 1\r\nb\r\nappend K 0 0 1 noreply\r\nc\r\n"
    "prepend K 0 0 1 noreply\r\na\r\nget K\r\n",
    "cas of nothing": "cas K 0 0 1 5 noreply\r\nx\r\n",
    "incr, decr": "set K 0 0 1\r\n5\r\nincr K 3 noreply\r\ndecr K 1 noreply\r\nget K\r\n",
    "incr of nothing": "incr K 3 noreply\r\n",
    "incr of what is no number": "set K 0 0 1\r\nx\r\nincr K 3 noreply\r\nget K\r\n",
    "delete": "set K 0 0 1\r\nx\r\ndelete K noreply\r\nget K\r\ndelete K noreply\r\n",
    "delete with a 0": "set K 0 0 1\r\nx\r\ndelete K 0 noreply\r\nget K\r\n",
    "touch": "touch K 0 noreply\r\nset K 0 0 1\r\nx\r\ntouch K 0 noreply\r\n",
    "verbosity": "verbosity 1 noreply\r\n",
    "mg q, miss": "mg K v q\r\n",
    "mg q, hit": "set K 0 0 1\r\nx\r\nmg K v q\r\nmg K q\r\n",
    "mg q with k and O": "mg K k O7 q\r\nset K 0 0 1\r\nx\r\nmg K k O7 q\r\n",
    "mg, miss": "mg K v\r\nmg K k O7\r\n",
    "ms q": "ms K 1 q\r\nx\r\nmg K v\r\n",
    "ms q with k and O": "ms K 1 q k O1\r\nx\r\nmg K v\r\n",
    "ms q, not stored": "ms K 1 q ME\r\nx\r\nms K 1 q ME k O2\r\ny\r\nms K 1 q MR\r\nz\r\n"
    "mg K v\r\n",
    "ms q, a bad mode": "ms K 1 q MX\r\nx\r\nmg K v\r\n",
    "md q": "ms K 1\r\nx\r\nmd K q\r\nmg K v\r\n",
    "md q, miss": "md K q\r\nmd K q k O3\r\n",
    "ma q, miss": "ma K q\r\n",
    "ma q": "ms K 1\r\n5\r\nma K q\r\nmg K v\r\n",
    "ma q with its value": "ms K 1\r\n5\r\nma K q v\r\nma K v q k O5\r\nmg K v\r\n",
    "ma q of what is no number": "ms K 1\r\nx\r\nma K q\r\n",
    "q in a row": "ms K 1 q\r\nx\r\nmg K v q\r\nmd K q\r\nmg K v q\r\n",
    "me": "me K\r\n",
    "a meta flag that is unknown": "mg K q !\r\n",
    "a quiet pipeline": "set K 0 0 1 noreply\r\n1\r\n" + "incr K 1 noreply\r\n" * 50 + "get K\r\n",
}


def transcript(client, conversation):
    """All that comes before the barrier's answer."""
    client.send(conversation + "mn\r\n")
    return client.read_until("MN\r\n")


@pytest.mark.parametrize("name", QUIET)
def test_what_noreply_and_q_hide_is_what_memcached_hides(proxy, server, name):
    conversation = QUIET[name].replace("K", "quiet-" + re.sub(r"\W", "-", name))
    with server.client() as direct:
        expected = transcript(direct, conversation)
        for key in set(re.findall(r"quiet-\S+", conversation)):
            direct.command("delete " + key)
    with neighbour(proxy, server), proxy.client() as client:
        assert transcript(client, conversation) == expected


# Lines that the proxy refuses itself. memcached forgets here that a value follows; the
# proxy passes over it. Neither answers: the client reads nothing after noreply.
REFUSED_QUIETLY = {
    "a set's flags": ("set K x 0 8 noreply\r\nget aaaa\r\nget K\r\n", "END\r\n"),
    "a set's exptime": ("set K 0 x 8 noreply\r\nget aaaa\r\nget K\r\n", "END\r\n"),
    "a set's key": ("set " + "k" * 251 + " 0 0 1 noreply\r\nx\r\nget K\r\n", "END\r\n"),
    "a set's key with a NUL": ("set K\0 0 0 1 noreply\r\nx\r\nget K\r\n", "END\r\n"),
    "a cas's unique": ("cas K 0 0 1 x noreply\r\ny\r\nget K\r\n", "END\r\n"),
    "an incr's key": ("incr " + "k" * 251 + " 1 noreply\r\nget K\r\n", "END\r\n"),
    "a delta": ("incr K x noreply\r\nget K\r\n", "END\r\n"),
    "a delete's key": ("delete " + "k" * 251 + " noreply\r\nget K\r\n", "END\r\n"),
    "a delete's time": ("delete K 5 noreply\r\nget K\r\n", "END\r\n"),
    "a touch's exptime": ("touch K x noreply\r\nget K\r\n", "END\r\n"),
    "flush_all": ("flush_all noreply\r\nget K\r\n", "END\r\n"),
    "an object too large for the server": (
        "set K 0 0 2000000 noreply\r\n" + "x" * 2000000 + "\r\nget K\r\n",
        "END\r\n",
    ),
}


@pytest.mark.parametrize("name", REFUSED_QUIETLY)
def test_an_error_to_a_noreply_request_is_not_sent(proxy, server, name):
    conversation, expected = REFUSED_QUIETLY[name]
    key = "refused-" + re.sub(r"\W", "-", name)
    with neighbour(proxy, server), proxy.client() as client:
        assert transcript(client, conversation.replace("K", key)) == (expected + "MN\r\n").encode()


def test_mn_waits_for_every_request_before_it():
    with Memcached() as first, Memcached() as second:
        pool = {**SHARED, "distribution": "modula", "servers": [first, second]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy, proxy.client() as client:
            keys = ["barrier-%d" % i for i in range(20)]
            for key in keys:
                assert client.set(key, key) == b"STORED"
            assert first.get_many(keys) and second.get_many(keys)
            first.pause()
            try:
                client.send("".join("mg %s v q\r\n" % key for key in keys) + "mn\r\n")
                client.more(0.3)
                assert b"MN" not in client.buffer
            finally:
                first.resume()
            client.expect("".join("VA %d\r\n%s\r\n" % (len(key), key) for key in keys) + "MN\r\n")


def test_noreply_requests_do_not_expire_and_shift_nothing(server):
    with Memcached() as slow:
        pool = {**SHARED, "timeout": 200, "servers": [slow]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy, proxy.client() as client:
            assert client.set("a", "1") == b"STORED"
            slow.pause()
            try:
                client.send("set a 0 0 1 noreply\r\n2\r\n")
                time.sleep(0.6)  # three times the time-out
            finally:
                slow.resume()
            client.ask("get a\r\n", "VALUE a 0 1\r\n2\r\nEND\r\n")
            assert trouble(proxy) == NO_TROUBLE


def test_base64_keys_are_routed_by_what_they_decode_to():
    with Memcached() as first, Memcached() as second:
        pool = {**SHARED, "distribution": "modula", "servers": [first, second]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy, proxy.client() as client:
            for i in range(20):
                key = b"decoded-%d" % i
                encoded = base64.b64encode(key).decode()
                client.ask("ms %s 1 b\r\nx\r\n" % encoded, "HD\r\n")
                assert client.get(key) == b"x"
                client.ask("mg %s v b k\r\n" % encoded, "VA 1 k%s b\r\nx\r\n" % encoded)


# (c) Servers that answer what was not asked.


class Imitation:
    """A behaviour for FakeServer: a small memcached. `twist(peer, line, reply)` may return
    other bytes for a reply, or None to hang up."""

    def __init__(self, twist):
        self.twist = twist
        self.values = {}

    def __call__(self, peer):
        pending = b""
        for data in peer.requests():
            pending += data
            while True:
                line, found, rest = pending.partition(b"\r\n")
                if not found:
                    break
                words = line.split(b" ")
                if words[0] == b"set":
                    size = int(words[4]) + 2
                    if len(rest) < size:
                        break
                    self.values[words[1]] = rest[: size - 2]
                    rest, reply = rest[size:], b"STORED\r\n"
                else:
                    reply = self.get(words)
                pending = rest
                reply = self.twist(peer, line, reply)
                if reply is None:
                    return
                peer.send(reply)

    def get(self, words):
        if words[0] == b"version":
            return b"VERSION 1.6.0\r\n"
        found = [(key, self.values[key]) for key in words[1:] if key in self.values]
        blocks = [b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value) for key, value in found]
        return b"".join(blocks) + b"END\r\n"


def on(trigger, make):
    """A twist of the replies to one line alone."""

    def twist(peer, line, reply):
        return make(peer, reply) if line == trigger else reply

    return twist


EJECTING = {
    **SHARED,
    "auto_eject_hosts": True,
    "server_failure_limit": 1,
    "server_retry_timeout": 30000,
}


@contextlib.contextmanager
def behind(twist, **keys):
    """A proxy of one connection to an imitation of memcached."""
    with FakeServer(Imitation(twist)) as fake:
        pool = {**EJECTING, **keys, "servers": [fake]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy:
            yield fake, proxy


def _stray(peer, reply):
    peer.send(reply)
    time.sleep(0.05)
    return b"END\r\n"


OUT_OF_STEP = {
    "a reply of another kind": lambda peer, reply: b"STORED\r\n",
    "a number": lambda peer, reply: b"17\r\n",
    "OK": lambda peer, reply: b"OK\r\n",
    "a meta reply": lambda peer, reply: b"HD\r\n",
    "a meta value": lambda peer, reply: b"VA 6\r\nsecret\r\n",
    "a value of another key": lambda peer, reply: b"VALUE other 0 6\r\nsecret\r\nEND\r\n",
    "a value that was not asked for behind the one that was": lambda peer, reply: reply[:-5]
    + b"VALUE other 0 6\r\nsecret\r\nEND\r\n",
    "the same value twice": lambda peer, reply: reply[:-5] + reply,
    "two replies to one request": lambda peer, reply: reply + reply,
    "a stray reply": _stray,
    "ERROR": lambda peer, reply: b"ERROR\r\n",
    "CLIENT_ERROR": lambda peer, reply: b"CLIENT_ERROR line too long\r\n",
}


@pytest.mark.parametrize("name", OUT_OF_STEP)
def test_a_server_out_of_step_loses_its_connection_and_is_not_ejected(name):
    with behind(on(b"get evil", OUT_OF_STEP[name])) as (fake, proxy), proxy.client() as client:
        assert client.set("evil", "value") == b"STORED"
        assert client.get("evil-not") is None
        for attempt in range(1, 4):
            client.send("get evil\r\nget good\r\n")
            _one_answer_to_a_get(client, b"evil", b"value")
            _one_answer_to_a_get(client, b"good", None)
            wait_until(
                lambda n=attempt: proxy.metric("cashew_server_desync_total") >= n,
                what="a desync to be counted",
            )
            assert client.set("good-%d" % attempt, "1") == b"STORED"
            assert client.get("good-%d" % attempt) == b"1"
        assert fake.connections() == 4
        assert trouble(proxy) == {**NO_TROUBLE, "server_desync_total": 3}
        assert proxy.pool_stats()["server_ejects"] == 0


def _one_answer_to_a_get(client, key, value):
    """The key's own value, a miss or an error line: never anything else."""
    line = client.recv_line()
    if line.startswith(b"VALUE "):
        assert line == b"VALUE %s 0 %d" % (key, len(value))
        client.expect(value + b"\r\nEND\r\n")
    else:
        assert re.fullmatch(rb"END|ERROR|(SERVER|CLIENT)_ERROR .+", line), line


@pytest.mark.parametrize("name", OUT_OF_STEP)
def test_a_server_out_of_step_under_load_gives_nobody_anothers_value(name):
    with behind(on(b"get evil", OUT_OF_STEP[name])) as (fake, proxy):
        load = VerifyingClient(proxy.address(), rate=600, connections=6, keys=60, set_ratio=0.2)
        with load, proxy.client() as client:
            assert client.set("evil", "value") == b"STORED"
            wait_until(lambda: load.hits > 20, what="the first hits")
            for _ in range(10):
                client.send("get evil\r\n")
                _one_answer_to_a_get(client, b"evil", b"value")
                time.sleep(0.03)
            wait_until(lambda: proxy.metric("cashew_server_desync_total") >= 3, what="desyncs")
            hits = load.hits
            wait_until(lambda: load.hits > hits + 20, what="the load to go on")
            load.stop()
        assert load.mismatches == [], load.summary()
        assert load.closed == 0
        assert load.answered == load.sent, load.summary()
        assert fake.connections() >= 3
        assert proxy.pool_stats()["server_ejects"] == 0


def test_a_reply_before_any_request_closes_the_connection():
    def eager(peer):
        if peer.index == 0:
            peer.send(b"VALUE good 0 6\r\nsecret\r\nEND\r\n")
        imitation(peer)

    imitation = Imitation(lambda peer, line, reply: reply)
    with FakeServer(eager) as fake:
        pool = {**EJECTING, "preconnect": True, "servers": [fake]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy, proxy.client() as client:
            wait_until(lambda: proxy.metric("cashew_server_desync_total") == 1, what="a desync")
            assert client.set("good", "1") == b"STORED"
            assert client.get("good") == b"1"
            assert trouble(proxy) == {**NO_TROUBLE, "server_desync_total": 1}
            assert proxy.pool_stats()["server_ejects"] == 0


def test_a_reply_before_its_request_is_written_to_the_wire_is_nobodys():
    """The server speaks at once on accept; the request that caused the connect is not out."""

    def eager(peer):
        peer.send(b"VALUE good 0 6\r\nsecret\r\nEND\r\n")
        for _ in peer.requests():
            pass

    with FakeServer(eager) as fake:
        pool = {**SHARED, "timeout": 300, "servers": [fake]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy, proxy.client() as client:
            client.send("get mine\r\n")
            assert client.recv_line().startswith(b"SERVER_ERROR ")


def test_clients_that_wait_behind_a_desync_each_get_one_error():
    def hold_then_lie(peer, reply):
        time.sleep(0.2)
        return b"VALUE other 0 6\r\nsecret\r\nEND\r\n"

    with behind(on(b"get evil", hold_then_lie)) as (_, proxy), contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(proxy.client()) for _ in range(20)]
        waiting[0].send("get evil\r\n")
        proxy.wait_stats(lambda s: s["alpha"]["s0"]["out_queue"] == 1, what="the get")
        for client in waiting[1:]:
            client.send("get a\r\nset b 0 0 1\r\nx\r\n")
        for i, client in enumerate(waiting):
            for _ in range(1 if i == 0 else 2):
                assert client.recv_line() == b"SERVER_ERROR Invalid argument"
        for client in waiting:
            assert client.get("a") is None
            client.expect_silence(0.01)
        assert proxy.pool_stats()["forward_error"] == 39


@pytest.mark.parametrize(
    "reply, counter",
    [
        (b"\x00\xff\x13garbage\r\n", "server_err_total"),
        (b"garbage without an end" * 1000, "server_err_total"),
        (b"VALUE evil 0 x\r\n", "server_err_total"),
        (b"VALUE evil 0 99999999999999999999\r\n", "server_err_total"),
        (b"VALUE evil 0 -1\r\n", "server_err_total"),
        (b"VALUE evil 0 3\r\nvalue\r\nEND\r\n", "server_err_total"),
        (b"END\n", "server_err_total"),
        (b"HTTP/1.1 400 Bad Request\r\n", "server_err_total"),
    ],
)
def test_garbage_is_the_servers_fault_and_a_failure(reply, counter):
    with behind(on(b"get evil", lambda peer, _: reply), server_failure_limit=2) as (_, proxy):
        with proxy.client() as client:
            assert client.set("a", "1") == b"STORED"
            client.ask("get evil\r\n", "SERVER_ERROR Invalid argument\r\n")
            assert trouble(proxy) == {**NO_TROUBLE, counter: 1}
            assert proxy.pool_stats()["server_ejects"] == 0
            client.ask("get evil\r\n", "SERVER_ERROR Invalid argument\r\n")
            proxy.wait_stats(lambda s: s["alpha"]["server_ejects"] == 1, what="the ejection")


@pytest.mark.parametrize("size", [10, 5000, 100000])
def test_half_a_reply_and_a_close_is_an_error_for_those_who_wait(size):
    def half(peer, reply):
        peer.send(reply[: len(reply) // 2])
        time.sleep(0.05)

    twist = on(b"get evil", half)
    with behind(twist, server_failure_limit=3) as (_, proxy), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.client()) for _ in range(5)]
        assert clients[0].set("evil", "v" * size) == b"STORED"
        for client in clients:
            client.send("get evil\r\n")
        for client in clients:
            assert client.recv_line().startswith(b"SERVER_ERROR ")
            client.ask("get a\r\n", "END\r\n")
        counted = trouble(proxy)  # it closes with requests unread: that may reset
        assert counted["server_eof_total"] + counted["server_err_total"] >= 1
        assert counted["server_desync_total"] == 0


def test_a_servers_own_error_line_is_passed_on_and_the_connection_stays():
    text = b"SERVER_ERROR out of memory storing object\r\n"
    with behind(lambda peer, line, reply: text if b"evil" in line else reply) as (
        fake,
        proxy,
    ), proxy.client() as client:
        client.ask("get evil\r\n", text)
        client.ask("set evil 0 0 1\r\nx\r\n", text)
        assert client.get("good") is None
        assert fake.connections() == 1
        assert trouble(proxy) == NO_TROUBLE


# (d) A request that times out while bytes flow.


def _trickle(pieces, pause):
    def make(peer, reply):
        step = len(reply) // pieces + 1
        for at in range(0, len(reply), step):
            peer.send(reply[at : at + step])
            time.sleep(pause)
        return b""

    return make


@pytest.mark.parametrize("size", [20, 3000, 200000])
def test_a_late_reply_is_discarded_and_the_next_ones_are_not_shifted(size):
    """The slow reply takes 1.2 s in 12 pieces; requests expire after 0.4 s."""
    with behind(on(b"get slow", _trickle(12, 0.1)), timeout=400) as (fake, proxy):
        with proxy.client() as slow, proxy.client() as behind_it, proxy.client() as patient:
            assert slow.set("slow", "s" * size) == b"STORED"
            for i in range(30):
                assert slow.set("own-%d" % i, "value %d" % i) == b"STORED"
            slow.send("get slow\r\n")
            wait_until(lambda: b"get slow" in fake.bytes_received(), what="the slow get")
            time.sleep(0.15)  # its reply has begun
            behind_it.send("get own-1\r\nset own-2 0 0 1\r\nx\r\n")
            slow.expect("SERVER_ERROR Connection timed out\r\n")
            slow.send("get own-3\r\n")
            behind_it.expect("SERVER_ERROR Connection timed out\r\n" * 2)
            slow.expect("SERVER_ERROR Connection timed out\r\n")  # still behind the slow reply
            expired = proxy.metric("cashew_server_expired_total")
            assert expired >= 4
            patient.timeout = 3
            wait_until(lambda: patient.command("version").startswith(b"VERSION"), 5, "an answer")
            for client in (slow, behind_it, patient):
                client.send("".join("get own-%d\r\n" % i for i in range(30)))
            for client in (slow, behind_it, patient):
                for i in range(30):
                    value = "x" if i == 2 else "value %d" % i
                    client.expect("VALUE own-%d 0 %d\r\n%s\r\nEND\r\n" % (i, len(value), value))
            assert fake.connections() == 1, "the connection was kept"
            assert trouble(proxy) == NO_TROUBLE
            assert proxy.pool_stats()["server_ejects"] == 0


def test_late_replies_under_load_reach_nobody():
    with behind(on(b"get slow", _trickle(8, 0.06)), timeout=200) as (_, proxy):
        load = VerifyingClient(proxy.address(), rate=300, connections=6, keys=60, set_ratio=0.2)
        with load, proxy.client() as client:
            assert client.set("slow", "s" * 400) == b"STORED"
            wait_until(lambda: load.hits > 20, what="the first hits")
            for _ in range(6):
                assert client.command("get slow") == b"SERVER_ERROR Connection timed out"
                time.sleep(0.4)
            hits = load.hits
            wait_until(lambda: load.hits > hits + 20, what="the load to go on")
            load.stop()
        assert load.mismatches == [], load.summary()
        assert load.closed == 0 and load.answered == load.sent, load.summary()
        assert {e.text for e in load.errors} <= {"SERVER_ERROR Connection timed out"}
        assert proxy.metric("cashew_server_expired_total") >= 6
        assert trouble(proxy)["server_desync_total"] == 0


def test_an_expired_part_of_a_multi_key_get_fails_it_once():
    def twist(peer, line, reply):
        return _trickle(5 * len(reply), 0.25)(peer, reply) if b"slow" in line else reply

    with Memcached() as quick, FakeServer(Imitation(twist)) as fake:
        pool = {**SHARED, "timeout": 400, "distribution": "modula", "servers": [quick, fake]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy, proxy.client() as client:
            keys = ["slow-%d" % i for i in range(20)]
            client.send("get %s\r\n" % " ".join(keys))
            # The reply trickles, so that bytes come: this request alone expires.
            client.expect("SERVER_ERROR Connection timed out\r\n")
            # Both servers are asked; one is still at its slow reply.
            others = "get " + " ".join("good-%d" % i for i in range(20))
            wait_until(lambda: client.command(others) == b"END", what="an answer")
            assert fake.connections() == 1
            assert proxy.metric("cashew_server_expired_total") >= 1
            assert trouble(proxy) == NO_TROUBLE


# (e) A reply that comes before its request is fully written.


def test_an_early_reply_to_a_large_set_is_accepted_and_the_connection_stays():
    """The server answers the line of a set at once, rests, and then swallows the value."""
    size = 8 << 20
    asked = []

    def early(peer):
        head = peer.sock.recv(64)  # the line and a little: the rest does not fit any buffer
        line, _, rest = head.partition(b"\r\n")
        assert line.startswith(b"set large ")
        peer.send(b"SERVER_ERROR object too large for cache\r\n")
        time.sleep(0.3)
        left = size + 2 - len(rest)
        while left > 0:
            left -= len(peer.sock.recv(min(left, 1 << 16)))
        asked.append("swallowed")
        Imitation(lambda peer, line, reply: reply)(peer)

    with FakeServer(early) as fake:
        pool = {**EJECTING, "servers": [fake]}
        with Proxy({"alpha": pool}, settings=ONE_WORKER) as proxy:
            with proxy.client() as client, proxy.client() as other:
                client.send(b"set large 0 0 %d\r\n" % size + b"v" * size + b"\r\n")
                client.expect("SERVER_ERROR object too large for cache\r\n")
                assert not asked, "the reply was early"
                other.send("get other\r\n")
                client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n")
                other.expect("END\r\n")
                other.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")
            assert asked and fake.connections() == 1
            assert trouble(proxy) == NO_TROUBLE
            stats = proxy.pool_stats()
            assert stats["server_ejects"] == 0
            for gauge in ("in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes"):
                assert stats["s0"][gauge] == 0


def test_many_sets_that_are_refused_early_leave_the_connection_in_step(proxy, server):
    with neighbour(proxy, server):
        with proxy.client() as client:
            client.timeout = 30
            for i in range(10):
                size = 1500000 + 100000 * i
                client.send(b"set early 0 0 %d\r\n" % size + b"v" * size + b"\r\nget x\r\n")
                client.expect(TOO_LARGE + "\r\nEND\r\n")


# (f) A shared server connection is always read.


def test_a_client_that_never_reads_does_not_slow_its_neighbour(proxy, server):
    with proxy.client() as owner:
        assert owner.set("bulky", "b" * 500000) == b"STORED"

    def median_ms():
        times = []
        with proxy.client() as client:
            for _ in range(200):
                began = time.monotonic()
                client.ask("get nothing\r\n", "END\r\n")
                times.append(time.monotonic() - began)
        return statistics.median(times) * 1000

    with neighbour(proxy, server), contextlib.closing(socket.socket()) as deaf:
        alone = median_ms()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((HOST, proxy.address()))
        deaf.sendall(b"get bulky\r\n" * 150)
        wait_until(lambda: proxy.metric("cashew_buffer_bytes") > 60e6, 10, "replies to pile up")
        assert median_ms() < max(10 * alone, 20)
    wait_until(lambda: proxy.metric("cashew_buffer_bytes") < 1e6, what="the memory to be free")


def test_clients_that_leave_while_their_replies_come_shift_nothing(proxy, server):
    with proxy.client() as owner:
        assert owner.set("leaving", "l" * 300000) == b"STORED"
    with neighbour(proxy, server), proxy.client() as last:
        for i in range(60):
            with proxy.client() as client:
                client.send("get leaving\r\n" * 5 + "mg leaving v\r\n")
                if i % 2:
                    client.recv_exact(1000)
        last.timeout = 20
        last.ask("get nothing\r\n", "END\r\n")


def test_an_alphabet_of_pipelines_is_answered_to_whom_it_belongs(proxy, server):
    """Thirty clients, each pipelining keys of its own mixed with refused lines."""
    with neighbour(proxy, server), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.client()) for _ in range(30)]
        rng = random.Random(7)
        expected = []
        for i, client in enumerate(clients):
            request, reply = b"", b""
            for j in range(100):
                key = b"own-%d-%d" % (i, j)
                value = "".join(rng.choices(string.ascii_letters, k=rng.randrange(60))).encode()
                request += b"set %s 0 0 %d\r\n%s\r\nget %s\r\n" % (key, len(value), value, key)
                reply += b"STORED\r\nVALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)
                request += rng.choice([b"", b"delete nobody noreply\r\n", b"mg nobody q v\r\n"])
                if rng.random() < 0.2:
                    request += b"mg nobody !\r\n"
                    reply += BAD_FLAG.encode() + b"\r\n"
            client.send(request)
            expected.append(reply)
        for client, reply in zip(clients, expected):
            client.expect(reply)
