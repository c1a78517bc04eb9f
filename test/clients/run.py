#!/usr/bin/env python3
"""Redis client libraries, with their default settings, through Cashew.

usage: run.py [--only NAME,…] [--all] [--table FILE]

Each library's program (a folder here) is built in build/clients, run straight at one redis-server,
which proves the program, and then through Cashew before three. By default: redis-py, hiredis,
go-redis, ioredis. Exit status: 0 when every step passed. --table writes the results as markdown.
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
        stdout=subprocess.DEVNULL,
    )


def copied(name):
    """The library's folder, copied to where it may be built in."""
    folder = os.path.join(BUILD, name)
    shutil.copytree(os.path.join(HERE, name), folder, dirs_exist_ok=True)
    return folder


def python_client(version):
    def build():
        folder = os.path.join(BUILD, "redis-py-" + version)
        python = os.path.join(folder, "bin", "python")
        if not os.path.exists(python):
            command([sys.executable, "-m", "venv", folder], HERE)
        command([python, "-m", "pip", "-q", "install", "redis==" + version], HERE)
        return [python, os.path.join(HERE, "redis-py", "client.py")]

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
            path = "target/classes:" + file.read().strip()
        return [tool("java", "a JDK"), "-cp", path.replace("target", folder + "/target", 1), "Client"]

    return build


def redis_rs():
    folder = copied("redis-rs")
    command([tool("cargo", "Rust's cargo"), "build", "-q"], folder)
    return [os.path.join(folder, "target", "debug", "cashew-test-redis-rs")]


NEWEST_REDIS_PY = "8.1.0"
# name: how to build it, and the arguments of its runs (the protocol, where it can be chosen)
CLIENTS = {
    "redis-py": (python_client(NEWEST_REDIS_PY), [[], ["2"], ["3"]]),
    "redis-py-3": (python_client("3.5.3"), [[]]),
    "hiredis": (hiredis, [[]]),
    "go-redis": (go_redis, [[], ["2"]]),
    "ioredis": (node("ioredis"), [[]]),
    "node-redis": (node("node-redis"), [[], ["2"]]),
    "jedis": (maven("jedis"), [[]]),
    "lettuce": (maven("lettuce"), [[]]),
    "redis-rs": (redis_rs, [[], ["3"]]),
}
USUAL = ["redis-py", "redis-py-3", "hiredis", "go-redis", "ioredis"]


def run(argv, port, extra):
    """(passed, failed, version, output)"""
    done = subprocess.run(
        [*argv, HOST, str(port), *extra],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=RUN_TIMEOUT,
        check=False,
    )
    counts = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.M)
    version = re.search(r"^library (.*)$", done.stdout, re.M)
    if counts is None or version is None:
        return 0, 1, "?", done.stdout
    return int(counts.group(1)), int(counts.group(2)), version.group(1), done.stdout


def check(name, redis_port, proxy_port):
    """Rows of the table; whether all is well."""
    build, variants = CLIENTS[name]
    print("%s: building" % name, flush=True)
    argv = build()
    rows, well = [], True
    for extra in variants:
        where = {"redis itself": redis_port, "Cashew": proxy_port}
        for place, port in where.items():
            passed, failed, version, output = run(argv, port, extra)
            protocol = "RESP%s" % extra[0] if extra else "default"
            print("%s %s %s: %d passed, %d failed" % (version, protocol, place, passed, failed))
            if failed:
                well = False
                print(output, flush=True)
        rows.append((version, protocol, passed, failed))
    return rows, well


def write_table(path, rows):
    today = datetime.date.today().isoformat()
    lines = ["| library | protocol | steps passed | failed | date |", "| --- | --- | --- | --- | --- |"]
    lines += ["| %s | %s | %d | %d | %s |" % (*row, today) for row in rows]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="which of " + ", ".join(CLIENTS))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--table", metavar="FILE")
    options = parser.parse_args()
    names = list(CLIENTS) if options.all else USUAL
    names = options.only.split(",") if options.only else names
    began = time.monotonic()
    rows, bad = [], []
    pool = {"redis": True, "hash": "fnv1a_64", "hash_tag": "{}", "timeout": 5000}
    with Redis() as direct, Redis() as a, Redis() as b, Redis() as c:
        with Proxy({"clients": {**pool, "servers": [a, b, c]}}, settings={"workers": 2}) as proxy:
            for name in names:
                try:
                    more, well = check(name, direct.port, proxy.address())
                except (Missing, subprocess.SubprocessError) as problem:
                    print("%s: %s" % (name, problem))
                    more, well = [], False
                rows += more
                if not well:
                    bad.append(name)
    if options.table:
        write_table(options.table, rows)
    print("%d libraries in %.0f s" % (len(names), time.monotonic() - began))
    print("%d passed, %d failed%s" % (len(names) - len(bad), len(bad), ": " + ", ".join(bad) if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
