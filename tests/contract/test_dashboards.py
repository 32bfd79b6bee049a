"""The dashboard, the alerts and the documents ask only for what is counted, and can be read by Grafana and by people."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.queries import Wrong, declared, labels

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "classis.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(target, id=f"{panel['title']} {target['refId']}") for panel in PANELS for target in panel["targets"]
]
ALERTS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
OBSERVABILITY, OPERATE = (ROOT / "docs" / f"{name}.md" for name in ("observability", "operate"))
COLUMNS = 24  # of Grafana's grid


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("classis_invented_total", "not counted"),
        ("classis_call_seconds", "not counted"),
        ("classis_fallback", "not counted"),
        ('classis_fallback_total{cause="x"}', "cause is no label"),
        ("sum by (status) (rate(classis_call_seconds_count[5m]))", "status is no label"),
        ("sum by (reason) (sum by (service) (rate(classis_retried_total[5m])))", "reason is no label"),
        ("histogram_quantile(0.9, sum(rate(classis_call_seconds_bucket[5m])))", "le is no label"),
        ("rate(classis_in_flight[5m])", "no counter"),
        ("process_open_fds / on (service) process_max_fds", "service is no label"),
        ("classis_in_flight / sum by (service) (classis_in_flight)", "never match"),
        ("sum(rate(classis_call_seconds_count[5m])", "unclosed"),
    ],
)
def test_a_wrong_query_is_found(query: str, reason: str) -> None:
    with pytest.raises(Wrong, match=reason):
        labels(query)


# --- the dashboard


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_asks_for_what_is_counted_and_names_it(target: dict[str, Any]) -> None:
    given = labels(target["expr"])
    assert set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"])) <= given


def test_everything_that_is_counted_is_on_a_panel() -> None:
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    for metric in declared():
        assert re.search(rf"\b{metric._name}(_bucket|_count|_sum|_total|_info)?\b", asked), metric._name


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_can_be_read(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(set(references)) == len(references)


@pytest.mark.parametrize("name", ["id", "title"])
def test_no_two_panels_share_it(name: str) -> None:
    values = [panel[name] for panel in DASHBOARD["panels"]]
    assert len(set(values)) == len(values)


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert cells
        assert all(0 <= x < COLUMNS for x, _ in cells), panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_follow_their_row() -> None:
    """Grafana keeps the panels of an open row beside it, in the order of the page."""
    heights = [panel["gridPos"]["y"] for panel in DASHBOARD["panels"]]
    assert heights == sorted(heights)
    assert DASHBOARD["panels"][0]["type"] == "row"
    assert not any(panel["panels"] for panel in DASHBOARD["panels"] if panel["type"] == "row")


def test_the_variables_are_those_that_are_used() -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} == {variable["name"] for variable in DASHBOARD["templating"]["list"]}


# --- the alerts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_counted_and_says_what_it_is(rule: dict[str, Any]) -> None:
    given = labels(rule["expr"])
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= given


def test_no_two_alerts_share_a_name() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_the_documented_alerts_are_the_rules() -> None:
    section = OBSERVABILITY.read_text().partition("## What to be woken for")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| Classis")]
    assert [row[:4] for row in rows] == [
        [rule["alert"], f"`{rule['expr']}`", rule.get("for", "–"), rule["labels"]["severity"]] for rule in RULES
    ]
    assert {len(row) for row in rows} == {5}


# --- the documents


def told() -> Iterator[tuple[str, str]]:
    """What is set as code in a document and names a metric. A bare name may be a whole family's."""
    families = {metric._name for metric in declared()}
    schema = "".join(path.read_text() for path in DEPLOY.glob("*.sql"))  # roles and indexes have such names too
    for document in (OBSERVABILITY, OPERATE):
        for code in re.findall(r"`([^`\n]*\b(?:classis|process)_\w+[^`\n]*)`", document.read_text()):
            bare = re.fullmatch(r"\w+", code)
            if "://" not in code and not (bare and (code in families or re.search(rf"\b{code}\b", schema))):
                yield document.name, code


@pytest.mark.parametrize(("document", "query"), list(told()))
def test_a_document_asks_for_what_is_counted(document: str, query: str) -> None:
    labels(query)
