"""A client that keeps a steady rate and knows what every reply must be."""

import collections
import hashlib
import selectors
import socket
import threading
import time

from .net import connect

Failure = collections.namedtuple("Failure", "at sent_at op key text")

_GET, _SET = "get", "set"


class _Request:
    __slots__ = ("op", "key", "sent_at", "version", "acked")

    def __init__(self, op, key, sent_at, version, acked):
        self.op, self.key, self.sent_at = op, key, sent_at
        self.version = version  # the newest value that may be in the cache
        self.acked = acked  # the newest one known to have been stored


class _Connection:
    def __init__(self, sock):
        self.sock = sock
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.pending = collections.deque()


class VerifyingClient(threading.Thread):
    """Sets and gets keys of its own at `rate` requests a second, in an open loop: a
    request goes out when it is due, whether or not earlier ones were answered, as a
    busy site's would.

    Each key belongs to one connection, so a client must read its own writes. Recorded:
      errors      error lines, closed connections and requests that were never answered
      mismatches  a reply that belongs to another key or was never written, or that is
                  no reply to this kind of request: another client's data
      stale       an older value of the right key (a server that came back may have one)
      lost        a key that was stored and is a miss now (its owner has changed)
    Times are time.monotonic().
    """

    def __init__(self, address, *, rate=1000, connections=10, keys=1000, set_ratio=0.1, tag="v"):
        super().__init__(daemon=True, name="VerifyingClient")
        self.address, self.rate, self.set_ratio = address, rate, set_ratio
        self.errors, self.mismatches, self.stale, self.lost = [], [], [], []
        self.sent = self.answered = self.hits = self.misses = 0
        self.closed = 0  # connections that the proxy closed
        self._count = max(connections, 1)
        self._keys = [_key(tag, i) for i in range(keys - keys % self._count)]
        self._issued = [0] * len(self._keys)
        self._acked = [0] * len(self._keys)
        self._index = {key: i for i, key in enumerate(self._keys)}
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._connections = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def keys(self):
        return list(self._keys)

    def stop(self, patience=3.0):
        """Sends nothing more, waits that long for outstanding replies; what is then
        missing is an error each. Returns self."""
        self._patience = patience
        self._stopping.set()
        self.join()
        return self

    def errors_between(self, start, end):
        return [e for e in self.errors if start <= e.at < end]

    def errors_sent_after(self, start):
        """Those of requests that were sent from `start` on."""
        return [e for e in self.errors if e.sent_at >= start]

    def summary(self):
        texts = collections.Counter("%s: %s" % (e.op, e.text) for e in self.errors)
        return "%d sent, %d answered, %d errors %s, %d mismatches %s, %d stale" % (
            self.sent,
            self.answered,
            len(self.errors),
            dict(texts.most_common(4)),
            len(self.mismatches),
            self.mismatches[:3],
            len(self.stale),
        )

    def assert_no_mismatch(self):
        assert not self.mismatches, self.summary()

    # The thread.

    def run(self):
        for _ in range(self._count):
            self._connections.append(self._open())
        step = 1.0 / self.rate
        due, turn = time.monotonic(), 0
        while not self._stopping.is_set():
            now = time.monotonic()
            while due <= now:
                self._issue(turn, now)
                turn += 1
                due += step
            for connection in self._connections:
                self._flush(connection)
            self._poll(max(0.0, min(due - time.monotonic(), 0.05)))
        end = time.monotonic() + self._patience
        while any(c.pending for c in self._connections) and time.monotonic() < end:
            self._poll(0.05)
        for connection in self._connections:
            self._fail_pending(connection, "no reply")
            connection.sock.close()

    def _open(self):
        sock = connect(self.address)
        sock.setblocking(False)
        connection = _Connection(sock)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        return connection

    def _issue(self, turn, now):
        place = turn % self._count
        connection = self._connections[place]
        # A fixed stride over this connection's keys: every key comes, neighbours far apart.
        per_connection = len(self._keys) // self._count
        i = (turn // self._count * 7919 % per_connection) * self._count + place
        key = self._keys[i]
        self.sent += 1
        if (turn * 2654435761 >> 7) % 1000 < self.set_ratio * 1000:
            self._issued[i] += 1
            value = _value(key, self._issued[i])
            connection.outbox += b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)
            request = _Request(_SET, key, now, self._issued[i], self._acked[i])
        else:
            connection.outbox += b"get %s\r\n" % key
            request = _Request(_GET, key, now, self._issued[i], self._acked[i])
        connection.pending.append(request)

    def _flush(self, connection):
        if not connection.outbox:
            return
        try:
            n = connection.sock.send(connection.outbox)
            del connection.outbox[:n]
        except BlockingIOError:
            pass
        except OSError:
            self._lost(connection, "connection closed")  # as a read of it would say

    def _poll(self, timeout):
        for event, _ in self._selector.select(timeout):
            connection = event.data
            try:
                data = connection.sock.recv(1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._lost(connection, "connection closed")
                continue
            connection.inbox += data
            self._take_replies(connection)

    def _lost(self, connection, why):
        self.closed += 1
        self._fail_pending(connection, why)
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._connections[self._connections.index(connection)] = self._reopen()

    def _reopen(self):
        """Asks until the proxy is there again, or until the test stops us."""
        while True:
            try:
                return self._open()
            except OSError:
                if self._stopping.is_set():
                    return _Connection(socket.socket())
                time.sleep(0.02)

    def _fail_pending(self, connection, why):
        while connection.pending:
            self._error(connection.pending.popleft(), why)

    def _error(self, request, text):
        self.errors.append(
            Failure(time.monotonic(), request.sent_at, request.op, request.key, text)
        )

    def _take_replies(self, connection):
        while connection.pending:
            request = connection.pending[0]
            taken = self._take_reply(connection, request)
            if not taken:
                return
            del connection.inbox[:taken]
            connection.pending.popleft()
        if connection.inbox:
            self.mismatches.append("a reply to nothing: %r" % bytes(connection.inbox[:80]))
            connection.inbox.clear()

    def _take_reply(self, connection, request):
        """Judges the front reply; how many bytes it has, or 0 when more must come."""
        inbox = connection.inbox
        end = inbox.find(b"\r\n")
        if end < 0:
            return 0
        line = bytes(inbox[:end])
        size = end + 2
        if request.op == _GET and line.startswith(b"VALUE "):
            length = int(line.rpartition(b" ")[2])
            size += length + 2 + len(b"END\r\n")
            if len(inbox) < size:
                return 0
            self._judge_value(request, line.split(b" ")[1], bytes(inbox[end + 2 :][:length]))
            if inbox[end + 2 + length : size] != b"\r\nEND\r\n":
                self.mismatches.append("no END after %r" % line)
        elif request.op == _GET and line == b"END":
            self.misses += 1
            if request.acked > 0:
                self.lost.append(request.key)
        elif request.op == _SET and line == b"STORED":
            i = self._index[request.key]
            self._acked[i] = max(self._acked[i], request.version)
        elif line.startswith((b"SERVER_ERROR", b"CLIENT_ERROR", b"ERROR")):
            self._error(request, line.decode("latin-1"))
        else:
            self.mismatches.append("%s %r was answered %r" % (request.op, request.key, line))
        self.answered += 1
        return size

    def _judge_value(self, request, key, value):
        self.hits += 1
        owner, _, version = value.partition(b"=")
        if key != request.key or owner != request.key or not version.isdigit():
            self.mismatches.append("get %r got key %r, %r" % (request.key, key, value))
        elif int(version) > request.version:
            self.mismatches.append("get %r got %r, which was not written" % (request.key, value))
        elif int(version) < request.acked:
            self.stale.append((time.monotonic(), request.key, int(version), request.acked))


def _key(tag, i):
    # Ends in mixed characters: under fnv1a_64, keys that differ only at the end clump.
    return b"%s:%d:%s" % (tag.encode(), i, hashlib.md5(b"%d" % i).hexdigest()[:8].encode())


def _value(key, version):
    return b"%s=%d" % (key, version)
