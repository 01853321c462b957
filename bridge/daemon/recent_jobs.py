"""Keep MLflow's newest jobs in memory, for the daemon's page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from bridge.errors import TrackingError
from bridge.listing.curves import Curve
from bridge.listing.job_lines import Filter, JobLine
from bridge.redaction import Redactor
from bridge.sync.events import Event, JobDone, PassEnded, RunDeleted
from bridge.sync.outcome import Failed, Synced

_SHOWN: Final = Filter(limit=20)
_WEB: Final = ("http://", "https://")


class Lists(Protocol):
    """The part of ``JobList`` that is needed here."""

    def lines(self, chosen: Filter) -> Sequence[JobLine]:
        """Return the chosen jobs, the newest first."""

    def curve(self, line: JobLine, metric: str | None) -> Curve:
        """Return a curve of a job."""


@dataclass(frozen=True, slots=True)
class RecentJob:
    """A job with its training curve, or its validation curve if it has no training curve."""

    line: JobLine
    curve: Curve = ()

    @property
    def key(self) -> tuple[str, str]:
        """Name of the provider and id of the job."""
        return self.line.provider, self.line.job_id

    def document(self, *, is_stalled: bool) -> dict[str, object]:
        """Return the job for a JSON document, without the silence, which depends on the time."""
        found = self.line.document() | {"stalled": is_stalled}
        return {name: value for name, value in found.items() if name != "silent_seconds"}


class RecentJobs:
    """Read the newest jobs after each pass that changes something. Thread-safe.

    Args:
        read: reads MLflow.
    """

    def __init__(self, read: Callable[[], Iterable[RecentJob]]) -> None:
        self._read = read
        self._reading = threading.Lock()
        self._is_old = True
        self._jobs: tuple[RecentJob, ...] = ()

    def view(self) -> tuple[RecentJob, ...]:
        """Return the jobs after the last change."""
        return self._jobs

    def __call__(self, event: Event) -> None:
        """Note changes, and read the jobs when the pass is over."""
        match event:
            case JobDone(outcome=Synced(plan=plan)):
                self._is_old |= not plan.is_empty
            case JobDone(outcome=Failed()) | RunDeleted():
                self._is_old = True
            case PassEnded(report=report) if self._is_old and report.stopped is None:
                self._renew()

    def _renew(self) -> None:
        # Passes of several providers may end at the same time: the next one reads the rest.
        if not self._reading.acquire(blocking=False):
            return
        try:
            self._is_old = False
            self._jobs = tuple(self._read())
        except TrackingError:
            # The next pass tries again, and reports what is wrong with MLflow.
            self._is_old = True
        finally:
            self._reading.release()


def reader_of(
    job_list: Lists, redactor: Redactor, *, has_links: bool
) -> Callable[[], Iterable[RecentJob]]:
    """Return a function that reads the newest jobs.

    Args:
        job_list: reads MLflow.
        redactor: masks secrets in names.
        has_links: whether other people can open MLflow's pages.
    """

    def shown(line: JobLine) -> RecentJob:
        job_url = line.job_url or ""
        safe = replace(
            line,
            name=redactor.line(line.name, 100),
            url=line.url if has_links else "",
            # Untrusted: anyone who can write to MLflow may have written it.
            job_url=redactor.line(job_url, 500) if job_url.startswith(_WEB) else None,
        )
        return RecentJob(safe, job_list.curve(line, line.train_metric or line.valid_metric))

    return lambda: map(shown, job_list.lines(_SHOWN))
