"""The scrape configuration of helm/cashew/dashboards/README.md, run as it stands there: Prometheus
finds the proxies by their pods, follows one that is replaced, and every panel has data."""

import os
import textwrap

import pytest
import yaml
from dashboard import HELM, RULES, impatient, queries, read, without_data
from prometheus_server import Prometheus
from release import NAMESPACE
from support import wait_until

pytestmark = pytest.mark.tier("real")
SCRAPES_S = 60  # to have seen what rates over 20 s need, on a busy machine


def documented_scrape():
    """The README's block that finds pods; in a cluster it needs nothing else."""
    blocks = read(os.path.join(HELM, "dashboards", "README.md")).split("```yaml\n")[1:]
    (text,) = [b.split("```")[0] for b in blocks if "kubernetes_sd_configs" in b]
    return yaml.safe_load(textwrap.dedent("   " + text.lstrip(" ")))["scrape_configs"]


@pytest.fixture(scope="module")
def prometheus(load):
    scrape = documented_scrape()
    for discovery in scrape[0]["kubernetes_sd_configs"]:
        discovery["kubeconfig_file"] = os.environ["KUBECONFIG"]  # it runs in no pod here
    rules = [impatient(read(path)) for path in RULES]
    program = os.path.join(os.environ["LAB_BIN"], "prometheus")
    with Prometheus(rules=rules, scrape=scrape, program=program) as made:
        yield made


def scraped(prometheus):
    """{pod: its health}"""
    found = {}
    for target in prometheus.targets():
        labels = target["labels"]
        assert labels["job"] == "cashew" and labels["namespace"] == NAMESPACE, labels
        assert target["scrapeUrl"].endswith(":9151/metrics"), "one target for each pod"
        assert labels["pod"] not in found, "two targets in %s" % labels["pod"]
        found[labels["pod"]] = target["health"]
    return found


def finds_exactly_the_proxies(prometheus, release):
    pods = {replica.name: "up" for replica in release.ready_replicas()}
    return len(pods) == 2 and scraped(prometheus) == pods


def test_prometheus_finds_the_proxies(prometheus, release):
    wait_until(lambda: finds_exactly_the_proxies(prometheus, release), SCRAPES_S,
               "both proxies to be up", every=0.2)


def test_every_query_of_the_dashboard_has_data(prometheus, release):
    release.settle()
    assert len(queries()) > 30
    seen = {}

    def filled():
        seen["empty"] = without_data(prometheus)
        return not seen["empty"]

    try:
        wait_until(filled, SCRAPES_S, "every panel to have data", every=1)
    except AssertionError as error:
        raise AssertionError("%s\n%s" % (error, "\n".join(seen["empty"]))) from None


def test_a_replaced_proxy_is_found_and_the_old_one_forgotten(prometheus, cluster, release, scenario):
    gone = release.settle()[0]
    with scenario("a proxy pod deleted", touched_proxies=[gone.name]):
        cluster.kubectl("-n", NAMESPACE, "delete", "pod", gone.name)
    wait_until(lambda: finds_exactly_the_proxies(prometheus, release), SCRAPES_S,
               "the new proxy to be up", every=0.2)
    assert gone.name not in scraped(prometheus)
