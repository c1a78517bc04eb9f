#!/usr/bin/env python3
"""Cashew and nutcracker in turn, over the same three memcached or redis servers.

usage: bench.py [--cells a,b,c,d,e,f,g,h,i,j,k] [--rounds 5] [--ops N] [--own-core] [--json FILE] [--check]
       bench.py --memory [--spike connections,values] [--json FILE] [--check]

The figure is the proxy's CPU time (user and system, all its threads) per request, as the
ratio of the medians, with the quartiles of the per-round ratios beside it. See README.md
for how to read it. Exit status: 0 unless something broke (errors, wrong values); with
--check also when a cell is over what it must reach.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import HOST, Nutcracker, Proxy, RawClient, Redis, memcached_servers  # noqa: E402
from support.redis import encode  # noqa: E402
from support.processes import REPOSITORY, default_binary  # noqa: E402

POOL = {"hash": "fnv1a_64", "distribution": "ketama", "timeout": 10000, "backlog": 1024}
SERVER_ARGS = ("-m", "512", "-c", "4096", "-t", "1")

# name: what, options of the load generator, requests in a round, ratio to reach
CELLS = {
    "a": ("get:set 9:1, 64 B, 50 clients", ["--conns", "50"], 200000, 0.80),
    "b": ("the same, 16 in flight each", ["--conns", "50", "--depth", "16"], 600000, 0.38),
    "c": ("500 clients", ["--conns", "500"], 200000, 0.80),
    "d": ("8 KiB values", ["--conns", "50", "--value", "8192"], 120000, 0.75),
    "e": (
        "get of 20 keys",
        ["--conns", "50", "--mget", "20", "--set-ratio", "0"],
        100000,
        0.52,
    ),
}
REDIS_CELLS = {
    "g": ("redis get:set 9:1, 64 B, 50 clients", ["--conns", "50"], 200000, 0.80),
    "h": ("the same, 16 in flight each", ["--conns", "50", "--depth", "16"], 600000, 0.38),
    "i": (
        "redis MGET of 20 keys",
        ["--conns", "50", "--mget", "20", "--set-ratio", "0"],
        100000,
        0.52,
    ),
}
MANY_KEYS = 10000
MANY_KEYS_MUST = 2.0  # wall time of one request, as a multiple of going direct
MANY_KEYS_CELLS = {
    "f": "get of %d keys" % MANY_KEYS,
    "j": "MGET of %d keys" % MANY_KEYS,
    "k": "MSET of %d keys" % MANY_KEYS,
}

MIB = 1 << 20
IDLE_CLIENTS = 8000
IDLE_MUST = 1024  # bytes for each idle client, before and after one get
SPIKE_CLIENTS = 20000
SPIKE_BYTES = 1024 * MIB
SPIKE_WAIT = 60
SPIKE_MUST = 1.2  # RSS a minute after a spike, as a multiple of before


class Broken(Exception):
    """An error or a wrong value: the figures mean nothing."""


def say(text=""):
    print(text, flush=True)


def load_program():
    """Built beside the proxy, or in the development build."""
    given = os.environ.get("CASHEW_LOAD")
    build = os.path.dirname(os.path.dirname(os.path.abspath(default_binary())))
    for path in (given, os.path.join(build, "bench", "load"), os.path.join(REPOSITORY, "build/bench/load")):
        if path and os.access(path, os.X_OK):
            return path
    raise SystemExit("bench: the load generator is not built; ./dev bench builds it")


# CPU per request.


class Bench:
    def __init__(self, options):
        self.options = options
        self.load_path = load_program()
        self.on_rest = ["taskset", "-c", "0"] if options.own_core else []

    def load(self, address, arguments, ops, *more):
        argv = [*self.on_rest, self.load_path]
        argv += ["--addr", "%s:%d" % (HOST, address), "--ops", str(ops), *arguments, *more]
        result = subprocess.run(argv, stdout=subprocess.PIPE, check=False, timeout=600)
        try:
            report = json.loads(result.stdout)
        except ValueError:
            raise Broken("the load generator said %r" % result.stdout) from None
        if report["errors"] or report["mismatches"]:
            raise Broken("%s: %s" % (" ".join(argv), json.dumps(report)))
        return report

    def round(self, side, servers, arguments, ops):
        """One run of the load generator; what it and /proc say about it."""
        loops = side.loop_rounds()
        cpu = side.proxy.usage.cpu_ns()
        server_cpu = sum(s.usage.cpu_ns() for s in servers)
        report = self.load(side.proxy.address(), arguments, ops)
        cpu = side.proxy.usage.cpu_ns() - cpu
        server_cpu = sum(s.usage.cpu_ns() for s in servers) - server_cpu
        after = side.loop_rounds()
        return {
            "cpu_us": cpu / 1000 / ops,
            "servers_us": server_cpu / 1000 / ops,
            "kops": report["ops_per_s"] / 1000,
            "p50_us": report["p50_us"],
            "p99_us": report["p99_us"],
            "per_loop": ops / (after - loops) if after and after > loops else None,
        }

    def cell(self, name, sides, servers):
        what, arguments, ops, must = {**CELLS, **REDIS_CELLS}[name]
        ops = max(1000, int((self.options.ops or ops)))
        arguments = [*arguments, "--tag", name, "--proto"]
        arguments.append("redis" if name in REDIS_CELLS else "memcached")
        say("%s  %s: %d rounds of %d requests" % (name, what, self.options.rounds, ops))
        for side in sides.values():  # fills the caches, and checks every value once
            self.load(side.proxy.address(), arguments, min(ops, 20000), "--prefill", "--verify")
        rows = {key: [] for key in sides}
        for number in range(self.options.rounds):
            order = list(sides)
            random.shuffle(order)
            for key in order:
                rows[key].append(self.round(sides[key], servers, arguments, ops))
            ratio = rows["cashew"][-1]["cpu_us"] / rows["nutcracker"][-1]["cpu_us"]
            say("   round %d: %.2f" % (number + 1, ratio))
        return summarise(what, must, rows)

    def many_keys(self, name, servers):
        """Wall time of one get of 10,000 keys, relative to asking a server directly."""
        what = MANY_KEYS_CELLS[name]
        say("%s  %s, one server: wall time, relative to going direct" % (name, what))
        arguments = ["--conns", "1", "--keys", str(MANY_KEYS), "--mget", str(MANY_KEYS)]
        arguments += ["--set-ratio", "0", "--tag", "many", "--proto"]
        arguments.append("memcached" if name == "f" else "redis")
        wall = {"direct": [], "cashew": []}
        with contextlib.ExitStack() as stack:
            proxy = stack.enter_context(self.proxy(Proxy, servers[:1], redis=name != "f"))
            places = {"direct": servers[0].port, "cashew": proxy.address()}
            self.load(servers[0].port, arguments, 1, "--prefill", "--verify")
            self.load(proxy.address(), arguments, 1, "--verify")
            for _ in range(self.options.rounds):
                for key in random.sample(list(places), len(places)):
                    wall[key].append(self.load(places[key], arguments, 40)["p50_us"])
            nutcracker = stack.enter_context(
                self.proxy(Nutcracker, servers[:1], redis=name != "f")
            )
            reference = self.load(nutcracker.address(), arguments, 5)["p50_us"]
        return self.many_keys_result(what, wall, reference)

    def many_sets(self, name, servers):
        """Wall time of one MSET of 10,000 keys over three servers, relative to one server."""
        say("%s  %s: wall time, relative to going direct" % (name, MANY_KEYS_CELLS[name]))
        request = encode("MSET", *[w for i in range(MANY_KEYS) for w in ("m:%d" % i, "x" * 64)])

        def once(address):
            with RawClient(address, timeout=30) as client:
                best = []
                for _ in range(20):
                    began = time.perf_counter()
                    client.send(request)
                    client.expect("+OK\r\n")
                    best.append((time.perf_counter() - began) * 1e6)
                return statistics.median(best)

        wall = {"direct": [], "cashew": []}
        with self.proxy(Proxy, servers, redis=True) as proxy:
            places = {"direct": servers[0].port, "cashew": proxy.address()}
            for _ in range(self.options.rounds):
                for key in random.sample(list(places), len(places)):
                    wall[key].append(once(places[key]))
        with self.proxy(Nutcracker, servers, redis=True) as nutcracker:
            reference = once(nutcracker.address())
        return self.many_keys_result(MANY_KEYS_CELLS[name], wall, reference)

    @staticmethod
    def many_keys_result(what, wall, reference):
        ratios = [c / d for c, d in zip(wall["cashew"], wall["direct"])]
        ratio = statistics.median(wall["cashew"]) / statistics.median(wall["direct"])
        return {
            "what": "%s, wall" % what,
            "direct_us": statistics.median(wall["direct"]),
            "cashew_us": statistics.median(wall["cashew"]),
            "nutcracker_us": reference,
            "ratio": ratio,
            "quartiles": quartiles(ratios),
            "must": MANY_KEYS_MUST,
            "ok": ratio <= MANY_KEYS_MUST,
        }

    def proxy(self, kind, servers, redis=False):
        prefix = ["taskset", "-c", "1"] if self.options.own_core else []
        settings = {"workers": 1} if kind is Proxy else None
        pool = {**POOL, "redis": redis, "servers": servers}
        return kind({"bench": pool}, settings=settings, prefix=prefix)

    def run(self):
        results = {}
        self.run_group(results, CELLS, ["f"], redis=False)
        self.run_group(results, REDIS_CELLS, ["j", "k"], redis=True)
        return results

    def run_group(self, results, cells, wall_cells, redis):
        if not any(name in cells or name in wall_cells for name in self.options.cells):
            return
        with contextlib.ExitStack() as stack:
            if redis:
                servers = [stack.enter_context(Redis()) for _ in range(3)]
            else:
                servers = stack.enter_context(memcached_servers(3, args=SERVER_ARGS))
            if self.options.own_core:
                for server in servers:
                    subprocess.run(
                        ["taskset", "-a", "-c", "-p", "0", str(server.pid)],
                        stdout=subprocess.DEVNULL,
                        check=True,
                    )
            lines = [s.server_line("s%d" % i) for i, s in enumerate(servers)]
            sides = {
                "cashew": Side(stack.enter_context(self.proxy(Proxy, lines, redis))),
                "nutcracker": Side(stack.enter_context(self.proxy(Nutcracker, lines, redis))),
            }
            for name in self.options.cells:
                if name in cells:
                    results[name] = self.cell(name, sides, servers)
            for side in sides.values():
                side.require_no_server_error()
            for name in wall_cells:
                if name in self.options.cells:
                    measure = self.many_sets if name == "k" else self.many_keys
                    results[name] = measure(name, servers)


class Side:
    """One of the two proxies."""

    def __init__(self, proxy):
        self.proxy = proxy

    def loop_rounds(self):
        """How often Cashew's loops have turned; None where that is not counted."""
        if not self.proxy.is_cashew:
            return None
        try:
            return self.proxy.metric("cashew_loop_rounds_total")
        except AssertionError:
            return None

    def require_no_server_error(self):
        stats = self.proxy.pool_stats()
        for name, server in stats.items():
            if isinstance(server, dict) and (server["server_err"] or server["server_timedout"]):
                raise Broken("%s: %s" % (name, json.dumps(server)))


def quartiles(values):
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, high]


def summarise(what, must, rows):
    medians = {
        key: {
            name: statistics.median(r[name] for r in side) if side[0][name] is not None else None
            for name in side[0]
        }
        for key, side in rows.items()
    }
    ratios = [c["cpu_us"] / n["cpu_us"] for c, n in zip(rows["cashew"], rows["nutcracker"])]
    ratio = medians["cashew"]["cpu_us"] / medians["nutcracker"]["cpu_us"]
    return {
        "what": what,
        "ratio": ratio,
        "quartiles": quartiles(ratios),
        "must": must,
        "ok": ratio <= must,
        "medians": medians,
        "rounds": rows,
    }


def print_cells(results, own_core):
    cells = {k: v for k, v in results.items() if k not in MANY_KEYS_CELLS}
    say()
    say("CPU per request, Cashew with one worker / nutcracker; %s" % (
        "the proxy alone on one core" if own_core else "proxy, servers and load share the cores"
    ))
    if cells:
        row = "%-2s %-30s %14s %6s %13s %5s %-5s %13s %15s %13s %15s %6s"
        say(row % (
            "", "", "proxy us", "ratio", "[25..75 %]", "must", "", "servers us", "k/s", "p50 us",
            "p99 us", "/round",
        ))
    for name, cell in cells.items():
        c, n = cell["medians"]["cashew"], cell["medians"]["nutcracker"]

        def pair(key, form, c=c, n=n):
            return "%s / %s" % (form % c[key], form % n[key])

        say(row % (
            name, cell["what"], pair("cpu_us", "%.2f"), "%.2f" % cell["ratio"],
            "[%.2f..%.2f]" % tuple(cell["quartiles"]), "%.2f" % cell["must"],
            "ok" if cell["ok"] else "OVER", pair("servers_us", "%.1f"), pair("kops", "%.1f"),
            pair("p50_us", "%.0f"), pair("p99_us", "%.0f"),
            "%.1f" % c["per_loop"] if c["per_loop"] else "-",
        ))
    if own_core and cells:
        say("(the values that must be reached are for shared cores)")
    for name in MANY_KEYS_CELLS:
        if name not in results:
            continue
        cell = results[name]
        say("%s  %s: direct %.1f ms, Cashew %.1f ms, ratio %.2f [%.2f..%.2f], must %.1f %s; "
            "nutcracker %.1f ms" % (
                name, cell["what"], cell["direct_us"] / 1000, cell["cashew_us"] / 1000, cell["ratio"],
                *cell["quartiles"], cell["must"], "ok" if cell["ok"] else "OVER",
                cell["nutcracker_us"] / 1000,
            ))


# Memory.


class ClientProcess:
    """Holds idle connections in a process of its own, which has its own limit on files."""

    def __init__(self, port, count):
        self.stream, theirs = os.pipe()
        back, self.order = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.stream)
            os.close(self.order)
            self._child(port, count, theirs, back)
        os.close(theirs)
        os.close(back)
        self._answer()

    @staticmethod
    def _child(port, count, out, orders):
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            clients = [RawClient(port, timeout=30) for _ in range(count)]
            os.write(out, b".")
            while os.read(orders, 1):
                for i, client in enumerate(clients):  # all at once: no buffer is used twice
                    client.send("get idle-%d\r\n" % (i % 100))
                for client in clients:
                    client.expect("END\r\n")
                os.write(out, b".")
            status = 0
        finally:
            os._exit(status)

    def _answer(self):
        if os.read(self.stream, 1) != b".":
            raise Broken("a client could not connect or got no answer")

    def each_gets_once(self):
        os.write(self.order, b"g")
        self._answer()

    def close(self):
        os.close(self.order)
        os.waitpid(self.pid, 0)
        os.close(self.stream)


def most_clients(wanted):
    """As many as the limit on open files lets a proxy and a client process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, wanted + 1000),) * 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, hard - 300)


def settled_rss(proxy, seconds=1.0):
    time.sleep(seconds)
    return proxy.usage.rss()


def warm_up(proxy):
    """Enough for the proxy to own what it always owns."""
    with contextlib.ExitStack() as stack:
        for client in [stack.enter_context(proxy.client()) for _ in range(50)]:
            for i in range(20):
                client.ask("set warm-%d 0 0 1\r\nx\r\n" % i, "STORED\r\n")
                client.ask("get warm-%d\r\n" % i, "VALUE warm-%d 0 1\r\nx\r\nEND\r\n" % i)


def idle_memory(make_proxy, count):
    with make_proxy() as proxy:
        warm_up(proxy)
        base = settled_rss(proxy)
        clients = ClientProcess(proxy.address(), count)
        connected = settled_rss(proxy)
        clients.each_gets_once()
        after_get = settled_rss(proxy)
        clients.close()
        return {
            "idle_bytes": (connected - base) / count,
            "after_get_bytes": (after_get - base) / count,
        }


def connection_spike(make_proxy, count):
    with make_proxy() as proxy:
        warm_up(proxy)
        base = settled_rss(proxy)
        clients = ClientProcess(proxy.address(), count)
        clients.each_gets_once()
        peak = proxy.usage.rss()
        clients.close()
        return {"base": base, "peak": peak, "after": settled_rss(proxy, SPIKE_WAIT)}


def value_spike(make_proxy):
    """Clients that ask for 1 GiB and do not read until the proxy holds what it will hold."""
    value = b"v" * (MIB - 512)
    clients, each = 64, SPIKE_BYTES // MIB // 64
    with make_proxy() as proxy:
        warm_up(proxy)
        with proxy.client() as writer:
            for i in range(each):
                writer.ask(
                    b"set spike-%d 0 0 %d\r\n%s\r\n" % (i, len(value), value), "STORED\r\n"
                )
        base = settled_rss(proxy)
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(proxy.client(timeout=60)) for _ in range(clients)]
            for reader in readers:
                reader.send("".join("get spike-%d\r\n" % i for i in range(each)))
            peak, last = 0, -1
            while proxy.usage.rss() > max(last, peak) + MIB:
                peak = last = proxy.usage.rss()
                time.sleep(0.5)
            peak = max(peak, proxy.usage.rss())
            for reader in readers:
                for i in range(each):
                    reader.expect(b"VALUE spike-%d 0 %d\r\n" % (i, len(value)))
                    reader.recv_exact(len(value))
                    reader.expect("\r\nEND\r\n")
        return {"base": base, "peak": peak, "after": settled_rss(proxy, SPIKE_WAIT)}


def run_memory(options):
    idle = most_clients(IDLE_CLIENTS)
    spike = most_clients(SPIKE_CLIENTS)
    results = {"idle_clients": idle, "spike_clients": spike}
    if spike < SPIKE_CLIENTS:
        say("the limit on open files allows %d of %d connections" % (spike, SPIKE_CLIENTS))
    with memcached_servers(3, args=("-m", "256", "-c", "4096", "-t", "1")) as servers:
        for kind in (Proxy, Nutcracker):
            name = "cashew" if kind is Proxy else "nutcracker"

            def make_proxy(kind=kind):
                settings = {"workers": 1} if kind is Proxy else None
                return kind({"bench": {**POOL, "servers": servers}}, settings=settings)

            say("%s: %d idle clients" % (name, idle))
            results[name] = idle_memory(make_proxy, idle)
            if "connections" in options.spike:
                say("%s: a spike of %d connections, then %d s" % (name, spike, SPIKE_WAIT))
                results[name]["connections"] = connection_spike(make_proxy, spike)
            if "values" in options.spike:
                say("%s: a spike of 1 GiB of values, then %d s" % (name, SPIKE_WAIT))
                results[name]["values"] = value_spike(make_proxy)
    mine = results["cashew"]
    results["ok"] = mine["idle_bytes"] <= IDLE_MUST and mine["after_get_bytes"] <= IDLE_MUST
    for what in options.spike:
        results["ok"] &= mine[what]["after"] <= SPIKE_MUST * mine[what]["base"]
    return results


def print_memory(results, spikes):
    say()
    say("%-44s %22s %22s   must" % ("", "Cashew", "nutcracker"))
    sides = [results["cashew"], results["nutcracker"]]

    def verdict(over, text):
        return "%s %s" % (text, "OVER" if over else "ok")

    for key, what in (("idle_bytes", "an idle client"), ("after_get_bytes", "after one get each")):
        say("%-44s %22s %22s   %s" % (
            "%s (%d of them)" % (what, results["idle_clients"]),
            *("%.2f KiB" % (s[key] / 1024) for s in sides),
            verdict(sides[0][key] > IDLE_MUST, "1 KiB"),
        ))
    for key in spikes:
        what = "%d connections" % results["spike_clients"] if key == "connections" else "1 GiB of values"
        say("%-44s %22s %22s   %s" % (
            "MiB before, in and %d s after %s" % (SPIKE_WAIT, what),
            *(
                "%.1f %.0f %.1f (%.1fx)"
                % (*(s[key][k] / MIB for k in ("base", "peak", "after")), s[key]["after"] / s[key]["base"])
                for s in sides
            ),
            verdict(sides[0][key]["after"] > SPIKE_MUST * sides[0][key]["base"], "1.2x"),
        ))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    letters = sorted([*CELLS, *REDIS_CELLS, *MANY_KEYS_CELLS])
    parser.add_argument("--cells", default=",".join(letters), help="which of %s" % ",".join(letters))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ops", type=int, help="requests in a round, instead of the cell's own")
    parser.add_argument("--own-core", action="store_true", help="the proxy alone on core 1")
    parser.add_argument("--memory", action="store_true", help="memory instead of CPU")
    parser.add_argument("--spike", default="connections,values", help="with --memory: which; or none")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--check", action="store_true", help="fail when a cell is over its must")
    options = parser.parse_args()
    options.cells = options.cells.split(",")
    if set(options.cells) - set(letters):
        parser.error("--cells: one or more of %s" % ",".join(letters))
    options.spike = [] if options.spike == "none" else options.spike.split(",")
    if set(options.spike) - {"connections", "values"}:
        parser.error("--spike: connections, values or none")
    if options.own_core and (not shutil.which("taskset") or os.cpu_count() < 2):
        parser.error("--own-core needs taskset and two cores")
    return options


def main():
    options = parse_arguments()
    try:
        if options.memory:
            results = run_memory(options)
            print_memory(results, options.spike)
            fine = results["ok"]
        else:
            results = Bench(options).run()
            print_cells(results, options.own_core)
            fine = all(cell["ok"] for cell in results.values())
    except Broken as error:
        say("BROKEN: %s" % error)
        return 1
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
    return 1 if options.check and not fine else 0


if __name__ == "__main__":
    sys.exit(main())
