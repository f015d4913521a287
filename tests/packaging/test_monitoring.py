"""promtool accepts the alerts and the dashboard's queries, and they name only metrics that exist
(DESIGN 46)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.exposition import exposed_types
from tests.packaging.files import PACKAGING, ROOT, tool

MONITORING = PACKAGING / "monitoring"
ALERTS = MONITORING / "alerts.yml"
DASHBOARD = MONITORING / "grafana-dashboard.json"
# Prometheus itself makes these.
OWN = {"up"}


def promtool(*arguments: str) -> str:
    command = [tool("promtool", "prometheus"), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def named_in(expression: str) -> set[str]:
    """Return the metrics that an expression of PromQL names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|ignoring|on)\s*\([^)]*\)", "", bare)
    words = set(re.findall(r"[a-z_:][a-z0-9_:]*(?!\s*\()\b", bare))
    return {word for word in words if "_" in word or word in OWN} - {"histogram_quantile", "count_over_time"}


def families() -> set[str]:
    """Return every name that a series may have."""
    names = set()
    for name, kind in exposed_types().items():
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def test_promtool_takes_the_alerts() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", str(ALERTS))


def test_each_alert_is_set_off_by_what_it_is_for_and_by_nothing_else() -> None:
    promtool("test", "rules", str(MONITORING / "alerts.test.yml"))


def test_each_alert_is_tried() -> None:
    tests = yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]
    tried = {
        case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    assert tried == {rule["alert"] for rule in alerts()}


def test_alerts_name_metrics_there_are() -> None:
    for rule in alerts():
        named = named_in(rule["expr"])
        assert named, rule
        assert named <= families() | OWN, rule["alert"]


def test_each_alert_has_its_row_in_the_guide() -> None:
    text = (ROOT / "docs/operating.md").read_text()
    rows = re.findall(r"^\| `(MiniCloud\w+)` \| (\w+) \|", text, re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in alerts()]


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield panel
        yield from panel.get("panels", ())


def test_dashboard_names_metrics_there_are_and_leaves_none_of_ours_out() -> None:
    named = {
        name for panel in panels() for target in panel.get("targets", ()) for name in named_in(target["expr"])
    }
    assert named <= families() | OWN
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    ours = {name for name in exposed_types() if name.startswith("minicloud_")}
    assert ours - shown == set()


def test_dashboard_has_its_panels_apart_and_each_with_a_query() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in panels():
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["description"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"


def test_dashboard_queries_are_promql(tmp_path: Path) -> None:
    """Each query becomes a recording rule, which promtool parses."""
    expressions = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    shown = [
        expression.replace("$__rate_interval", "5m").replace("$job", "minicloud").replace("$zone", ".*")
        for expression in expressions
    ]
    assert not any("$" in expression for expression in shown)
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(shown)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", "--lint=none", str(path))


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ('rate(minicloud_heartbeats_total{result="a_b"}[5m]) > 0', {"minicloud_heartbeats_total"}),
        ("sum by (a_label) (up) / count(x_y)", {"up", "x_y"}),
        ('histogram_quantile(0.9, sum by (le) (rate(a_b_bucket{le!="x_y"}[1m])))', {"a_b_bucket"}),
    ],
)
def test_metrics_named_in_an_expression_are_found(expression: str, named: set[str]) -> None:
    assert named_in(expression) == named
