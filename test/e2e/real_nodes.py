"""The real tier's node, which lab/node.sh started: its pods as processes of this machine."""

import os
import subprocess

from api import ApiError
from release import NAMESPACE

NODE_ADDRESSES = ("10.77.0.1", "10.77.1.1")  # where the kubelet's probes come from


class RealNode:
    values = {
        "image": {"pullPolicy": "Never"},
        "memcached": {"image": {"repository": "localhost/cashew-e2e-memcached", "tag": "1",
                                "pullPolicy": "Never"}},
    }

    def __init__(self, api):
        self.api = api
        self._known = {}  # (pod, container): (process id, container id), as found last

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def process(self, pod, container):
        """The container's first process: its control group bears the container's id."""
        known = self._known.get((pod, container))
        if known and self._is_in(*known):
            return known[0]
        try:
            found = self.api.get("/api/v1/namespaces/%s/pods/%s" % (NAMESPACE, pod))
        except ApiError:
            return 0
        status = next((s for s in found["status"].get("containerStatuses", [])
                       if s["name"] == container), {"state": {}})
        if "running" not in status["state"]:
            return 0
        container_id = status["containerID"].rpartition("/")[2]
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
            if self._is_in(pid, container_id):
                self._known[pod, container] = pid, container_id
                return pid
        return 0

    @staticmethod
    def _is_in(pid, container_id):
        try:
            with open("/proc/%d/cgroup" % pid, encoding="ascii") as f:
                return container_id in f.read()
        except OSError:
            return False  # it has just ended

    def fail_readiness(self, pod, failing):
        """The node is refused where the proxies are not; a stopped program would still pass a
        tcpSocket probe, which the kernel answers."""
        pid = self.process(pod, "memcached")
        for address in NODE_ADDRESSES:
            subprocess.run(
                ["nsenter", "-t", str(pid), "-n", "iptables", "-w", "-I" if failing else "-D",
                 "INPUT", "-s", address, "-p", "tcp", "--dport", "11211", "-j", "REJECT",
                 "--reject-with", "tcp-reset"], check=True, capture_output=True)
