"""``python -m tests.compat CACHE [VERSION ...]``: the table of README.md."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from packaging.version import Version

from bridge.plan.routing import Router
from bridge.simulator import Simulator
from bridge.tracking import Tracking
from bridge.tracking.capabilities import Feature
from tests.compat.environments import VERSIONS, python_of
from tests.support.mlflow_server import MlflowServer
from tests.support.models import models
from tests.support.processes import invoke
from tests.support.recorded import recorded
from tests.support.static_server import (
    StaticServer,
    differences,
    expected,
    mistral_cases,
    openai_cases,
)
from tests.support.world import Clock, job, make_sync

CASES = [*openai_cases()[::6], *mistral_cases()[4:6]]
WORKS = "yes"
NOTHING = "nothing"
LEFT_OUT = "left out"


def main(cache: Path, versions: list[str]) -> int:
    """Try every server; return the exit code."""
    results = {}
    for version in versions:
        with (
            tempfile.TemporaryDirectory(prefix="compat-") as folder,
            MlflowServer(
                f"sqlite:///{folder}/mlflow.db", Path(folder), python=python_of(version, cache)
            ) as server,
        ):
            says = httpx.get(f"{server.url}/version", timeout=60).text
            assert says == version, f"the server in {cache / version} is MLflow {says}"
            results[version] = tried(server.url, Path(folder))
    wrong = [*_wrong(results)]
    sys.stdout.write("\n\n".join([table_of(results), *wrong]) + "\n")
    return int(bool(wrong))


def table_of(results: Mapping[str, Mapping[str, str]]) -> str:
    """Return the results in Markdown, the newest servers first, equal ones in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for version in sorted(results, key=Version, reverse=True):
        said = results[version]
        cells = (text if name == LEFT_OUT or text == WORKS else "no" for name, text in said.items())
        rows.setdefault(tuple(cells), []).append(version)
    headings = ("MLflow server", *next(iter(results.values())))
    lines = [headings, ("---",) * len(headings)]
    lines += [(", ".join(reversed(versions)), *cells) for cells, versions in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _wrong(results: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for version, found in results.items():
        for name, said in found.items():
            if said != (_lacking(version) if name == LEFT_OUT else WORKS):
                yield f"{version}, {name}: {said}"


def _lacking(version: str) -> str:
    """Return what a server of a version does not have."""
    found = [
        name for name, since in (f.value for f in Feature) if Version(version) < Version(since)
    ]
    return ", ".join(found) or NOTHING


def tried(url: str, folder: Path) -> dict[str, str]:
    """Return what works on one server, in the order in which a user would try it."""
    with StaticServer(CASES) as provider:
        config = folder / "bridge.yaml"
        config.write_text(provider.config(url))
        found = {"check": _command("check", config)}
        found["backfill"] = _command("backfill", config)
        if found["backfill"] == WORKS:
            wrong = differences(expected(CASES), recorded(url))
            found["backfill"] = WORKS if not wrong else wrong[0]
        found["second pass"] = _second_pass(config)
        found["doctor"] = _command("doctor", config)
    found["live job"] = _live_job(url)
    found[LEFT_OUT] = ", ".join(_left_out(url)) or NOTHING
    return found


def _left_out(url: str) -> Iterator[str]:
    """Yield what the bridge says that it leaves out, and what is not there although it does not."""
    tracking = Tracking(url)
    tracking.ping()
    for feature in Feature:
        if not tracking.capabilities.has(feature):
            yield feature.value[0]
    if tracking.capabilities.has(Feature.MODELS) and not models(url):
        yield "LoggedModels, without a word"


def _command(name: str, config: Path) -> str:
    done = invoke(name, "--config", config)
    return WORKS if done.exit_code == 0 else done.output.strip()[-2000:]


def _second_pass(config: Path) -> str:
    done = invoke("backfill", "--config", config, "--json")
    if done.exit_code != 0:
        return done.output.strip()[-2000:]
    reports = json.loads(done.stdout)["providers"]
    changed = sum(report["jobs"]["new"] + report["jobs"]["updated"] for report in reports)
    return WORKS if changed == 0 else f"{changed} runs changed"


def _live_job(url: str) -> str:
    """Follow a job from its middle to its end."""
    clock = Clock()
    one = job("ftjob-live", total_steps=20)
    seen = []
    with Simulator(jobs=[one], clock=clock) as simulator, ThreadPoolExecutor(1) as executor:
        router = Router(provider="openai", experiment="live")
        sync = make_sync(simulator, Tracking(url), executor, clock, router=router)
        for moment in (one.step_at(10), one.settled_at + 400):
            clock.now = moment
            report = sync.run()
            if not report.is_well:
                return str(report.stopped or report.failures)
            run = recorded(url, "live")[one.id]
            seen.append((run.status, len({step for _, step, _, _ in run.rows})))
    is_right = (
        seen[0][0] == "RUNNING" and 10 <= seen[0][1] < seen[1][1] and seen[1][0] == "FINISHED"
    )
    return WORKS if is_right else str(seen)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:] or list(VERSIONS)))
