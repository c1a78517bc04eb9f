#!/usr/bin/env python3
"""Three memcached servers, Cashew in front, and the death of one server.

usage: demo.py [--keep]

Everything shown is what really happened; the exit status is not 0 when a step did not
do what it says. --keep leaves all of it running until Ctrl-C.
"""

import argparse
import contextlib
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import HOST, Memcached, Proxy, RawClient, free_port  # noqa: E402
from support.net import port_is_free  # noqa: E402

FAILURE_LIMIT = 3
# Keys that end in mixed characters: fnv1a_64 puts key1 … key9 side by side on one server.
KEYS = ["user:7f3a", "user:c04d", "user:91be", "cart:2d58", "cart:e6a1", "page:0b9c", "page:d87f"]
VALUE = "cashew"


class DidNotHappen(Exception):
    pass


def require(condition, what):
    if not condition:
        raise DidNotHappen(what)


def bold(text):
    return "\033[1m%s\033[0m" % text if sys.stdout.isatty() else text


def step(text):
    print("\n" + bold(text), flush=True)


def say(text=""):
    print("  " + text, flush=True)


def choose_port(wanted, what):
    if port_is_free(wanted):
        return wanted
    port = free_port()
    say("port %d is taken by something else: %s uses %d" % (wanted, what, port))
    return port


class Telnet:
    """A conversation shown as a person at a terminal would see it."""

    def __init__(self, address):
        self.client = RawClient(address)

    def close(self):
        self.client.close()

    def __call__(self, *lines):
        """Types `lines`; returns the lines that came back."""
        for line in lines:
            say("> " + line)
        self.client.send("".join(line + "\r\n" for line in lines))
        replies = []
        while True:
            reply = self.client.recv_line().decode("latin-1")
            say("< " + reply)
            replies.append(reply)
            if reply.startswith("VALUE "):
                reply = self.client.recv_line().decode("latin-1")
                say("< " + reply)
                replies.append(reply)
            else:
                return replies

    def set(self, key, value):
        return self("set %s 0 0 %d" % (key, len(value)), value)[-1]

    def get(self, key):
        replies = self("get %s" % key)
        return replies[1] if len(replies) == 3 else None


class Demo:
    def __init__(self, stack):
        self.stack = stack
        self.servers, self.proxy, self.telnet = [], None, None

    def name(self, index):
        return "%s:%d" % (HOST, self.servers[index].port)

    def homes(self, keys):
        """{key: index of the server that holds it}, each server asked directly."""
        found = {}
        for index, server in enumerate(self.servers):
            if server.popen.poll() is None:
                for key in server.get_many(keys):
                    found[key.decode()] = index
        return found

    def start(self):
        step("1. Three memcached servers and Cashew in front of them")
        for wanted in (11211, 11212, 11213):
            port = choose_port(wanted, "this memcached")
            self.servers.append(self.stack.enter_context(Memcached(port)))
            say("memcached on %s, pid %d" % (self.name(-1), self.servers[-1].pid))
        pool = {
            "listen": "%s:%d" % (HOST, choose_port(10010, "the pool")),
            "hash": "fnv1a_64",
            "distribution": "ketama",
            "timeout": 400,
            "backlog": 1024,
            "preconnect": True,
            "auto_eject_hosts": True,
            "server_retry_timeout": 30000,
            "server_failure_limit": FAILURE_LIMIT,
            "servers": ["%s:1" % self.name(i) for i in range(3)],
        }
        stats_port = choose_port(22222, "the stats port")
        self.proxy = Proxy({"alpha": pool}, stats_port=stats_port, write_global=False)
        self.stack.callback(self.proxy.close)
        say("Cashew on %s:%d, pid %d, with this file:" % (HOST, self.proxy.address(), self.proxy.pid))
        with open(self.proxy.conf_path, encoding="utf-8") as f:
            for line in f:
                say("    " + line.rstrip())

    def share_keys(self):
        step("2. telnet %s %d" % (HOST, self.proxy.address()))
        self.telnet = Telnet(self.proxy.address())
        self.stack.callback(self.telnet.close)
        require(self.telnet.set(KEYS[0], VALUE) == "STORED", "the set is stored")
        require(self.telnet.get(KEYS[0]) == VALUE, "the get returns what was set")
        say("(%d more keys, unseen)" % (len(KEYS) - 1))
        for key in KEYS[1:]:
            require(self.telnet.client.set(key, VALUE) == b"STORED", "%s is stored" % key)
        homes = self.homes(KEYS)
        require(len(homes) == len(KEYS), "each key is on a server")

        step("3. Which server holds which key? Each memcached is asked directly")
        for index in range(3):
            held = [key for key in KEYS if homes[key] == index]
            say("%s  %s" % (self.name(index), "  ".join(held) or "(none)"))
        return homes

    def show_ejection(self, key, home):
        server = self.servers[home]
        step("4. kill -9 %d: %s, the home of %s, is gone" % (server.pid, self.name(home), key))
        server.kill9()
        say("The same set, until the failure limit of %d is reached:" % FAILURE_LIMIT)
        errors = 0
        while True:
            reply = self.telnet.set(key, VALUE)
            if reply == "STORED":
                break
            require(reply.startswith("SERVER_ERROR "), "a failed set is a SERVER_ERROR")
            errors += 1
            require(errors <= FAILURE_LIMIT, "the set succeeds after %d errors" % FAILURE_LIMIT)
        new_home = self.homes([key])[key]
        require(new_home != home, "another server took the key")
        say("After %d errors Cashew took the server out; %s now lives on %s." % (
            errors, key, self.name(new_home)))
        require(self.telnet.get(key) == VALUE, "the get finds it there")

    def show_who_moved(self, before, dead):
        for key in KEYS:
            require(self.telnet.client.set(key, VALUE) == b"STORED", "%s is stored" % key)
        after = self.homes(KEYS)
        step("5. Every key can be set again; the keys of the dead server moved, the others did not")
        for key in KEYS:
            moved = before[key] != after[key]
            require(moved == (before[key] == dead), "only the dead server's keys move")
            say("%-10s  %s%s" % (
                key, self.name(before[key]),
                "  ->  %s" % self.name(after[key]) if moved else ""))

    def show_stats(self, dead):
        step("6. The stats port tells the story: nc %s %d" % (HOST, self.proxy.stats_port))

        def told(stats):
            pool = stats["alpha"]
            return pool["server_ejects"] == 1 and pool["forward_error"] >= 1

        pool = self.proxy.wait_stats(told, what="the stats to tell of one ejection")["alpha"]
        for field in ("client_connections", "server_ejects", "forward_error"):
            say("alpha  %s: %d" % (field, pool[field]))
        fields = "requests responses server_eof server_err server_connections server_ejected_at"
        for index in range(3):
            name = self.name(index) if self.name(index) in pool else HOST
            server = pool[name]
            note = "  (port 11211 is left out of the name, as in twemproxy)" if name == HOST else ""
            say(name + note)
            say("    " + "  ".join("%s: %d" % (f, server[f]) for f in fields.split()))
            lost = server["server_eof"] + server["server_err"]
            require((lost > 0) == (index == dead), "only the dead server has errors")


def keep_running(demo):
    step("Running until Ctrl-C. In another terminal:")
    say("telnet %s %d          (or nc) then: get %s" % (HOST, demo.proxy.address(), KEYS[0]))
    say("nc %s %d              the stats" % (HOST, demo.proxy.stats_port))
    for index, server in enumerate(demo.servers):
        alive = server.popen.poll() is None
        say("%s  %s" % (demo.name(index), "pid %d: kill -9 it" % server.pid if alive else "killed above"))
    while demo.proxy.popen.poll() is None:
        time.sleep(0.2)
    raise DidNotHappen("the proxy ended by itself")


def run(keep):
    with contextlib.ExitStack() as stack:
        demo = Demo(stack)
        demo.start()
        before = demo.share_keys()
        dead = before[KEYS[0]]
        demo.show_ejection(KEYS[0], dead)
        demo.show_who_moved(before, dead)
        demo.show_stats(dead)
        if keep:
            keep_running(demo)
        demo.proxy.stop()
    step("The proxy and the servers are stopped. What to try next")
    say("./dev demo --keep     the same, left running for your own telnet")
    say("./dev test            all tests")
    say("./dev bench           Cashew against nutcracker on this machine")
    say("build/bin/cashew -t -c FILE    check a nutcracker.yml that you have")


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    try:
        run(options.keep)
    except KeyboardInterrupt:
        print("\nStopped; the proxy and the servers are gone.")
        return 0 if options.keep else 130
    except (DidNotHappen, AssertionError, OSError) as error:
        print("\ndemo: this did not happen as it should: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
