"""The chart, installed: its proxies, sidecars and caches, and when they are at rest."""

import http.client
import tempfile
import urllib.error
import urllib.request

import grpc
import grpc_client
import yaml
from api import SLICES
from cluster import CHART, is_ready
from support import wait_until
from support.processes import parse_metrics
from support.values import merged

NAMESPACE = "demo"
NAME = "cashew"
CACHES = NAME + "-memcached"
PROXY_PODS = "app.kubernetes.io/name=cashew,app.kubernetes.io/component=proxy"
CACHE_PODS = "app.kubernetes.io/component=memcached"
MANY = "many"  # a Service without pods, whose endpoints a scenario writes itself
PORTS = {"cache": 11211, MANY: 11311}
# More than the chart's 400: that a busy machine starves a cache is not what is tested here.
TIMEOUT_MS = 4000
HOLD_DOWN_S = 8  # longer than a pod's restart here, and short enough to be waited for

VALUES = {
    "memcached": {"enabled": True, "replicas": 3},
    "pools": {
        "cache": {"listen": "0.0.0.0:%d" % PORTS["cache"], "hold_down": "%ds" % HOLD_DOWN_S,
                  "timeout": TIMEOUT_MS},
        MANY: {"listen": "0.0.0.0:%d" % PORTS[MANY], "endpoints": {"service": MANY},
               "server_connections": 1, "hold_down": "1s", "timeout": TIMEOUT_MS},
    },
    "replicas": 2,
    "verbosity": 6,
}


class Replica:
    """One proxy pod: its proxy by gRPC, its sidecar by HTTP."""

    def __init__(self, cluster, pod):
        self.cluster, self.name = cluster, pod["metadata"]["name"]
        self.uid = pod["metadata"]["uid"]
        self.address = pod["status"].get("podIP")

    def process(self, container):
        return self.cluster.process(self.name, container)

    def grpc(self):
        """Through the sidecar's own socket, which is in a folder that only the pod sees."""
        return grpc_client.Client("unix:/proc/%d/root/run/cashew/grpc.sock"
                                  % self.process("cashew"))

    def pool(self, name="cache"):
        with self.grpc() as client:
            return client.get_pool(name)

    def owners(self, keys, pool="cache"):
        """{key: the server that it belongs to}"""
        with self.grpc() as client:
            return {key: client.admin("Locate", pool=pool, key=key).owner for key in keys}

    def metrics(self, port):
        with urllib.request.urlopen("http://%s:%d/metrics" % (self.address, port),
                                    timeout=5) as answer:
            return parse_metrics(answer.read().decode())

    def sidecar_metrics(self, pool="cache"):
        """{name: value} of the pool's series, and of the stream's."""
        return {name.removeprefix("cashew_sidecar_"): value
                for (name, labels), value in self.metrics(9153)
                if labels.get("pool", pool) == pool and "state" not in labels}

    def checksum(self, pool="cache"):
        """As Prometheus would see it."""
        return next(value for (name, labels), value in self.metrics(9151)
                    if name == "cashew_membership_checksum" and labels["pool"] == pool)


class Release:
    """`caches` is how many there are meant to be; settle() waits until all is as it should."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.values = merged(VALUES, cluster.nodes.values)
        self.caches = self.values["memcached"]["replicas"]

    # helm

    def _with_values(self, extra):
        file = tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8")
        yaml.safe_dump(merged(self.values, extra or {}), file)
        file.flush()
        return file

    def _deploy(self, verb, extra=None):
        with self._with_values(extra) as file:
            self.cluster.helm(verb, NAME, CHART, "-n", NAMESPACE, "-f", file.name, "--wait",
                              "--timeout", "180s")

    def install(self):
        self._deploy("install")

    def upgrade(self, extra):
        self._deploy("upgrade", extra)

    def rollback(self):
        self.cluster.helm("rollback", NAME, "-n", NAMESPACE, "--wait", "--timeout", "180s")

    def uninstall(self):
        self.cluster.helm("uninstall", NAME, "-n", NAMESPACE, "--wait", "--timeout", "120s")

    def render(self, extra):
        with self._with_values(extra) as file:
            return self.cluster.helm("template", NAME, CHART, "-n", NAMESPACE, "-f", file.name)

    # pods

    def replicas(self):
        pods = self.cluster.pods(NAMESPACE, PROXY_PODS)
        return [Replica(self.cluster, pods[name]) for name in sorted(pods)]

    def ready_replicas(self):
        pods = self.cluster.pods(NAMESPACE, PROXY_PODS)
        return [Replica(self.cluster, pods[name]) for name in sorted(pods) if is_ready(pods[name])]

    def proxy_nodes(self):
        pods = self.cluster.pods(NAMESPACE, PROXY_PODS).values()
        return {pod["spec"]["nodeName"] for pod in pods}

    def cache_pods(self):
        return self.cluster.pods(NAMESPACE, CACHE_PODS)

    def cache_names(self):
        return ["%s-%d" % (CACHES, i) for i in range(self.caches)]

    def is_gone(self):
        """Not a pod is left, not even one on its way out."""
        listed = self.cluster.api.get("/api/v1/namespaces/%s/pods" % NAMESPACE)
        return not listed["items"]

    def scale_caches(self, count):
        self.caches = count
        self.cluster.kubectl("-n", NAMESPACE, "scale", "statefulset", CACHES,
                             "--replicas=%d" % count)

    def delete_cache(self, name):
        self.cluster.kubectl("-n", NAMESPACE, "delete", "pod", name, "--wait=false")

    # being at rest

    def settle(self, timeout=120):
        """Waits until every cache is ready and every proxy routes to these caches and no
        others, in agreement. Returns the proxies."""
        seen = {}

        def at_rest():
            seen["why"] = self._unrest()
            return not seen["why"]

        try:
            wait_until(at_rest, timeout, "the release to be at rest", every=0.1)
        except AssertionError as error:
            raise AssertionError("%s: %s" % (error, seen["why"])) from None
        return self.replicas()

    def _unrest(self):
        """What is not as it should be yet; empty: nothing."""
        pods = self.cache_pods()
        if sorted(pods) != self.cache_names() or not all(map(is_ready, pods.values())):
            return "caches: %s" % {n: is_ready(p) for n, p in pods.items()}
        want = {n: "%s:%d" % (p["status"]["podIP"], PORTS["cache"]) for n, p in pods.items()}
        replicas = self.ready_replicas()
        if len(replicas) != 2 or len(self.replicas()) != 2:
            return "%d proxies are ready" % len(replicas)
        if any(self.cluster.some_leave(NAMESPACE, s) for s in (PROXY_PODS, CACHE_PODS)):
            return "pods are on their way out"
        try:
            return self._disagreement(replicas, want)
        except (grpc.RpcError, OSError, http.client.HTTPException) as error:
            return str(error)

    @staticmethod
    def _disagreement(replicas, want):
        for replica in replicas:
            pool = replica.pool()
            have = {s.server.name: s.server.address for s in pool.servers}
            if have != want or not all(s.routed and s.healthy for s in pool.servers):
                return "%s routes to %s instead of %s" % (replica.name, have, want)
            if replica.sidecar_metrics()["pool_in_sync"] != 1:
                return "%s has a list under way" % replica.name
        if len({r.checksum() for r in replicas}) != 1:
            return "membership checksums differ"
        return ""

    # the Service without pods

    def write_many(self, slices, size):
        """So many slices of so many endpoints each, and no others."""
        for i in range(slices):
            self._write_slice(i, size)
        path = SLICES % NAMESPACE
        listed = self.cluster.api.get(path, labelSelector="kubernetes.io/service-name=" + MANY)
        for piece in listed["items"]:
            if int(piece["metadata"]["name"].rpartition("-")[2]) >= slices:
                self.cluster.api.delete("%s/%s" % (path, piece["metadata"]["name"]))

    def many_endpoints(self):
        """As many as every proxy has servers for them."""
        return self.replicas()[0].pool(MANY).server_count

    def write_endpoint(self, size, conditions):
        """The first of the `size` endpoints of the first slice."""
        self._write_slice(0, size, conditions)

    def _write_slice(self, number, size, first=None):
        """Addresses that something listens on, half a /24 to a slice."""
        name = "%s-%d" % (MANY, number)
        address = "10.77.%d." % (8 + number // 2)
        endpoints = [{"addresses": [address + str(1 + number % 2 * 100 + i)],
                      "hostname": "%s-%d" % (name, i)} for i in range(size)]
        if first:
            endpoints[0]["conditions"] = first
        piece = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                 "metadata": {"name": name, "labels": {"kubernetes.io/service-name": MANY}},
                 "addressType": "IPv4", "endpoints": endpoints,
                 "ports": [{"name": "memcached", "port": PORTS[MANY], "protocol": "TCP"}]}
        path = (SLICES % NAMESPACE) + "/%s?fieldManager=e2e&force=true" % name
        self.cluster.api.patch(path, piece, "application/apply-patch+yaml")

    def prepare_namespace(self):
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace",
             "metadata": {"name": NAMESPACE, "labels": restricted}},
            {"apiVersion": "v1", "kind": "Service",
             "metadata": {"name": MANY, "namespace": NAMESPACE},
             "spec": {"clusterIP": "None",
                      "ports": [{"name": "memcached", "port": PORTS[MANY]}]}})
        self.write_many(1, 1)
