#!/usr/bin/env python3
"""What cashew-sidecar costs: its memory with 5,000 endpoints, its CPU while pods come and go.

usage: PYTHONPATH=test CASHEW_BIN=build/release/bin/cashew test/bench/sidecar.py

Two Services of 2,500 endpoints in slices of 100, as the EndpointSlice controller writes them, on
a scripted API server over TLS; the lists go to a real proxy. Memory is read after the first list
and after 300 changes; CPU is that of all its threads while one endpoint changes every second."""

import pathlib
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / part) for part in (
    ".", "integration")]

from sidecar import READY, STARTING, ApiServer, Sidecar, make_certificate  # noqa: E402
from support import Proxy, wait_until  # noqa: E402
from support.processes import Usage  # noqa: E402

SERVICES, ENDPOINTS, SLICE = ("mc", "rd"), 2500, 100
SECONDS = 20


def resident(pid):
    """{kind: MiB}"""
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        rows = dict(line.split(":", 1) for line in f)
    return {kind: int(rows[kind].split()[0]) / 1024 for kind in ("VmRSS", "RssAnon", "RssFile")}


def write_slice(api, service, number, down=None):
    """`down`: the endpoint of the slice that is not ready."""
    first = SERVICES.index(service) * ENDPOINTS + number * SLICE
    endpoints = [("%s-%d" % (service, first + i),
                  "10.9.%d.%d" % ((first + i) // 250, (first + i) % 250 + 1),
                  STARTING if i == down else READY) for i in range(SLICE)]
    api.put("%s-%05d" % (service, number), endpoints,
            [{"name": "memcached", "port": 11211, "protocol": "TCP"}], service=service)


def print_memory(when, pid):
    rows = resident(pid)
    print("%s: RSS %.1f MiB, of which %.1f its own and %.1f of files" %
          (when, rows["VmRSS"], rows["RssAnon"], rows["RssFile"]))


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cashew-bench-sidecar-"))
    certificate = make_certificate(folder)
    pool = {"membership": "grpc", "distribution": "ketama", "server_connections": 1,
            "preconnect": False}
    settings = {"grpc": "unix:{dir}/grpc.sock", "state_dir": "{dir}/state"}
    slices = ENDPOINTS // SLICE
    with ApiServer(certificate, services=SERVICES) as api, \
            Proxy({name: pool for name in SERVICES}, settings=settings) as proxy:
        arguments = ["--pool=%s=%s:memcached" % (name, name) for name in SERVICES]
        for service in SERVICES:
            for number in range(slices):
                write_slice(api, service, number)
        with Sidecar(folder, api, certificate, *arguments, "--grpc",
                     "unix:%s/grpc.sock" % proxy.dir) as sidecar:
            pid = sidecar.popen.pid

            def acked():
                return all(sidecar.metric('cashew_sidecar_pool_in_sync{pool="%s"}' % name) == 1
                           for name in SERVICES)

            def change(turn):
                write_slice(api, SERVICES[turn % 2], turn // 2 % slices, down=turn % SLICE)

            wait_until(sidecar.is_ready, 60, "the first lists")
            ready = 'cashew_sidecar_servers{pool="%s",state="ready"}'
            assert [sidecar.metric(ready % name) for name in SERVICES] == [ENDPOINTS] * 2
            wait_until(acked, 60, "the proxy to have them", every=0.2)
            print_memory("5,000 endpoints", pid)
            for turn in range(300):
                change(turn)
                time.sleep(0.02)
            wait_until(acked, 60, "the proxy to have the changes", every=0.2)
            print_memory("after 300 changes", pid)
            usage = Usage(pid)
            before, began = usage.cpu_ns(), time.monotonic()
            for turn in range(SECONDS):
                change(turn)
                time.sleep(1)
            spent = (usage.cpu_ns() - before) / 1e9
            print("one change a second: %.2f %% of a core" %
                  (100 * spent / (time.monotonic() - began)))


if __name__ == "__main__":
    main()
