"""How a person follows a backfill: bars on a terminal, a line for each job otherwise."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from bridge.cli.console import err
from bridge.daemon.log_events import JobLog
from bridge.sync.events import Watch
from bridge.sync.report import Outcome


@contextmanager
def watching(*, plain: bool, dry_run: bool) -> Iterator[Watch | None]:
    """What to show the passes to; a dry run's plans speak for themselves."""
    console = err()
    if plain or not console.is_terminal:
        yield None if dry_run else JobLog(only_turns=False)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[points]:,} points"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


class Bars(Watch):
    """A bar for each provider; its length grows as jobs are listed. Thread-safe."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._totals: Counter[str] = Counter()
        self._points: Counter[str] = Counter()

    def listed(self, provider: str, jobs: int) -> None:
        """Make the provider's bar longer."""
        with self._lock:
            if provider not in self._tasks:
                self._tasks[provider] = self._progress.add_task(provider, total=None, points=0)
            self._totals[provider] += jobs
            total = self._totals[provider]
        self._progress.update(self._tasks[provider], total=total)

    def done(self, outcome: Outcome) -> None:
        """Fill the provider's bar a bit."""
        points = len(outcome.plan.points) if outcome.plan else 0
        with self._lock:
            self._points[outcome.provider] += points
            points = self._points[outcome.provider]
        self._progress.update(self._tasks[outcome.provider], advance=1, points=points)
