"""The same backfill by one process with threads, and by a Dask cluster of four on this machine.

Both have the same number of jobs in progress. Each measurement has a separate provider, so that the
workers, which have their own configuration, need no restart.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rich.table import Table

from bridge.bootstrap.bridge import assemble
from bridge.settings.load import load
from bridge.settings.poll import THREADS
from bridge.tracking import Tracking
from tests.benchmarks.provider import Provider
from tests.support.dask_cluster import DaskCluster
from tests.support.postgres import postgres

PROCESSES: Final = 4
THREADS_EACH: Final = 8
LATENCIES: Final = (0.0, 0.15)
"""Delay of a provider's reply in seconds."""


class Took(NamedTuple):
    """Duration of a backfill without its start."""

    seconds: float
    processor: float
    """Seconds of this process's work; with a cluster it lists, sends and counts."""
    points: float


def tables(jobs: int, rounds: int, say: Callable[[str], None]) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(
        title=f"{jobs} jobs of 90 steps with models and datasets, {PROCESSES * THREADS_EACH} at a"
        f" time, PostgreSQL without a server before it; medians of {rounds}"
    )
    headings = ("latency", "one process, s", f"{PROCESSES} workers, s", "ratio", "points a s")
    for heading in (*headings, "processor, one process, ms a job", "of the daemon with workers"):
        table.add_column(heading, justify="right")
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        postgres() as uri,
        Provider(jobs=jobs) as provider,
    ):
        Tracking(uri).experiment("Default", create=True)  # the many migrations of a new database
        config = Path(folder) / "bridge.yaml"
        cluster = DaskCluster(Path(folder), config, workers=PROCESSES, threads=THREADS_EACH)
        executors = {"one": THREADS, "many": cluster.address}
        kinds = [
            (executor, latency, turn)
            for latency in LATENCIES
            for turn in range(rounds)
            for executor in executors
        ]
        _write(config, uri, provider, ["first", *(_name(*kind) for kind in kinds)])
        found: dict[tuple[str, float], list[Took]] = {}
        with cluster:
            _took(config, "first", cluster.address)  # the workers import MLflow
            for executor, latency, turn in kinds:
                say(f"{executor}, {latency * 1000:.0f} ms, round {turn}")
                provider.latency(latency)
                took = _took(config, _name(executor, latency, turn), executors[executor])
                found.setdefault((executor, latency), []).append(took)
    for latency in LATENCIES:
        one, many = (
            Took(*map(statistics.median, zip(*found[executor, latency], strict=True)))
            for executor in executors
        )
        table.add_row(
            f"{latency * 1000:.0f} ms",
            f"{one.seconds:.1f}",
            f"{many.seconds:.1f}",
            f"{one.seconds / many.seconds:.2f}",
            f"{many.points / many.seconds:.0f}",
            f"{one.processor / jobs * 1000:.0f}",
            f"{many.processor / jobs * 1000:.1f}",
        )
    yield table


def _name(executor: str, latency: float, turn: int) -> str:
    return f"{executor}-{latency * 1000:.0f}-{turn}"


def _write(config: Path, uri: str, provider: Provider, names: list[str]) -> None:
    of_one = {"type": "openai", "api_key": "any-key", "base_url": provider.openai_url}
    settings = {
        "mlflow": {"tracking_uri": uri, "archive": False},
        "poll": {"workers": PROCESSES * THREADS_EACH},
        "providers": [{"name": name, "experiment": name, **of_one} for name in names],
    }
    config.write_text(json.dumps(settings))


def _took(config: Path, name: str, executor: str) -> Took:
    settings = load(config, {})
    wanted = settings.model_copy(
        update={
            "poll": settings.poll.model_copy(update={"executor": executor}),
            "providers": tuple(each for each in settings.providers if each.name == name),
        }
    )
    with assemble(wanted, {}, threading.Event()) as bridge:
        (sync,) = bridge.syncs
        begin, processor = time.perf_counter(), time.process_time()
        report = sync.run()
        took = Took(time.perf_counter() - begin, time.process_time() - processor, report.points)
    assert report.is_well, report
    return took
