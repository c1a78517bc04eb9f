"""The rules files and the dashboard of helm/cashew: promtool, Grafana's types, a real Prometheus.
alerts_test.py makes the faults."""

import json
import os
import re

import jsonschema
import pytest
import yaml
from dashboard import (
    HELM,
    RULES,
    alerts,
    dashboard,
    filled_in,
    impatient,
    panels,
    read,
    without_data,
)
from figures_test import POOL, TWO
from prometheus_server import Prometheus, promtool

from support import Proxy, VerifyingClient, wait_until
from support.processes import REPOSITORY

HERE = os.path.dirname(os.path.abspath(__file__))


def test_promtool_takes_the_rules():
    status, said = promtool("check", "rules", *RULES)
    assert status == 0, said


def test_every_alert_fires_when_it_should_and_not_otherwise():
    path = os.path.join(REPOSITORY, "test", "observability", "alerts.yaml")
    status, said = promtool("test", "rules", path)
    assert status == 0, said
    cases = read(path)
    for alert in alerts():
        name = alert["alert"]
        assert "# %s: " % name in cases, "no case in which %s fires" % name
        assert "# %s stays quiet: " % name in cases, "no case in which %s is quiet" % name


def test_every_alert_says_what_to_do():
    for alert in alerts():
        notes = alert["annotations"]
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert len(notes["runbook"]) > 100, alert["alert"]
        assert notes["summary"] and notes["description"], alert["alert"]


def test_thresholds_have_a_name_and_the_default_that_the_rules_use():
    defaults = yaml.safe_load(read(os.path.join(HELM, "rules", "thresholds.yaml")))
    used = re.findall(r"(\S+) # threshold: (\w+)", read(RULES[1]))
    assert {name for _, name in used} == set(defaults)
    for number, name in used:
        assert float(number) == defaults[name], name


def metric_names(promql):
    return set(re.findall(r"\b(cashew_\w+|process_\w+)", promql))


def documented_names():
    page = read(os.path.join(REPOSITORY, "pkg", "metrics", "README.md"))
    names = set()
    for name, kind in re.findall(r"^\| `(\w+)` \| [^|]* \| (\w+)", page, re.M):
        names.add(name)
        if kind == "histogram":
            names |= {name + suffix for suffix in ("_bucket", "_sum", "_count")}
    return names


# The dashboard.


def test_rules_and_dashboard_use_only_metrics_that_exist():
    known = documented_names()
    assert "cashew_request_duration_seconds_bucket" in known
    used = metric_names(read(RULES[0])) | metric_names(read(RULES[1]))
    for panel in panels():
        for target in panel["targets"]:
            used |= metric_names(target["expr"])
    assert used <= known, used - known


# What the Prometheus data source keeps in the objects of others; Grafana's own types have it not.
PROMETHEUS_FIELDS = {"expr", "step", "titleFormat", "textFormat", "definition"}


def faults(schema, value):
    for error in jsonschema.Draft7Validator(schema).iter_errors(value):
        for cause in error.context or [error]:
            yield "%s: %s" % ("/".join(map(str, cause.absolute_path)), cause.message[:300])


def test_the_dashboard_is_what_grafanas_published_types_allow():
    """The types of the npm package @grafana/schema; record_grafana_schema.py tells how."""
    with open(os.path.join(HERE, "grafana_schema.json"), encoding="utf-8") as f:
        schemas = json.load(f)
    kinds = schemas["dashboard"]["definitions"]
    board = dashboard()
    for part in board["annotations"]["list"] + board["templating"]["list"]:
        for name in PROMETHEUS_FIELDS & set(part):
            del part[name]
    found = list(faults(schemas["dashboard"], {**board, "panels": []}))
    for panel in board["panels"]:
        kind = {"$ref": "#/definitions/%s" % ("RowPanel" if panel["type"] == "row" else "Panel")}
        found += faults({**kind, "definitions": kinds}, panel)
        if panel["type"] != "row":
            of_panel = schemas[panel["type"]]
            found += faults(of_panel["Options"], panel["options"])
            custom = panel["fieldConfig"]["defaults"]["custom"]
            found += faults(of_panel["FieldConfig"], custom) if "FieldConfig" in of_panel else []
    assert not found, "\n".join(found)
    assert list(faults(schemas["stat"]["Options"], {"colorMode": "loud"})), "the check is blind"


def test_the_dashboard_has_the_shape_that_grafana_imports():
    """What the types cannot say: panels that do not overlap, variables that are used."""
    board = dashboard()
    assert board["schemaVersion"] >= 36 and board["uid"] == "cashew" and board["id"] is None
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "job", "pool", "server"]
    for variable in variables.values():
        assert variable["type"] in ("query", "datasource") and variable["hide"] in (0, 1, 2)
        assert variable["refresh"] in (0, 1, 2)
    ids, taken = set(), set()
    for panel in board["panels"]:
        assert panel["type"] in ("row", "stat", "timeseries", "heatmap", "state-timeline", "table")
        assert panel["id"] not in ids
        ids.add(panel["id"])
        grid = panel["gridPos"]
        assert 0 <= grid["x"] and grid["x"] + grid["w"] <= 24 and grid["h"] > 0
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, "%s lies on another panel" % panel["title"]
        taken |= cells
        if panel["type"] == "row":
            assert panel["panels"] == [] and panel["collapsed"] is False
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        refs = [t["refId"] for t in panel["targets"]]
        assert refs and len(refs) == len(set(refs))
        for target in panel["targets"]:
            assert "$namespace" in target["expr"], panel["title"]


def test_every_query_of_the_dashboard_returns_data(servers, certificate):
    pools = {
        "alpha": {**POOL, "servers": servers},
        "safe": {**POOL, "servers": servers, "tls": certificate},
    }
    with Proxy(pools, settings=TWO) as one, Proxy(pools, settings=TWO) as two:
        rules = [read(path) for path in RULES]
        with Prometheus([one, two], rules=[impatient(text) for text in rules]) as prometheus:
            loads = [VerifyingClient(p.address("alpha"), rate=300) for p in (one, two)]
            for load in loads:
                load.start()
            with one.client("alpha") as client:
                for _ in range(10):
                    client.send(b"get a b c d e f\r\nnonsense\r\n")
                    client.read_until(b"ERROR\r\n")
            # Rates need two scrapes, those of rules some more.
            wait_until(lambda: len(prometheus.query("rate(cashew_requests_total[20s]) > 0")) >= 4,
                       30, "rates of both proxies")
            wait_until(lambda: not without_data(prometheus), 10,
                       "\n".join(without_data(prometheus)), every=1)
            recorded = [r["record"] for r in yaml.safe_load(rules[0])["groups"][0]["rules"]]
            assert len(recorded) >= 8
            for name in recorded:
                wait_until(lambda name=name: prometheus.query(name), 15, name, every=0.5)
            for name in ("namespace", "job", "pool", "server"):
                (variable,) = [
                    v for v in dashboard()["templating"]["list"] if v["name"] == name
                ]
                selector = re.match(r"label_values\((.*), (\w+)\)", variable["definition"]).group(1)
                rows = prometheus.query(filled_in(selector))
                assert rows and all(name in labels for labels, _ in rows), name
            for load in loads:
                load.stop()
