"""Numbers in Prometheus, in the stats JSON and at the clients: they are the same."""

import gzip
import http.client
import time

import pytest
from prometheus_server import Prometheus, promtool

from support import (
    HOST,
    FakeServer,
    Proxy,
    Redis,
    RespClient,
    VerifyingClient,
    memcached_servers,
    slow_reply,
    wait_until,
)

POOL = {
    "hash": "fnv1a_64",
    "distribution": "ketama",
    "timeout": 400,
    "server_connections": 2,
    "auto_eject_hosts": True,
    "server_retry_timeout": 500,
    "server_failure_limit": 2,
}
TWO = {"workers": 2}

# Where the stats JSON's names are in Prometheus.
POOL_METRICS = {
    "client_eof": "cashew_client_eof_total",
    "client_err": "cashew_client_err_total",
    "client_connections": "cashew_client_connections",
    "forward_error": "cashew_forward_error_total",
    "fragments": "cashew_fragments_total",
}
SERVER_METRICS = {
    "server_eof": "cashew_server_eof_total",
    "server_err": "cashew_server_err_total",
    "server_timedout": "cashew_server_timedout_total",
    "server_connections": "cashew_server_connections",
    "server_ejected_at": "cashew_server_ejected_at_seconds",
    "requests": "cashew_server_requests_total",
    "request_bytes": "cashew_server_request_bytes_total",
    "responses": "cashew_server_responses_total",
    "response_bytes": "cashew_server_response_bytes_total",
    "in_queue": "cashew_server_in_queue",
    "in_queue_bytes": "cashew_server_in_queue_bytes",
    "out_queue": "cashew_server_out_queue",
    "out_queue_bytes": "cashew_server_out_queue_bytes",
}


def assert_json_agrees(prometheus, proxy, pool="alpha"):
    """Every number of the JSON is what PromQL answers. Nothing may be under way."""
    prometheus.wait_scrape()
    stats = proxy.stats()
    assert prometheus.value("cashew_connections") == stats["curr_connections"]
    assert prometheus.value("cashew_connections_total") == stats["total_connections"]
    for name, metric in POOL_METRICS.items():
        assert prometheus.value('%s{pool="%s"}' % (metric, pool)) == stats[pool][name], name
    ejects = prometheus.value('sum(cashew_server_ejects_total{pool="%s"})' % pool)
    assert ejects == stats[pool]["server_ejects"]
    servers = {k: v for k, v in stats[pool].items() if isinstance(v, dict)}
    for server, values in servers.items():
        for name, metric in SERVER_METRICS.items():
            got = prometheus.value('%s{pool="%s",server="%s"}' % (metric, pool, server))
            want = values[name] / 1e6 if name == "server_ejected_at" else values[name]
            assert got == pytest.approx(want, abs=1e-5), (server, name)


def talk(client, request, end):
    """Sends, reads up to and including `end`; how many bytes came."""
    client.send(request)
    return len(client.read_until(end))


def test_promql_answers_what_a_memcached_client_did(servers):
    with Proxy({"alpha": {**POOL, "servers": servers}}, settings=TWO) as proxy:
        with Prometheus([proxy]) as prometheus, proxy.client() as client:
            sent = received = 0
            for i in range(50):
                request = b"set key:%d 0 0 5\r\nvalue\r\n" % i
                sent += len(request)
                received += talk(client, request, b"STORED\r\n")
            for i in range(40, 60):  # ten hits, ten misses
                request = b"get key:%d\r\n" % i
                sent += len(request)
                received += talk(client, request, b"END\r\n")
            talk(client, b"get " + b" ".join(b"key:%d" % i for i in range(100)) + b"\r\n", b"END\r\n")
            talk(client, b"delete key:0\r\n", b"DELETED\r\n")
            talk(client, b"nonsense\r\n", b"ERROR\r\n")
            talk(client, b"version\r\n", b"\r\n")
            prometheus.wait_scrape()
            value = prometheus.value
            requests = 'cashew_requests_total{pool="alpha",class="%s"}'
            assert value(requests % "get") == 20
            assert value(requests % "multi_get") == 1
            assert value(requests % "write") == 51 + 1  # version is sent to a server
            assert value(requests % "local") == 1
            assert value("cashew_get_hits_total") == 10 + 50
            assert value("cashew_get_misses_total") == 10 + 50
            assert value('cashew_client_errors_total{kind="request"}') == 1
            assert value('sum(cashew_client_errors_total{kind!="request"})') == 0
            fragments = value("cashew_fragments_total")
            assert 1 <= fragments <= 3
            assert value("sum(cashew_server_requests_total)") == 50 + 20 + 1 + 1 + fragments
            counts = value("sum(cashew_request_duration_seconds_count)")
            assert counts == value("sum(cashew_requests_total)") == 74
            assert value("sum(cashew_server_response_duration_seconds_count)") == value(
                "sum(cashew_server_responses_total)"
            )
            assert value("cashew_queue_duration_seconds_count") == value(
                "sum(cashew_server_requests_total)"
            )
            assert_json_agrees(prometheus, proxy)


def test_bytes_to_and_from_servers_are_those_of_the_clients(servers):
    with Proxy({"alpha": {**POOL, "servers": servers}}, settings=TWO) as proxy:
        with Prometheus([proxy]) as prometheus, proxy.client() as client:
            sent = received = 0
            for i in range(200):
                value = b"v" * (i * 37 % 3000)
                request = b"set bytes:%d 7 0 %d\r\n%s\r\n" % (i, len(value), value)
                sent += len(request)
                received += talk(client, request, b"STORED\r\n")
            for i in range(200):
                request = b"get bytes:%d\r\n" % i
                sent += len(request)
                received += talk(client, request, b"END\r\n")
            prometheus.wait_scrape()
            assert prometheus.value("sum(cashew_server_request_bytes_total)") == sent
            assert prometheus.value("sum(cashew_server_response_bytes_total)") == received


def test_promql_answers_what_a_redis_client_did():
    with Redis() as one, Redis() as two:
        pool = {**POOL, "redis": True, "servers": [one, two]}
        with Proxy({"beta": pool}, settings=TWO) as proxy, Prometheus([proxy]) as prometheus:
            with RespClient(proxy.address()) as ask:
                for i in range(10):
                    ask("SET", "k%d" % i, "v")
                for i in range(15):
                    ask("GET", "k%d" % i)
                ask("MGET", *["k%d" % i for i in range(30)])
                ask("MGET", "k1")
                ask("MGET", "none")
                ask("GETDEL", "k9")
                ask("LPUSH", "list", "x")
                ask("BLPOP", "list", "1")
                ask("MULTI")
                ask("SET", "k1", "w")
                ask("EXEC")
                ask("EXISTS", "k1", "k2", "k3")
                ask("MSET", "a", "1", "b", "2", "c", "3")
                ask("HGET", "no-hash", "f")
                ask.error("GET", "list-that-is-none", "too many")
                ask("LPUSH", "l2", "x")
                ask.error("GET", "l2")
            prometheus.wait_scrape()
            value = prometheus.value
            assert value("cashew_get_hits_total") == 10 + 10 + 1 + 1
            assert value("cashew_get_misses_total") == 5 + 20 + 1
            of = {m["class"]: v for m, v in prometheus.query("cashew_requests_total")}
            # GET: 15, MGET of one key: 2, GETDEL, and the GET of a list
            assert of["get"] == 15 + 2 + 1 + 1
            assert of["multi_get"] == 1
            assert of["write"] == 10 + 2
            assert of["multi_write"] == 1
            assert of["blocking"] == 1
            assert of["transaction"] == 1
            assert of["read"] == 2
            kinds = {m["kind"]: v for m, v in prometheus.query("cashew_client_errors_total")}
            assert kinds["request"] == 1  # the wrong number of arguments
            assert kinds["server"] == 1  # WRONGTYPE
            assert_json_agrees(prometheus, proxy, "beta")


def test_quantiles_are_within_the_bucket_of_what_the_client_saw():
    with FakeServer(slow_reply(b"STORED\r\n", delay=0.03)) as slow:
        pool = {**POOL, "auto_eject_hosts": False, "timeout": 2000, "servers": [slow]}
        with Proxy({"alpha": pool}) as proxy, Prometheus([proxy]) as prometheus:
            with proxy.client() as client:
                seen = []
                prometheus.wait_scrape()
                for i in range(40):
                    begin = time.monotonic()
                    talk(client, b"set k%d 0 0 1\r\nx\r\n" % i, b"STORED\r\n")
                    seen.append(time.monotonic() - begin)
            prometheus.wait_scrape()
            median = sorted(seen)[20]
            bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]
            upper = min(b for b in bounds if b >= median)
            lower = max(b for b in bounds if b < median)
            for name in ("request_duration_seconds", "server_response_duration_seconds"):
                got = prometheus.value(
                    "histogram_quantile(0.5, sum by (le) (cashew_%s_bucket))" % name
                )
                # The client's clock sees a little more than the proxy's.
                assert lower * 0.9 <= got <= upper, (name, got, median)
                sum_ = prometheus.value("sum(cashew_%s_sum)" % name)
                assert 40 * 0.03 * 0.9 <= sum_ <= sum(seen)


def test_all_agree_after_a_load_on_two_workers_in_which_a_server_was_killed(fresh_servers):
    with Proxy({"alpha": {**POOL, "servers": fresh_servers}}, settings=TWO) as proxy:
        with Prometheus([proxy]) as prometheus:
            load = VerifyingClient(proxy.address(), rate=1500, connections=8, keys=400)
            load.start()
            time.sleep(1)
            fresh_servers[1].kill9()
            time.sleep(1)
            fresh_servers[1].restart()
            wait_until(lambda: proxy.metric("cashew_live_servers") == 3, 5, "it to be back")
            time.sleep(0.5)
            load.stop()
            load.assert_no_mismatch()
            wait_until(lambda: proxy.pool_stats()["client_connections"] == 0, 5, "clients to go")
            assert_json_agrees(prometheus, proxy)
            value = prometheus.value
            assert value("sum(cashew_requests_total)") == load.sent
            assert value("sum(cashew_request_duration_seconds_count)") == load.sent
            assert value("sum(cashew_client_errors_total)") == len(load.errors) > 0
            assert value("cashew_forward_error_total") == len(load.errors)
            assert value("cashew_get_hits_total") == load.hits
            assert value("cashew_get_misses_total") == load.misses
            assert value('cashew_server_ejects_total{server="s1"}') == 1
            assert value('cashew_server_readmissions_total{server="s1"}') == 1
            assert value('cashew_server_probe_failures_total{server="s1"}') <= value(
                'cashew_server_probes_total{server="s1"}'
            )
            busy = [v for _, v in prometheus.query("cashew_worker_busy_seconds_total")]
            assert len(busy) == 2 and min(busy) > 0
            assert value("sum(cashew_loop_lag_seconds_count)") == value("cashew_loop_rounds_total")


def test_prometheus_has_the_target_up_and_promtool_finds_nothing_to_say(servers):
    with Proxy({"alpha": {**POOL, "servers": servers}}, settings=TWO) as proxy:
        with Prometheus([proxy]) as prometheus, proxy.client() as client:
            talk(client, b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
            prometheus.wait_scrape()
            (target,) = prometheus.targets()
            assert target["health"] == "up", target["lastError"]
            assert target["labels"]["job"] == "cashew"
            status, said = promtool("check", "metrics", text=proxy.http("/metrics")[1])
            assert (status, said) == (0, "")


def test_series_of_a_server_name_what_is_bounded_and_nothing_else(servers):
    with Proxy({"alpha": {**POOL, "servers": servers}}, settings=TWO) as proxy:
        with proxy.client() as client:
            for i in range(50):
                talk(client, b"set secret-key-%d 0 0 1\r\nx\r\n" % i, b"STORED\r\n")
            allowed = {"pool", "server", "class", "kind", "worker", "le", "version"}
            labels = {label for (_, found), _ in proxy.metrics() for label in found}
            assert labels <= allowed
            text = proxy.http("/metrics")[1]
            assert "secret-key" not in text
            port = client.sock.getsockname()[1]
            assert ":%d" % port not in text


@pytest.mark.parametrize("encoding, limit_s", [(None, 0.05), ("gzip", 0.1)])
def test_a_large_scrape_costs_little_cpu_and_stops_no_worker(encoding, limit_s):
    """20 pools of 100 servers, which are all at the same address. In CPU time, since others may
    share the cores; build/bench/prometheus_text_bench measures it."""
    with memcached_servers(1) as (server,):
        pools = {
            "p%02d" % p: {
                **POOL,
                "servers": ["%s:%d:1 cache-%03d" % (HOST, server.port, s) for s in range(100)],
            }
            for p in range(20)
        }
        with Proxy(pools, settings=TWO) as proxy:
            with VerifyingClient(proxy.address("p00"), rate=200, connections=4) as load:
                before_ns = proxy.usage.cpu_ns()
                for _ in range(10):
                    connection = http.client.HTTPConnection(HOST, proxy.admin_port, timeout=10)
                    headers = {"Accept-Encoding": encoding} if encoding else {}
                    connection.request("GET", "/metrics", headers=headers)
                    body = connection.getresponse().read()
                    connection.close()
                scrape_s = (proxy.usage.cpu_ns() - before_ns) / 10 / 1e9
                text = gzip.decompress(body) if encoding else body
                assert text.count(b"cashew_server_requests_total{") == 2000
                load.stop()
            assert not load.errors and not load.mismatches
            assert scrape_s < limit_s or proxy.is_sanitized
            rows = proxy.metrics()  # one scrape: the loops go on turning
            slow_rounds = sum(v for (n, _), v in rows if n == "cashew_loop_lag_seconds_count") - sum(
                v
                for (n, labels), v in rows
                if n == "cashew_loop_lag_seconds_bucket" and labels["le"] == "0.1"
            )
            assert slow_rounds == 0 or proxy.is_sanitized
