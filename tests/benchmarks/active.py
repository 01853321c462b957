"""Jobs that train: the duration of a pass over many, and the delay of their steps in MLflow.

The processor time of the daemon between two passes is measured too.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml
from rich.table import Table

from bridge.bootstrap.bridge import assemble
from bridge.settings.model import Settings
from bridge.sync.events import Event, JobDone
from bridge.sync.provider_sync import ProviderSync, no_handler
from bridge.sync.report import Report
from tests.benchmarks.contenders import BARE
from tests.benchmarks.provider import Provider
from tests.benchmarks.stores import sqlite
from tests.support.processes import started, wait_until

LATENCY: Final = 0.15
"""Delay of a reply in seconds."""
WORKERS: Final = 16
_QUIET: Final = 5.0
"""Seconds without a request after which a pass, with its writes, is over."""
_LOOKED_AT: Final = 30.0
"""Duration in seconds."""


def tables(jobs: int, passes: int, say: Callable[[str], None]) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(
        title=f"Jobs that train, {LATENCY * 1000:.0f} ms a request, {WORKERS} workers, sqlite file"
    )
    headings = ("jobs", "pass, s", "of a core", "requests", "late by, s", "99th percentile")
    for heading in (*headings, "between passes, of a core"):
        table.add_column(heading, justify="right")
    for number in sorted({100, jobs}):
        say(f"{number} active jobs")
        table.add_row(f"{number:,}", *_measured(number, passes))
    yield table


class _Lateness:
    """Time for which each step had been visible at the provider when it was recorded."""

    def __init__(self) -> None:
        self.began = 0.0
        self.seconds: list[float] = []

    def __call__(self, event: Event) -> None:
        """Note when the newest step of a job was recorded, relative to the pass's beginning."""
        if isinstance(event, JobDone):
            self.seconds.append(time.time() - self.began)


def _measured(number: int, passes: int) -> Iterator[str]:
    with sqlite() as uri, Provider(active_jobs=number) as provider:
        configuration = {
            "mlflow": {"tracking_uri": uri, "experiment": "active", **BARE},
            "poll": {"workers": WORKERS, "interval": "1h"},
            "providers": [
                {
                    "name": "openai",
                    "type": "openai",
                    "api_key": "any-key",
                    "base_url": provider.openai_url,
                }
            ],
        }
        settings = Settings.model_validate(configuration)
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
        waiting = _waiting(configuration, provider)
    yield f"{statistics.median(times):.1f}"
    yield f"{100 * processor / sum(times):.0f} %"
    yield f"{asked:.0f}"
    yield f"{statistics.median(lateness.seconds):.1f}"
    yield f"{statistics.quantiles(lateness.seconds, n=100)[-1]:.1f}"
    yield f"{waiting:.1%}"


def _waiting(configuration: Mapping[str, object], provider: Provider) -> float:
    """Return the share of a core that ``ftbridge run`` uses between its first two passes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "bridge.yaml"
        path.write_text(yaml.safe_dump({**configuration}), encoding="utf-8")
        with started("run", "--config", path, fresh=True) as daemon:
            wait_until(provider.asked, "first request", daemon)
            time.sleep(_QUIET)
            while provider.asked():
                time.sleep(_QUIET)
            before = _processor(daemon.pid)
            time.sleep(_LOOKED_AT)
            return (_processor(daemon.pid) - before) / _LOOKED_AT


def _processor(pid: int) -> float:
    """Return the processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pass(sync: ProviderSync, lateness: _Lateness | None) -> float:
    begin = time.perf_counter()
    if lateness:
        lateness.began = time.time()
    report: Report = sync.run(handler=lateness or no_handler)
    assert report.is_well, report
    return time.perf_counter() - begin
