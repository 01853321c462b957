"""Keep the status of a daemon in memory: counts, and open jobs.

Runs in experiments that only a job's metadata names are counted once they change.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from bridge.daemon.recent_jobs import RecentJob
from bridge.daemon.stalls import Stalled
from bridge.errors import BridgeError, JobVanished, Stopped, TrackingDown
from bridge.plan.ownership import Ownership
from bridge.plan.recorded import RecordedRun
from bridge.plan.run_state import NEW_RUN_STATUS
from bridge.redaction import Redactor
from bridge.sync.events import Event, JobDone, JobsChosen, NextPass, PassBegan, PassEnded, RunsRead
from bridge.sync.outcome import Outcome, Synced
from bridge.sync.report import Report

STATES: Final[Mapping[str, str]] = {
    "SCHEDULED": "waiting",
    "RUNNING": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "cancelled",
}
"""Readable words for MLflow's run statuses."""
LONGEST_SILENCE: Final = 7200.0
"""Longest time in seconds without a sign of life of a pass: archiving two files of 512 MiB at the
slowest accepted rate."""
_SHOWN: Final = 20
"""Number of failures that are kept as sentences; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """The status of a provider at one time. Times are Unix seconds; ``None``: not yet."""

    is_up: bool | None = None
    """Whether the last pass was not stopped because of the provider."""
    is_busy: bool = False
    """Whether a pass is under way."""
    is_hanging: bool = False
    """Whether that pass has shown no sign of life for too long."""
    begun: float | None = None
    """Beginning of the newest pass, which may be under way."""
    ended: float | None = None
    """End of the last pass."""
    seconds: float | None = None
    """Duration of that pass in seconds."""
    succeeded: float | None = None
    """End of the last pass that was not stopped."""
    due: float | None = None
    """Beginning of the next pass."""
    stopped: str | None = None
    """The reason why the last pass was stopped, and its remedy."""
    failures: tuple[str, ...] = ()
    """Sentences about the jobs that the last pass lost, up to a limit."""
    failing: int = 0
    """Number of jobs that the last pass lost."""
    jobs: Mapping[str, int] = field(default_factory=dict)
    """Number of jobs by state."""
    newest_point: float | None = None
    """Moment of the newest point of a running job."""
    points: int = 0
    """Number of points that this process has written."""

    def lag(self, now: float) -> float | None:
        """Return the seconds since the newest point of a running job."""
        return None if self.newest_point is None else max(0.0, now - self.newest_point)

    def is_late(self, now: float, patience: float) -> bool:
        """Return whether a pass is overdue by more than ``patience`` seconds, or hangs."""
        is_overdue = not self.is_busy and self.due is not None and now > self.due + patience
        return is_overdue or self.is_hanging


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The status of the whole daemon at one time."""

    now: float
    """Time of the status, Unix seconds."""
    started: float
    providers: Mapping[str, ProviderView]
    mlflow_is_up: bool | None = None
    """Whether MLflow answered the last request."""
    mlflow_trouble: str | None = None
    stalled: tuple[Stalled, ...] = ()
    """Jobs that show nothing new."""
    jobs: tuple[RecentJob, ...] = ()
    """The newest jobs."""

    @property
    def is_ready(self) -> bool:
        """Whether a pass has succeeded."""
        return any(each.succeeded is not None for each in self.providers.values())


@dataclass(frozen=True, slots=True)
class _Open:
    """A job whose run is not complete yet."""

    status: str
    newest: int
    """Unix milliseconds of its newest point; 0: none."""


class _State:
    """The status of a provider as it changes."""

    def __init__(self) -> None:
        self.view = ProviderView()
        self.open: dict[str, _Open] = {}
        self.ends: Counter[str] = Counter()
        self.ended_now: dict[str, str] = {}
        """Final statuses of this pass by job, because a job that loses a race may end twice."""
        self.vanished: set[str] = set()
        self.points = 0
        self.alive_at: float | None = None
        """Last sign of life of the pass under way, in monotonic seconds."""

    def take_over(self, owned: Ownership) -> None:
        """Take over the runs in MLflow."""
        found = {
            job_id: _opened(run)
            for job_id, run in owned.open.items()
            if job_id not in self.vanished
        }
        if not owned.is_complete:
            self.open = found
            return
        # Jobs that were recorded before the whole history was read are newer.
        self.ends = Counter(owned.ends)
        self.open = {**found, **self.open}
        for job_id in [*self.ended_now]:
            self.open.pop(job_id, None)
            if job_id in owned.settled:
                del self.ended_now[job_id]

    def job_done(self, outcome: Outcome) -> None:
        """Count what was written, and keep what is still open."""
        job_id = outcome.job_id
        if isinstance(outcome.error, JobVanished):
            self.vanished.add(job_id)
            self.open.pop(job_id, None)
        if not isinstance(outcome, Synced):
            return
        plan = outcome.plan
        self.points += len(plan.points)
        before = _opened(outcome.before) if outcome.before else _Open(NEW_RUN_STATUS, 0)
        status = plan.status or before.status
        if plan.is_final and outcome.error is None:
            self.open.pop(job_id, None)
            self.ended_now[job_id] = status
            return
        newest = max((point.timestamp for point in plan.points), default=0)
        # A missing archive keeps the run from its final status.
        status = before.status if outcome.error else status
        self.open[job_id] = _Open(status, max(before.newest, newest))

    def pass_ended(self) -> None:
        """Keep the counts of a pass, and forget the rest."""
        self.view = replace(self.view, is_busy=False)
        self.alive_at = None
        self.ends.update(self.ended_now.values())
        self.ended_now.clear()

    def shown(self, elapsed: float) -> ProviderView:
        statuses = self.ends + Counter(self.ended_now.values())
        statuses += Counter(each.status for each in self.open.values())
        running = (each.newest for each in self.open.values() if each.status == "RUNNING")
        newest = max(running, default=0)
        return replace(
            self.view,
            is_hanging=self.alive_at is not None and elapsed - self.alive_at > LONGEST_SILENCE,
            jobs={word: statuses[status] for status, word in STATES.items()},
            newest_point=newest / 1000 if newest else None,
            points=self.points,
        )


class DaemonStatus:
    """Combine the events of all passes. Thread-safe.

    Args:
        providers: their names.
        redactor: masks secrets in sentences.
        wall: this machine's clock, Unix seconds.
        elapsed: monotonic seconds.
    """

    def __init__(
        self,
        providers: Iterable[str],
        redactor: Redactor,
        wall: Callable[[], float],
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redactor = redactor
        self._wall = wall
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._started = wall()
        self._states = {name: _State() for name in providers}
        self._mlflow: bool | None = None
        self._mlflow_trouble: str | None = None

    def view(self) -> View:
        """Return the status as it is now."""
        with self._lock:
            elapsed = self._elapsed()
            return View(
                now=self._wall(),
                started=self._started,
                providers={name: state.shown(elapsed) for name, state in self._states.items()},
                mlflow_is_up=self._mlflow,
                mlflow_trouble=self._mlflow_trouble,
            )

    def __call__(self, event: Event) -> None:
        """Record an event of a pass; providers that are not configured are ignored."""
        with self._lock:
            if isinstance(event, RunsRead):
                self._mlflow, self._mlflow_trouble = True, None
            if (state := self._states.get(_provider_of(event))) is None:
                return
            match event:
                case PassBegan():
                    state.alive_at = self._elapsed()
                    state.view = replace(state.view, is_busy=True, begun=self._wall())
                case RunsRead(owned=owned):
                    state.take_over(owned)
                case JobsChosen():
                    state.alive_at = self._elapsed()
                case JobDone(outcome=outcome):
                    state.alive_at = self._elapsed()
                    state.job_done(outcome)
                case PassEnded(report=report, seconds=seconds):
                    state.pass_ended()
                    self._ended(state, report, seconds)
                case NextPass(at=at):
                    state.view = replace(state.view, due=at)

    def _ended(self, state: _State, report: Report, seconds: float) -> None:
        """Record the end of a pass; one that was asked to stop says nothing about a provider."""
        stopped = report.stopped
        if isinstance(stopped, Stopped):
            return
        is_up: bool | None = stopped is None
        if isinstance(stopped, TrackingDown):
            self._mlflow, self._mlflow_trouble = False, self._said(stopped)
            is_up = state.view.is_up
        state.view = self._after(state.view, report, seconds, is_up=is_up)

    def _after(
        self, view: ProviderView, report: Report, seconds: float, *, is_up: bool | None
    ) -> ProviderView:
        now = self._wall()
        failures = [
            f"{self._redactor.line(job_id, 100)}: {self._said(error)}"
            if job_id
            else self._said(error)
            for job_id, error in report.failures[:_SHOWN]
        ]
        return replace(
            view,
            is_up=is_up,
            ended=now,
            seconds=seconds,
            succeeded=view.succeeded if report.stopped else now,
            stopped=self._said(report.stopped) if report.stopped else None,
            failures=tuple(failures),
            failing=len(report.failures),
        )

    def _said(self, error: BridgeError) -> str:
        """Return sentence and remedy, each shortened separately."""
        parts = (self._redactor.line(each) for each in (error.sentence, error.remedy) if each)
        return ". ".join(parts)


def _opened(run: RecordedRun) -> _Open:
    return _Open(run.status, max((moment for _, moment in run.newest.values()), default=0))


def _provider_of(event: Event) -> str:
    match event:
        case JobDone(outcome=outcome):
            return outcome.provider
        case PassEnded(report=report):
            return report.provider
        case _:
            return event.provider
