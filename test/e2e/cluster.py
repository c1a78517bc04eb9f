"""A lab's cluster as the scenarios see it, whichever tier it is of."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from api import Api, ApiError
from pretended_node import PretendedNodes
from support import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
CHART = os.path.join(REPOSITORY, "helm", "cashew")
LAB = os.path.join(HERE, "lab")
# What ends with the API server: controllers that cannot renew their leases end themselves.
CONTROL_PLANE = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
HELM = os.environ.get("CASHEW_HELM", "helm")


def run(*argv, timeout=120, stdin=None):
    """Standard output; what went wrong is in the error."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, "%s\nexit status %d\n%s%s" % (
        " ".join(argv), done.returncode, done.stdout, done.stderr)
    return done.stdout


class Cluster:
    """kubectl, helm, the API, and the machine below it. `tier` is "fast" or "real"."""

    def __init__(self, tier, nodes):
        self.tier, self.nodes = tier, nodes
        self.api_server_away = None  # when it last was, time.time()
        self.api = Api(os.environ["KUBECONFIG"])

    def kubectl(self, *args, stdin=None, timeout=120):
        return run("kubectl", *args, stdin=stdin, timeout=timeout)

    def helm(self, *args, timeout=240):
        return run(HELM, *args, timeout=timeout)

    def apply(self, *objects):
        self.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def void_tokens(self, namespace, account):
        """The service account is made anew: no token of the one before is good."""
        path = "/api/v1/namespaces/%s/serviceaccounts" % namespace
        before = self.api.get("%s/%s" % (path, account))
        self.api.delete("%s/%s" % (path, account))
        kept = {k: v for k, v in before["metadata"].items() if k in (
            "name", "labels", "annotations")}
        self.api.post(path, {**before, "metadata": kept})

    # The API server.

    @contextlib.contextmanager
    def without_api_server(self):
        """It is killed at the beginning and back at the end."""
        self._kill_api_server()
        try:
            yield
        finally:
            self._restart_api_server()

    def _kill_api_server(self):
        for program in reversed(CONTROL_PLANE):
            kill(lab_process(program))

    def _restart_api_server(self):
        for program in CONTROL_PLANE:
            restart(program)
            wait_until(self._api_answers, 120, "the API server to be back", every=0.05)

    def _api_answers(self):
        asked = time.time()
        try:
            self.api.get("/api/v1/namespaces/default")
            return True
        except ApiError:
            self.api_server_away = asked
            return False

    # Pods.

    def pods(self, namespace, selector):
        """Those that are not on their way out, by name."""
        found = self.api.get("/api/v1/namespaces/%s/pods" % namespace, labelSelector=selector)
        return {p["metadata"]["name"]: p for p in found["items"]
                if "deletionTimestamp" not in p["metadata"]}

    def some_leave(self, namespace, selector):
        found = self.api.get("/api/v1/namespaces/%s/pods" % namespace, labelSelector=selector)
        return any("deletionTimestamp" in p["metadata"] for p in found["items"])

    def process(self, pod, container):
        """Process id of a container's program, 0 while there is none."""
        return self.nodes.process(pod, container)

    def fail_readiness(self, pod, failing):
        self.nodes.fail_readiness(pod, failing)


# Programs of the lab.

def lab_process(program):
    with open(os.path.join(os.environ["LAB_DIR"], program + ".pid"), encoding="ascii") as f:
        return int(f.read())


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _has_ended(pid), 10, "process %d to end" % pid)


def restart(program):
    run(os.path.join(LAB, "restart.sh"), program)


def _has_ended(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in pod["status"].get("conditions", []))


class FastNodes(PretendedNodes):
    """Three pretended nodes: proxies on one, caches on the others, so that draining a node
    concerns caches alone."""

    labels = {"proxies-0": {"e2e": "proxies"}, "caches-0": {"e2e": "caches"},
              "caches-1": {"e2e": "caches"}}
    values = {
        "nodeSelector": {"e2e": "proxies"},
        # memcached insists on being told when it runs as root.
        "memcached": {"nodeSelector": {"e2e": "caches"}, "extraArgs": ["--user=root"]},
    }

    def __init__(self, api):
        programs = os.environ["CASHEW_BIN_DIR"]
        lab_dir = os.environ["LAB_DIR"]
        super().__init__(api, os.path.join(lab_dir, "pods"), os.path.join(lab_dir, "log", "pods"),
                         self.labels, os.path.abspath(programs))

    def process(self, pod, container):
        try:
            return self.pod(pod).process(container)
        except (LookupError, AttributeError):
            return 0

    def fail_readiness(self, pod, failing):
        self.pod(pod).unready = failing

    def renew_tokens(self, pods):
        for pod in pods:
            self.pod(pod).renew_token()


class SliceClock:
    """When each EndpointSlice event reached a watcher: a process of its own beside the
    sidecars, so that nothing here delays it. Times are time.time()."""

    def __init__(self, namespace):
        argv = [sys.executable, "-B", os.path.join(HERE, "slice_watcher.py"), namespace]
        self._watcher = subprocess.Popen(argv, stdout=subprocess.PIPE)
        os.set_blocking(self._watcher.stdout.fileno(), False)
        self._pending, self.events = "", []  # (time, service)

    def close(self):
        self._watcher.kill()
        self._watcher.wait()
        self._watcher.stdout.close()

    def _read(self):
        lines = (self._pending + (self._watcher.stdout.read() or b"").decode()).split("\n")
        self._pending = lines.pop()
        for line in lines:
            at, service = line.split()
            self.events.append((float(at), service))

    def first_since(self, moment, service, timeout=20):
        """When the first event of that service's slices came after `moment`."""
        def found():
            self._read()
            return next((e[0] for e in self.events if e[0] >= moment and e[1] == service), None)
        return wait_until(found, timeout, "an EndpointSlice event of %s" % service, every=0.003)


def timed():
    """seconds = timed(); …; seconds()"""
    began = time.monotonic()
    return lambda: time.monotonic() - began
