"""A real redis-server, and a client that knows RESP and nothing else."""

from .net import RawClient
from .processes import CacheServer, Failed


class RedisError(Exception):
    """An error reply, as it came."""


def encode(*words):
    """A command, or several words that may be text, bytes or numbers."""
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(out)


class RespClient:
    """One connection: sends commands, reads one reply each, raw or decoded."""

    def __init__(self, address, protocol=2, timeout=5.0):
        self.raw = RawClient(address, timeout=timeout)
        if protocol == 3:
            self("HELLO", 3)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.raw.close()

    def send(self, *words):
        self.raw.send(encode(*words))

    def __call__(self, *words):
        """The decoded reply; an error is raised."""
        self.send(*words)
        return self.read()

    def reply(self, *words):
        """The reply's bytes."""
        self.send(*words)
        return self.read_raw()

    def error(self, *words):
        """The text of the error that the command must give."""
        try:
            reply = self(*words)
        except RedisError as error:
            return str(error)
        raise Failed("%r gave %r, not an error" % (words, reply))

    def read(self):
        value = decode(self.read_raw())
        if isinstance(value, RedisError):
            raise value
        return value

    def read_raw(self):
        out = b""
        left = 1
        while left:
            line = self.raw.read_until(b"\r\n")
            out += line
            kind, rest = line[:1], line[1:-2]
            left -= 1
            if kind in b"$!=" and rest != b"-1":
                out += self.raw.recv_exact(int(rest) + 2)
            elif kind in b"*~>" and rest != b"-1":
                left += int(rest)
            elif kind == b"%":
                left += 2 * int(rest)
            elif kind == b"|":
                left += 2 * int(rest) + 1
        return out


def decode(raw):
    value, rest = _decode(raw)
    if rest:
        raise Failed("bytes behind a reply: %r" % rest[:200])
    return value


def _decode(raw):
    end = raw.index(b"\r\n")
    kind, text, rest = raw[:1], raw[1:end], raw[end + 2 :]
    if kind == b"+":
        return text.decode(), rest
    if kind == b"-":
        return RedisError(text.decode("utf-8", "replace")), rest
    if kind == b":":
        return int(text), rest
    if kind == b"_" or text == b"-1":
        return None, rest
    if kind == b",":
        return float(text), rest
    if kind == b"#":
        return text == b"t", rest
    if kind in b"$=!":
        n = int(text)
        return rest[:n], rest[n + 2 :]
    items = []
    for _ in range(int(text) * (2 if kind == b"%" else 1)):
        item, rest = _decode(rest)
        items.append(item)
    if kind == b"%":
        return dict(zip(items[::2], items[1::2])), rest
    return items, rest


class Redis(CacheServer):
    """No persistence."""

    program = "redis-server"

    def __init__(self, *, password=None, **options):
        self.password = password
        super().__init__(**options)

    def arguments(self):
        where = ["--port", "0", "--unixsocket", self.unix_path] if self.unix_path else []
        where = where or ["--port", str(self.port), "--bind", self.host]
        login = ["--requirepass", self.password] if self.password else []
        return [*where, *login, "--save", "", "--appendonly", "no"]

    def client(self, protocol=2):
        client = RespClient(self.address)
        if self.password:
            client("AUTH", self.password)
        if protocol == 3:
            client("HELLO", 3)
        return client

    def ask(self, *words):
        with self.client() as client:
            return client(*words)

    def info(self):
        lines = self.ask("INFO").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def connections_opened(self):
        return int(self.info()["total_connections_received"])
