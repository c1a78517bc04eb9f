"""What happens to the parts around the caches: API server, token, sidecar, proxy."""

import os
import signal
import time

from release import CACHES, NAME, NAMESPACE
from support import wait_until

OUTAGE_S = 60


def versions(replicas):
    return [replica.pool().version for replica in replicas]


def heard_since(replica, moment):
    """When its sidecar last heard of its caches' Service, if that was after `moment`."""
    heard = next(value for (name, labels), value in replica.metrics(9153)
                 if name == "cashew_sidecar_source_heard_timestamp_seconds"
                 and labels["source"] == "%s/%s" % (NAMESPACE, CACHES))
    return heard if heard > moment else None


def test_the_api_server_is_away_for_a_minute(cluster, release, scenario, table):
    with scenario("API server killed, a minute away"):
        replicas = release.replicas()
        before = versions(replicas)
        with cluster.without_api_server():
            end = time.monotonic() + OUTAGE_S
            while time.monotonic() < end:
                assert versions(replicas) == before
                time.sleep(1)
        back = cluster.api_server_away
        heard = [wait_until(lambda r=replica: heard_since(r, back), 60, "a sidecar to follow again",
                            every=0.05) for replica in replicas]
        table.add_delays("API server back, until a sidecar follows it again",
                         [at - back for at in heard])
    one = CACHES + "-2"
    with scenario("… and a cache pod deleted after it", touched=[one]):
        release.delete_cache(one)


def test_the_token_is_rotated(cluster, release, scenario):
    one = CACHES + "-0"
    with scenario("token rotated, the old one void", touched=[one]):
        cluster.void_tokens(NAMESPACE, NAME)
        cluster.nodes.renew_tokens([r.name for r in release.replicas()])
        # A watch that is open lives on; what comes after the restart must say a good token.
        with cluster.without_api_server():
            pass
        release.delete_cache(one)


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
