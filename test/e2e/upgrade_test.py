"""The release's own life: new settings, a new version, back again, and its end."""

from caches_test import SLACK
from release import CACHES, NAME, NAMESPACE
from support import wait_until


def configured_at(replica):
    with replica.grpc() as client:
        return client.admin("GetStatus").configured_at.ToNanoseconds()


def test_settings_reach_running_proxies(release, scenario):
    with scenario("helm upgrade of a pool's settings, no restart"):
        replicas = release.settle()
        before = [configured_at(r) for r in replicas]
        release.upgrade({"pools": {"cache": {"timeout": 3000}}})
        wait_until(lambda: all(configured_at(r) > b for r, b in zip(replicas, before)), 120,
                   "the proxies to read their new configuration", every=0.2)
    assert [r.uid for r in release.replicas()] == [r.uid for r in replicas]


def test_the_chart_is_upgraded_and_rolled_back(release, scenario):
    for what, deploy in (
            ("helm upgrade that replaces every proxy", lambda: release.upgrade({"verbosity": 7})),
            ("helm rollback, which replaces them again", release.rollback)):
        before = release.settle()
        with scenario(what, touched_proxies=[r.name for r in before]):
            deploy()
        assert not {r.uid for r in before} & {r.uid for r in release.replicas()}


def test_a_pod_says_its_weight(cluster, release, scenario):
    """Its share grows from 1 of 3 to 2 of 4, by a sixth of all keys. Ketama moves some more among
    the others, whose points become fewer."""
    one = CACHES + "-0"
    may_move = {"touched": release.cache_names(), "moved": 1 / 4}

    def annotate(annotation, weight):
        cluster.kubectl("-n", NAMESPACE, "annotate", "pod", one, "--overwrite", annotation)
        wait_until(lambda: all(weights(r)[one] == weight for r in release.replicas()), 30,
                   "every proxy to know the weight", every=0.1)

    before = release.settle()
    with scenario("helm upgrade that lets pods say weights",
                  touched_proxies=[r.name for r in before]):
        release.upgrade({"sidecar": {"podAnnotations": {
            "enabled": True, "selector": "app.kubernetes.io/name=" + NAME}}})
    with scenario("a cache pod annotated with weight 2", **may_move) as balance:
        annotate("cashew/weight=2", 2)
    assert balance.moved > 1 / 6 - SLACK
    with scenario("… and the annotation taken away", **may_move):
        annotate("cashew/weight-", 1)


def weights(replica):
    return {s.server.name: s.server.weight for s in replica.pool().servers}


def test_uninstalling_leaves_nothing(cluster, release, load):
    load.__exit__()
    release.uninstall()
    wait_until(release.is_gone, 90, "the pods to go", every=0.1)
    kinds = "all,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets"
    left = cluster.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name",
                           "-l", "app.kubernetes.io/instance=" + NAME)
    assert left.strip() == ""
