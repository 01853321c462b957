"""The page on configuration: the keys, files and links that it names exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from bridge.providers.registry import TYPES
from bridge.settings.daemon import HeartbeatSettings, NotifySettings
from bridge.settings.load import load
from bridge.settings.mlflow import MlflowSettings, RouteSettings
from bridge.settings.model import Settings
from bridge.settings.poll import PollSettings
from bridge.settings.provider import ProviderSettings

ROOT = Path(__file__).parents[2]
PAGES = ("config/README.md", "tests/README.md", "bridge/README.md", "config/deploy/README.md")
SECTIONS: dict[str, type[BaseModel]] = {
    "mlflow": MlflowSettings,
    "mlflow.routes[]": RouteSettings,
    "poll": PollSettings,
    "heartbeat": HeartbeatSettings,
    "notify": NotifySettings,
    "providers[]": ProviderSettings,
}
SHORT = {"listen", "heartbeat", "notify", "providers"}
"""Keys of the top level that hold a value, or whose short form does."""


def page(name: str) -> str:
    """Return the text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def part(heading: str) -> str:
    """Return a section of the page on configuration."""
    return page("config/README.md").split(f"# {heading}\n")[1].split("\n#")[0]


def rows(heading: str) -> list[str]:
    """Return the first column of a section's tables."""
    return re.findall(r"^\| `([^`]+)` \|", part(heading), re.MULTILINE)


def keys() -> Iterator[str]:
    """Yield every key of a configuration."""
    for where, section in SECTIONS.items():
        for name, field in section.model_fields.items():
            yield f"{where}.{field.alias or name}"


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_key_is_listed_once() -> None:
    """The table and the schema have the same keys, each once."""
    assert {*Settings.model_fields} == SHORT | {"mlflow", "poll"}
    assert sorted(rows("Keys")) == sorted([*keys(), *SHORT])


def test_every_type_is_listed() -> None:
    """The table of providers has each type once."""
    assert sorted(rows("Providers")) == sorted(TYPES)


def test_the_configuration_loads(tmp_path: Path) -> None:
    """The bridge accepts the page's example."""
    (block,) = re.findall(r"```yaml\n(.*?)```", part("Configuration"), re.DOTALL)
    key = tmp_path / "key"
    key.write_text("research-key")
    file = tmp_path / "bridge.yaml"
    file.write_text(block.replace("/run/secrets/openai-research", str(key)))
    settings = load(file, {"OPENAI_API_KEY": "a-key"})
    assert [provider.name for provider in settings.providers] == ["openai", "openai-research"]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """The files and headings that a page links to exist."""
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", page(name))
    assert links
    for link in links:
        target, _, anchor = link.partition("#")
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), link
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), link
