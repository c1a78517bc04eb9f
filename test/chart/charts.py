"""Renders the chart with a real helm, and finds things in what comes out."""

import functools
import json
import os
import subprocess

import jsonschema
import pytest
import yaml

MINORS = ["v1.32", "v1.33", "v1.34"]
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, in C
CHART = os.path.join(ROOT, "helm", "cashew")


@functools.lru_cache(None)
def helm_binary():
    found = subprocess.run([os.path.join(HERE, "get_helm.sh"), "--find"], stdout=subprocess.PIPE,
                           universal_newlines=True, check=False)
    if found.returncode == 1:
        pytest.skip("no helm here; test/chart/get_helm.sh builds one in some minutes",
                    allow_module_level=True)
    assert found.returncode == 0
    return found.stdout.strip()


def helm(*arguments, values=None):
    """The finished process; `values` go to helm through its standard input."""
    command = [helm_binary(), *arguments]
    if values is not None:
        command += ["--values", "-"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HELM_")}
    environment["KUBECONFIG"] = os.devnull
    return subprocess.run(command, input=json.dumps(values), universal_newlines=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                          check=False)


class Objects(list):
    """The objects of one rendering."""

    def all(self, kind):
        return [o for o in self if o["kind"] == kind]

    def one(self, kind, name=None):
        found = [o for o in self.all(kind) if name in (None, o["metadata"]["name"])]
        assert len(found) == 1, (kind, name, self.names())
        return found[0]

    def names(self):
        return sorted("%s/%s" % (o["kind"], o["metadata"]["name"]) for o in self)

    @property
    def pod(self):
        """The proxy's pod template."""
        (workload,) = [o for o in self if o["kind"] in ("Deployment", "DaemonSet")]
        return workload["spec"]["template"]

    def container(self, name="cashew"):
        spec = self.pod["spec"]
        (found,) = [c for c in spec["containers"] + spec.get("initContainers", [])
                    if c["name"] == name]
        return found

    @property
    def config_text(self):
        for kind, key in (("ConfigMap", "data"), ("Secret", "stringData")):
            for o in self.all(kind):
                if "nutcracker.yml" in o.get(key, {}):
                    return o[key]["nutcracker.yml"]
        raise AssertionError("no configuration file in " + ", ".join(self.names()))

    @property
    def config(self):
        return yaml.safe_load(self.config_text)


def parse(text):
    return Objects(o for o in yaml.load_all(text, Loader=LOADER) if o)


def render(values=None, release="cashew", namespace="default", hooks=False):
    return parse(rendered_text(json.dumps(values or {}), release, namespace, hooks))


@functools.lru_cache(None)
def rendered_text(values, release, namespace, hooks):
    arguments = ["template", release, CHART, "--namespace", namespace]
    done = helm(*arguments, *([] if hooks else ["--no-hooks"]), values=json.loads(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(values):
    """What helm says to values that it must refuse."""
    done = helm("template", "cashew", CHART, values=values)
    assert done.returncode != 0, "these values were taken: %s" % values
    return done.stderr


@functools.lru_cache(None)
def schema(name):
    """schemas/NAME.json: a Kubernetes minor such as v1.34, or monitoring."""
    with open(os.path.join(HERE, "schemas", name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def faults(o, minor):
    """What Kubernetes, of that minor, or the Prometheus operator finds wrong with an object."""
    name = "monitoring" if o["apiVersion"].startswith("monitoring.coreos.com/") else minor
    kind = schema(name)["kinds"]["%s %s" % (o["apiVersion"], o["kind"])]
    checker = jsonschema.Draft7Validator(
        {"$ref": "#/definitions/" + kind, "definitions": schema(name)["definitions"]})
    return ["%s %s: %s: %s" % (o["kind"], o["metadata"]["name"], "/".join(map(str, e.path)), e.message)
            for e in checker.iter_errors(o)]
