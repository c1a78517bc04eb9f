"""The session's cluster, release and load, and the table of what was measured.

These tests run inside a lab: ./dev e2e brings one up. Anywhere else they are skipped."""

import contextlib
import json
import os
import pathlib
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration"), str(HERE.parent / "observability")]

collect_ignore = []
TIER = os.environ.get("CASHEW_E2E_TIER")
if not TIER:
    collect_ignore = [path.name for path in HERE.glob("*_test.py") if path.name != "lab_test.py"]


def pytest_configure(config):
    config.addinivalue_line("markers", "tier(name): the scenario is for this tier alone")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("tier")
        if mark and TIER and mark.args[0] != TIER:
            item.add_marker(pytest.mark.skip(reason="%s tier only" % mark.args[0]))


class Table:
    """A row for each scenario, kept in a file for whoever started the session."""

    def __init__(self, path):
        self.path, self.rows, self.delays = path, [], {}

    def add(self, scenario, **figures):
        self.rows.append({"tier": TIER, "scenario": scenario, **figures})

    def add_delays(self, what, seconds):
        self.delays.setdefault(what, []).extend(seconds)

    def write(self):
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump({"rows": self.rows, "delays": self.delays}, f)


@pytest.fixture(scope="session")
def table():
    made = Table(os.path.join(os.environ["LAB_DIR"], "table.json"))
    yield made
    made.write()


@pytest.fixture(scope="session")
def cluster():
    from cluster import Cluster, FastNodes
    from real_nodes import RealNodes

    made = Cluster(TIER, None)
    made.nodes = FastNodes(made.api) if TIER == "fast" else RealNodes(made.api)
    with made.nodes:
        yield made


@pytest.fixture(scope="session")
def release(cluster, table):
    """The chart, installed; with a server behind every address of the Service `many`."""
    from cluster import timed
    from release import PORTS, Release
    from support import Memcached

    made = Release(cluster)
    made.prepare_namespace()
    with Memcached(PORTS["many"], host="0.0.0.0", args=["-t", "1", "-c", "8000"]):
        seconds = timed()
        made.install()
        made.settle()
        table.add("helm install until both proxies serve", seconds=seconds())
        yield made


@pytest.fixture(scope="session")
def load(release):
    from load import Load

    with Load(release) as made:
        yield made


@pytest.fixture
def scenario(release, load, table):
    """with scenario("a pod is deleted", touched=["cashew-memcached-1"]): …

    Begins when all is at rest, ends when it is again, and then requires that no get failed,
    that nothing but what was touched was disturbed, and that no more than `moved` of the keys
    belong to another server."""
    from load import Balance

    @contextlib.contextmanager
    def play(name, *, moved=0.0, **touched):
        replicas = release.settle()
        load.spread(replicas)
        load.warm_up()
        balance = Balance(load, replicas, **touched)
        yield balance
        balance.close(release.settle())
        table.add(name, seconds=balance.seconds, requests=balance.requests,
                  untouched_errors=balance.untouched_errors, failed_gets=balance.failed_gets,
                  refused_sets=balance.errors - balance.failed_gets, lost=balance.lost,
                  proxy_errors=balance.proxy_errors, moved=balance.moved, may_move=moved)
        print("%s: %s" % (time.strftime("%T"), table.rows[-1]), file=sys.stderr)
        balance.check(moved)

    return play
