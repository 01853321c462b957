"""Progress of a backfill: bars on a terminal, otherwise a line for each job."""

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

from bridge.cli.terminal.console import err
from bridge.daemon.log_events import JobLog
from bridge.sync.events import Event, Handler, JobDone, JobsChosen
from bridge.sync.outcome import Outcome, Synced
from bridge.sync.provider_sync import no_handler


@contextmanager
def watching(
    *, plain: bool, dry_run: bool, verbose: bool = False, quiet: bool = False
) -> Iterator[Handler]:
    """Yield a handler that shows passes; a dry run prints only its plans."""
    console = err()
    if verbose:  # a bar would hide the log of decisions
        yield JobLog(only_turns=False, is_dry=dry_run)
        return
    if plain or not console.is_terminal:
        yield no_handler if dry_run or quiet else JobLog(only_turns=False)
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


class Bars:
    """A bar for each provider, which grows as jobs are listed. Thread-safe."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._totals: Counter[str] = Counter()
        self._points: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Draw an event of a pass."""
        match event:
            case JobsChosen(provider=provider, jobs=jobs):
                self._lengthen(provider, jobs)
            case JobDone(outcome=outcome):
                self._advance(outcome)

    def _lengthen(self, provider: str, jobs: int) -> None:
        with self._lock:
            if provider not in self._tasks:
                self._tasks[provider] = self._progress.add_task(provider, total=None, points=0)
            self._totals[provider] += jobs
            total = self._totals[provider]
        self._progress.update(self._tasks[provider], total=total)

    def _advance(self, outcome: Outcome) -> None:
        points = len(outcome.plan.points) if isinstance(outcome, Synced) else 0
        with self._lock:
            self._points[outcome.provider] += points
            points = self._points[outcome.provider]
        self._progress.update(self._tasks[outcome.provider], advance=1, points=points)
