"""k8s/ says what the chart says."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import charts  # noqa: E402
import render_k8s  # noqa: E402
from charts import ROOT, render  # noqa: E402

charts.helm_binary()
K8S = os.path.join(ROOT, "k8s")
KUSTOMIZE = (["kubectl", "kustomize"] if shutil.which("kubectl") else
             ["kustomize", "build"] if shutil.which("kustomize") else None)
CASHEW = os.environ.get("CASHEW_BIN", os.path.join(ROOT, "build", "bin", "cashew"))

needs_kustomize = pytest.mark.skipif(
    KUSTOMIZE is None, reason="neither kubectl nor kustomize is here (Debian: kubernetes-client)")


def kustomize(folder):
    done = subprocess.run([*KUSTOMIZE, os.path.join(K8S, folder)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, check=False)
    assert done.returncode == 0, done.stderr
    return charts.parse(done.stdout)


def comparable(objects):
    """By kind and name, without what only Helm or a namespace writes, and with configuration files
    as what they mean."""
    out = {}
    for o in map(render_k8s.plain, (o for o in objects if "labels" in o["metadata"])):
        o = json.loads(json.dumps(o))
        o["metadata"].pop("annotations", None)
        for subject in o.get("subjects", []):
            subject.pop("namespace", None)
        if "nutcracker.yml" in o.get("data", {}):
            o["data"] = yaml.safe_load(o["data"]["nutcracker.yml"])
        out["%s/%s" % (o["kind"], o["metadata"]["name"])] = o
    return out


def without(objects, *names):
    return {key: o for key, o in objects.items() if key not in names}


PATHS = render_k8s.files()


@pytest.mark.parametrize("path", PATHS)
def test_made_manifests_are_what_the_chart_renders(path):
    assert render_k8s.read(path) == PATHS[path], "run test/chart/render_k8s.py --write"


@needs_kustomize
def test_the_base_is_the_charts_defaults():
    assert comparable(kustomize("base")) == comparable(render())


@needs_kustomize
def test_the_daemonset_overlay_is_the_chart_in_that_mode():
    assert comparable(kustomize("overlays/daemonset")) == comparable(render({"mode": "DaemonSet"}))


@needs_kustomize
def test_the_monitoring_overlay_is_the_charts_monitoring():
    assert comparable(kustomize("overlays/monitoring")) == comparable(render(render_k8s.MONITORING))


@needs_kustomize
def test_the_memcached_example_is_the_chart_with_memcached():
    text = json.dumps(comparable(render({"memcached": {"enabled": True}})))
    expected = json.loads(text.replace("cashew-memcached:memcached", "memcached").replace(
        "cashew-memcached", "memcached"))
    assert without(comparable(kustomize("examples/memcached")),
                   "Namespace/cashew-example") == expected


@needs_kustomize
def test_the_redis_example_is_the_chart_with_a_redis_pool():
    expected = comparable(render({"pools": {"cache": None, "sessions": {
        "listen": "0.0.0.0:6379", "redis": True, "hash_tag": "{}",
        "endpoints": {"service": "redis", "port": "redis"}}}}))
    for o in expected.values():  # nutcracker's defaults, which the example does not repeat
        for key in ("hash", "distribution"):
            o.get("data", {}).get("sessions", {}).pop(key, None)
    found = comparable(kustomize("examples/redis"))
    assert without(found, "Namespace/cashew-example", "Service/redis", "StatefulSet/redis") == expected
    service, cache = found["Service/redis"]["spec"], found["StatefulSet/redis"]["spec"]
    assert service["clusterIP"] == "None" and service["ports"][0]["name"] == "redis"
    assert cache["serviceName"] == "redis" and cache["replicas"] == 3


@needs_kustomize
@pytest.mark.parametrize("folder", ["base", "overlays/daemonset", "overlays/monitoring",
                                    "examples/memcached", "examples/redis"])
@pytest.mark.parametrize("minor", charts.MINORS)
def test_manifests_are_what_kubernetes_describes(folder, minor):
    objects = [o for o in kustomize(folder) if o["kind"] != "Namespace"]
    assert [fault for o in objects for fault in charts.faults(o, minor)] == []


@needs_kustomize
@pytest.mark.parametrize("folder", ["examples/memcached", "examples/redis"])
def test_examples_fit_their_restricted_namespace(folder):
    objects = kustomize(folder)
    labels = objects.one("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for o in objects.all("Deployment") + objects.all("StatefulSet"):
        restricted(o["spec"]["template"]["spec"])
    namespaces = {o["metadata"].get("namespace") for o in objects if o["kind"] != "Namespace"}
    assert namespaces == {"cashew-example"}
    assert objects.one("RoleBinding")["subjects"][0]["namespace"] == "cashew-example"


def restricted(pod):
    shared = pod.get("securityContext", {})
    for container in pod["containers"]:
        own = dict(shared, **container["securityContext"])
        assert own["runAsNonRoot"] is True and own["runAsUser"] > 0
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}


@needs_kustomize
def test_injection_gives_a_labelled_workload_a_proxy_and_leaves_others_alone(tmp_path):
    shutil.copytree(os.path.join(K8S, "sidecar-injection"), tmp_path / "sidecar-injection")
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [apps.yaml]\ncomponents: [sidecar-injection]\nnamespace: shop\n")
    app = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {
        "selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "app", "image": "app:1",
                                     "ports": [{"name": "http", "containerPort": 80}],
                                     "volumeMounts": [{"name": "config", "mountPath": "/config"}]}],
                     "volumes": [{"name": "config", "emptyDir": {}}]}}}}
    with_proxy = dict(app, metadata={"name": "with", "labels": {"cashew": "inject"}})
    (tmp_path / "apps.yaml").write_text(yaml.safe_dump_all(
        [with_proxy, dict(app, metadata={"name": "other"})]))
    objects = kustomize(str(tmp_path))
    assert [fault for o in objects for fault in charts.faults(o, charts.MINORS[-1])] == []
    assert objects.one("Deployment", "other")["spec"] == app["spec"]

    pod = objects.one("Deployment", "with")["spec"]["template"]["spec"]
    added = [c for c in pod["containers"] if c["name"] != "app"]
    assert [c["name"] for c in added] == ["cashew", "cashew-sidecar"]
    restricted(dict(pod, containers=added))
    assert app["spec"]["template"]["spec"]["volumes"][0] in pod["volumes"]
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert volumes["cashew-config"]["configMap"]["name"] == "cashew"
    for container in added:
        assert {m["name"] for m in container["volumeMounts"]} <= set(volumes)
        ports = {p["name"] for p in container["ports"]}
        assert "http" not in ports and "app" not in ports
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container.get(probe, {}).get("httpGet", {}).get("port", min(ports)) in ports
    (config,) = [o for o in objects.all("ConfigMap")]
    assert yaml.safe_load(config["data"]["nutcracker.yml"])["cache"]["listen"] == "127.0.0.1:11211"
    assert objects.one("Role")["rules"] == render().one("Role")["rules"]


@pytest.mark.skipif(not os.access(CASHEW, os.X_OK), reason="no cashew at %s" % CASHEW)
@pytest.mark.parametrize("path", ["base", "examples/redis", "sidecar-injection"])
def test_the_proxy_accepts_the_configurations(path):
    done = subprocess.run([CASHEW, "-t", "-c", os.path.join(K8S, path, "nutcracker.yml")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          check=False)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout.lower()
