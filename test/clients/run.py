#!/usr/bin/env python3
"""Redis client libraries, with their default settings, through Cashew.

usage: run.py [--only NAME,…] [--all] [--table FILE]

Each library's program (a folder here) is built in build/clients, run straight at one redis-server,
which proves the program, and then through Cashew before three, all of which must take part. By
default: redis-py, hiredis, go-redis, ioredis. Exit status: 0 when every step passed. --table writes
the results as markdown.
"""

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from support import HOST, Proxy, Redis  # noqa: E402
from support.processes import REPOSITORY  # noqa: E402

BUILD = os.path.join(REPOSITORY, "build", "clients")
BUILD_TIMEOUT = 600
RUN_TIMEOUT = 120


class Missing(Exception):
    """A tool that the library needs is not installed."""


def tool(name, hint):
    path = shutil.which(name)
    if path is None:
        raise Missing("%s is not installed: %s" % (name, hint))
    return path


def command(argv, cwd, **environment):
    subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **environment},
        check=True,
        timeout=BUILD_TIMEOUT,
        stdout=sys.stderr,
    )


def copied(name):
    """The library's folder, copied to where it may be built in."""
    folder = os.path.join(BUILD, name)
    shutil.copytree(os.path.join(HERE, name), folder, dirs_exist_ok=True)
    return folder


def python_client(name, requirements):
    def build():
        folder = os.path.join(BUILD, name)
        python = os.path.join(folder, "bin", "python")
        try:
            if not os.path.exists(python):
                command([sys.executable, "-m", "venv", folder], HERE)
        except subprocess.CalledProcessError:
            raise Missing("no virtual environment: apt-get install python3-venv") from None
        source = os.path.join(HERE, "redis-py")
        command([python, "-m", "pip", "-q", "install", "-r", requirements], source)
        return [python, os.path.join(source, "client.py")]

    return build


def hiredis():
    folder = copied("hiredis")
    compiler = tool("cc", "apt-get install gcc libhiredis-dev")
    try:
        command([compiler, "-Wall", "-O1", "client.c", "-o", "client", "-lhiredis"], folder)
    except subprocess.CalledProcessError:
        raise Missing("hiredis does not compile: apt-get install libhiredis-dev") from None
    return [os.path.join(folder, "client")]


def go_redis():
    folder = copied("go-redis")
    command([tool("go", "Go as new as go.mod says"), "build", "-o", "client", "."], folder)
    return [os.path.join(folder, "client")]


def node(name):
    def build():
        folder = copied(name)
        npm = tool("npm", "apt-get install npm")
        command([npm, "install", "--silent", "--no-audit", "--no-fund"], folder)
        return [tool("node", "apt-get install nodejs"), os.path.join(folder, "client.js")]

    return build


def maven(name):
    def build():
        folder = copied(name)
        mvn = tool("mvn", "apt-get install maven, and a JDK of 17 or newer")
        goal = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
        command([mvn, "-q", "-B", *goal], folder)
        with open(os.path.join(folder, "classpath"), encoding="utf-8") as file:
            path = os.path.join(folder, "target", "classes") + os.pathsep + file.read().strip()
        return [tool("java", "a JDK"), "-cp", path, "Client"]

    return build


def redis_rs():
    folder = copied("redis-rs")
    command([tool("cargo", "Rust's cargo"), "build", "-q"], folder)
    return [os.path.join(folder, "target", "debug", "cashew-test-redis-rs")]


# name: how to build it, and the arguments of its runs (the protocol, where it can be chosen)
CLIENTS = {
    "redis-py": (python_client("redis-py", "requirements.txt"), [[], ["2"], ["3"]]),
    "redis-py-3": (python_client("redis-py-3", "requirements-3.txt"), [[]]),
    "hiredis": (hiredis, [[]]),
    "go-redis": (go_redis, [[], ["2"]]),
    "ioredis": (node("ioredis"), [[], ["2"]]),
    "node-redis": (node("node-redis"), [[], ["2"]]),
    "jedis": (maven("jedis"), [[], ["2"], ["3"]]),
    "lettuce": (maven("lettuce"), [[], ["2"]]),
    "redis-rs": (redis_rs, [[], ["3"]]),
}
USUAL = ["redis-py", "redis-py-3", "hiredis", "go-redis", "ioredis"]


# What every program does, in this order; it prints `ok STEP` or `FAIL STEP reason`.
STEPS = [
    "HELLO",
    "strings",
    "counter",
    "many keys",
    "hash",
    "list",
    "set",
    "sorted set",
    "HSCAN",
    "pipeline of 1,000",
    "MULTI",
    "WATCH",
    "WATCH conflict",
    "BLPOP",
    "BLPOP time-out",
    "EVAL",
    "unknown command",
    "WRONGTYPE",
    "SELECT and name",
    "reconnect",
]


def run(argv, port, extra):
    """The program's output, and its exit status or what ended it."""
    argv = [*argv, HOST, str(port), *extra]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(argv, **pipes, timeout=RUN_TIMEOUT, check=False)
        output, ended = done.stdout, "exit status %d" % done.returncode
    except subprocess.TimeoutExpired as late:
        output, ended = late.stdout or b"", "ended after %d s" % RUN_TIMEOUT
    return output.decode("utf-8", "replace"), ended


def found(pattern, output):
    match = re.search(pattern, output, re.M)
    return match.group(1) if match else "?"


def count_steps(output, ended):
    """(passed, problems): a step counts when its line is there, once, and in its place."""
    passed = re.findall("^ok (.*)$", output, re.M)
    problems = re.findall("^FAIL .*$", output, re.M)
    missing = [step for step in STEPS if step not in passed]
    if missing and not problems:
        problems = ["%s; not done: %s" % (ended, ", ".join(missing))]
    if not problems and (passed != STEPS or ended != "exit status 0"):
        problems = ["%s; steps: %s" % (ended, ", ".join(passed))]
    return len(passed), problems


class Place:
    """Where the programs are run: a port, and the servers that must all be used by each run."""

    def __init__(self, name, port, servers):
        self.name, self.port, self.servers = name, port, servers

    def run(self, argv, extra):
        """(steps passed, problems, output)"""
        for server in self.servers:
            server.ask("FLUSHALL")
            server.ask("CONFIG", "RESETSTAT")
        output, ended = run(argv, self.port, extra)
        passed, problems = count_steps(output, ended)
        if not problems and not all(self._took_part(server) for server in self.servers):
            problems = ["the MGET of fifty keys did not reach every server"]
        return passed, problems, output

    @staticmethod
    def _took_part(server):
        return b"cmdstat_mget:" in server.ask("INFO", "commandstats")


def check(name, places):
    """Rows of the table, from the last place, and whether all is well."""
    build, variants = CLIENTS[name]
    print("%s: building" % name, flush=True)
    argv = build()
    rows, well = [], True
    for extra in variants:
        for place in places:
            passed, problems, output = place.run(argv, extra)
            version = found("^library (.*)$", output)
            # In a map of RESP3 or a list of RESP2, as each language writes them.
            protocol = "RESP" + found(r"^hello .*\bproto\W+(?:int\()?(\d)", output)
            protocol += "" if extra else " (default)"
            print("%s, %s, %s: %d passed" % (version, protocol, place.name, passed), flush=True)
            for problem in problems:
                print("  " + problem, flush=True)
            if not passed:
                print(output, flush=True)
            well = well and not problems
        rows.append((version, protocol, passed, len(STEPS) - passed or len(problems)))
    return rows, well


def check_all(names, places):
    """Rows of the table, and the names of those that failed."""
    rows, bad = [], []
    for name in names:
        try:
            more, well = check(name, places)
        except (Missing, subprocess.SubprocessError) as problem:
            print("%s: %s" % (name, problem), flush=True)
            more, well = [], False
        rows += more
        if not well:
            bad.append(name)
    return rows, bad


def write_table(path, rows):
    today = datetime.date.today().isoformat()
    lines = ["| library | protocol | steps passed | failed | date |", "|" + " --- |" * 5]
    lines += ["| %s | %s | %d | %d | %s |" % (*row, today) for row in rows]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def chosen(parser, options):
    if options.only is None:
        return list(CLIENTS) if options.all else USUAL
    names = options.only.split(",")
    for name in names:
        if name not in CLIENTS:
            parser.error("no library %r here: there are %s" % (name, ", ".join(CLIENTS)))
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="which of " + ", ".join(CLIENTS))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--table", metavar="FILE")
    options = parser.parse_args()
    names = chosen(parser, options)
    began = time.monotonic()
    # md5 spreads names that differ only in their last letters; fnv1a_64 may send all to one server.
    pool = {"redis": True, "hash": "md5", "hash_tag": "{}", "timeout": 5000}
    with Redis() as direct, Redis() as a, Redis() as b, Redis() as c:
        shards = [a, b, c]
        with Proxy({"clients": {**pool, "servers": shards}}, settings={"workers": 2}) as proxy:
            places = [
                Place("redis itself", direct.port, [direct]),
                Place("Cashew", proxy.address(), shards),
            ]
            rows, bad = check_all(names, places)
    if options.table:
        write_table(options.table, rows)
    print("%d libraries in %.0f s" % (len(names), time.monotonic() - began))
    failed = ": " + ", ".join(bad) if bad else ""
    print("%d passed, %d failed%s" % (len(names) - len(bad), len(bad), failed))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
