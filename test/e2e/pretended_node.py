"""Nodes whose pods are processes of this machine: the fast tier's kubelet.

The API server, controllers and scheduler are real, and know no difference: a pod that is bound
to one of these nodes gets a network namespace with an address of its own, its volumes (config
maps, projected tokens, empty folders), and its containers' commands run as processes in it.
Readiness comes from the pod's own probes, a container that ends is started again, and a pod
that is deleted gets SIGTERM and its grace period.

Not done: images (the machine's programs are used, the proxy's from CASHEW_BIN_DIR), users,
limits, init containers, liveness probes, service addresses, DNS. The real tier has them.
"""

import contextlib
import datetime
import ipaddress
import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

from api import ApiError

GATEWAY = "10.77.0.1"
ADDRESSES = ipaddress.ip_network("10.77.1.0/24")
API_ADDRESS = "10.96.0.1"
SANDBOX = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lab", "sandbox.sh")
PATH = "/opt/cashew:/usr/sbin:/usr/bin:/sbin:/bin"
TICK_S = 0.05
REFRESH_S = 2.0  # how often config maps are read again; a kubelet takes up to a minute
HEARTBEAT_S = 10.0
BACK_OFF_S = 1.0  # between two starts of a container that ends


def _now():
    return datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%SZ")


def _dying_with_us(argv):
    """With the thread that starts it, to be exact."""
    return ["setpriv", "--pdeathsig", "KILL", *argv]


class PretendedNodes:
    """`nodes` is {name: labels}. Start with `with`; leaving it ends every process."""

    def __init__(self, api, folder, logs, nodes, programs):
        """`folder` is for volumes, `logs` for what containers say, `programs` the proxy's."""
        os.makedirs(logs, exist_ok=True)
        self.api, self.folder, self.logs, self.programs = api, folder, logs, programs
        self.nodes = nodes
        self.pods = {}  # uid: Pod
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._addresses = itertools.cycle(list(ADDRESSES.hosts())[1:])
        self._links = itertools.count()
        self._threads = [threading.Thread(target=self._follow_pods, daemon=True),
                         threading.Thread(target=self._beat, daemon=True)]

    def __enter__(self):
        for name, labels in self.nodes.items():
            self._register(name, labels)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stopping.set()
        with self._lock:
            pods = list(self.pods.values())
        for pod in pods:
            pod.abandon()
        for pod in pods:
            pod.join(10)

    def pod(self, name):
        """The one of that name that is not on its way out."""
        with self._lock:
            found = [p for p in self.pods.values() if p.pod_name == name and not p.going.is_set()]
        if len(found) != 1:
            raise LookupError("%d pods are called %s" % (len(found), name))
        return found[0]

    def next_address(self):
        """All others come before one is used again: a pod that returns has a new one."""
        with self._lock:
            used = {p.address for p in self.pods.values()}
            return next(a for a in map(str, self._addresses) if a not in used)

    def next_link(self):
        return "pod%d" % next(self._links)

    # The nodes.

    def _register(self, name, labels):
        self.api.post("/api/v1/nodes", {"metadata": {
            "name": name, "labels": {"kubernetes.io/hostname": name, **labels}}})
        self._report(name)

    def _report(self, name):
        size = {"cpu": "16", "memory": "64Gi", "pods": "100"}
        self.api.patch("/api/v1/nodes/%s/status" % name, {"status": {
            "capacity": size, "allocatable": size,
            "addresses": [{"type": "InternalIP", "address": GATEWAY}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Pretended",
                            "lastHeartbeatTime": _now()}]}})

    def _beat(self):
        while not self._stopping.wait(HEARTBEAT_S):
            for name in self.nodes:
                with contextlib.suppress(ApiError):
                    self._report(name)

    # Their pods.

    def _follow_pods(self):
        for kind, thing in self.api.follow("/api/v1/pods", self._stopping):
            if kind == "SYNC":
                self._forget_all_but(thing)
                for pod in thing:
                    self._see(pod)
            elif kind == "DELETED":
                self._forget(thing["metadata"]["uid"])
            else:
                self._see(thing)

    def _see(self, thing):
        uid, meta = thing["metadata"]["uid"], thing["metadata"]
        if thing["spec"].get("nodeName") not in self.nodes or self._stopping.is_set():
            return
        leaves = "deletionTimestamp" in meta
        with self._lock:
            pod = self.pods.get(uid)
            if pod is None and not leaves:
                self.pods[uid] = Pod(self, thing)
                self.pods[uid].start()
        if pod is None and leaves:
            self._remove_unknown(meta)
        elif leaves:
            pod.go(meta.get("deletionGracePeriodSeconds", 30))

    def _remove_unknown(self, meta):
        """Deleted before it ever ran here."""
        with contextlib.suppress(ApiError):
            self.api.delete("/api/v1/namespaces/%s/pods/%s" % (meta["namespace"], meta["name"]),
                            {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})

    def _forget_all_but(self, things):
        here = {thing["metadata"]["uid"] for thing in things}
        for uid in set(self.pods) - here:
            self._forget(uid)

    def _forget(self, uid):
        with self._lock:
            pod = self.pods.get(uid)
        if pod is not None:
            pod.abandon()

    def ended(self, pod):
        with self._lock:
            self.pods.pop(pod.uid, None)


class Projection:
    """A folder of files that change all at once, as a kubelet's: name → ..data/name, and
    ..data is a link that is replaced."""

    def __init__(self, folder):
        self.folder, self._files, self._generation = folder, None, 0
        os.makedirs(folder)

    def write(self, files):
        if files == self._files:
            return
        self._generation += 1
        version = "..%d" % self._generation
        os.mkdir(os.path.join(self.folder, version))
        for name, data in files.items():
            with open(os.path.join(self.folder, version, name), "w", encoding="utf-8") as f:
                f.write(data)
            link = os.path.join(self.folder, name)
            if not os.path.islink(link):
                os.symlink(os.path.join("..data", name), link)
        fresh = os.path.join(self.folder, "..data_new")
        os.symlink(version, fresh)
        os.replace(fresh, os.path.join(self.folder, "..data"))
        if self._generation > 1:
            shutil.rmtree(os.path.join(self.folder, "..%d" % (self._generation - 1)))
        self._files = files


class Container:
    def __init__(self, pod, spec):
        self.pod, self.spec, self.name = pod, spec, spec["name"]
        self.popen, self.restarts, self.started_at = None, -1, None
        self.ready = False
        self._failures, self._next_probe, self._started = 0, 0.0, False
        self._not_before = 0.0

    def start(self):
        """At once, but not more often than every BACK_OFF_S."""
        if time.monotonic() < self._not_before:
            return
        self._not_before = time.monotonic() + BACK_OFF_S
        self.restarts += 1
        self.ready, self._started, self._failures, self._next_probe = False, False, 0, 0.0
        self.started_at = _now()
        argv = ["nsenter", "-t", str(self.pod.sandbox.pid), "-n", "-m", "-u", "-r", "-w", "--",
                *self.spec.get("command", []), *self.spec.get("args", [])]
        env = {"PATH": PATH, "KUBERNETES_SERVICE_HOST": API_ADDRESS,
               "KUBERNETES_SERVICE_PORT": "443",
               **{e["name"]: e.get("value", "") for e in self.spec.get("env", [])}}
        with open(self.pod.log_file(self.name), "ab") as log:
            self.popen = subprocess.Popen(_dying_with_us(argv), stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, env=env)

    def ended(self):
        return self.popen is None or self.popen.poll() is not None

    def signal(self, number):
        if not self.ended():
            self.popen.send_signal(number)

    def probe(self):
        """Runs the probe that is due; readiness waits for the startup probe, if there is one."""
        which = "readinessProbe"
        if not self._started and "startupProbe" in self.spec:
            which = "startupProbe"
        probe = self.spec.get(which)
        if probe is None:
            self.ready = True
            return
        if time.monotonic() < self._next_probe:
            return
        self._next_probe = time.monotonic() + probe.get("periodSeconds", 10)
        good = not self.pod.unready and self._try(probe)
        if which == "startupProbe":
            self._started = good
            if good:
                self._next_probe = 0.0
            return
        self._failures = 0 if good else self._failures + 1
        if good:
            self.ready = True
        elif self._failures >= probe.get("failureThreshold", 3):
            self.ready = False

    def _try(self, probe):
        timeout = probe.get("timeoutSeconds", 1)
        try:
            if "httpGet" in probe:
                port, path = self._port(probe["httpGet"]["port"]), probe["httpGet"]["path"]
                url = "http://%s:%d%s" % (self.pod.address, port, path)
                with urllib.request.urlopen(url, timeout=timeout):
                    return True
            port = self._port(probe["tcpSocket"]["port"])
            socket.create_connection((self.pod.address, port), timeout).close()
            return True
        except (OSError, urllib.error.URLError):
            return False

    def _port(self, port):
        if isinstance(port, int):
            return port
        return next(p["containerPort"] for p in self.spec["ports"] if p["name"] == port)

    def status(self):
        return {"name": self.name, "image": self.spec["image"], "imageID": "", "ready": self.ready,
                "started": True, "restartCount": self.restarts,
                "state": {"running": {"startedAt": self.started_at}}}


class Pod(threading.Thread):
    """One pod's life. Tests may set `unready` (its probes fail) and write tokens."""

    def __init__(self, nodes, thing):
        super().__init__(daemon=True, name=thing["metadata"]["name"])
        self.nodes, self.api, self.spec = nodes, nodes.api, thing["spec"]
        self.uid = thing["metadata"]["uid"]
        self.pod_name = thing["metadata"]["name"]
        self.namespace = thing["metadata"]["namespace"]
        self.path = "/api/v1/namespaces/%s/pods/%s" % (self.namespace, self.pod_name)
        self.folder = os.path.join(nodes.folder, self.uid)
        self.address = None
        self.sandbox = None
        self.containers = {}
        self.unready = False
        self.going = threading.Event()
        self._killed = threading.Event()
        self._grace = None
        self._projections = {}  # folder: (Projection, sources)
        self._token = None
        self._reported, self._ready_since = None, {}
        self._started_at = _now()

    def go(self, grace):
        self._grace = grace
        self.going.set()

    def abandon(self):
        """Its object is gone, or the nodes stop."""
        self._killed.set()
        self.going.set()

    def log_file(self, part):
        return os.path.join(self.nodes.logs, "%s.%s.%s.log" % (self.pod_name, self.uid[:8], part))

    def process(self, container):
        """The process id."""
        return self.containers[container].popen.pid

    def run(self):
        try:
            self._until_done(self._set_up)
            self._live()
        finally:
            self._end_processes()
            shutil.rmtree(self.folder, ignore_errors=True)
            self._until_done(self._remove_object)
            self.nodes.ended(self)

    def _until_done(self, step):
        """The API server may be away for a while."""
        while not self._killed.is_set():
            try:
                return step()
            except ApiError as error:
                if error.code in (404, 409):
                    return None
                time.sleep(0.3)

    # Beginning.

    def _set_up(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(os.path.join(self.folder, "root"))
        self.address = self.nodes.next_address()
        if self.spec.get("initContainers"):
            raise NotImplementedError("pretended nodes run no init containers")
        mounts = [(self.nodes.programs, "/opt/cashew"), *self._volumes()]
        self._open_sandbox("".join("%s %s\n" % mount for mount in mounts))
        for spec in self.spec["containers"]:
            self.containers[spec["name"]] = container = Container(self, spec)
            container.start()

    def _open_sandbox(self, mounts):
        argv = ["unshare", "-n", "-m", "-u", "--propagation", "private", "--", SANDBOX,
                os.path.join(self.folder, "root"), self.pod_name, self.address, GATEWAY,
                self.nodes.next_link(), str(os.getpid())]
        log_name = self.log_file("sandbox")
        with open(log_name, "wb") as log:
            self.sandbox = subprocess.Popen(_dying_with_us(argv), stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log)
        self.sandbox.stdin.write(mounts.encode())
        self.sandbox.stdin.close()
        if self.sandbox.stdout.readline() != b"ready\n":
            with open(log_name, encoding="utf-8") as log:
                raise RuntimeError("no sandbox for %s: %s" % (self.pod_name, log.read()))

    def _volumes(self):
        """(folder, where it is seen) of each mount."""
        made = {v["name"]: self._volume(v) for v in self.spec.get("volumes", [])}
        return sorted({(made[m["name"]], m["mountPath"]) for c in self.spec["containers"]
                       for m in c.get("volumeMounts", [])}, key=lambda mount: mount[1])

    def _volume(self, volume):
        folder = os.path.join(self.folder, "volumes", volume["name"])
        if "emptyDir" in volume:
            os.makedirs(folder)
            return folder
        if "configMap" in volume:
            sources = [{"configMap": volume["configMap"]}]
        elif "projected" in volume:
            sources = volume["projected"]["sources"]
        else:
            raise NotImplementedError("a volume of kind %s" % sorted(volume))
        self._projections[folder] = Projection(folder), sources
        self._project(folder)
        return folder

    def _project(self, folder):
        projection, sources = self._projections[folder]
        files = {}
        for source in sources:
            files.update(self._files_of(source))
        projection.write(files)

    def _files_of(self, source):
        if "configMap" in source:
            name = source["configMap"]["name"]
            path = "/api/v1/namespaces/%s/configmaps/%s" % (self.namespace, name)
            return self.api.get(path)["data"]
        if "downwardAPI" in source:
            return {item["path"]: self.namespace for item in source["downwardAPI"]["items"]}
        wanted = source["serviceAccountToken"]
        if self._token is None:
            self._token = self._new_token()
        return {wanted["path"]: self._token}

    def _new_token(self):
        account = "/api/v1/namespaces/%s/serviceaccounts/%s/token" % (
            self.namespace, self.spec["serviceAccountName"])
        bound_to = {"kind": "Pod", "apiVersion": "v1", "name": self.pod_name, "uid": self.uid}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                   "spec": {"expirationSeconds": 3600, "boundObjectRef": bound_to}}
        return self.api.post(account, request)["status"]["token"]

    def renew_token(self):
        """Another token for the pod's service account."""
        self._token = self._new_token()
        for folder in self._projections:
            self._project(folder)

    # Between.

    def _live(self):
        told_to_end, refreshed = None, time.monotonic()
        while not self._killed.is_set():
            if self.going.is_set() and told_to_end is None:
                told_to_end = time.monotonic()
                for container in self.containers.values():
                    container.signal(signal.SIGTERM)
            if told_to_end is not None and (
                    all(c.ended() for c in self.containers.values())
                    or time.monotonic() > told_to_end + self._grace):
                return
            for container in self.containers.values():
                if container.ended() and told_to_end is None:
                    container.start()
                container.probe()
            with contextlib.suppress(ApiError):
                self._report()
                if time.monotonic() > refreshed + REFRESH_S and told_to_end is None:
                    refreshed = time.monotonic()
                    for folder in self._projections:
                        self._project(folder)
            self._killed.wait(TICK_S)

    def _condition(self, kind, good):
        known = self._ready_since.get(kind)
        if known is None or known[0] != good:
            self._ready_since[kind] = known = (good, _now())
        return {"type": kind, "status": "True" if known[0] else "False",
                "lastTransitionTime": known[1]}

    def _report(self):
        ready = all(c.ready and not c.ended() for c in self.containers.values())
        status = {
            "phase": "Running", "hostIP": GATEWAY, "hostIPs": [{"ip": GATEWAY}],
            "podIP": self.address, "podIPs": [{"ip": self.address}],
            "startTime": self._started_at,
            "conditions": [self._condition("Initialized", True),
                           self._condition("ContainersReady", ready),
                           self._condition("Ready", ready)],
            "containerStatuses": [c.status() for c in self.containers.values()],
        }
        if status != self._reported:
            self.api.patch(self.path + "/status", {"metadata": {"uid": self.uid},
                                                   "status": status})
            self._reported = status

    # End.

    def _end_processes(self):
        for container in self.containers.values():
            container.signal(signal.SIGKILL)
            if container.popen is not None:
                container.popen.wait()
        if self.sandbox is not None:
            self.sandbox.kill()
            self.sandbox.wait()
            self.sandbox.stdout.close()

    def _remove_object(self):
        self.api.delete(self.path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
