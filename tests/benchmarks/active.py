"""Jobs that train: how long a pass over many takes, and how late their steps come to MLflow."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.table import Table

from bridge.assembly import assemble
from bridge.report import Report, Watch
from bridge.settings import Settings
from bridge.sync import Sync
from tests.benchmarks.contenders import BARE
from tests.benchmarks.provider import Provider
from tests.benchmarks.stores import sqlite

LATENCY: Final = 0.15
"""Seconds a request."""
WORKERS: Final = 16


def tables(jobs: int, passes: int, say: Callable[[str], None]) -> Iterator[Table]:
    """Measure; the table comes at the end."""
    table = Table(
        title=f"Jobs that train, {LATENCY * 1000:.0f} ms a request, {WORKERS} workers, sqlite file"
    )
    for heading in ("jobs", "pass, s", "of a core", "requests", "late by, s", "99th percentile"):
        table.add_column(heading, justify="right")
    for number in sorted({100, jobs}):
        say(f"{number} active jobs")
        table.add_row(f"{number:,}", *_measured(number, passes))
    yield table


class _Lateness(Watch):
    """How long each step has been to be seen at the provider when it is recorded."""

    def __init__(self) -> None:
        self.began = 0.0
        self.seconds: list[float] = []

    def done(self, outcome: object) -> None:
        """Note when the newest step of a job was recorded, beyond the beginning of the pass."""
        del outcome
        self.seconds.append(time.time() - self.began)


def _measured(number: int, passes: int) -> Iterator[str]:
    with sqlite() as uri, Provider(active_jobs=number) as provider:
        settings = Settings.model_validate(
            {
                "mlflow": {"tracking_uri": uri, "experiment": "active", **BARE},
                "poll": {"workers": WORKERS},
                "providers": [
                    {
                        "name": "openai",
                        "type": "openai",
                        "api_key": "any-key",
                        "base_url": provider.openai_url,
                    }
                ],
            }
        )
        with assemble(settings, {}, threading.Event()) as assembled:
            (sync,) = assembled.syncs
            _pass(sync, None)
            provider.latency(LATENCY)
            lateness = _Lateness()
            processor = time.process_time()
            provider.asked()
            times = [_pass(sync, lateness) for _ in range(passes)]
            processor = time.process_time() - processor
            asked = provider.asked() / passes
    yield f"{statistics.median(times):.1f}"
    yield f"{100 * processor / sum(times):.0f} %"
    yield f"{asked:.0f}"
    yield f"{statistics.median(lateness.seconds):.1f}"
    yield f"{statistics.quantiles(lateness.seconds, n=100)[-1]:.1f}"


def _pass(sync: Sync, lateness: _Lateness | None) -> float:
    begin = time.perf_counter()
    if lateness:
        lateness.began = time.time()
    report: Report = sync.run(watch=lateness)
    assert report.is_well, report
    return time.perf_counter() - begin
