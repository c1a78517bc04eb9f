"""The Grafana dashboard and the rules of helm/cashew, and what they ask Prometheus."""

import json
import os
import re

import yaml

from support.processes import REPOSITORY

HELM = os.path.join(REPOSITORY, "helm", "cashew")
RULES = [os.path.join(HELM, "rules", name) for name in ("recording.yaml", "alerts.yaml")]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def dashboard():
    return json.loads(read(os.path.join(HELM, "dashboards", "cashew.json")))


def panels():
    return [p for p in dashboard()["panels"] if p["type"] != "row"]


def filled_in(promql, rate_interval="20s"):
    """As Grafana sends it while every variable says "all"."""
    promql = promql.replace("$__rate_interval", rate_interval)
    return re.sub(r"\$(namespace|job|pool|server)\b", ".*", promql)


def queries():
    """[(panel's title, PromQL)] of every panel."""
    return [(panel["title"], filled_in(target["expr"]))
            for panel in panels() for target in panel["targets"]]


def without_data(prometheus):
    """Those of queries() that return nothing now, a line each."""
    return ["%s: %s" % query for query in queries() if not prometheus.query(query[1])]


def alerts():
    (group,) = yaml.safe_load(read(RULES[1]))["groups"]
    return group["rules"]


def impatient(text, **thresholds):
    """Rules with seconds for minutes, so that a test can wait for them, and other thresholds by
    their names in thresholds.yaml."""
    text = re.sub(r"^( *for:) .*$", r"\1 1s", text, flags=re.M)
    text = text.replace("[5m:30s]", "[10s:2s]")
    text = re.sub(r"\[(5m|10m|15m)\]", "[10s]", text)
    text = text.replace("[1h]", "[20s]")
    return re.sub(r"(\S+) # threshold: (\w+)",
                  lambda m: str(thresholds.get(m.group(2), m.group(1))), text)
