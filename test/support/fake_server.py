"""Servers that misbehave on purpose.

A behaviour is a callable that is given a Peer, one for each connection, on a thread of
its own; when it returns, the connection is closed.

    with FakeServer(two_replies(b"END\\r\\n")) as server:
        proxy = Proxy({"alpha": {"servers": [server.address("f0")]}})
"""

import random
import socket
import struct
import threading
import time

from .net import HOST


class Peer:
    """One connection as its behaviour sees it."""

    def __init__(self, sock, server, index):
        self.sock, self.server, self.index = sock, server, index  # index: 0 for the first

    def recv(self):
        """What the proxy wrote, recorded in server.received; b"" at its end."""
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            data = b""
        with self.server.lock:
            self.server.received[self.index] += data
        return data

    def requests(self):
        """One chunk of received bytes at a time until the proxy closes."""
        while True:
            data = self.recv()
            if not data:
                return
            yield data

    def send(self, data):
        self.sock.sendall(data)

    def reset(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class FakeServer:
    """Listens on a free loopback port. With `behaviour=None` connections are refused."""

    def __init__(self, behaviour=None):
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.received = []  # a bytearray for each connection
        self._peers = []
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind((HOST, 0))
        self.port = self._sock.getsockname()[1]
        if behaviour is not None:  # bound but not listening refuses
            self._sock.listen(512)
            threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def address(self, name):
        return "%s:%d:1 %s" % (HOST, self.port, name)

    def connections(self):
        with self.lock:
            return len(self.received)

    def bytes_received(self):
        with self.lock:
            return b"".join(bytes(r) for r in self.received)

    def close(self):
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()
        with self.lock:
            for sock in self._peers:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self):
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                peer = Peer(sock, self, len(self.received))
                self.received.append(bytearray())
                self._peers.append(sock)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            self.behaviour(peer)
        except OSError:
            pass  # the proxy closed first
        peer.sock.close()


def silent():
    """Reads and never answers."""

    def behave(peer):
        for _ in peer.requests():
            pass

    return behave


def closes(after_bytes=1, reset=False):
    """Closes once that many bytes came; 0: right after accept."""

    def behave(peer):
        got = 0
        while got < after_bytes:
            data = peer.recv()
            if not data:
                return
            got += len(data)
        if reset:
            peer.reset()

    return behave


def fixed_reply(reply):
    """Answers every chunk it reads with `reply`."""

    def behave(peer):
        for _ in peer.requests():
            peer.send(reply)

    return behave


def two_replies(reply):
    """Answers every request twice: the second belongs to nobody."""
    return fixed_reply(reply + reply)


def half_reply(reply, then="silence"):
    """Sends the first half of `reply`, then nothing more ("silence") or a "close"."""

    def behave(peer):
        for _ in peer.requests():
            peer.send(reply[: len(reply) // 2])
            if then == "close":
                return
            for _ in peer.requests():
                pass

    return behave


def early_reply(reply, after_bytes=1):
    """Answers as soon as the first bytes of a request are there, before the rest was
    read, as memcached does with a value that is too large; then reads on."""

    def behave(peer):
        got = 0
        while got < after_bytes:
            data = peer.recv()
            if not data:
                return
            got += len(data)
        peer.send(reply)
        for _ in peer.requests():
            pass

    return behave


def slow_reply(reply, delay=0.01):
    """Sends `reply` byte by byte."""

    def behave(peer):
        for _ in peer.requests():
            for i in range(len(reply)):
                peer.send(reply[i : i + 1])
                time.sleep(delay)

    return behave


def garbage(seed=1, size=64):
    """Answers with random bytes."""

    def behave(peer):
        rng = random.Random(seed)
        for _ in peer.requests():
            peer.send(bytes(rng.randrange(256) for _ in range(size)))

    return behave
