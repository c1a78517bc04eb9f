"""What the chart renders, feature by feature, as a real helm renders it."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys

import jsonschema
import pytest
import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import charts  # noqa: E402
import values_table  # noqa: E402
from charts import CHART, ROOT, helm, refusal, render  # noqa: E402
from support.values import merged  # noqa: E402
from value_sets import CERTIFICATES, VALUE_SETS  # noqa: E402

charts.helm_binary()
CASHEW = os.environ.get("CASHEW_BIN", os.path.join(ROOT, "build", "bin", "cashew"))

each_value_set = pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS.keys())


def grouped(objects, kind):
    return {o["metadata"]["name"]: o for o in objects.all(kind)}


def pods(objects):
    """Every pod specification: of workloads and of hooks."""
    for o in objects:
        if o["kind"] == "Pod":
            yield o["spec"]
        elif "template" in o.get("spec", {}):
            yield o["spec"]["template"]["spec"]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


# --- all renderings


@each_value_set
def test_helm_lint_has_nothing_to_say(values):
    done = helm("lint", "--strict", CHART, values=values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout


@each_value_set
@pytest.mark.parametrize("minor", charts.MINORS)
def test_every_object_is_what_kubernetes_describes(values, minor):
    assert [fault for o in render(values, hooks=True) for fault in charts.faults(o, minor)] == []


@pytest.mark.parametrize("minor", charts.MINORS)
def test_the_schemas_notice_a_mistyped_field_and_a_wrong_type(minor):
    objects = render({"metrics": {"serviceMonitor": {"enabled": True}}})
    objects.container()["imagePullPolice"] = "Never"
    objects.one("ServiceMonitor")["spec"]["endpoints"][0]["interval"] = "15x"
    objects.one("Service", "cashew")["spec"]["ports"][0]["port"] = "11211"
    found = " ".join(fault for o in objects for fault in charts.faults(o, minor))
    assert "imagePullPolice" in found and "15x" in found and "'11211'" in found


@each_value_set
def test_names_are_unique_and_namespaced_and_labelled(values):
    objects = render(values, namespace="somewhere")
    assert len(set(objects.names())) == len(objects)
    for o in objects:
        if o["metadata"]["name"] == "extra":
            continue
        assert len(o["metadata"]["name"]) <= 63
        assert o["metadata"]["namespace"] in ("somewhere", "data")
        labels = o["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "cashew"
        assert {"app.kubernetes.io/name", "app.kubernetes.io/version", "helm.sh/chart",
                "app.kubernetes.io/component", "app.kubernetes.io/managed-by"} <= set(labels)


@each_value_set
def test_selectors_choose_the_pods_that_they_mean(values):
    objects = render(values)
    proxy = objects.pod["metadata"]["labels"]
    stateful = objects.all("StatefulSet")
    cache = stateful[0]["spec"]["template"]["metadata"]["labels"] if stateful else None
    for o in objects:
        selector = {
            "Service": lambda s: s["selector"],
            "NetworkPolicy": lambda s: s["podSelector"]["matchLabels"],
        }.get(o["kind"], lambda s: s.get("selector", {}).get("matchLabels"))(o.get("spec", {}))
        if not selector or o["kind"] == "ServiceMonitor":
            continue
        own, other = (cache, proxy) if o["metadata"]["name"].endswith("-memcached") else (proxy, cache)
        assert selector.items() <= own.items(), o["kind"]
        assert other is None or not selector.items() <= other.items(), o["kind"]


@each_value_set
def test_pods_fit_pod_security_restricted(values):
    for pod in pods(render(values, hooks=True)):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPath" in v for v in pod.get("volumes", []))
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert not own.get("privileged")
        if values.get("hostNetwork"):
            assert pod.get("hostNetwork") in (True, None)
        else:
            assert "hostNetwork" not in pod and "hostPID" not in pod


@each_value_set
def test_rights_are_get_list_watch_on_endpointslices_and_nothing_else(values):
    """On pods as well where their annotations are asked for."""
    objects = render(values)
    rules = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
              "verbs": ["get", "list", "watch"]}]
    if values.get("sidecar", {}).get("podAnnotations", {}).get("enabled"):
        rules.append({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]})
    for role in objects.all("Role"):
        assert role["rules"] == rules
    assert not objects.all("ClusterRole") and not objects.all("ClusterRoleBinding")
    for binding in objects.all("RoleBinding"):
        namespace = binding["metadata"]["namespace"]
        role = [r for r in objects.all("Role") if r["metadata"]["namespace"] == namespace]
        assert [r["metadata"]["name"] for r in role] == [binding["roleRef"]["name"]]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "default",
                                        "name": objects.pod["spec"]["serviceAccountName"]}]


@each_value_set
def test_only_the_sidecar_gets_a_token(values):
    objects = render(values, hooks=True)
    for pod in pods(objects):
        assert pod["automountServiceAccountToken"] is False
    spec = objects.pod["spec"]
    with_token = [c["name"] for c in containers(spec)
                  if any(m["name"] == "token" for m in c.get("volumeMounts", []))]
    follows = any(c["name"] == "sidecar" for c in containers(spec))
    assert with_token == (["sidecar"] if follows else [])


@each_value_set
def test_every_mounted_volume_exists_once(values):
    for pod in pods(render(values, hooks=True)):
        names = [v["name"] for v in pod.get("volumes", [])]
        assert len(set(names)) == len(names)
        for container in containers(pod):
            mounts = [m["name"] for m in container.get("volumeMounts", [])]
            assert set(mounts) <= set(names)
            assert len({m["mountPath"] for m in container.get("volumeMounts", [])}) == len(mounts)
            assert not any("subPath" in m for m in container.get("volumeMounts", []))


@each_value_set
def test_ports_have_names_that_resolve(values):
    objects = render(values)
    names = {}
    for container in containers(objects.pod["spec"]):
        for port in container.get("ports", []):
            assert port["name"] not in names, "two ports of one name"
            assert re.fullmatch("[a-z0-9-]{1,15}", port["name"])
            names[port["name"]] = port["containerPort"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "httpGet" in container.get(probe, {}):
                assert container[probe]["httpGet"]["port"] in names
    for service in objects.all("Service"):
        if service["metadata"]["name"].endswith("-memcached"):
            continue
        for port in service["spec"]["ports"]:
            assert names[port["targetPort"]] == port["port"]
    for policy in objects.all("NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert {p["port"] for p in rule["ports"]} <= set(names)


@pytest.mark.skipif(not os.access(CASHEW, os.X_OK), reason="no cashew at %s" % CASHEW)
@each_value_set
def test_the_proxy_accepts_its_configuration_without_a_warning(values, tmp_path):
    if values.get("config", {}).get("existingConfigMap") or values.get("config", {}).get("existingSecret"):
        with pytest.raises(AssertionError):
            render(values).config_text  # pylint: disable=expression-not-assigned
        return
    path = tmp_path / "nutcracker.yml"
    path.write_text(render(values).config_text)
    done = subprocess.run([CASHEW, "-t", "-c", str(path)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
    unexpected = [line for line in done.stdout.splitlines()
                  if "warning" in line.lower() and not re.search(EXPECTED_WARNINGS, line)]
    assert not unexpected, done.stdout


# Said about settings that a value set makes on purpose.
EXPECTED_WARNINGS = r"compat|reuseport|strict|workers|dangerous|hash_tag"


SIDECAR = os.path.join(os.path.dirname(CASHEW), "cashew-sidecar")


@pytest.mark.skipif(not os.access(SIDECAR, os.X_OK), reason="no cashew-sidecar at %s" % SIDECAR)
def test_the_sidecar_has_the_options_that_it_is_given():
    done = subprocess.run([SIDECAR, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=30, check=False)
    known = set(re.findall(r"--[a-z-]+", done.stdout))
    given = {argument.split("=")[0] for argument in render().container("sidecar")["args"]}
    assert given == {"--grpc", "--listen", "--pool"} and given <= known, done.stdout


@pytest.mark.parametrize("name", ["cashew", "sidecar"])
def test_json_lines_are_asked_of_both(name):
    assert "--log-format=json" in render({"logFormat": "json"}).container(name)["args"]
    assert not any(a.startswith("--log-format") for a in render().container(name)["args"])


# --- the configuration file


def test_a_pool_with_endpoints_is_fed_by_the_sidecar():
    objects = render({"pools": {"cache": {"endpoints": {"service": "mc", "port": "main"}}}},
                     namespace="shop")
    assert objects.config["cache"]["membership"] == "grpc"
    assert "servers" not in objects.config["cache"] and "endpoints" not in objects.config["cache"]
    arguments = objects.container("sidecar")["args"]
    assert "--pool=cache=mc:main" in arguments
    assert not any(a.startswith("--namespace") for a in arguments), "its own is in the token's volume"
    assert "--grpc=" + objects.config["global"]["grpc"] in arguments


def test_a_rolling_cache_moves_no_key_by_default():
    cache = render().config["cache"]
    assert cache["eject_mode"] == "keep_ring"
    assert cache["get_errors"] == "miss"
    assert cache["auto_eject_hosts"] is True
    assert cache["hold_down"] == "60s"


def test_a_pool_says_more_than_the_defaults():
    objects = render({"pools": {"cache": {"timeout": 50, "get_errors": "error"}}})
    assert objects.config["cache"]["timeout"] == 50
    assert objects.config["cache"]["get_errors"] == "error"


def test_a_pool_with_servers_means_what_it_meant_to_nutcracker():
    objects = render({"pools": {"cache": None, "old": {
        "listen": "0.0.0.0:22121", "servers": ["10.0.0.1:11211:1", "10.0.0.2:11211:1"]}}})
    assert objects.config["old"] == {"listen": "0.0.0.0:22121",
                                     "servers": ["10.0.0.1:11211:1", "10.0.0.2:11211:1"]}


def test_without_endpoints_there_is_no_sidecar_and_there_are_no_rights():
    objects = render(VALUE_SETS["static servers"])
    assert [c["name"] for c in objects.pod["spec"]["containers"]] == ["cashew"]
    assert not objects.all("Role") and not objects.all("RoleBinding")
    assert [p["name"] for p in objects.one("Service", "cashew-metrics")["spec"]["ports"]] == ["http"]


def test_a_service_in_another_namespace_gets_a_role_there():
    objects = render(VALUE_SETS["several pools"], namespace="shop")
    assert sorted(r["metadata"]["namespace"] for r in objects.all("Role")) == ["data", "shop"]
    arguments = objects.container("sidecar")["args"]
    assert "--pool=sessions=data/redis:redis" in arguments
    assert "--pool=A_pool_with_a_long_name=hot" in arguments
    assert not any(a.startswith("--pool=old=") for a in arguments)


def test_the_documented_scrape_configuration_keeps_the_port_of_the_metrics_alone():
    with open(os.path.join(CHART, "dashboards", "README.md"), encoding="utf-8") as f:
        keep = re.search(r"container_port_name\]\n +regex: (\S+)\n +action: keep", f.read()).group(1)
    pod = render(None).pod
    name = pod["metadata"]["labels"]["app.kubernetes.io/name"]
    kept = [port["containerPort"] for container in containers(pod["spec"])
            for port in container.get("ports", [])
            if re.fullmatch(keep, "%s;%s" % (name, port["name"]))]
    assert kept == [9151]


def test_each_pool_is_a_port_of_the_service():
    service = render(VALUE_SETS["several pools"]).one("Service", "cashew")
    assert {p["name"]: p["port"] for p in service["spec"]["ports"]} == {
        "sessions": 6379, "pool-11212": 11212, "old": 22121}


def test_a_changed_configuration_reloads_without_new_pods():
    one, other = render(), render({"pools": {"cache": {"timeout": 50}}})
    assert one.pod == other.pod
    assert one.config != other.config
    assert one.config["global"]["watch_config"] is True
    mount = [m for m in one.container()["volumeMounts"] if m["name"] == "config"]
    assert mount == [{"name": "config", "mountPath": "/etc/cashew", "readOnly": True}]


def test_restart_on_change_makes_new_pods():
    values = {"config": {"restartOnChange": True}}
    other = render(merged(values, {"pools": {"cache": {"timeout": 50}}}))
    assert render(values).pod != other.pod


def test_an_existing_configmap_takes_the_place_of_the_charts():
    objects = render(VALUE_SETS["existing ConfigMap"])
    assert not objects.all("ConfigMap")
    (volume,) = [v for v in objects.pod["spec"]["volumes"] if v["name"] == "config"]
    assert volume["configMap"] == {"name": "my-config"}
    assert "--pool=cache=memcached" in objects.container("sidecar")["args"]


def test_an_existing_secret_takes_the_place_of_the_charts():
    objects = render(VALUE_SETS["existing Secret"])
    (volume,) = [v for v in objects.pod["spec"]["volumes"] if v["name"] == "config"]
    assert volume["secret"]["secretName"] == "my-config"
    assert "--conf-file=/etc/cashew/cashew.yml" in objects.container()["args"]


def test_a_password_is_kept_in_a_secret():
    objects = render(VALUE_SETS["password"])
    assert not objects.all("ConfigMap")
    assert "123456" not in json.dumps([o for o in objects if o["kind"] != "Secret"])
    assert objects.config["cache"]["redis_auth"] == "123456"
    (volume,) = [v for v in objects.pod["spec"]["volumes"] if v["name"] == "config"]
    assert volume["secret"]["secretName"] == objects.one("Secret")["metadata"]["name"]


def test_certificates_come_from_secrets():
    objects = render({"pools": {"cache": {"tls": CERTIFICATES}}})
    assert objects.config["cache"]["tls"] == {
        "listen": {"cert": "/etc/cashew-tls/proxy-tls/tls.crt",
                   "key": "/etc/cashew-tls/proxy-tls/tls.key",
                   "client_ca": "/etc/cashew-tls/proxy-tls/ca.crt"},
        "servers": {"ca": "/etc/cashew-tls/cache-tls/ca.crt",
                    "cert": "/etc/cashew-tls/cache-tls/tls.crt",
                    "key": "/etc/cashew-tls/cache-tls/tls.key", "server_name": "cache"}}
    volumes = {v["name"]: v for v in objects.pod["spec"]["volumes"]}
    mounts = {m["mountPath"]: m for m in objects.container()["volumeMounts"]}
    for name in ("proxy-tls", "cache-tls"):
        mount = mounts["/etc/cashew-tls/" + name]
        assert mount["readOnly"] is True
        assert volumes[mount["name"]]["secret"] == {"secretName": name, "defaultMode": 0o440}
    assert not any("tls" in m["name"] for m in objects.container("sidecar")["volumeMounts"])


# --- the life of a pod


def test_probes_ask_the_proxy():
    container = render().container()
    paths = {probe: container[probe]["httpGet"] for probe in
             ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": {"path": "/livez", "port": "http"},
                     "readinessProbe": {"path": "/readyz", "port": "http"},
                     "livenessProbe": {"path": "/livez", "port": "http"}}
    assert render().config["global"]["admin"].endswith(":9151")


def test_the_sidecars_troubles_do_not_make_the_pod_unready():
    sidecar = render().container("sidecar")
    assert "readinessProbe" not in sidecar and "livenessProbe" in sidecar


def test_a_probe_can_be_taken_away():
    assert "startupProbe" not in render({"probes": {"startup": None}}).container()


@pytest.mark.parametrize("grace, drain, pre_stop, expected", [
    ("5s", "30s", 0, 45), ("500ms", "1m", 0, 71), ("0s", "1h", 20, 3630)])
def test_a_pod_has_the_time_that_draining_takes(grace, drain, pre_stop, expected):
    objects = render({"config": {"global": {"drain_grace": grace, "drain_timeout": drain}},
                      "drain": {"preStopSeconds": pre_stop}})
    assert objects.pod["spec"]["terminationGracePeriodSeconds"] == expected
    hook = objects.container().get("lifecycle")
    assert hook == ({"preStop": {"exec": {"command": ["sleep", str(pre_stop)]}}} if pre_stop else None)


def test_too_little_time_for_draining_is_refused():
    message = refusal({"drain": {"terminationGracePeriodSeconds": 20}})
    assert "drain.terminationGracePeriodSeconds is 20" in message and "at least 45" in message


def test_a_new_pod_is_ready_before_an_old_one_goes():
    spec = render().one("Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] == 5


def test_a_native_sidecar_is_an_init_container_that_restarts():
    spec = render({"sidecar": {"native": True}}).pod["spec"]
    assert [c["name"] for c in spec["containers"]] == ["cashew"]
    assert [(c["name"], c["restartPolicy"]) for c in spec["initContainers"]] == [("sidecar", "Always")]


def test_annotations_are_followed_where_asked_for():
    args = render({"sidecar": {"podAnnotations": {"enabled": True}}}).container("sidecar")["args"]
    assert "--pod-annotations" in args and not any("--pod-selector" in arg for arg in args)
    objects = render({"sidecar": {"podAnnotations": {"enabled": True, "selector": "app=mc"}}})
    assert "--pod-selector=app=mc" in objects.container("sidecar")["args"]
    assert not any("--pod-" in arg for arg in render().container("sidecar")["args"])


def test_proxy_and_sidecar_share_a_socket_and_state_outlives_a_restart():
    objects = render()
    run = {"name": "run", "mountPath": "/run/cashew"}
    assert run in objects.container()["volumeMounts"]
    assert run in objects.container("sidecar")["volumeMounts"]
    assert objects.config["global"]["grpc"] == "unix:/run/cashew/grpc.sock"
    assert {"name": "state", "mountPath": os.path.dirname(objects.config["global"]["state_dir"])} in \
        objects.container()["volumeMounts"]


def test_the_readmes_own_configuration_file_keeps_its_state_in_the_volume_that_is_mounted():
    """In a folder that the proxy makes there: the volume itself is open to its group."""
    with open(os.path.join(CHART, "README.md"), encoding="utf-8") as file:
        text = file.read().split("In the file, the chart relies on\n\n")[1].split("\n\n")[0]
    section = yaml.safe_load(text.replace("…", ""))["global"]
    objects = render({"config": {"existingConfigMap": "my-config"}})
    mounts = {m["mountPath"]: m["name"] for m in objects.container()["volumeMounts"]}
    assert mounts[os.path.dirname(section["state_dir"])] == "state"
    assert mounts[os.path.dirname(section["grpc"].removeprefix("unix:"))] == "run"


# --- where and how many


def test_a_daemonset_keeps_clients_on_their_node():
    objects = render({"mode": "DaemonSet"})
    assert objects.one("Service", "cashew")["spec"]["internalTrafficPolicy"] == "Local"
    assert "replicas" not in objects.one("DaemonSet")["spec"]
    assert not objects.all("PodDisruptionBudget") and not objects.all("Deployment")


def test_the_metrics_service_is_headless_and_knows_unready_pods():
    spec = render().one("Service", "cashew-metrics")["spec"]
    assert spec["clusterIP"] == "None" and spec["publishNotReadyAddresses"] is True
    assert {p["name"]: p["port"] for p in spec["ports"]} == {"http": 9151, "sidecar": 9153}


def test_one_pod_at_a_time_may_be_disrupted():
    assert render().one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    spec = render({"podDisruptionBudget": {"minAvailable": "50%"}}).one("PodDisruptionBudget")["spec"]
    assert spec["minAvailable"] == "50%" and "maxUnavailable" not in spec
    assert not render({"podDisruptionBudget": {"enabled": False}}).all("PodDisruptionBudget")


def test_autoscaling_decides_the_number_of_replicas():
    objects = render(VALUE_SETS["autoscaling"])
    assert "replicas" not in objects.one("Deployment")["spec"]
    spec = objects.one("HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cashew"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    assert {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"]
            for m in spec["metrics"]} == {"cpu": 70, "memory": 80}
    assert render().one("Deployment")["spec"]["replicas"] == 2


def test_proxies_spread_over_nodes_and_zones():
    spec = render().pod["spec"]
    (soft,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert soft["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert [c["topologyKey"] for c in spec["topologySpreadConstraints"]] == ["topology.kubernetes.io/zone"]
    spec = render(VALUE_SETS["placement"]).pod["spec"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" in spec["affinity"]["podAntiAffinity"]
    (own,) = spec["topologySpreadConstraints"]
    assert own["whenUnsatisfiable"] == "DoNotSchedule" and own["labelSelector"]["matchLabels"]
    assert spec["priorityClassName"] == "high" and spec["nodeSelector"] == {"disk": "none"}
    assert spec["tolerations"] == [{"key": "cache", "operator": "Exists"}]


def test_a_network_policy_names_who_may_come_in_and_what_may_be_reached():
    spec = render(VALUE_SETS["network policy"]).one("NetworkPolicy")["spec"]
    clients, metrics = spec["ingress"]
    assert [p["port"] for p in clients["ports"]] == ["cache"]
    assert clients["from"] == VALUE_SETS["network policy"]["networkPolicy"]["clients"]
    assert [p["port"] for p in metrics["ports"]] == ["http", "sidecar", "stats"]
    assert metrics["from"] == VALUE_SETS["network policy"]["networkPolicy"]["metrics"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == VALUE_SETS["network policy"]["networkPolicy"]["egress"]
    spec = render({"networkPolicy": {"enabled": True}}).one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress"] and not any("from" in rule for rule in spec["ingress"])


def test_stats_stay_in_the_pod_unless_exposed():
    assert "--stats-addr=127.0.0.1" in render().container()["args"]
    objects = render({"stats": {"expose": True}})
    assert "--stats-addr=0.0.0.0" in objects.container()["args"]
    assert 22222 in [p["port"] for p in objects.one("Service", "cashew-metrics")["spec"]["ports"]]


def test_extras_reach_their_places():
    values = VALUE_SETS["extras"]
    objects = render(values)
    container = objects.container()
    assert container["env"] == values["env"] and container["envFrom"] == values["envFrom"]
    assert values["extraVolumeMounts"][0] in container["volumeMounts"]
    assert values["extraVolumes"][0] in objects.pod["spec"]["volumes"]
    assert "beside" in [c["name"] for c in objects.pod["spec"]["containers"]]
    assert container["image"] == "cashew@sha256:" + "0" * 64
    assert objects.pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert objects.pod["metadata"]["labels"]["pod"] == "yes"
    assert objects.pod["metadata"]["annotations"]["a"] == "b"
    deployment = objects.one("Deployment")["metadata"]
    assert deployment["annotations"] == {"c": "d", "owner": "somebody"}
    assert deployment["labels"]["team"] == "caches"
    assert objects.one("ConfigMap", "extra")["metadata"]["namespace"] == "default"


# --- monitoring


@pytest.mark.parametrize("kind, value, endpoints", [
    ("ServiceMonitor", "serviceMonitor", "endpoints"),
    ("PodMonitor", "podMonitor", "podMetricsEndpoints")])
def test_monitors_scrape_proxy_and_sidecar(kind, value, endpoints):
    objects = render({"metrics": {value: {"enabled": True, "labels": {"release": "prometheus"}}}})
    monitor = objects.one(kind)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert [(e["port"], e["path"], e["interval"]) for e in monitor["spec"][endpoints]] == [
        ("http", "/metrics", "15s"), ("sidecar", "/metrics", "15s")]
    chosen = objects.one("Service", "cashew-metrics")["metadata"]["labels"] \
        if kind == "ServiceMonitor" else objects.pod["metadata"]["labels"]
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert selector.items() <= chosen.items()
    assert not selector.items() <= objects.one("Service", "cashew")["metadata"]["labels"].items() \
        or kind == "PodMonitor"


def test_the_prometheusrule_has_every_group_of_the_rule_files():
    files = glob.glob(os.path.join(CHART, "rules", "*.y*ml"))
    values = {"metrics": {"prometheusRule": {"enabled": True, "labels": {"role": "alerts"}}}}
    if not files:
        assert "rules/*.yml" in refusal(values)
        return
    expected = []
    for file in sorted(files):
        with open(file, encoding="utf-8") as f:
            expected += (yaml.safe_load(f) or {}).get("groups", [])
    rule = render(values).one("PrometheusRule")
    assert rule["spec"]["groups"] == expected and expected
    assert rule["metadata"]["labels"]["role"] == "alerts"


def test_a_threshold_of_an_alert_can_be_set():
    with open(os.path.join(CHART, "rules", "thresholds.yaml"), encoding="utf-8") as file:
        defaults = yaml.safe_load(file)
    with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as file:
        rule = json.load(file)["properties"]["metrics"]["properties"]["prometheusRule"]["properties"]
    assert set(rule["thresholds"]["properties"]) == set(defaults)

    def text(thresholds):
        return json.dumps(render({"metrics": {"prometheusRule": {
            "enabled": True, "thresholds": thresholds}}}).one("PrometheusRule"))

    unchanged = text({})
    for name, number in defaults.items():
        places = unchanged.count("# threshold: " + name)
        assert places
        other = round(number * 70000)
        changed = text({name: other})
        assert len(re.findall(r"[<>] %d\b" % other, changed)) == places
        assert changed.count("# threshold: ") == unchanged.count("# threshold: ") - places


def test_the_dashboard_configmap_has_every_dashboard():
    files = glob.glob(os.path.join(CHART, "dashboards", "*.json"))
    values = {"metrics": {"dashboard": {"enabled": True}}}
    if not files:
        assert "dashboards/*.json" in refusal(values)
        return
    dashboards = render(values).one("ConfigMap", "cashew-dashboards")
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert sorted(dashboards["data"]) == sorted(map(os.path.basename, files))
    for file in files:
        with open(file, encoding="utf-8") as f:
            assert json.loads(dashboards["data"][os.path.basename(file)]) == json.load(f)


# --- memcached and the test hook


def test_memcached_gives_a_first_install_something_behind_it():
    objects = render({"memcached": {"enabled": True, "replicas": 5, "memoryMiB": 128}})
    stateful = objects.one("StatefulSet")
    service = objects.one("Service", "cashew-memcached")
    assert stateful["spec"]["replicas"] == 5
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert "--pool=cache=cashew-memcached:memcached" in objects.container("sidecar")["args"]
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    assert "--memory-limit=128" in container["args"]
    assert container["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"] == "memcached"
    assert not render().all("StatefulSet")


def test_memcached_does_not_take_over_pools_that_name_their_service():
    objects = render({"memcached": {"enabled": True}, "pools": {"cache": {"endpoints": {"service": "mine"}}}})
    assert "--pool=cache=mine" in objects.container("sidecar")["args"]


def test_helm_test_sets_and_gets_a_key_through_each_pool():
    objects = render(merged(VALUE_SETS["several pools"], {"pools": {
        "private": {"listen": "0.0.0.0:7000", "redis": True, "redis_auth": "x", "servers": ["a:1:1"]}}}),
        hooks=True)
    pod = objects.one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    script, name, host, *pools = pod["spec"]["containers"][0]["args"]
    assert name == "set-and-get" and host == "cashew.default"
    assert sorted(pools) == ["memcached:A_pool_with_a_long_name:11212", "memcached:old:22121",
                             "redis:sessions:6379"]
    checked = subprocess.run(["bash", "-n"], input=script, universal_newlines=True, check=False,
                             stderr=subprocess.PIPE)
    assert checked.returncode == 0, checked.stderr


# --- documents


def test_the_readmes_table_is_made_from_the_values():
    old, new = values_table.readme_with(values_table.table())
    assert old == new, "run test/chart/values_table.py --write"


def test_every_value_is_described():
    with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
        text = file.read()
    described = {row[0] for row in values_table.rows(yaml.compose(text), text.splitlines())}

    def leaves(node, path=()):
        for key, value in node.items():
            dotted = ".".join(path + (key,))
            if dotted in described and not any(d.startswith(dotted + ".") for d in described):
                continue
            if isinstance(value, dict) and value:
                yield from leaves(value, path + (key,))
            else:
                yield dotted

    assert list(leaves(yaml.safe_load(text))) == []


def test_the_schema_knows_every_value():
    with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as file:
        document = json.load(file)
    with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
        defaults = yaml.safe_load(file)
    jsonschema.Draft7Validator.check_schema(document)
    assert set(document["properties"]) - {"global"} == set(defaults)


def test_the_schema_knows_every_key_of_a_pool_and_of_the_global_section():
    with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as file:
        document = json.load(file)

    def rows(path, table):
        with open(os.path.join(ROOT, "pkg", "config", path), encoding="utf-8") as source:
            body = re.search(table + r"\[\] = \{(.*?)\n\};", source.read(), re.S).group(1)
        return set(re.findall(r'^    \{"(\w+)"', body, re.M))

    pool = rows("pool_section.cc", "kPoolRows")
    assert set(document["definitions"]["pool"]["properties"]) - {"endpoints"} == pool
    section = document["properties"]["config"]["properties"]["global"]["properties"]
    assert set(section) == rows("global_section.cc", "kGlobalRows") - {"grpc", "grpc_tls"}


def test_the_charts_version_is_the_projects():
    with open(os.path.join(CHART, "Chart.yaml"), encoding="utf-8") as file:
        chart = yaml.safe_load(file)
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as file:
        version = re.search(r"project\(cashew VERSION ([0-9.]+)", file.read()).group(1)
    assert chart["appVersion"] == version
    assert "cashew:" + version in chart["annotations"]["artifacthub.io/images"]
    assert "dependencies" not in chart


def test_the_notes_say_where_clients_connect(tmp_path):
    # helm template leaves the notes out, and an installation needs a cluster: rendered as an object.
    copy = shutil.copytree(CHART, tmp_path / "cashew")
    notes = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "notes.yaml").write_text(
        '{{ define "notes" }}' + notes + "{{ end }}kind: Notes\nmetadata: {name: notes}\n"
        'text: |\n{{ include "notes" . | indent 2 }}\n')
    done = helm("template", "shop", str(copy), "--namespace", "caches", "--show-only",
                "templates/notes.yaml", values=VALUE_SETS["several pools"])
    assert done.returncode == 0, done.stderr
    text = charts.parse(done.stdout).one("Notes")["text"]
    assert "shop-cashew.caches:6379   pool sessions, servers from Service data/redis" in text
    assert "pool old, servers from the configuration" in text
    assert "helm test shop -n caches" in text
    assert "service-name=hot" in text
