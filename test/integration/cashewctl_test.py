"""cashewctl, by its output: what it says must be where the proxy puts the key."""

import json
import os
import subprocess

import pytest
from support import Proxy
from support.processes import default_binary

CTL = os.path.join(os.path.dirname(default_binary()), "cashewctl")


def ctl(*args):
    return subprocess.run([CTL, *args], capture_output=True, text=True, timeout=30)


@pytest.mark.improved
@pytest.mark.parametrize("hash_name,distribution", [("md5", "ketama"), ("fnv1a_64", "modula")])
def test_locate_names_the_server_that_holds_the_key(servers, hash_name, distribution):
    pool = {"servers": servers, "hash": hash_name, "distribution": distribution,
            "hash_tag": "{}"}
    with Proxy({"alpha": pool}) as proxy, proxy.client() as client:
        for i in range(20):
            key = "%s{user%d}:%d" % (distribution, i, i)
            assert client.set(key, "here") == b"STORED"
            done = ctl("locate", "--config", proxy.conf_path, "--output", "json", "alpha", key)
            assert done.returncode == 0, done.stderr
            answer = json.loads(done.stdout)
            assert answer["hashed"] == "user%d" % i
            index = int(answer["server"][1:])
            assert servers[index].get(key) == b"here"
            assert [s.get(key) for s in servers].count(b"here") == 1
            assert answer["if_ejected"] != answer["server"]


@pytest.mark.improved
def test_locate_says_which_pools_there_are(servers):
    with Proxy({"alpha": {"servers": servers}, "beta": {"servers": servers}}) as proxy:
        done = ctl("locate", "--config", proxy.conf_path, "gamma", "k")
        assert done.returncode == 1
        assert "gamma" in done.stderr and "beta, alpha" in done.stderr
        table = ctl("locate", "--config", proxy.conf_path, "alpha", "k")
        assert table.returncode == 0
        assert "ring position" in table.stdout and "if ejected" in table.stdout


@pytest.mark.improved
def test_check_tells_every_error_with_its_line(tmp_path):
    good = tmp_path / "good.yml"
    good.write_text("a:\n  listen: 127.0.0.1:1234\n  servers:\n   - 127.0.0.1:11211:1\n")
    assert ctl("check", str(good)).stdout == "%s: ok, 1 pools, 1 servers\n" % good
    bad = tmp_path / "bad.yml"
    bad.write_text("a:\n  listen: 127.0.0.1\n  timeout: x\n  servers:\n   - 127.0.0.1:11211:1\n")
    done = ctl("check", str(bad))
    assert done.returncode == 1
    assert "bad.yml:2:" in done.stderr and "bad.yml:3:" in done.stderr


@pytest.mark.improved
def test_wrong_use_is_explained():
    done = ctl("locate", "alpha")
    assert done.returncode != 0
    assert "KEY" in done.stderr + done.stdout
