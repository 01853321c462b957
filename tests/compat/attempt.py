"""``python -m tests.compat.attempt URL FOLDER``: what works on one server, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from bridge.plan.routing import Router
from bridge.simulator import Simulator
from bridge.tracking import Tracking
from bridge.tracking.capabilities import Feature
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

CASES: Final = [*openai_cases()[::6], *mistral_cases()[4:6]]
WORKS: Final = "yes"
NOTHING: Final = "nothing"
LEFT_OUT: Final = "left out"


def tried(url: str, folder: Path) -> dict[str, str]:
    """Return what works on one server, in the order in which a user would try it."""
    with StaticServer(CASES) as provider:
        config = provider.write_config(folder, url)
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
    sys.stdout.write(json.dumps(tried(sys.argv[1], Path(sys.argv[2]))) + "\n")
