#!/usr/bin/env python3
"""Replay golden conversations against a proxy binary (python3 stdlib only).

usage: replay.py --proxy PATH [--cases FILE]... [--protocol memcached|redis] [--filter REGEX]
                 [--pool-key compat=strict] [--strict] [--differences FILE] [--json FILE] [-v] [--keep]

The proxy is started as `PATH -c CONF -o LOG -s STATSPORT -a 127.0.0.1 [extra]`.
Real memcached and redis-server processes are started on free loopback ports;
misbehaving backends are small threads of this script.

A case is one JSON object per line:
  protocol, name, tier, deterministic, pool, [pool_b], [proxy_args], events
tier "must":  a compatible proxy has to give exactly these bytes.
tier "quirk": recorded behaviour that a successor may deliberately change; it is
              reported, but fails the run only with --strict.
--differences FILE: a table of the cases that the proxy answers differently on purpose. Tiers
do not count then: a case that differs without a row fails, and so does a row whose case does
not differ. Tab-separated: protocol/name, what the proxy does, why; the first line is a header.
pool: pool keys of the YAML file; `servers` is a list of "BACKEND:WEIGHT NAME",
      where BACKEND is one of
        memcached#N  redis#N  redisauth#N   real servers (redisauth: password "sekret")
        dead#N       refuses connections
        blackhole#N  accepts and reads, never answers
        closer#N     closes the connection after the first bytes
        fixed#N=TEXT answers every request chunk with TEXT (latin-1, JSON escapes)
      "isolate": true gives the case a pool (and so server connections) of its own.
events, in order; "c" selects the client connection ("a" by default; "b" uses pool_b if present):
  {"send": BYTES}  {"expect": BYTES [, "unordered": true: VALUE blocks in any order]}  {"expect_re": REGEX}  {"sleep": MS}
  {"shutdown": true} (client half-close)   {"expect_close": true} (proxy closed)
After the last event every connection that was not closed must be open and silent.
BYTES: a string whose code points 0..255 are byte values, or a list of such strings and
       {"rep": STRING, "n": COUNT}.
"""
import argparse
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

QUIET = 0.06
TIMEOUT = 5.0
HOST = "127.0.0.1"


def b(spec):
    if isinstance(spec, str):
        return spec.encode("latin-1")
    return b"".join(b(p) if isinstance(p, str) else p["rep"].encode("latin-1") * p["n"] for p in spec)


def free_port():
    s = socket.socket()
    s.bind((HOST, 0))
    p = s.getsockname()[1]
    s.close()
    return p


def wait_port(port, t=5.0):
    end = time.time() + t
    while time.time() < end:
        try:
            socket.create_connection((HOST, port), 0.5).close()
            return True
        except OSError:
            time.sleep(0.03)
    return False


class Fake(threading.Thread):
    """A misbehaving backend."""

    def __init__(self, kind, text=b""):
        super().__init__(daemon=True)
        self.kind, self.text = kind, text
        self.s = socket.socket()
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.s.bind((HOST, 0))
        self.port = self.s.getsockname()[1]
        if kind != "dead":  # bound but not listening: connections are refused
            self.s.listen(64)
            self.start()

    def run(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            while True:
                d = c.recv(65536)
                if not d:
                    break
                if self.kind == "closer":
                    break
                if self.kind == "fixed":
                    c.sendall(self.text)
        except OSError:
            pass
        c.close()


class World:
    def __init__(self, proxy, tmp):
        self.proxy, self.tmp = proxy, tmp
        self.procs, self.back, self.pools = [], {}, {}

    def spawn(self, argv):
        p = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.procs.append(p)
        return p

    def backend(self, name):
        if name in self.back:
            return self.back[name]
        kind = name.split("#")[0]
        if kind == "memcached":
            port = free_port()
            a = ["memcached", "-l", HOST, "-p", str(port), "-U", "0", "-m", "64", "-I", "8m", "-t", "1"]
            if os.getuid() == 0:
                a += ["-u", "nobody"]  # as root it insists on being told
            self.spawn(a)
        elif kind in ("redis", "redisauth"):
            port = free_port()
            a = ["redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", self.tmp]
            if kind == "redisauth":
                a += ["--requirepass", "sekret"]
            self.spawn(a)
        else:
            f = Fake(kind, b(name.split("=", 1)[1]) if "=" in name else b"")
            self.back[name] = f.port
            return f.port
        if not wait_port(port):
            raise SystemExit("backend %s did not start" % name)
        self.back[name] = port
        return port

    def pool_yaml(self, name, port, pool):
        out = ["%s:" % name, "  listen: %s:%d" % (HOST, port)]
        for k, v in pool.items():
            if k in ("servers", "isolate"):
                continue
            if isinstance(v, bool):
                v = "true" if v else "false"
            elif isinstance(v, str):
                v = '"%s"' % v
            out.append("  %s: %s" % (k, v))
        out.append("  servers:")
        for s in pool["servers"]:
            head, _, nm = s.rpartition(" ")
            bk, _, w = head.rpartition(":")
            out.append("   - %s:%d:%s %s" % (HOST, self.backend(bk), w, nm))
        return "\n".join(out) + "\n"

    def start(self, cases):
        groups = {}
        for c in cases:
            for which in ("pool", "pool_b"):
                if which not in c:
                    continue
                key = json.dumps(c[which], sort_keys=True)
                if c[which].get("isolate"):
                    key += "|" + c["name"]
                args = tuple(c.get("proxy_args", []))
                groups.setdefault(args, {}).setdefault(key, c[which])
                c["_" + which] = (args, key)
        for n, (args, pools) in enumerate(groups.items()):
            for attempt in (1, 2, 3):  # a port picked as free may be taken meanwhile
                y = ""
                for i, (key, pool) in enumerate(pools.items()):
                    port = free_port()
                    self.pools[(args, key)] = port
                    y += self.pool_yaml("p%d_%d" % (n, i), port, pool)
                conf = os.path.join(self.tmp, "proxy%d.yml" % n)
                with open(conf, "w", encoding="latin-1") as f:
                    f.write(y)
                a = [self.proxy, "-c", conf, "-o", os.path.join(self.tmp, "proxy%d.log" % n)]
                a += ["-s", str(free_port()), "-a", HOST] + list(args)
                p = self.spawn(a)
                if all(wait_port(self.pools[(args, k)], 3.0 if p.poll() is None else 0.1) for k in pools) and p.poll() is None:
                    break
                p.terminate()
                p.wait()
            else:
                raise SystemExit("proxy did not start with %s (exit status %s)" % (conf, p.poll()))
        time.sleep(0.2)

    def stop(self):
        for p in self.procs:
            if p.poll() is None:
                p.terminate()
        for p in self.procs:
            try:
                p.wait(3)
            except subprocess.TimeoutExpired:
                p.kill()


class Conn:
    def __init__(self, port):
        self.s = socket.create_connection((HOST, port), TIMEOUT)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s.setblocking(False)
        self.buf, self.eof = b"", False

    def pump(self, t, want_write=False):
        r, w, _ = select.select([] if self.eof else [self.s], [self.s] if want_write else [], [], t)
        if r:
            try:
                d = self.s.recv(1 << 18)
                if d:
                    self.buf += d
                else:
                    self.eof = True
            except BlockingIOError:
                pass
            except OSError:
                self.eof = True
        return bool(r), bool(w)

    def send(self, data):
        end = time.time() + 20
        mv = memoryview(data)
        while mv and time.time() < end:
            _, w = self.pump(0.5, True)
            if w:
                try:
                    n = self.s.send(mv[: 1 << 17])
                    mv = mv[n:]
                except BlockingIOError:
                    pass
                except OSError:
                    return  # the proxy closed on us: the expect events will tell

    def read_until(self, pred, timeout):
        end = time.time() + timeout
        while not pred(self.buf) and not self.eof:
            left = end - time.time()
            if left <= 0:
                return
            self.pump(min(left, 0.25))

    def quiet(self, t):
        """Read what comes until nothing came for t seconds."""
        while not self.eof:
            r, _ = self.pump(t)
            if not r:
                return


def blocks(data):
    """VALUE blocks of a memcached retrieval reply, sorted, and what follows them."""
    out = []
    while data.startswith(b"VALUE "):
        line, _, rest = data.partition(b"\r\n")
        n = int(line.split(b" ")[3]) + 2
        out.append(line + rest[:n])
        data = rest[n:]
    return sorted(out), data


def short(x, n=160):
    r = repr(x)
    return r if len(r) <= n else r[:n] + "...(%d bytes)" % len(x)


def closing(c):
    return " then close" if c.eof else ""


def run_case(world, case):
    conns, closed = {}, set()

    def conn(e):
        c = e.get("c", "a")
        if c not in conns:
            which = "_pool_b" if c == "b" and "_pool_b" in case else "_pool"
            conns[c] = Conn(world.pools[case[which]])
        return c, conns[c]

    try:
        for i, e in enumerate(case["events"]):
            if "sleep" in e:
                time.sleep(e["sleep"] / 1000.0)
                continue
            name, c = conn(e)
            if "send" in e:
                c.send(b(e["send"]))
            elif "shutdown" in e:
                c.s.shutdown(socket.SHUT_WR)
            elif "expect" in e:
                want = b(e["expect"])
                c.read_until(lambda x: len(x) >= len(want), TIMEOUT)
                got, c.buf = c.buf[: len(want)], c.buf[len(want):]
                if got != want and not (e.get("unordered") and blocks(got) == blocks(want)):
                    return "event %d: expected %s got %s%s" % (i, short(want), short(got + c.buf), closing(c))
            elif "expect_re" in e:
                rx = re.compile(e["expect_re"].encode("latin-1"), re.S)
                c.read_until(rx.fullmatch, TIMEOUT)
                c.quiet(QUIET)
                got, c.buf = c.buf, b""
                if not rx.fullmatch(got):
                    return "event %d: expected /%s/ got %s%s" % (i, e["expect_re"], short(got), closing(c))
            elif "expect_close" in e:
                c.read_until(lambda x: bool(x), TIMEOUT)
                if c.buf:
                    return "event %d: expected close, got %s" % (i, short(c.buf))
                if not c.eof:
                    return "event %d: expected close, connection still open" % i
                closed.add(name)
        for name, c in conns.items():
            if name in closed:
                continue
            c.quiet(QUIET)
            if c.buf:
                return "end: unexpected extra bytes %s" % short(c.buf)
            if c.eof:
                return "end: connection %s closed, expected open" % name
        return None
    except OSError as ex:
        return "i/o error: %s" % ex
    finally:
        for c in conns.values():
            c.s.close()


def load(paths):
    out = []
    for p in paths:
        with open(p, encoding="utf-8") as f:
            out += [json.loads(line) for line in f if line.strip()]
    return out


def load_differences(path):
    """{case: (what the proxy does, why)}"""
    rows = {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            fields = line.rstrip("\n").split("\t")
            if number == 1:
                continue
            if len(fields) != 3 or not all(fields):
                raise SystemExit("%s:%d: expected case<TAB>what it does<TAB>why" % (path, number))
            if fields[0] in rows:
                raise SystemExit("%s:%d: a second row for %s" % (path, number, fields[0]))
            rows[fields[0]] = (fields[1], fields[2])
    return rows


def judge_differences(outcomes, table, known):
    """Lines about what the table does not say, or says wrongly."""
    different = {r["name"]: r["why"] for r in outcomes if not r["ok"]}
    lines = []
    for name, why in different.items():
        if name not in table:
            lines.append("differs, but has no row: %s: %s" % (name, why))
    for name in table:
        if name not in known:
            lines.append("a row for no case: %s" % name)
        elif name in {r["name"] for r in outcomes} and name not in different:
            lines.append("has a row, but does not differ: %s" % name)
    return lines


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--proxy", required=True)
    ap.add_argument("--cases", action="append")
    ap.add_argument("--protocol", choices=("memcached", "redis"), help="only its cases")
    ap.add_argument("--filter", help="only cases whose protocol/name matches")
    ap.add_argument("--strict", action="store_true", help="quirk cases count as failures too")
    ap.add_argument("--differences", metavar="FILE", help="exactly the cases in this table may differ")
    ap.add_argument("--keep", action="store_true", help="keep the scratch directory")
    ap.add_argument("--json", help="write the outcome of each case to this file")
    ap.add_argument(
        "--pool-key",
        action="append",
        default=[],
        metavar="K=V",
        help="add this key to every pool, e.g. compat=strict",
    )
    ap.add_argument("-v", action="store_true")
    a = ap.parse_args()
    if not a.cases:
        files = ("protocol_cases.jsonl", "protocol_cases_heldout.jsonl")
        a.cases = [os.path.join(here, n) for n in files if os.path.exists(os.path.join(here, n))]
    cases = load(a.cases)
    for c in cases:
        for which in ("pool", "pool_b"):
            if which in c:
                c[which].update(dict(kv.split("=", 1) for kv in a.pool_key))
    known = {c["protocol"] + "/" + c["name"] for c in cases}
    if a.protocol:
        cases = [c for c in cases if c["protocol"] == a.protocol]
    if a.filter:
        cases = [c for c in cases if re.search(a.filter, c["protocol"] + "/" + c["name"])]
    tmp = tempfile.mkdtemp(prefix="replay-")
    w = World(os.path.abspath(a.proxy), tmp)
    tally, rows = {}, []
    try:
        w.start(cases)
        for c in cases:
            err = run_case(w, c)
            t = tally.setdefault((c["protocol"], c["tier"]), [0, 0])
            t[0 if err is None else 1] += 1
            name = c["protocol"] + "/" + c["name"]
            rows.append({"name": name, "tier": c["tier"], "ok": err is None, "why": err})
            if a.v or (err and not a.differences):
                word = "ok" if err is None else "DIFF" if a.differences else "FAIL"
                print("%-5s %-6s %s%s" % (word, c["tier"], name, "" if err is None else ": " + err))
    finally:
        w.stop()
        if a.keep:
            print("kept", tmp)
        else:
            shutil.rmtree(tmp, ignore_errors=True)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(rows, f, indent=1)
    if a.differences:
        table = load_differences(a.differences)
        complaints = judge_differences(rows, table, known)
        print("\n".join(complaints))
        differing = sum(not r["ok"] for r in rows)
        print("%d cases: %d as recorded, %d different" % (len(rows), len(rows) - differing, differing))
        print("the table and the proxy %s" % ("disagree" if complaints else "agree"))
        return 1 if complaints else 0
    bad = 0
    for (proto, tier), (ok, ko) in sorted(tally.items()):
        print("%s %s: %d passed, %d failed" % (proto, tier, ok, ko))
        if ko and (tier == "must" or a.strict):
            bad += ko
    print("total: %d passed, %d failed" % (sum(x[0] for x in tally.values()), sum(x[1] for x in tally.values())))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
