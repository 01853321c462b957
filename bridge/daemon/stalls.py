"""Find running jobs that show nothing new for too long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from bridge.errors import JobVanished
from bridge.model import JobStatus
from bridge.plan import tags
from bridge.plan.ownership import Ownership
from bridge.plan.recorded import RecordedRun
from bridge.plan.run_state import is_training, last_sign
from bridge.sync.events import Event, JobDone, PassEnded, RunsRead
from bridge.sync.outcome import Outcome, Synced


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """A running job that shows nothing new."""

    provider: str
    job_id: str
    name: str
    """Name of the run."""
    run_id: str
    experiment_id: str
    seconds: float
    """Seconds since the job last showed something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """A job whose run is not complete yet."""

    name: str
    run_id: str = ""
    experiment_id: str = ""
    last: int = 0
    """Last sign of life, Unix milliseconds."""
    trains: bool = False
    is_read: bool = False
    """Whether the last pass could read it; an unreadable job may be training well."""

    @classmethod
    def of(cls, run: RecordedRun) -> _Watched:
        return cls(
            name=run.name,
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            last=last_sign(run),
            trains=is_training(run),
        )


class Stalls:
    """Find stalled jobs, and report each once while this process runs. Thread-safe.

    Args:
        after: seconds without anything new; ``None``: no job counts as stalled.
        wall: this machine's clock, Unix seconds.
        found: receives a job that has stalled.
    """

    def __init__(
        self, after: float | None, wall: Callable[[], float], found: Callable[[Stalled], object]
    ) -> None:
        self._after = after
        self._wall = wall
        self._found = found
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, str], _Watched] = {}
        """Open jobs by provider and id."""
        self._reported: set[tuple[str, str]] = set()

    def view(self) -> tuple[Stalled, ...]:
        """Return the jobs that are stalled now."""
        with self._lock:
            return tuple(self._stalled())

    def __call__(self, event: Event) -> None:
        """Record what a pass reads, and report new stalls after the pass."""
        new: list[Stalled] = []
        with self._lock:
            match event:
                case RunsRead(provider=provider, owned=owned):
                    self._take_over(provider, owned)
                case JobDone(outcome=outcome):
                    self._done(outcome)
                case PassEnded(report=report) if report.stopped is None:
                    new = [each for each in self._stalled() if each.provider == report.provider]
                    new = [each for each in new if _key(each) not in self._reported]
                    self._reported.update(map(_key, new))
        for each in new:
            self._found(each)

    def _take_over(self, provider: str, owned: Ownership) -> None:
        known_ones = [key for key in self._jobs if key[0] == provider]
        for key in known_ones if not owned.is_complete else ():
            if key[1] not in owned.open:
                del self._jobs[key]
        for job_id, run in owned.open.items():
            watched = _Watched.of(run)
            if known := self._jobs.get((provider, job_id)):
                if owned.is_complete:
                    continue  # it was recorded before the whole history was read
                last = max(known.last, watched.last)
                watched = replace(watched, last=last, is_read=known.is_read)
            self._jobs[provider, job_id] = watched

    def _done(self, outcome: Outcome) -> None:
        key = (outcome.provider, outcome.job_id)
        known = self._jobs.get(key)
        if not isinstance(outcome, Synced):
            if isinstance(outcome.error, JobVanished):
                self._jobs.pop(key, None)
            elif known:
                self._jobs[key] = replace(known, is_read=False)
            return
        plan, run = outcome.plan, outcome.before
        if plan.is_final:
            self._jobs.pop(key, None)
            return
        has_waited = known is not None and not known.trains
        if known is None:
            known = _Watched.of(run) if run else _Watched(name=plan.run_name, last=plan.start_time)
        state = plan.tags.get(tags.STATE)
        trains = known.trains if state is None else state == JobStatus.RUNNING
        moments = [known.last, *(point.timestamp for point in plan.points)]
        if has_waited:  # it trains from now on at the earliest; not every provider gives the start
            moments.append(int(self._wall() * 1000))
        self._jobs[key] = replace(
            known,
            run_id=outcome.run_id or known.run_id,
            experiment_id=outcome.experiment_id or known.experiment_id,
            last=max(moments),
            trains=trains,
            is_read=outcome.error is None,
        )

    def _stalled(self) -> Iterator[Stalled]:
        if self._after is None:
            return
        now = self._wall()
        for (provider, job_id), each in self._jobs.items():
            seconds = now - each.last / 1000
            if each.trains and each.is_read and seconds >= self._after:
                yield Stalled(
                    provider=provider,
                    job_id=job_id,
                    name=each.name,
                    run_id=each.run_id,
                    experiment_id=each.experiment_id,
                    seconds=seconds,
                )


def _key(stalled: Stalled) -> tuple[str, str]:
    return stalled.provider, stalled.job_id
