"""The golden conversations, in both compatibility modes."""

import os
import subprocess
import sys

import pytest

from support.processes import default_binary, is_cashew

HERE = os.path.dirname(os.path.abspath(__file__))


def replay(*args):
    result = subprocess.run(
        [sys.executable, os.path.join(HERE, "replay.py"), "--proxy", default_binary(), *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout


PROTOCOLS = ["memcached", "redis"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_strict_gives_nutcrackers_bytes_in_every_must_case(protocol):
    strict = ["--pool-key", "compat=strict"] if is_cashew(default_binary()) else []
    replay("--protocol", protocol, *strict)


@pytest.mark.improved
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_by_default_exactly_the_listed_cases_differ(protocol):
    replay("--protocol", protocol, "--differences", os.path.join(HERE, "differences.tsv"))
