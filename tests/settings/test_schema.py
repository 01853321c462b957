"""The configuration's JSON Schema: it accepts what the bridge does, and finds most mistakes."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bridge.providers.registry import TYPES
from bridge.settings import schema as schema_module
from bridge.settings.load import STARTER
from bridge.settings.schema import schema
from bridge.simulator import Simulator
from tests.support.processes import invoke

ROOT = Path(__file__).parents[2]
ONE = "providers: [{name: openai, api_key: a-key}]"


@cache
def validator() -> Draft202012Validator:
    """Return a validator for the schema that the command prints."""
    printed = invoke("init", "--schema")
    assert printed.exit_code == 0
    document = json.loads(printed.stdout)
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def wrong(text: str) -> list[str]:
    """Return the places in a file that the schema rejects."""
    # To an editor YAML's dates are text.
    data = json.loads(json.dumps(yaml.safe_load(text), default=str))
    return [error.json_path for error in validator().iter_errors(data)]


def written_in(path: Path) -> list[str]:
    """Return the configurations in a page of documentation."""
    blocks = re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in blocks if "providers:" in block]


def test_the_starter_is_valid() -> None:
    """The starter is valid as it is, and with all commented-out providers."""
    text = STARTER.read_text(encoding="utf-8")
    assert wrong(text) == []
    before, providers, after = text.partition("\nproviders:\n")
    shown = re.sub(r"^(\s*)# (?=(- |  )?[a-z_A-Z-]+:( |$))", r"\1", after, flags=re.MULTILINE)
    examples = before + providers + shown
    assert examples.count("- name:") > 6
    assert wrong(examples) == []


def test_the_documentation_is_valid() -> None:
    """Each configuration on a page is valid."""
    folders = (ROOT / name for name in ("bridge", "config", "tests"))
    pages = [ROOT / "README.md", *(path for folder in folders for path in folder.rglob("*.md"))]
    blocks = [block for path in pages for block in written_in(path)]
    assert blocks
    assert [wrong(block) for block in blocks] == [[]] * len(blocks)


def test_the_simulators_configuration_is_valid() -> None:
    """The configuration that `ftbridge simulate` prints is valid."""
    with Simulator() as simulator:
        lines = [
            f"  - {{name: {name}, api_key: any-key, base_url: {url}}}\n"
            for name, url in simulator.base_urls.items()
        ]
    assert wrong("providers:\n" + "".join(lines)) == []


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        "mlflow:\npoll:\nproviders:\n",
        "{}",
        f"poll: {{interval: 90, idle_interval: 1.5h, workers: '${{N:-4}}'}}\n{ONE}",
        f"mlflow: {{register: '{{suffix}}', curves: '${{CURVES}}', experiment:}}\n{ONE}",
        f"mlflow: {{metric_names: {{train_loss: loss}}}}\n{ONE}",
        "providers: [{name: '${NAME}', type: '${TYPE}', base_url: '${URL}', auth: '${A:-key}'}]",
        "providers: [{name: a, type: azure, api_version: 2024-10-21, headers: {A: b}}]",
        f"listen: 127.0.0.1:9187\nheartbeat: https://a.example/b\n{ONE}",
        f"listen: '[::1]:9187'\nheartbeat: {{url: http://a, allow_http: true}}\nnotify:\n{ONE}",
        f"listen: '${{AT}}'\nnotify: {{webhook: https://a.example, 'on': [failed, outage]}}\n{ONE}",
        "providers: [{name: a, type: openai, interval: '${I}', requests_per_second: 0.5}]",
        "providers: [{name: a, type: openai, query: {a: b}, statuses: {done: succeeded}}]",
        "providers: [{name: a, type: openai, prices: {gpt-4.1: 25 USD, gpt-4.1-mini: 5.5 EUR}}]",
    ],
)
def test_what_the_bridge_takes_is_valid(text: str) -> None:
    """Durations with units, variables, empty keys and empty files are valid."""
    assert wrong(text) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"mlfow: {{}}\n{ONE}", "$"),
        (f"mlflow: {{experimnt: a}}\n{ONE}", "$.mlflow"),
        (f"mlflow: {{metric_names: hugginface}}\n{ONE}", "$.mlflow"),
        (f"mlflow: {{curves: many}}\n{ONE}", "$.mlflow"),
        (f"poll: {{interval: 5 parsecs}}\n{ONE}", "$.poll"),
        (f"poll: {{interval: 0.5}}\n{ONE}", "$.poll"),
        (f"poll: {{workers: 65}}\n{ONE}", "$.poll"),
        (f"listen: 9187\n{ONE}", "$.listen"),
        (f"notify: {{webhook: https://a.example, 'on': [lunch]}}\n{ONE}", "$.notify"),
        ("providers: []", "$.providers"),
        ("providers: [{type: openai}]", "$.providers"),
        ("providers: [{name: a, type: opnai}]", "$.providers"),
        ("providers: [{name: a b, type: openai}]", "$.providers"),
        ("providers: [{name: a, type: openai, base_url: ftp://a}]", "$.providers"),
        ("providers: [{name: a, type: openai, requests_per_second: 0}]", "$.providers"),
        ("providers: [{name: a, type: openai, auth: magic}]", "$.providers"),
        ("providers: [{name: a, type: openai, statuses: {done: unknown}}]", "$.providers"),
    ],
)
def test_what_is_wrong_is_found_at_its_place(text: str, place: str) -> None:
    """Keys and values that the bridge refuses are rejected at their place."""
    assert wrong(text) == [place]


def test_every_key_is_described() -> None:
    """Every key has a description, which editors show."""
    drawn = schema()
    parts = [drawn, *drawn["$defs"].values()]
    lacking = [
        f"{part['title']}.{key}"
        for part in parts
        for key, node in part["properties"].items()
        if "description" not in node and "$ref" not in node["anyOf"][0]
    ]
    assert lacking == []


def test_types_of_installed_packages_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types of installed packages are known by name, without loading the packages."""

    def installed(group: str) -> list[EntryPoint]:
        return [EntryPoint("umbrella", "no_such_package:Umbrella", group)]

    monkeypatch.setattr(schema_module, "entry_points", installed)
    types: dict[str, Any] = schema()["$defs"]["ProviderSettings"]["properties"]["type"]
    assert types["anyOf"][0]["enum"] == [*TYPES, "umbrella"]
