"""Clients of each proxy that know what every reply must be, and a scenario's balance."""

import collections
import contextlib
import itertools
import time

from release import PORTS
from support import VerifyingClient, wait_until

RATE, KEYS, SET_RATIO = 250, 400, 0.5  # of each proxy's client
# Whose owners tell how many keys moved; as many as make the sample's error small beside 3 %.
SAMPLE = [b"sample:%d:%08x" % (i, i * 2654435761 % 2**32) for i in range(2000)]


class ProxyClient(VerifyingClient):
    """Speaks to one of the proxies that are ready, as a Service's clients do: when its
    connections end, it goes where there is one."""

    def __init__(self, release, turn, pool="cache", **options):
        super().__init__(None, **options)
        self._release, self._turn, self._pool = release, turn, pool
        self.proxy = None  # name of the pod it speaks to
        self._choose()

    def _choose(self):
        ready = self._release.ready_replicas()
        if not ready:
            raise OSError("no proxy is ready")
        chosen = ready[self._turn % len(ready)]
        self.proxy, self.address = chosen.name, (chosen.address, PORTS[self._pool])

    def _reopen(self):
        with contextlib.suppress(Exception):
            self._choose()
        return super()._reopen()

    def _take_reply(self, connection, request):
        known = len(self.lost)
        taken = super()._take_reply(connection, request)
        for key in self.lost[known:]:
            self._acked[self._index[key]] = 0  # lost once; not again before it is stored again
        return taken

    def stored(self):
        """The share of its keys that the caches have, as far as it knows."""
        return sum(version > 0 for version in self._acked) / len(self._acked)


class Load:
    """A client for each of two proxies; with keys of its own each, all written before."""

    def __init__(self, release, pool="cache", rate=RATE, keys=KEYS):
        self._release, self._pool, self._rate, self._keys = release, pool, rate, keys
        self._generation = itertools.count()
        self.clients = []

    def __enter__(self):
        self.clients = [self._client(turn) for turn in range(2)]
        return self

    def __exit__(self, *exc):
        for client in self.clients:
            client.stop()
        self.clients = []  # who wants to ask them later has kept the list

    def _client(self, turn):
        client = ProxyClient(self._release, turn, self._pool, rate=self._rate, keys=self._keys,
                             connections=5, set_ratio=SET_RATIO,
                             tag="%s%d" % (self._pool, next(self._generation)))
        client.start()
        return client

    def spread(self, replicas):
        """A client to each proxy again: one that lost its proxy went to the other."""
        for turn, replica in enumerate(replicas):
            if self.clients[turn].proxy != replica.name:
                self.clients[turn].stop()
                self.clients[turn] = self._client(turn)

    def warm_up(self):
        """Waits until nearly every key is stored: one that is not cannot be lost."""
        wait_until(lambda: min(c.stored() for c in self.clients) > 0.97, 60, "keys to be stored")

    def keys(self):
        return [key for client in self.clients for key in client.keys()]


Count = collections.namedtuple("Count", "answered errors lost mismatches")


class Balance:
    """What clients met in one scenario.

    `touched` are the servers, and `touched_proxies` the proxies, that the scenario itself
    disturbs; everything else must not notice."""

    def __init__(self, load, replicas, touched=(), touched_proxies=()):
        self.load = load
        self.touched, self.touched_proxies = set(touched), set(touched_proxies)
        self.before = replicas[0].owners(load.keys() + SAMPLE)
        self._began = time.monotonic()
        self._counts = [self._count(c) for c in load.clients]
        self._proxies = [c.proxy for c in load.clients]

    @staticmethod
    def _count(client):
        return Count(client.answered, len(client.errors), len(client.lost),
                     len(client.mismatches))

    def close(self, replicas):
        """The scenario is over and all is at rest."""
        self.seconds = time.monotonic() - self._began
        self.after = replicas[0].owners(self.load.keys() + SAMPLE)
        self.moved = sum(self.before[k] != self.after[k] for k in SAMPLE) / len(SAMPLE)
        self.requests = self.errors = self.untouched_errors = 0
        self.failed_gets = self.proxy_errors = self.lost = self.untouched_lost = 0
        self.mismatches, self.strange = 0, collections.Counter()
        for client, proxy, count in zip(self.load.clients, self._proxies, self._counts):
            self._add(client, proxy, count)
        return self

    def _concerned(self, key):
        return self.touched & {self.before[key], self.after[key]}

    def _add(self, client, proxy, count):
        self.requests += client.answered - count.answered
        self.mismatches += len(client.mismatches) - count.mismatches
        for failure in client.errors[count.errors:]:
            self._add_failure(failure, proxy)
        for key in client.lost[count.lost:]:
            self.lost += 1
            self.untouched_lost += not self._concerned(key)

    def _add_failure(self, failure, proxy):
        connection = not failure.text.startswith(("SERVER_ERROR", "CLIENT_ERROR", "ERROR"))
        if connection and proxy in self.touched_proxies:
            self.proxy_errors += 1
            return
        self.errors += 1
        if failure.op == "get":
            self.failed_gets += 1
        if not self._concerned(failure.key):
            self.untouched_errors += 1
        self.strange["%s: %s" % (failure.op, failure.text)] += 1

    def check(self, moved=0.0):
        """`moved` is the share of keys that may have another owner than before."""
        said = dict(self.strange.most_common(5))
        assert self.requests > 0, "no client was answered in the whole scenario"
        assert self.mismatches == 0, [c.mismatches[:3] for c in self.load.clients]
        assert self.failed_gets == 0, "gets failed: %s" % said
        assert self.untouched_errors == 0, "errors of servers that were left alone: %s" % said
        assert self.untouched_lost == 0, "%d keys of servers left alone were lost" % (
            self.untouched_lost)
        assert self.moved <= moved, "%.1f %% of the keys moved, %.1f may" % (
            100 * self.moved, 100 * moved)
