"""``python -m tests.compat CACHE [VERSION ...] [client]``: the table of README.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx
from packaging.version import Version

from bridge.tracking.capabilities import Feature
from tests.compat.attempt import LEFT_OUT, NOTHING, WORKS, tried
from tests.compat.environments import OLDEST_CLIENT, ROOT, VERSIONS, bridge_with, python_of
from tests.support.mlflow_server import MlflowServer

CLIENT: Final = "client"
"""The word for the bridge itself, with the oldest MLflow beside it, over the newest server."""


def main(cache: Path, versions: list[str]) -> int:
    """Try every server, and the oldest client; return the exit code."""
    results = {each: _results(each, cache) for each in versions}
    wrong = [*_wrong(results)]
    sys.stdout.write("\n\n".join([table_of(results), *wrong]) + "\n")
    return int(bool(wrong))


def _results(wanted: str, cache: Path) -> dict[str, str]:
    version = _server_of(wanted)
    with (
        tempfile.TemporaryDirectory(prefix="compat-") as folder,
        MlflowServer(
            f"sqlite:///{folder}/mlflow.db", Path(folder), python=python_of(version, cache)
        ) as server,
    ):
        says = httpx.get(f"{server.url}/version", timeout=60).text
        assert says == version, f"the server in {cache / version} is MLflow {says}"
        if wanted != CLIENT:
            return tried(server.url, Path(folder))
        done = subprocess.run(
            [bridge_with(OLDEST_CLIENT, cache), "-m", "tests.compat.attempt", server.url, folder],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found


def _server_of(wanted: str) -> str:
    return max(VERSIONS, key=Version) if wanted == CLIENT else wanted


def table_of(results: Mapping[str, Mapping[str, str]]) -> str:
    """Return the results in Markdown, the newest servers first, equal ones in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for version in sorted(results.keys() - {CLIENT}, key=Version, reverse=True):
        rows.setdefault(_cells(results[version]), []).append(version)
    headings = ("MLflow server", *next(iter(results.values())))
    lines = [headings, ("---",) * len(headings)]
    lines += [(", ".join(reversed(versions)), *cells) for cells, versions in rows.items()]
    if found := results.get(CLIENT):
        label = f"{_server_of(CLIENT)}, the bridge with MLflow {OLDEST_CLIENT}"
        lines.append((label, *_cells(found)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(found: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        text if name == LEFT_OUT or text == WORKS else "no" for name, text in found.items()
    )


def _wrong(results: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for wanted, found in results.items():
        for name, said in found.items():
            if said != (_lacking(_server_of(wanted)) if name == LEFT_OUT else WORKS):
                yield f"{wanted}, {name}: {said}"


def _lacking(version: str) -> str:
    """Return what a server of a version does not have."""
    found = [
        name for name, since in (f.value for f in Feature) if Version(version) < Version(since)
    ]
    return ", ".join(found) or NOTHING


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:] or [*VERSIONS, CLIENT]))
