"""The files for watching a daemon, which name existing metrics and satisfy Prometheus."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bridge.daemon.metrics import Metrics
from bridge.daemon.status import DaemonStatus
from bridge.plan.ownership import Ownership
from bridge.redaction import Redactor
from bridge.sync.events import NextPass, PassBegan, PassEnded, RunsRead
from bridge.sync.report import Report
from tests.support.run_states import run_state

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "config" / "deploy"
RULES = DEPLOY / "prometheus-alerts.yaml"
GUIDE = (DEPLOY / "README.md").read_text(encoding="utf-8")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool here"
)


def dashboard() -> dict[str, Any]:
    """Return Grafana's dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    return found


def alerts() -> list[dict[str, Any]]:
    """Return the rules of Prometheus."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """Return the labels of each series that a daemon exposes, by its name."""
    picture = DaemonStatus(["openai"], Redactor(), lambda: 1_760_000_000.0)
    metrics = Metrics(["openai"], picture.view)
    for event in (
        PassBegan("openai"),
        RunsRead("openai", Ownership(open={"a": run_state("a", at=1_760_000_000)})),
        PassEnded(Report(provider="openai"), 1.0),
        NextPass("openai", 1_760_000_060.0),
    ):
        picture(event)
        metrics(event)
    metrics.shutdown_known("openai", 1_760_086_400.0)
    text = metrics.exposition().decode()
    samples = chain.from_iterable(each.samples for each in text_string_to_metric_families(text))
    return {sample.name: set(sample.labels) for sample in samples}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' own tool."""
    return subprocess.run(
        ["promtool", *map(str, arguments)],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
    )


def expressions() -> Iterator[str]:
    """Return every Prometheus expression, with Grafana's variables filled in."""
    yield from (rule["expr"] for rule in alerts())
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$provider", ".*").replace("$__rate_interval", "5m")


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    """Prometheus' own tool accepts the rules."""
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stderr


@needs_promtool
def test_the_alerts_fire_when_they_should() -> None:
    """Each alert fires in its case with its text, and not too early."""
    tested = promtool("test", "rules", ROOT / "tests" / "deploy" / "alerts.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested_both_ways() -> None:
    """Every alert has a case in which it fires, and one in which it does not."""
    cases = yaml.safe_load((ROOT / "tests" / "deploy" / "alerts.yaml").read_text())["tests"]
    expected = [each for case in cases for each in case["alert_rule_test"]]
    for name in (rule["alert"] for rule in alerts()):
        fires = {bool(each.get("exp_alerts")) for each in expected if each["alertname"] == name}
        assert fires == {True, False}, name


@needs_promtool
@pytest.mark.parametrize("expression", [*dict.fromkeys(expressions())])
def test_every_expression_can_be_read(expression: str, tmp_path: Path) -> None:
    """Prometheus' own parser reads every expression."""
    rules = tmp_path / "rules.yaml"
    rule = {"record": "a:b", "expr": expression}
    rules.write_text(json.dumps({"groups": [{"name": "a", "rules": [rule]}]}))
    checked = promtool("check", "rules", rules)
    assert checked.returncode == 0, checked.stderr


def test_every_metric_that_is_asked_for_exists(exposed: dict[str, set[str]]) -> None:
    """Every metric in the dashboard and the rules exists, with its labels."""
    known = {"up", *exposed}
    for expression in expressions():
        bare = re.sub(r'"[^"]*"', '""', expression)
        named = set(re.findall(r"\b(?:ftbridge|process)_\w+", bare))
        assert named or "up{" in expression, expression
        assert named <= known, expression
        for metric, matchers in re.findall(r"\b(ftbridge_\w+)\{([^}]*)\}", bare):
            assert set(re.findall(r"(\w+)=", matchers)) <= exposed[metric], expression


def test_every_panel_says_what_it_shows() -> None:
    """Every panel has a title, a unit, a question, and a place."""
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def section(heading: str) -> str:
    """Return a part of the guide."""
    return GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(heading: str) -> set[str]:
    """Return the first column of a part's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", section(heading), re.MULTILINE))


def test_every_metric_is_described(exposed: dict[str, set[str]]) -> None:
    """Every metric is described, and no other."""
    ours = {name for name in exposed if name.startswith("ftbridge_")}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    listed = {name for name in rows("Metrics") if name.startswith("ftbridge_")}
    assert listed == families


def test_every_alert_is_described() -> None:
    """Every alert is described, and no other."""
    assert rows("Alerts") == {rule["alert"] for rule in alerts()}


def logged() -> Iterator[tuple[str, str]]:
    """Return every event in the source, with its level."""
    for path in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            whose = ast.unparse(node.func.value)
            if whose in {"log", "logger", "structlog.get_logger()"} and node.func.attr != "set_up":
                (event,) = node.args
                assert isinstance(event, ast.Constant), f"{path}: its words are not constant"
                yield str(event.value), node.func.attr


def test_every_log_event_is_described() -> None:
    """Every log event is described with its level, and no other."""
    listed = re.findall(r"^\| `([^`]+)` \| (\w+) \|", section("Log events"), re.MULTILINE)
    assert set(listed) == {*logged()}
    assert len(listed) == len(set(listed))


def test_every_alert_says_what_to_do() -> None:
    """Every alert says what is wrong, and what to do about it."""
    for rule in alerts():
        annotations = rule["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook"}, rule["alert"]
        commands = re.findall(r"ftbridge (\w+)", annotations["runbook"])
        assert commands, rule["alert"]
        assert {*commands} <= {"run", "check", "jobs", "doctor"}, rule["alert"]
