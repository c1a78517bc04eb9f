"""EndpointSlices: how fast a change is everywhere, many of them, and none."""

import os
import signal
import time

import pytest
from api import SLICES
from cluster import SliceClock
from load import Load
from release import CACHES, MANY, NAMESPACE
from support import wait_until

READY = {"ready": True, "serving": True, "terminating": False}
DOWN = {"ready": False, "serving": False, "terminating": False}


@pytest.fixture(scope="module")
def clock(release):
    made = SliceClock(NAMESPACE)
    yield made
    made.close()


def acked_after(replica, count):
    """When the proxy said that all its workers run the list after the `count`-th; None: not
    yet."""
    try:
        figures = replica.sidecar_metrics(MANY)
    except OSError:
        return None  # the sidecar is down
    done = figures["updates_acked_total"] > count and figures["pool_in_sync"] == 1
    return figures["pool_acked_timestamp_seconds"] if done else None


def wait_for_acks(replicas, counts):
    return [wait_until(lambda r=replica, c=count: acked_after(r, c), 60,
                       "%s to run the change" % replica.name, every=0.005)
            for replica, count in zip(replicas, counts)]


def measure(release, clock, table, changes, size):
    """Seconds from the event to every worker of each proxy, for changes of one endpoint; and
    beside them in the table, for how long one proxy had the change and the other had not."""
    delays, gaps = [], []
    replicas = release.replicas()
    for turn in range(changes):
        counts = [r.sidecar_metrics(MANY)["updates_acked_total"] for r in replicas]
        moment = time.time()
        release.write_endpoint(size, READY if turn % 2 else DOWN)
        event = clock.first_since(moment, MANY)
        acked = wait_for_acks(replicas, counts)
        delays += [at - event for at in acked]
        gaps.append(max(acked) - min(acked))
    what = "one endpoint of " + format(release.many_endpoints(), ",")
    table.add_delays("%s, %d changes" % (what, changes), delays)
    table.add_delays("%s, from the first proxy to the last" % what, gaps)
    return delays


def processor_time():
    """Ticks of all processors, and those of them that the host of this machine took away."""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(word) for word in f.readline().split()[1:9]]
    return sum(ticks), ticks[7]


def test_a_change_reaches_every_worker_within_a_second(release, load, clock, table):
    release.write_many(1, 10)
    wait_for_servers(release, 10)
    before = processor_time()
    measured = measure(release, clock, table, 300, size=10)
    ticks, stolen = (now - then for now, then in zip(processor_time(), before))
    assert sorted(measured)[int(0.99 * len(measured))] < 1.0, (
        "the host took %d %% of this machine's processors meanwhile" % (100 * stolen // ticks))


def wait_for_servers(release, count):
    def all_have_them():
        pools = [r.pool(MANY) for r in release.replicas()]
        return all(p.server_count == count and not any(s.held for s in p.servers)
                   for p in pools) and len({p.membership_checksum for p in pools}) == 1
    wait_until(all_have_them, 60, "every proxy to have %d servers" % count, every=0.05)


def test_1000_endpoints_in_10_slices(release, scenario, clock, table):
    try:
        with scenario("1,000 endpoints in 10 slices, of another pool"):
            began = time.monotonic()
            release.write_many(10, 100)
            wait_for_servers(release, 1000)
            table.add("1,000 endpoints written until both proxies have them",
                      seconds=time.monotonic() - began)
            with Load(release, MANY, rate=200, keys=500) as many:
                many.warm_up()
                clients = many.clients
            assert all(c.answered and not c.errors and not c.mismatches for c in clients), [
                c.summary() for c in clients]
            measured = measure(release, clock, table, 20, size=100)
            assert max(measured) < 1.0
    finally:
        release.write_many(1, 1)
    wait_for_servers(release, 1)


def test_a_change_while_one_sidecar_is_down(release, load, table):
    """The longest that two proxies differ while both can reach the API server."""
    replicas = release.settle()
    counts = [0, replicas[1].sidecar_metrics(MANY)["updates_acked_total"]]
    os.kill(replicas[0].process("sidecar"), signal.SIGKILL)
    release.write_endpoint(1, DOWN)
    acked = wait_for_acks(replicas, counts)
    table.add_delays("a change while one sidecar is down, from the first proxy to the last",
                     [max(acked) - min(acked)])
    release.write_endpoint(1, READY)
    release.settle()


def test_the_service_is_deleted_and_made_again(cluster, release, scenario):
    path = "/api/v1/namespaces/%s/services/%s" % (NAMESPACE, CACHES)
    with scenario("Service deleted and re-created"):
        service = cluster.api.get(path)
        kept = {r.name: kept_empty(r) for r in release.replicas()}
        cluster.api.delete(path)
        wait_until(lambda: not slices_of(cluster, CACHES), 30, "the slices to go", every=0.1)
        wait_until(lambda: all(kept_empty(r) > kept[r.name] for r in release.replicas()), 30,
                   "sidecars to notice", every=0.1)
        cluster.apply({"apiVersion": "v1", "kind": "Service",
                       "metadata": {key: service["metadata"][key]
                                    for key in ("name", "namespace", "labels", "annotations")},
                       "spec": {key: service["spec"][key]
                                for key in ("clusterIP", "selector", "ports")}})
        wait_until(lambda: any(s["endpoints"] for s in slices_of(cluster, CACHES)), 30,
                   "slices again", every=0.1)


def kept_empty(replica):
    return replica.sidecar_metrics()["updates_kept_empty_total"]


def slices_of(cluster, service):
    return cluster.api.get(SLICES % NAMESPACE,
                           labelSelector="kubernetes.io/service-name=" + service)["items"]
