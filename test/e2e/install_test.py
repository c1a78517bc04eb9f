"""The chart on a real API server: what it installs, may read, and offers to Prometheus."""

import os
import subprocess

import pytest
from cluster import run
from release import NAME, NAMESPACE


def may(cluster, verb, resource, namespace=NAMESPACE):
    account = "system:serviceaccount:%s:%s" % (NAMESPACE, NAME)
    asked = subprocess.run(["kubectl", "auth", "can-i", verb, resource, "-n", namespace,
                            "--as", account], capture_output=True, text=True, timeout=30)
    return asked.stdout.strip() == "yes"


def test_proxies_agree_after_the_install(release):
    replicas = release.settle()
    assert len(replicas) == 2
    assert len({r.checksum() for r in replicas}) == 1


def test_service_account_reads_endpoint_slices_and_nothing_else(cluster, release):
    for verb in ("get", "list", "watch"):
        assert may(cluster, verb, "endpointslices.discovery.k8s.io")
    for verb, resource in (("list", "pods"), ("get", "secrets"), ("list", "services"),
                           ("update", "endpointslices.discovery.k8s.io")):
        assert not may(cluster, verb, resource)
    assert not may(cluster, "list", "endpointslices.discovery.k8s.io", namespace="default")


@pytest.fixture(scope="module")
def operator_kinds(cluster):
    cluster.kubectl("create", "-f", os.path.join(os.environ["LAB_BIN"], "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd",
                    "servicemonitors.monitoring.coreos.com", "podmonitors.monitoring.coreos.com",
                    "prometheusrules.monitoring.coreos.com")


def dry_run(text):
    return run("kubectl", "-n", NAMESPACE, "apply", "--dry-run=server", "--validate=strict",
               "-f", "-", stdin=text)


@pytest.mark.parametrize("kind, values", [
    ("servicemonitor", {"serviceMonitor": {"enabled": True}}),
    ("podmonitor", {"podMonitor": {"enabled": True}}),
    ("prometheusrule", {"prometheusRule": {"enabled": True}}),
])
def test_prometheus_operator_accepts(release, operator_kinds, kind, values):
    said = dry_run(release.render({"metrics": values}))
    assert "%s.monitoring.coreos.com/%s created (server dry run)" % (kind, NAME) in said


def test_a_wrong_interval_would_be_refused(release, operator_kinds):
    text = release.render({"metrics": {"serviceMonitor": {"enabled": True}}})
    assert "interval: 15s" in text
    with pytest.raises(AssertionError, match="interval"):
        dry_run(text.replace("interval: 15s", "interval: 15x"))


@pytest.mark.tier("real")
def test_helm_test_passes(cluster, release):
    cluster.helm("test", NAME, "-n", NAMESPACE, "--timeout", "60s")
