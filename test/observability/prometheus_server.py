"""A real Prometheus (Debian's, unless told otherwise) that scrapes proxies every second."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from support import HOST, Failed, free_port, wait_until
from support.processes import find_program

EVERY_SECOND = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}


def static_targets(proxies):
    targets = ["%s:%d" % (HOST, p.admin_port) for p in proxies]
    return {"job_name": "cashew",
            "static_configs": [{"targets": targets, "labels": {"namespace": "test"}}]}


class Prometheus:
    """Scrapes `proxies`, or what the scrape_configs of `scrape` find; `rules` are the texts of
    rules files. All queries are PromQL."""

    def __init__(self, proxies=(), rules=(), scrape=None, program=None):
        self.dir = tempfile.mkdtemp(prefix="cashew-prometheus-")
        self.port = free_port()
        paths = []
        for i, text in enumerate(rules):
            paths.append(os.path.join(self.dir, "rules%d.yaml" % i))
            with open(paths[-1], "w", encoding="utf-8") as f:
                f.write(text)
        config = os.path.join(self.dir, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({"global": EVERY_SECOND, "rule_files": paths,
                       "scrape_configs": scrape or [static_targets(proxies)]}, f)
        self.log_path = os.path.join(self.dir, "log")
        with open(self.log_path, "wb") as log:
            self.popen = subprocess.Popen(
                [
                    program or find_program("prometheus"),
                    "--config.file=" + config,
                    "--storage.tsdb.path=" + os.path.join(self.dir, "data"),
                    "--web.listen-address=%s:%d" % (HOST, self.port),
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._is_ready, 30, "Prometheus to be ready", every=0.1)
        except AssertionError:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                raise Failed("Prometheus is not ready: %s" % f.read()) from None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.popen.terminate()
        self.popen.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _is_ready(self):
        if self.popen.poll() is not None:
            raise AssertionError("Prometheus ended")
        with contextlib.suppress(OSError):
            with urllib.request.urlopen("http://%s:%d/-/ready" % (HOST, self.port), timeout=2) as r:
                return r.status == 200
        return False

    def get(self, path, **parameters):
        url = "http://%s:%d%s?%s" % (HOST, self.port, path, urllib.parse.urlencode(parameters))
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError("%s: %s" % (parameters or path, error.read().decode())) from None

    def query(self, promql):
        """[(labels, value)] as of now."""
        rows = self.get("/api/v1/query", query=promql)["result"]
        return [(r["metric"], float(r["value"][1])) for r in rows]

    def value(self, promql):
        """The one value; None when there is none."""
        rows = self.query(promql)
        assert len(rows) <= 1, (promql, rows)
        return rows[0][1] if rows else None

    def wait_scrape(self, timeout=10):
        """Until every target was scraped anew, after this call, and answered: a scrape that timed
        out leaves no series behind."""
        begin = time.time()

        def scraped():
            # timestamp() of a sample is that of its scrape.
            rows = self.query("timestamp(up) * (up > 0 or up - 1)")
            return rows and all(value > begin for _, value in rows)

        wait_until(scraped, timeout, "the next scrape", every=0.1)

    def targets(self):
        return self.get("/api/v1/targets")["activeTargets"]

    def alerts(self):
        """{(name, state)} of all pending and firing alerts."""
        return {
            (a["labels"]["alertname"], a["state"]) for a in self.get("/api/v1/alerts")["alerts"]
        }

    def wait_alert(self, name, timeout=30):
        wait_until(
            lambda: (name, "firing") in self.alerts(), timeout, "alert %s" % name, every=0.2
        )
        return [
            a for a in self.get("/api/v1/alerts")["alerts"] if a["labels"]["alertname"] == name
        ][0]


def promtool(*arguments, text=None):
    """(exit status, what it said)."""
    result = subprocess.run(
        [find_program("promtool"), *arguments],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return result.returncode, result.stdout
