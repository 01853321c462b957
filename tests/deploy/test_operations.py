"""The operations page: its commands run, and it covers every failure."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Final

import pytest

from bridge.errors import BridgeError, ProviderDown, ProviderError
from bridge.simulator import Simulator
from tests.support.processes import PATIENCE, invoke
from tests.support.recorded import recorded
from tests.support.world import KEY, Clock, job

DEPLOY: Final = Path(__file__).parents[2] / "config" / "deploy"
PAGE: Final = (DEPLOY / "README.md").read_text(encoding="utf-8")
FAMILIES: Final = {ProviderError, ProviderDown}
"""Base classes, which no error has as its exact class."""


def lines(language: str) -> list[str]:
    """Return the commands of the page in this language."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def kinds(kind: type[BridgeError]) -> Iterator[type[BridgeError]]:
    """Yield an error class and all its subclasses."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__.startswith("bridge."):
            yield from kinds(each)


def test_the_commands_run(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All commands that need neither root, engine nor cluster run against a simulator."""
    run = lines("sh")
    assert sum(line.startswith("ftbridge ") for line in run) >= 5
    with Simulator(jobs=[job("ftjob-a")], clock=Clock()) as simulator, chdir(tmp_path):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.openai_url)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        others: list[str] = []
        for line in run:
            if not line.startswith("ftbridge "):
                others.append(line)
                continue
            called, _, target = line.partition(" > ")
            done = invoke(*shlex.split(called)[1:])
            assert done.exit_code == 0, f"{line}\n{done.output}"
            if target:
                Path(target).write_text(done.stdout)
        subprocess.run(
            ["sh", "-euc", "\n".join(others)],  # noqa: S607 - any shell
            check=True,
            timeout=PATIENCE,
            env=os.environ | {"NEW_KEY": "another-key"},
        )
    assert recorded(uri).keys() == {"ftjob-a"}
    assert json.loads((tmp_path / "bridge.schema.json").read_text())["properties"]["providers"]
    assert (tmp_path / "openai.key").read_text() == "another-key"
    assert (tmp_path / "openai.key").stat().st_mode & 0o777 == 0o600


def test_every_failure_is_on_the_page() -> None:
    """The page has every kind of failure, and no other."""
    table = PAGE.partition("| kind |")[2].partition("\n\n")[0]
    named = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`(\w+)`", row.partition("|")[2].partition("|")[0])
    }
    assert named == {kind.__name__ for kind in set(kinds(BridgeError)) - FAMILIES}


def test_links_and_files_exist() -> None:
    """The files and headings of links exist, and so do the files in commands."""
    targets = re.findall(r"\]\((?!https:)([^)#]+)", PAGE)
    assert len(targets) > 4
    assert [target for target in targets if not (DEPLOY / target).exists()] == []
    named = {word for line in lines("console") for word in re.findall(r"config/[\w./-]+", line)}
    assert named
    assert [word for word in named if not (DEPLOY.parents[1] / word).exists()] == []
