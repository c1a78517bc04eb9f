#!/usr/bin/python3
"""Makes the manifests of k8s/ that are the chart's objects, from the chart.

    render_k8s.py --write    writes them
    render_k8s.py --check    exits 1 and names those that are not what the chart renders

Kustomizations, examples and the rest of k8s/ are written by hand; manifests_test.py compares what
they come to with the chart.
"""

import json
import os
import sys

import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import charts  # noqa: E402

K8S = os.path.join(charts.ROOT, "k8s")
HEADER = "# Made from helm/cashew by test/chart/render_k8s.py; change the chart and run it again.\n"

IN_APPLICATION_PODS = {"pools": {"cache": {"listen": "127.0.0.1:11211"}},
                       "config": {"global": {"drain_grace": "0s"}}}
MONITORING = {"metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True},
                          "dashboard": {"enabled": True}}}


class Dumper(yaml.SafeDumper):
    """Text of several lines as it is read, and lists indented."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def plain(o):
    """An object without what only Helm would write, and in no namespace."""
    o = dict(o, metadata=dict(o["metadata"], labels=dict(o["metadata"]["labels"])))
    o["metadata"].pop("namespace", None)
    for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
        o["metadata"]["labels"].pop(label, None)
    return o


def dump(objects):
    return HEADER + "---\n".join(
        yaml.dump(plain(o), Dumper=Dumper, sort_keys=False, width=100) for o in objects)


def patch(objects):
    """What a pod of anybody's gets to have a proxy of its own. Its names collide with nobody's, and
    it rests on nothing that the pod says for all its containers."""
    spec = json.loads(json.dumps(objects.pod["spec"]))
    context = {k: v for k, v in spec["securityContext"].items() if k != "fsGroup"}
    ports = {"http": "cashew-http", "sidecar": "cashew-sidecar"}
    for container in spec["containers"]:
        container["name"] = "cashew-" + container["name"] if container["name"] != "cashew" else "cashew"
        container["securityContext"].update(context)
        container["ports"] = [dict(p, name=ports[p["name"]])
                              for p in container["ports"] if p["name"] in ports]
        for probe in (container.get(p) for p in ("startupProbe", "readinessProbe", "livenessProbe")):
            if probe:
                probe["httpGet"]["port"] = ports[probe["httpGet"]["port"]]
        for mount in container["volumeMounts"]:
            mount["name"] = "cashew-" + mount["name"]
    for volume in spec["volumes"]:
        volume["name"] = "cashew-" + volume["name"]
        if "projected" in volume:  # without an fsGroup the owner is root
            volume["projected"]["defaultMode"] = 0o444
    added = {"apiVersion": "apps/v1", "kind": "any", "metadata": {"name": "any"},
             "spec": {"template": {"spec": {key: spec[key] for key in ("containers", "volumes")}}}}
    return HEADER + yaml.dump(added, Dumper=Dumper, sort_keys=False, width=100)


def files():
    """What each file must contain, by its path in k8s/."""
    base, daemon = charts.render(), charts.render({"mode": "DaemonSet"})
    memcached = charts.render({"memcached": {"enabled": True}})
    monitoring = charts.render(MONITORING)
    inside = charts.render(IN_APPLICATION_PODS)
    out = {
        "base/nutcracker.yml": base.config_text,
        "base/deployment.yaml": dump(base.all("Deployment")),
        "base/services.yaml": dump(base.all("Service")),
        "base/rbac.yaml": dump(
            base.all("ServiceAccount") + base.all("Role") + base.all("RoleBinding")),
        "base/pdb.yaml": dump(base.all("PodDisruptionBudget")),
        "overlays/daemonset/daemonset.yaml": dump(daemon.all("DaemonSet")),
        "overlays/monitoring/servicemonitor.yaml": dump(monitoring.all("ServiceMonitor")),
        "overlays/monitoring/prometheusrule.yaml": dump(monitoring.all("PrometheusRule")),
        "overlays/monitoring/dashboards.yaml": dump(
            [o for o in monitoring.all("ConfigMap") if o["metadata"]["name"] == "cashew-dashboards"]),
        # The base follows a Service of this name.
        "examples/memcached/memcached.yaml": dump(
            [o for o in memcached if o["metadata"]["name"] == "cashew-memcached"]).replace(
                "cashew-memcached", "memcached"),
        "sidecar-injection/nutcracker.yml": inside.config_text,
        "sidecar-injection/pod.yaml": patch(inside),
    }
    return out


def read(path):
    try:
        with open(os.path.join(K8S, path), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def stale():
    return [path for path, text in files().items() if read(path) != text]


def main():
    if sys.argv[1:] == ["--write"]:
        for path, text in files().items():
            os.makedirs(os.path.dirname(os.path.join(K8S, path)), exist_ok=True)
            with open(os.path.join(K8S, path), "w", encoding="utf-8") as file:
                file.write(text)
    elif sys.argv[1:] == ["--check"]:
        for path in stale():
            print("k8s/%s is stale; run test/chart/render_k8s.py --write" % path)
        return int(bool(stale()))
    else:
        sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
