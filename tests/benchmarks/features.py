"""The cost of each feature per job: requests to MLflow, and milliseconds beyond the bare run.

The same finished jobs are recorded repeatedly into new experiments of one ``mlflow server``, one
job at a time, each time with one more feature. Counts come from the server's access log.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from rich.table import Table

from bridge.plan.metric_names import MetricNames
from bridge.plan.options import RecordingOptions
from bridge.plan.routing import Router
from bridge.providers.registry import TYPES
from bridge.simulator import Simulator
from bridge.sync.find_run import RunFinder
from bridge.sync.job_sync import JobSync
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking
from tests.support.mlflow_server import MlflowServer
from tests.support.world import NOW, Clock, job, over_http

JOBS: Final = 12
"""Jobs, each with 90 steps, a validation file and three checkpoints."""

BARE: Final = RecordingOptions(provider_type="openai", models=False, datasets=False, archive=False)
FEATURES: Final = {
    "metrics, params, tags, note": BARE,
    "+ datasets": dataclasses.replace(BARE, datasets=True),
    "+ models (3 checkpoints)": dataclasses.replace(BARE, datasets=True, models=True),
    "+ archive (the default)": dataclasses.replace(BARE, datasets=True, models=True, archive=True),
    "+ registered model": dataclasses.replace(
        BARE, datasets=True, models=True, archive=True, register="{provider}-{suffix}"
    ),
}


def tables(repeats: int) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    clock = Clock(NOW + 10_000)
    jobs = [
        job(f"ftjob-{number}", total_steps=90, eval_every=10, suffix=f"bench-{number}")
        for number in range(JOBS)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        MlflowServer(f"sqlite:///{folder}/mlflow.db", Path(folder)) as server,
        Simulator(jobs=jobs, clock=clock) as simulator,
        ThreadPoolExecutor(1) as executor,
    ):
        tracking = Tracking(server.url)
        tracking.ping()
        log = Path(folder) / "mlflow.log"
        seconds: dict[str, list[float]] = {name: [] for name in FEATURES}
        requests: dict[str, int] = {}
        for repeat in range(repeats):
            # Round by round, so that a slow moment of the machine affects all features.
            for name, options in FEATURES.items():
                experiment = f"{name} {repeat}".strip("+ ")
                sync = _sync(
                    simulator,
                    clock,
                    tracking=tracking,
                    executor=executor,
                    options=options,
                    experiment=experiment,
                )
                asked = _writes(log)
                begin = time.perf_counter()
                report = sync.run()
                seconds[name].append(time.perf_counter() - begin)
                assert report.is_well, report
                requests[name] = _writes(log) - asked
    yield _table(seconds, requests)


def _sync(
    simulator: Simulator,
    clock: Clock,
    *,
    tracking: Tracking,
    executor: ThreadPoolExecutor,
    options: RecordingOptions,
    experiment: str,
) -> ProviderSync:
    meanings = TYPES["openai"].meanings
    router = Router(provider="openai", experiment=experiment)
    job_sync = JobSync(
        name="openai",
        provider=TYPES["openai"](over_http(simulator.openai_url), curves=True),
        tracking=tracking,
        finder=RunFinder(tracking=tracking, router=router),
        options=dataclasses.replace(options, metric_names=MetricNames.of("provider", meanings)),
        now=clock.ms,
    )
    return ProviderSync(job_sync, executor=executor)


def _writes(log: Path) -> int:
    """Return how many requests the server has answered."""
    return sum('HTTP/1.1"' in line for line in log.read_text(errors="replace").splitlines())


def _table(seconds: dict[str, list[float]], requests: dict[str, int]) -> Table:
    table = Table(title=f"Per job: {JOBS} finished jobs, one at a time, over mlflow server")
    for heading in ("feature", "requests to MLflow", "ms (median)", "ratio to bare"):
        table.add_column(heading, justify="left" if heading == "feature" else "right")
    for cells in _rows(seconds, requests):
        table.add_row(*cells)
    return table


def _rows(seconds: dict[str, list[float]], requests: dict[str, int]) -> Iterator[tuple[str, ...]]:
    medians = {name: statistics.median(times) / JOBS for name, times in seconds.items()}
    bare = next(iter(medians.values()))
    for name, median in medians.items():
        yield name, f"{requests[name] / JOBS:.1f}", f"{median * 1000:.0f}", f"{median / bare:.2f}"
