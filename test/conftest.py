"""Fixtures for the tests that start processes; see support/ for what they give."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from support import memcached_servers  # noqa: E402
from support.processes import default_binary, is_cashew  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "improved: Cashew does better here than nutcracker; skipped when CASHEW_BIN is nutcracker",
    )


def pytest_collection_modifyitems(items):
    if is_cashew(default_binary()):
        return
    skip = pytest.mark.skip(reason="nutcracker does not do this")
    for item in items:
        if item.get_closest_marker("improved"):
            item.add_marker(skip)


def pytest_report_header():
    return "proxy: %s" % default_binary()


@pytest.fixture(scope="module")
def servers():
    """Three memcached servers that a module's tests share; none of them may be harmed."""
    with memcached_servers(3) as three:
        yield three


@pytest.fixture
def fresh_servers():
    """Three memcached servers that a test may kill."""
    with memcached_servers(3) as three:
        yield three
