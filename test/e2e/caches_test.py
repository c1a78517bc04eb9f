"""What happens to cache pods: scaled, deleted, rolled, not ready, drained."""

from release import CACHES, NAMESPACE
from support import wait_until

SLACK = 0.03  # beyond the share of the servers that come or go


def numbered(*numbers):
    return ["%s-%d" % (CACHES, n) for n in numbers]


def addresses(release):
    return {name: pod["status"]["podIP"] for name, pod in release.cache_pods().items()}


def test_caches_are_scaled_from_3_to_5(release, scenario):
    with scenario("caches scaled 3 → 5", touched=numbered(3, 4), moved=2 / 5 + SLACK):
        release.scale_caches(5)


def test_caches_are_scaled_from_5_to_2(release, scenario):
    with scenario("caches scaled 5 → 2", touched=numbered(2, 3, 4), moved=3 / 5 + SLACK):
        release.scale_caches(2)


def test_caches_are_scaled_back_to_3(release, scenario):
    with scenario("caches scaled 2 → 3", touched=numbered(2), moved=1 / 3 + SLACK):
        release.scale_caches(3)


def test_a_cache_pod_is_deleted(release, scenario):
    name, = numbered(1)
    with scenario("a cache pod deleted", touched=[name]) as balance:
        before = release.cache_pods()[name]["metadata"]["uid"]
        release.delete_cache(name)
    assert release.cache_pods()[name]["metadata"]["uid"] != before
    assert balance.lost > 0  # it was empty when it came back, and only it


def test_all_cache_pods_are_deleted_at_once(release, scenario):
    with scenario("all cache pods deleted at once", touched=numbered(0, 1, 2)):
        for name in numbered(0, 1, 2):
            release.delete_cache(name)


def test_the_statefulset_is_rolled(cluster, release, scenario):
    with scenario("StatefulSet rolled, new addresses", touched=numbered(0, 1, 2)):
        before = addresses(release)
        cluster.kubectl("-n", NAMESPACE, "rollout", "restart", "statefulset", CACHES)
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", "statefulset", CACHES,
                        "--timeout=170s", timeout=180)
    after = addresses(release)
    assert all(before[name] != after[name] for name in before), (before, after)


def test_a_cache_fails_its_readiness_probe(cluster, release, scenario):
    name, = numbered(0)

    def is_routed(replica):
        return next(s for s in replica.pool().servers if s.server.name == name).routed

    with scenario("a cache's readiness probe fails", touched=[name]):
        cluster.fail_readiness(name, True)
        wait_until(lambda: not any(map(is_routed, release.replicas())), 60,
                   "proxies to send it nothing", every=0.1)
        cluster.fail_readiness(name, False)


def test_a_node_is_drained(cluster, release, scenario):
    place = {name: pod["spec"]["nodeName"] for name, pod in release.cache_pods().items()}
    node = next(iter(set(place.values()) - release.proxy_nodes()), None)
    assert node, "no node has caches and no proxy: %s" % place
    concerned = [name for name in place if place[name] == node]
    try:
        with scenario("a node drained", touched=concerned):
            cluster.kubectl("drain", node, "--delete-emptydir-data", "--ignore-daemonsets",
                            "--timeout=150s", timeout=160)
    finally:
        cluster.kubectl("uncordon", node)
    after = release.cache_pods()
    assert all(after[name]["spec"]["nodeName"] != node for name in concerned), after
