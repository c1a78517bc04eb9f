#!/usr/bin/python3
"""Records what three Kubernetes minors say about the kinds that the chart uses.

Writes schemas/v1.NN.json, from the OpenAPI description that the Go module k8s.io/kubernetes
carries: the definitions that the kinds need, without descriptions, unknown fields forbidden; and
schemas/monitoring.json from the Prometheus operator's definitions. Needs go and the module proxy;
the tests need only what is written. For other versions change the constants and run it again.
"""

import json
import os
import subprocess
import sys
import tempfile

import yaml

VERSIONS = ["v1.32.13", "v1.33.9", "v1.34.4"]
KINDS = {
    ("", "v1"): ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"],
    ("apps", "v1"): ["DaemonSet", "Deployment", "StatefulSet"],
    ("autoscaling", "v2"): ["HorizontalPodAutoscaler"],
    ("networking.k8s.io", "v1"): ["NetworkPolicy"],
    ("policy", "v1"): ["PodDisruptionBudget"],
    ("rbac.authorization.k8s.io", "v1"): ["Role", "RoleBinding"],
}
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
OPERATOR_KINDS = {"ServiceMonitor": "servicemonitors", "PodMonitor": "podmonitors",
                  "PrometheusRule": "prometheusrules"}
HERE = os.path.dirname(os.path.abspath(__file__))


def needed(definitions, roots):
    """`roots` and all that they refer to."""
    found, waiting = {}, list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting += references(definitions[name])
    return found


def references(schema):
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rsplit("/", 1)[1]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def strict(schema):
    """JSON schema of a definition: no unknown fields, and null where the API takes it as absent."""
    kept = {k: v for k, v in schema.items() if k in ("type", "required", "$ref", "enum", "pattern", "minLength", "minimum")}
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if "items" in schema:
        kept["items"] = strict(schema["items"])
    if "properties" in schema:
        kept["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        kept["additionalProperties"] = False
    elif "additionalProperties" in schema:
        kept["additionalProperties"] = strict(schema["additionalProperties"])
    return kept


def module_folder(module, work):
    answer = subprocess.run(
        ["go", "mod", "download", "-json", module],
        env=dict(os.environ, GOPATH=work, GOFLAGS="-modcacherw"), cwd=work, check=True,
        stdout=subprocess.PIPE).stdout
    return json.loads(answer)["Dir"]


def write(name, content):
    with open(os.path.join(HERE, "schemas", name + ".json"), "w", encoding="utf-8") as file:
        json.dump(content, file, separators=(",", ":"))
        file.write("\n")


def record_kubernetes(version, work):
    folder = module_folder("k8s.io/kubernetes@" + version, work)
    with open(os.path.join(folder, "api/openapi-spec/swagger.json"), encoding="utf-8") as file:
        definitions = json.load(file)["definitions"]
    kinds = {}
    for name, definition in definitions.items():
        for gvk in definition.get("x-kubernetes-group-version-kind", []):
            if gvk["kind"] in KINDS.get((gvk["group"], gvk["version"]), []):
                api_version = "/".join(filter(None, (gvk["group"], gvk["version"])))
                kinds["%s %s" % (api_version, gvk["kind"])] = name
    assert len(kinds) == sum(map(len, KINDS.values())), kinds
    write(version.rsplit(".", 1)[0], {
        "from": "k8s.io/kubernetes@" + version,
        "kinds": dict(sorted(kinds.items())),
        "definitions": {name: strict(definition) for name, definition
                        in sorted(needed(definitions, kinds.values()).items())},
    })


def record_operator(work):
    folder = os.path.join(module_folder(OPERATOR, work), "example", "prometheus-operator-crd")
    out = {"from": OPERATOR, "kinds": {}, "definitions": {}}
    for kind, plural in OPERATOR_KINDS.items():
        path = os.path.join(folder, "monitoring.coreos.com_%s.yaml" % plural)
        with open(path, encoding="utf-8") as file:
            (version,) = yaml.safe_load(file)["spec"]["versions"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
        out["kinds"]["monitoring.coreos.com/%s %s" % (version["name"], kind)] = kind
        out["definitions"][kind] = schema
    write("monitoring", out)


def main():
    os.makedirs(os.path.join(HERE, "schemas"), exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for version in VERSIONS:
            record_kubernetes(version, work)
        record_operator(work)


if __name__ == "__main__":
    sys.exit(main())
