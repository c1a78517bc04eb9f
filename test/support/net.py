"""Loopback ports, waiting, and a client that shows every byte."""

import os
import random
import socket
import time

HOST = "127.0.0.1"

_random = random.Random(os.urandom(16))
_given_out = set()
_LOWEST = 10240


def _first_ephemeral_port():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
            return int(f.read().split()[0])
    except OSError:
        return 32768


def free_port():
    """A port that nothing listens on, below the range that outgoing connections
    draw from: a server that is killed and started again finds it still free."""
    return _draw(_LOWEST, max(12000, min(32000, _first_ephemeral_port())))


def seldom_used_port():
    """Likewise, and no free_port() of a test beside this one: for what is closed and opened
    again so often that somebody would draw it in between."""
    return _draw(_LOWEST - 2000, _LOWEST)


def _draw(lowest, top):
    for _ in range(1000):
        port = _random.randrange(lowest, top)
        if port in _given_out:
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((HOST, port))
            except OSError:
                continue
        _given_out.add(port)
        return port
    raise OSError("no free port found")


def port_is_free(port, host=HOST):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
            return True
        except OSError:
            return False


def is_listening(port):
    """Read from the kernel's table: connecting would add to the counters under test."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as f:
                lines = f.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state = line.split()[:4]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def wait_until(predicate, timeout=5.0, what="the condition", every=0.01):
    """Polls until `predicate()` is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s: not so within %.1f s" % (what, timeout))
        time.sleep(every)


def connect(address, timeout=5.0):
    """`address`: a port on loopback, (host, port), or the path of a unix socket."""
    if isinstance(address, str):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(timeout)
        s.connect(address)
        return s
    if isinstance(address, int):
        address = (HOST, address)
    s = socket.create_connection(address, timeout)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def _bytes(data):
    return data.encode("latin-1") if isinstance(data, str) else data


def _short(data, limit=300):
    text = repr(bytes(data))
    return text if len(text) <= limit else "%s... (%d bytes)" % (text[:limit], len(data))


class RawClient:
    """A blocking connection. What arrived beyond what was asked for is kept for the next
    call. Failures are AssertionErrors that show what came instead."""

    def __init__(self, address, timeout=5.0):
        self.timeout = timeout
        self.buffer = bytearray()
        self.eof = False
        self.sock = connect(address, timeout)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.settimeout(self.timeout)
        self.sock.sendall(_bytes(data))

    def half_close(self):
        """Nothing more will be sent; replies are still read."""
        self.sock.shutdown(socket.SHUT_WR)

    def more(self, timeout):
        """Waits for more bytes in `buffer`: False at end of file or time-out."""
        if self.eof:
            return False
        self.sock.settimeout(max(timeout, 0.001))
        try:
            data = self.sock.recv(1 << 18)
        except socket.timeout:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.eof = True
            return False
        self.buffer += data
        return True

    def _need(self, complete, what):
        end = time.monotonic() + self.timeout
        while not complete():
            left = end - time.monotonic()
            if left <= 0 or (not self.more(left) and self.eof):
                why = "the connection was closed" if self.eof else "%.1f s passed" % self.timeout
                raise AssertionError(
                    "expected %s, but %s after %s" % (what, why, _short(self.buffer))
                )

    def _take(self, n):
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def recv_exact(self, n):
        self._need(lambda: len(self.buffer) >= n, "%d bytes" % n)
        return self._take(n)

    def read_until(self, marker):
        """Everything up to and including `marker`."""
        marker = _bytes(marker)
        self._need(lambda: marker in self.buffer, "bytes ending in %r" % marker)
        return self._take(self.buffer.index(marker) + len(marker))

    def recv_line(self):
        """One line, without its CRLF."""
        return self.read_until(b"\r\n")[:-2]

    def expect(self, data):
        """The next bytes must be exactly these."""
        want = _bytes(data)
        end = time.monotonic() + self.timeout
        while len(self.buffer) < len(want) and not self.eof and time.monotonic() < end:
            if not want.startswith(bytes(self.buffer)):
                self.more(0.05)  # already different: collect the rest of the story
                break
            self.more(end - time.monotonic())
        got = self._take(len(want))
        if got != want:
            raise AssertionError(
                "expected %s\n     got %s%s"
                % (
                    _short(want),
                    _short(got + bytes(self.buffer)),
                    ", then the connection was closed" if self.eof else "",
                )
            )

    def ask(self, request, reply):
        """Sends `request` and requires exactly `reply`."""
        self.send(request)
        self.expect(reply)

    def command(self, line):
        """Sends one line and returns the line that answers it."""
        self.send(_bytes(line) + b"\r\n")
        return self.recv_line()

    def set(self, key, value, flags=0, exptime=0):
        key, value = _bytes(key), _bytes(value)
        self.send(b"set %s %d %d %d\r\n%s\r\n" % (key, flags, exptime, len(value), value))
        return self.recv_line()

    def get(self, key):
        """The value, or None for a miss; an error line is an AssertionError."""
        return self.get_many([key]).get(_bytes(key))

    def get_many(self, keys):
        self.send(b"get " + b" ".join(_bytes(k) for k in keys) + b"\r\n")
        values = {}
        while True:
            line = self.recv_line()
            if line == b"END":
                return values
            if not line.startswith(b"VALUE "):
                raise AssertionError("get was answered %s" % _short(line))
            _, key, _, length = line.split(b" ")[:4]
            values[key] = self.recv_exact(int(length))
            self.expect(b"\r\n")

    def closed(self, timeout=None):
        """True when the other side closed without sending anything more."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self.eof and not self.buffer and time.monotonic() < end:
            self.more(end - time.monotonic())
        return self.eof and not self.buffer

    def expect_closed(self, timeout=None):
        if not self.closed(timeout):
            raise AssertionError(
                "expected the connection to be closed, got %s"
                % (_short(self.buffer) if self.buffer else "an open connection")
            )

    def expect_silence(self, seconds=0.1):
        """Nothing comes and the connection stays open."""
        if self.buffer or self.more(seconds) or self.eof:
            raise AssertionError(
                "expected silence, got %s%s"
                % (_short(self.buffer), " and a closed connection" if self.eof else "")
            )
