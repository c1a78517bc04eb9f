"""What happens to the parts around the caches: API server, token, sidecar, proxy."""

import os
import signal
import time

import pytest
from release import CACHES, NAMESPACE
from support import wait_until

OUTAGE_S = 60


def versions(replicas):
    return [replica.pool().version for replica in replicas]


def test_the_api_server_is_away_for_a_minute(cluster, release, scenario):
    with scenario("API server killed, a minute away"):
        replicas = release.replicas()
        before = versions(replicas)
        with cluster.without_api_server():
            end = time.monotonic() + OUTAGE_S
            while time.monotonic() < end:
                assert versions(replicas) == before
                time.sleep(1)
    one = CACHES + "-2"
    with scenario("… and a cache pod deleted after it", touched=[one]):
        release.delete_cache(one)


@pytest.mark.tier("fast")  # a kubelet's token lives ten minutes at least
def test_the_token_is_rotated(cluster, release, scenario):
    secrets = "/api/v1/namespaces/%s/secrets" % NAMESPACE

    def bound_to(name):
        made = cluster.api.post(secrets, {"metadata": {"name": name}})
        return {"kind": "Secret", "apiVersion": "v1", "name": name,
                "uid": made["metadata"]["uid"]}

    one = CACHES + "-0"
    with scenario("token rotated, the old one void", touched=[one]):
        for generation in ("first", "second"):
            owner = bound_to(generation)
            for replica in release.replicas():
                cluster.nodes.pod(replica.name).renew_token(owner)
        # A watch that is open lives on; what comes after the restart must say a good token.
        cluster.api.delete(secrets + "/first")
        with cluster.without_api_server():
            pass
        release.delete_cache(one)
    cluster.api.delete(secrets + "/second")
    for replica in release.replicas():
        pod = cluster.nodes.pod(replica.name)
        pod.renew_token({"kind": "Pod", "apiVersion": "v1", "name": pod.pod_name, "uid": pod.uid})


def wait_for_another(replica, container, before):
    wait_until(lambda: replica.process(container) not in (0, before), 60,
               "%s to be started again" % container, every=0.05)


def kill(replica, container):
    before = replica.process(container)
    os.kill(before, signal.SIGKILL)
    wait_for_another(replica, container, before)


def test_a_sidecar_is_killed(release, scenario):
    with scenario("a sidecar killed"):
        kill(release.replicas()[0], "sidecar")


def test_a_proxy_is_killed(release, load, scenario):
    victim = release.settle()[0]
    with scenario("a proxy killed", touched_proxies=[victim.name]):
        kill(victim, "cashew")
