"""The alert rules and the dashboard ask for what the workers tell, and every alert has its page."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from config.version import VERSION
from worker.metrics import PrometheusMeter

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
BOARD = json.loads((DEPLOY / "grafana/timbrado.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
REPORTED_BY_PROMETHEUS = {
    "up", "process_resident_memory_bytes", "process_open_fds", "process_max_fds", "ALERTS",
}  # fmt: skip
GIVEN_AWAY = {"account", "rfc", "external_id", "invoice_id", "nombre", "email"}
SUFFIXES = {"Counter": ("_total",), "Info": ("_info",), "Histogram": ("_bucket", "_sum", "_count")}


def metrics() -> dict[str, set[str]]:
    """Every metric of worker/metrics.py and api/metrics.py, as a scrape shows it, with its labels."""
    found: dict[str, set[str]] = {}
    sources = (ast.parse((ROOT / name).read_text()) for name in ("worker/metrics.py", "api/metrics.py"))
    for node in (each for source in sources for each in ast.walk(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
            continue
        name = node.args[0]
        if isinstance(name, ast.Constant) and str(name.value).startswith("timbrado_"):
            lists = [
                each
                for each in [*node.args, *(keyword.value for keyword in node.keywords)]
                if isinstance(each, ast.List)
            ]
            labels = {label.value for each in lists for label in each.elts}
            for suffix in SUFFIXES.get(node.func.id, ("",)):
                found[f"{name.value}{suffix}"] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


METRICS = metrics()
EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in ALERTS] + [
    (panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]
]


def slug(heading: str) -> str:
    """The anchor that a heading of Markdown has."""
    kept = "".join(mark for mark in heading.strip().lower() if mark.isalnum() or mark in "-_ ")
    return kept.replace(" ", "-")


def test_metrics_are_found_with_their_labels():
    """What the other tests compare with is read from the code's own definitions."""
    assert METRICS["timbrado_attempts_total"] == {"call", "outcome"}
    assert METRICS["timbrado_call_seconds_bucket"] == {"call", "answered", "le"}
    assert METRICS["timbrado_invoices"] == {"status"}
    assert "timbrado_database_up" in METRICS


def test_no_label_ever_shows_whose_invoice_it_is():
    """No label ever tells whose invoice it is."""
    assert not {name: labels & GIVEN_AWAY for name, labels in METRICS.items() if labels & GIVEN_AWAY}


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_what_is_asked_for_is_reported(where, expression):
    """Each name in an expression is a metric, each label one that it has."""
    names = set(re.findall(r"\b(timbrado_\w+|up|process_\w+|ALERTS)\b(?!\w)", expression))

    assert names
    assert names <= set(METRICS) | REPORTED_BY_PROMETHEUS
    for name, selectors in re.findall(r"(timbrado_\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"(\w+)\s*[=!]~?", selectors))
        assert asked <= METRICS[name] | {"instance", "job"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_who_gets_up_and_where_its_page_is(rule):
    """Each has a severity, words, and a runbook heading that exists."""
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = [
        slug(line.lstrip("#")) for line in (ROOT / path).read_text().splitlines() if line.startswith("#")
    ]

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert anchor == rule["alert"].lower()
    assert anchor in headings
    assert {"summary", "description"} <= set(rule["annotations"])


def test_every_alert_is_seen_to_fire():
    """alerts.test.yml has each of them fire once: one that can't fire would be missed on a bad day alone."""
    cases = yaml.safe_load((DEPLOY / "prometheus/alerts.test.yml").read_text())["tests"]
    fired = {each["alertname"] for case in cases for each in case.get("alert_rule_test", ())}
    for case in cases:
        for asked in case.get("promql_expr_test", ()):
            for sample in asked["exp_samples"]:
                fired |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))

    assert {rule["alert"] for rule in ALERTS} - fired == {
        "TimbradoNothingStamped"
    }  # its case counts it by name


def test_the_dashboard_has_its_panels_side_by_side():
    """No two share a place or a number."""
    places = [
        (x, y)
        for panel in BOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    numbers = [panel["id"] for panel in BOARD["panels"]]

    assert len(places) == len(set(places))
    assert len(numbers) == len(set(numbers))
    assert max(x for x, _ in places) < 24


def test_every_metric_that_is_reported_is_used():
    """On the dashboard or by an alert: what nobody looks at need not be measured."""
    asked = " ".join(expression for _, expression in EXPRESSIONS)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRICS}

    assert not [name for name in families if name not in asked]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")]
)
def test_prometheus_itself_says_so(arguments):
    """The rules are rules, each alert fires when it should, and none on a quiet day."""
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_release_names_itself_in_its_metrics():
    """`timbrado_build_info` has the version, so that a dashboard shows which release a worker runs."""
    registry = CollectorRegistry()
    PrometheusMeter(registry)

    assert registry.get_sample_value("timbrado_build_info", {"version": VERSION}) == 1
