#!/usr/bin/env python3
"""What changing servers costs: CPU of the control thread to build and publish a list, CPU of a
worker to adopt it, and of 1,000 updates a minute.

usage: PYTHONPATH=test CASHEW_BIN=build/release/bin/cashew test/bench/membership.py

One pool takes the updates while 99 others exist. Figures are thread CPU time from the
scheduler's counters (/proc/PID/task/TID/schedstat), over many updates that each add or remove
one server; the servers' addresses are loopback and nobody listens there."""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import grpc_client  # noqa: E402
from support import HOST, Proxy  # noqa: E402

UPDATES = 50


def threads(pid):
    """{thread name: CPU ns}, threads of one name added up."""
    cpu = {}
    for task in os.listdir("/proc/%d/task" % pid):
        path = "/proc/%d/task/%s/" % (pid, task)
        with open(path + "comm", encoding="ascii") as comm, open(path + "schedstat") as stat:
            name = "control" if int(task) == pid else comm.read().strip()
            cpu[name] = cpu.get(name, 0) + int(stat.read().split()[0])
    return cpu


def specs(count):
    return [{"name": "server-%04d" % i, "address": "%s:%d" % (HOST, 20000 + i % 1000)}
            for i in range(count)]


def measure(client, pid, count, updates=UPDATES, pause=0.0):
    client.set_servers("updated", specs(count))
    before, began = threads(pid), time.monotonic()
    for i in range(updates):
        client.set_servers("updated", specs(count + 1 - i % 2))
        time.sleep(pause)
    return threads(pid), before, time.monotonic() - began


def main():
    pools = {"other%02d" % i: {"servers": ["%s:1:1 x" % HOST]} for i in range(99)}
    pools["updated"] = {"membership": "grpc", "distribution": "ketama", "server_connections": 2}
    settings = {"workers": 2, "grpc": "unix:{dir}/grpc.sock", "state_dir": "{dir}/state"}
    with Proxy(pools, settings=settings) as proxy:
        pid = proxy.popen.pid
        with grpc_client.Client("unix:%s/grpc.sock" % proxy.dir) as client:
            for count in (100, 1000):
                after, before, _ = measure(client, pid, count)
                control = (after["control"] - before["control"]) / UPDATES / 1e6
                workers = [(after[w] - before[w]) / UPDATES / 1e6 for w in ("worker-0", "worker-1")]
                print("%4d servers: control thread %.2f ms an update; a worker %.3f ms" %
                      (count, control, max(workers)))
            after, before, seconds = measure(client, pid, 100, updates=170, pause=0.06)
            busy = sum(after.values()) - sum(before[n] for n in before if n in after)
            rate = 170 / seconds * 60
            print("%.0f updates a minute of 100 servers: %.1f %% of a core, the whole process" %
                  (rate, busy / 1e7 / seconds))


if __name__ == "__main__":
    main()
