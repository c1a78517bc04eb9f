"""The same random, well-formed conversations to nutcracker and to the proxy under test,
each in front of three fresh memcached servers: the same bytes come back, and the same
keys lie on the same servers. Everything is drawn from the seed in the test's name."""

import os
import random
import re

import pytest

from support import Memcached, Nutcracker, Proxy

SEEDS = max(2, int(24 * float(os.environ.get("CASHEW_TEST_SCALE", "1"))))
CHUNKS = 12  # pipelines in a conversation
POOL = {"hash": "md5", "distribution": "ketama", "timeout": 15000}
SERVER_ARGS = ("-m", "256", "-I", "8m", "-t", "1")


class Side:
    """One proxy and its servers."""

    def __init__(self, make_proxy):
        self.servers = [Memcached(args=SERVER_ARGS) for _ in range(3)]
        lines = [s.server_line("m%d" % i) for i, s in enumerate(self.servers)]
        self.proxy = make_proxy({"alpha": {**POOL, "servers": lines}})

    def close(self):
        self.proxy.stop()
        self.proxy.close()
        for server in self.servers:
            server.close()


@pytest.fixture(scope="module")
def sides():
    both = []
    try:
        for make_proxy in (Nutcracker, Proxy):
            both.append(Side(make_proxy))
        yield both
    finally:
        for side in both:
            side.close()


class Command:
    """Bytes to send, and how to read and compare what comes back."""

    def __init__(self, data, kind, keys=(), silent=False):
        self.data, self.kind, self.keys, self.silent = data, kind, keys, silent

    def read_reply(self, client):
        """The reply as a list: lines for most commands, blocks for a retrieval."""
        if self.silent:
            return []
        if self.kind != "retrieval":
            return [client.recv_line()]
        blocks = []
        while True:
            line = client.recv_line()
            if not line.startswith(b"VALUE "):
                return blocks + [line]
            length = int(line.split(b" ")[3])
            blocks.append(line + b"\r\n" + client.recv_exact(length + 2))

    def comparable(self, reply):
        if self.kind != "retrieval":
            return reply
        reply = [re.sub(rb"^(VALUE \S+ \d+ \d+) \d+\r\n", rb"\1 CAS\r\n", b) for b in reply]
        # nutcracker keeps the order of the request only when every key is present.
        return reply if len(reply) == len(self.keys) + 1 else sorted(reply)


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.keys = [self._key(seed, i) for i in range(40)]

    def _key(self, seed, i):
        r = self.random
        tail = bytes(r.choice(b"abcxyz0189:_-./{}[]%\x01\x7f\x80\xff") for _ in range(r.randrange(20)))
        if i == 0:
            tail = b"L" * (250 - len(b"%d:0:" % seed))
        return b"%d:%d:%s" % (seed, i, tail)

    def value(self):
        r = self.random
        kind = r.randrange(10)
        if kind < 4:
            return b"%d" % r.randrange(1 << r.randrange(1, 65))
        if kind < 5:
            return b""
        if kind < 6:
            return r.choice([b"END\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n", b"\r\n", b"STORED\r\n\0"])
        if kind < 9:
            return r.randbytes(r.randrange(1, 2000))
        return r.randbytes(r.choice([16383, 16384, 16385, 40000, 65536, 200000]))

    def storage(self):
        r = self.random
        name = r.choice(["set"] * 4 + ["add", "replace", "append", "prepend", "cas"])
        key, value = r.choice(self.keys), self.value()
        line = b"%s %s %d %d %d" % (
            name.encode(), key, r.choice([0, 1, 4294967295]), r.choice([0, 0, 3600]), len(value)
        )
        if name == "cas":
            line += b" %d" % r.randrange(1, 1 << 60)
        return self._finish(line, b"\r\n" + value, [key])

    def retrieval(self):
        r = self.random
        count = r.choice([1, 1, 1, 2, 3, 10, 40, 100])
        keys = [r.choice(self.keys) for _ in range(count)]
        name = r.choice([b"get", b"get", b"gets"])
        return Command(name + b" " + self._spaces().join(keys) + b"\r\n", "retrieval", keys)

    def arithmetic(self):
        r = self.random
        key = r.choice(self.keys)
        delta = r.choice([0, 1, 7, 18446744073709551615])
        return self._finish(b"%s %s %d" % (r.choice([b"incr", b"decr"]), key, delta), b"", [key])

    def other(self):
        r = self.random
        key = r.choice(self.keys)
        line = r.choice([b"delete %s", b"touch %s 0", b"touch %s 3600"]) % key
        return self._finish(line, b"", [key])

    def _spaces(self):
        return b" " * self.random.choice([1, 1, 1, 2, 3])

    def _finish(self, line, rest, keys):
        silent = self.random.random() < 0.15
        line = line.replace(b" ", self._spaces()) + (b" noreply" if silent else b"")
        return Command(line + rest + b"\r\n", "line", keys, silent)

    def pipeline(self):
        r = self.random
        makers = [self.storage] * 4 + [self.retrieval] * 4 + [self.arithmetic, self.other]
        commands = [r.choice(makers)() for _ in range(r.choice([1, 1, 5, 20, 60]))]
        data = b"".join(c.data for c in commands)
        cuts = sorted(r.randrange(len(data)) for _ in range(r.choice([0, 0, 1, 5])))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
        return commands, pieces

    def fill(self):
        """All keys present: from here on the order of blocks is known."""
        return [
            Command(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(k), k), "line", [k]) for k in self.keys
        ]


def converse(side, commands, pieces, client):
    for piece in pieces:
        client.send(piece)
    return [command.read_reply(client) for command in commands]


def check(sides, clients, commands, pieces):
    want, got = (converse(s, commands, pieces, c) for s, c in zip(sides, clients))
    for number, (command, a, b) in enumerate(zip(commands, want, got)):
        assert command.comparable(b) == command.comparable(a), "command %d of the pipeline: %r" % (
            number,
            command.data[:200],
        )


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_the_same_bytes_come_back_and_keys_lie_alike(sides, seed):
    generator = Generator(seed)
    with sides[0].proxy.client(timeout=20) as a, sides[1].proxy.client(timeout=20) as b:
        clients = (a, b)
        for number in range(CHUNKS):
            if number == CHUNKS // 2:
                filled = generator.fill()
                check(sides, clients, filled, [c.data for c in filled])
            check(sides, clients, *generator.pipeline())
        for client in clients:
            client.expect_silence(0.02)
    for mine, other in zip(sides[0].servers, sides[1].servers):
        assert mine.get_many(generator.keys) == other.get_many(generator.keys)


def test_cas_uniques_go_through_unchanged(sides):
    """A unique is its server's own: each side uses what its server gave."""
    for side in sides:
        with side.proxy.client() as client:
            for i in range(20):
                key = "unique-%d" % i
                assert client.set(key, "a") == b"STORED"
                unique = int(client.command("gets %s" % key).rpartition(b" ")[2])
                client.expect("a\r\nEND\r\n")
                client.ask("cas %s 0 0 1 %d\r\nb\r\n" % (key, unique), "STORED\r\n")
                client.ask("cas %s 0 0 1 %d\r\nc\r\n" % (key, unique), "EXISTS\r\n")


def test_concurrent_clients_of_both_sides_see_their_own_conversation(sides):
    """Interleaved conversations over shared server connections do not mix."""
    generators = [Generator(1000 + i) for i in range(6)]
    clients = [[s.proxy.client(timeout=20) for _ in generators] for s in sides]
    try:
        for _ in range(6):
            plans = [g.pipeline() for g in generators]
            for side in clients:
                for client, (_, pieces) in zip(side, plans):
                    client.send(b"".join(pieces))
            for place, (commands, _) in enumerate(plans):
                want, got = ([c.read_reply(side[place]) for c in commands] for side in clients)
                for command, a, b in zip(commands, want, got):
                    assert command.comparable(b) == command.comparable(a), command.data[:200]
    finally:
        for side in clients:
            for client in side:
                client.close()
