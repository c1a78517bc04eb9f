"""The status page in a real browser."""

import http.client
import json
import os
import re
import subprocess

from figures_test import POOL, TWO

from support import HOST, Proxy, VerifyingClient, wait_until
from support.processes import find_program


def browse(url, folder, *options):
    """What headless Chromium printed."""
    result = subprocess.run(
        [find_program("chromium"), "--headless", "--no-sandbox", "--disable-gpu",
         "--user-data-dir=%s" % folder, "--virtual-time-budget=9000", "--window-size=1280,900",
         *options, url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90, check=False,
    )
    return result.stdout.decode("utf-8", "replace"), result.stderr.decode("utf-8", "replace")


def test_a_person_sees_pools_servers_health_and_rates(fresh_servers, tmp_path):
    pool = {**POOL, "server_failure_limit": 1, "servers": fresh_servers}
    with Proxy({"alpha": pool}, settings=TWO) as proxy:
        with VerifyingClient(proxy.address(), rate=500) as load:
            fresh_servers[1].kill9()
            wait_until(lambda: proxy.metric("cashew_live_servers") == 2, 5, "the ejection")
            url = "http://%s:%d/status" % (HOST, proxy.admin_port)
            page, said = browse(url, tmp_path / "a", "--dump-dom", "--enable-logging=stderr")
            assert "Refused to" not in said, "the Content-Security-Policy forbids: " + said
            assert "Uncaught" not in said, said
            text = re.sub(r"<[^>]+>", "|", page)
            assert "2 of 3 servers live" in text
            assert re.search(r"\|s1\|+127\.0\.0\.1:%d\|+ejected\|" % fresh_servers[1].port, text)
            assert re.search(r"\|s0\|+127\.0\.0\.1:%d\|+live\|" % fresh_servers[0].port, text)
            assert "|ready|" in text
            assert re.search(r"\|[\d.]+( k)?\|+requests/s\|", text), "no rate of requests"
            assert re.search(r"\|[\d.]+ (µs|ms)\|+p99\|", text), "no latency"
            shot = tmp_path / "status.png"
            browse(url, tmp_path / "b", "--screenshot=%s" % shot)
            assert os.path.getsize(shot) > 20_000
            load.stop()


def test_a_server_name_that_looks_like_html_is_text(servers, tmp_path):
    line = "127.0.0.1:%d:1 <img/src=x/onerror=document.title='hacked'>" % servers[0].port
    with Proxy({"alpha": {**POOL, "servers": [line]}}) as proxy:
        url = "http://%s:%d/status" % (HOST, proxy.admin_port)
        page, _ = browse(url, tmp_path / "a", "--dump-dom")
        assert "&lt;img/src=x" in page and "<img" not in page
        assert "<title>cashew: status</title>" in page


def test_the_figures_of_the_page_are_those_of_the_stats(servers):
    with Proxy({"alpha": {**POOL, "servers": servers}}, settings=TWO) as proxy:
        with proxy.client() as client:
            for i in range(30):
                client.set(b"k%d" % i, b"v")
            client.get(b"k1")
            client.get(b"none")
        status, text = proxy.http("/status.json")
        assert status == 200
        (pool,) = json.loads(text)["pools"]
        assert pool["requests"] == 32 and sum(pool["latency"]) == 32
        assert (pool["hits"], pool["misses"], pool["errors"]) == (1, 1, 0)
        stats = proxy.pool_stats()
        for server in pool["servers"]:
            assert server["requests"] == stats[server["name"]]["requests"]
            assert sum(server["latency"]) == stats[server["name"]]["responses"]


def test_config_is_hidden_from_other_names_unless_admin_public(servers):

    def ask(proxy, host):
        connection = http.client.HTTPConnection(HOST, proxy.admin_port, timeout=5)
        connection.request("GET", "/config", headers={"Host": host})
        return connection.getresponse().status

    pools = {"alpha": {**POOL, "servers": servers}}
    with Proxy(pools) as proxy:
        assert ask(proxy, "localhost") == 200
        assert ask(proxy, "elsewhere.example") == 403
    with Proxy(pools, settings={"admin_public": True}) as proxy:
        assert ask(proxy, "elsewhere.example") == 200
