"""The real tier's nodes, which lab/nodes.sh started: their pods as processes of this machine."""

import os
import subprocess

from api import ApiError
from cluster import kill, lab_process, restart
from release import NAMESPACE
from support import wait_until

NODES = ("node-0", "node-1")
# Where the kubelets' probes come from: each node, and its end of the pods' links.
NODE_ADDRESSES = ("10.77.0.1", "10.77.0.2", "10.77.1.1", "10.77.1.129")
TOKEN = "/run/secrets/kubernetes.io/serviceaccount/token"  # /var/run is a link to /run


class RealNodes:
    values = {
        "nodeSelector": {"e2e": "proxies"},
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

    def renew_tokens(self, pods):
        """A kubelet that is started again knows no token, and asks for new ones."""
        before = {pod: self._token(pod) for pod in pods}
        for node in NODES:
            kill(self._kubelet(node))
            restart("kubelet-" + node)
        wait_until(lambda: all(self._token(pod) != before[pod] for pod in pods), 120,
                   "the kubelets to write new tokens", every=0.2)

    @staticmethod
    def _kubelet(node):
        """What runs in the node's namespaces is a child of who entered them."""
        entered = lab_process("kubelet-" + node)
        with open("/proc/%d/task/%d/children" % (entered, entered), encoding="ascii") as f:
            return int(f.read().split()[0])

    def _token(self, pod):
        with open("/proc/%d/root%s" % (self.process(pod, "sidecar"), TOKEN), "rb") as f:
            return f.read()

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
