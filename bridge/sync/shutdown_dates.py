"""Shutdown dates of models, requested once a day and added to runs that have everything else.

Providers announce them at any time, even long after a job's run is final.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bridge.model import Job, JobStatus
from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.providers.base import Provider, shutdowns_of
from bridge.providers.model_shutdowns import shutdown_of
from bridge.tracking import Tracking

_DAY_MS: Final = 86_400_000


class ShutdownDates:
    """The dates of one provider, and the runs that lack theirs."""

    def __init__(self, provider: Provider, tracking: Tracking, now: Callable[[], int]) -> None:
        self._provider = provider
        self._tracking = tracking
        self._now = now
        self._dates: Mapping[str, int] = {}
        self._asked_at: int | None = None
        self._late: dict[str, str] = {}
        """Day for each run, by run id."""

    def refresh(self) -> frozenset[str]:
        """Request the dates again after a day; return the models whose date has changed."""
        if self._asked_at is None:
            return frozenset()  # the first reader requests the dates
        before, now = self._dates, self.dates()
        return frozenset(
            model for model in before.keys() | now.keys() if before.get(model) != now.get(model)
        )

    def dates(self) -> Mapping[str, int]:
        """Return the shutdown times of models as of today, Unix milliseconds."""
        now = self._now()
        # A clock that is set back must not keep old dates for longer than a day.
        if self._asked_at is None or abs(now - self._asked_at) >= _DAY_MS:
            found = shutdowns_of(self._provider)
            # If the list cannot be read today, yesterday's dates remain valid.
            self._dates = self._dates if found is None else found
            self._asked_at = now
        return self._dates

    def needed_for(self, listed: Job | None) -> Mapping[str, int] | None:
        """Return the dates for reading a job; ``None`` while they are not worth a request."""
        is_over = listed is None or listed.status is JobStatus.SUCCEEDED
        return self.dates() if is_over or self._asked_at is not None else None

    def learn(self, run: RecordedRun) -> None:
        """Record a run that MLflow has already."""
        model = run.tags.get(tags.MODEL)
        if model is None or run.is_deleted or not run.is_final:
            return
        day = tags.day(shutdown_of(self.dates(), model, run.tags.get(tags.BASE_MODEL)))
        if day is not None and day != run.tags.get(tags.SHUTDOWN):
            self._late[run.run_id] = day

    def write(self) -> None:
        """Tag the runs with their dates.

        Raises:
            TrackingError: MLflow refused it; the next pass tries again.
        """
        while self._late:
            run_id, day = next(iter(self._late.items()))
            self._tracking.tag(run_id, tags.SHUTDOWN, day)
            del self._late[run_id]
