"""Whole processes, from an empty folder to the last row: the script and the command.

A process with one job, answered at once, shows the cost of a start and a new database.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.benchmarks.contenders import BARE
from tests.benchmarks.provider import Provider

Command = Callable[[Path, str, str], list[str]]
"""Return a command line for a folder, a provider's address and a tracking store."""


def _script(_folder: Path, root: str, uri: str) -> list[str]:
    return ["-m", "tests.benchmarks.script", root, uri]


def _backfill(executor: str, mlflow: Mapping[str, bool]) -> Command:
    def command(folder: Path, root: str, uri: str) -> list[str]:
        config = folder / "bridge.yaml"
        openai = {"name": "openai", "api_key": "any-key", "base_url": f"{root}/openai/v1"}
        settings = {
            "mlflow": {"tracking_uri": uri, **mlflow},
            "poll": {"executor": executor},
            "providers": [openai],
        }
        config.write_text(json.dumps(settings), encoding="utf-8")
        return ["-m", "bridge", "backfill", "--quiet", "--config", str(config)]

    return command


_SCRIPT: Final = "script"
_CONTENDERS: Final[Mapping[str, Command]] = {
    _SCRIPT: _script,
    "backfill, bare": _backfill("auto", BARE),
    "backfill, everything, one process": _backfill("threads", {}),
    "backfill, everything (the default)": _backfill("auto", {}),
}


def tables(jobs: int, rounds: int, say: Callable[[str], None]) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(
        title=f"{jobs} OpenAI jobs of 90 steps behind 150 ms a request, whole processes into a new"
        f" sqlite file: seconds, medians of {rounds}; the script, which takes minutes and mostly"
        " waits, once"
    )
    for heading in (
        "",
        "all",
        "of it start, database and one job",
        "script / all",
        "script / all but these",
        "ms per further job",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    with Provider(jobs=jobs) as provider, Provider(jobs=1) as single:
        provider.latency(0.15)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in _CONTENDERS}
        for turn in range(rounds):
            # In turn, so that a slow moment of the machine affects all of them.
            for name, command in _CONTENDERS.items():
                if name == _SCRIPT and turn != rounds // 2:
                    continue
                say(f"{name}, round {turn + 1}")
                found[name].append((_seconds(command, provider), _seconds(command, single)))
    medians = {
        name: tuple(statistics.median(part) for part in zip(*times, strict=True))
        for name, times in found.items()
    }
    script, script_start = medians[_SCRIPT]
    for name, (whole, start) in medians.items():
        rest = whole - start
        table.add_row(
            name,
            f"{whole:.1f}",
            f"{start:.1f}",
            f"{script / whole:.1f}",
            f"{(script - script_start) / rest:.1f}",
            f"{rest / (jobs - 1) * 1000:.0f}",
        )
    yield table


def _seconds(command: Command, provider: Provider) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        line = command(folder, provider.url, f"sqlite:///{folder / 'mlflow.db'}")
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *line],
            check=False,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = time.perf_counter() - begin
    assert done.returncode == 0, done.stdout
    return seconds
