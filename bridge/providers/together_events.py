"""The events of Together's jobs, which contain data for which jobs have no field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar, Final

from bridge.model import Job, JobStatus
from bridge.providers.records import Record, is_step, read_rows, reply_of
from bridge.providers.timeline import steps_of
from bridge.providers.times import Moment

_ENDS: Final[Mapping[str, JobStatus]] = {
    "job_complete": JobStatus.SUCCEEDED,
    "job_completed": JobStatus.SUCCEEDED,
    "job_error": JobStatus.FAILED,
    "job_user_error": JobStatus.FAILED,
    "job_failed": JobStatus.FAILED,
    "job_stopped": JobStatus.CANCELLED,
    "job_cancelled": JobStatus.CANCELLED,
    "job_canceled": JobStatus.CANCELLED,
}
"""Types of events that end a job."""
_FAILURES: Final = frozenset(
    {kind for kind, status in _ENDS.items() if status is JobStatus.FAILED} | {"billing_limit"}
)


class EventRecord(Record):
    """An event of a job."""

    wire_name: ClassVar = "event"

    created_at: Moment = None
    type: str | None = None
    level: str | None = None
    message: str | None = None
    total_steps: int | None = None

    @property
    def kind(self) -> str:
        """Type in the present API's spelling; earlier it was in capital letters."""
        return (self.type or "").strip().lower().replace("-", "_")

    @property
    def is_error(self) -> bool:
        """Whether the event reports a failure."""
        return self.kind in _FAILURES or (self.level or "").lower().endswith("error")


def with_events(
    job: Job,
    rows: list[object],
    skipped: list[str],
    *,
    statuses: Mapping[str, JobStatus],
    steps: Iterable[int],
) -> Job:
    """Return the job, completed from its events.

    Args:
        job: The job from its own reply.
        rows: The events.
        skipped: Receives a sentence for each event that cannot be read.
        statuses: The known words; the event that ends a job overrides an unknown word.
        steps: Steps with metrics, which give the job's length if no event does.
    """
    records, unreadable = read_rows(EventRecord, rows)
    skipped += unreadable
    events = [record for record, _ in records]
    end = _end_of(events)
    if end is not None and statuses.get(job.provider_status) is None:
        named = reply_of(job).get("model_output_name")
        has_model = named and end[0] is JobStatus.SUCCEEDED
        job = replace(job, status=end[0], fine_tuned_model=str(named) if has_model else None)
    is_final = job.status.is_final
    # While training may still begin, the job's own start does not replace its time.
    started_at = _first(events, "job_start") if is_final else None
    return replace(
        job,
        started_at=_first(events, "training_start") or started_at,
        finished_at=((end[1] if end else None) or job.finished_at) if is_final else None,
        total_steps=_total_steps(events) or steps_of(job, steps),
        error=_failure(events) if job.status is JobStatus.FAILED else None,
    )


def _total_steps(events: Iterable[EventRecord]) -> int | None:
    """Return the job's number of steps, if one of ``events`` contains it."""
    given = (event.total_steps for event in events)
    return max((steps for steps in given if steps and steps > 0 and is_step(steps)), default=None)


def _first(events: Iterable[EventRecord], kind: str) -> int | None:
    """Return the time of the first event of a type in Unix milliseconds."""
    times = (event.created_at for event in events if event.kind == kind and event.created_at)
    return min(times, default=None)


def _end_of(events: Iterable[EventRecord]) -> tuple[JobStatus, int | None] | None:
    """Return the status and time (Unix milliseconds) of a job's end, if an event has them."""
    ends = [event for event in events if event.kind in _ENDS]
    if not ends:
        return None
    newest = max(ends, key=lambda event: event.created_at or 0)
    return _ENDS[newest.kind], newest.created_at


def _failure(events: Iterable[EventRecord]) -> str | None:
    """Return the message of the newest error, for which the job has no field."""
    errors = [event for event in events if event.is_error and event.message]
    # An error that ended the job says more than an earlier warning.
    return max(errors, key=_weight).message if errors else None


def _weight(event: EventRecord) -> tuple[bool, int]:
    return event.kind in _FAILURES, event.created_at or 0
