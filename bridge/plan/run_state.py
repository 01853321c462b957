"""The status, start, last sign of life, and end of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bridge.model import JobStatus, Snapshot
from bridge.plan import tags as run_tags
from bridge.plan.incomplete import PATIENCE
from bridge.plan.recorded import RecordedRun

RUN_STATUS: Final[Mapping[JobStatus, str]] = {
    JobStatus.VALIDATING: "SCHEDULED",
    JobStatus.QUEUED: "SCHEDULED",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSED: "RUNNING",
    JobStatus.UNKNOWN: "RUNNING",
    JobStatus.SUCCEEDED: "FINISHED",
    JobStatus.ENDED: "FINISHED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "KILLED",
}
NEW_RUN_STATUS: Final = "RUNNING"
"""Status that MLflow gives a new run."""
CLOCK_SKEW: Final = 24 * 3_600_000
"""Longest credible distance of a time into the future in milliseconds."""
SETTLING: Final = 5 * 60_000
"""Time in milliseconds for which a successful job's checkpoints are awaited; OpenAI publishes them
some seconds after the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The state of a run once a plan is written."""

    start_time: int
    """Start of the run, Unix milliseconds."""
    end_time: int | None
    """End of the run, Unix milliseconds; ``None``: it has not ended."""
    status: str | None
    """New status of the run; ``None``: unchanged."""
    is_settling: bool
    """Whether the job has ended but its last data is still to come."""
    is_final: bool
    """Whether MLflow has everything."""


def state_of(
    snapshot: Snapshot, recorded: RecordedRun | None, *, is_awaited: bool, now: int
) -> RunState:
    """Return the state of a run.

    Args:
        snapshot: the provider's data.
        recorded: the job's run in MLflow; ``None``: no run yet.
        is_awaited: whether the next pass reads a part of the job again.
        now: Unix milliseconds.
    """
    has_ended = snapshot.job.status.is_final
    start = start_of(snapshot, recorded, now)
    settles = is_settling(snapshot, now)
    is_open = settles or (is_awaited and not has_long_ended(snapshot, start, now))
    is_final = has_ended and not settles and not is_awaited
    return RunState(
        start_time=start,
        end_time=end_of(snapshot, start, now) if has_ended and not is_open else None,
        status=status_of(snapshot, recorded, is_open=is_open, is_final=is_final),
        is_settling=settles,
        is_final=is_final,
    )


def status_of(
    snapshot: Snapshot, recorded: RecordedRun | None, *, is_open: bool, is_final: bool
) -> str | None:
    """Return the new status of a run; ``None`` if it is unchanged.

    Args:
        snapshot: the provider's data.
        recorded: the job's run in MLflow; ``None``: no run yet.
        is_open: whether the run of a job that has ended is still shown as running.
        is_final: whether MLflow has everything once the plan is written.
    """
    status = snapshot.job.status
    wanted = RUN_STATUS[JobStatus.RUNNING if is_open and status.is_final else status]
    current = recorded.status if recorded else NEW_RUN_STATUS
    if recorded is not None and recorded.is_adopted and wanted == "SCHEDULED":
        return None  # its user has already started it
    if is_final and last_tags(recorded):
        return wanted  # its user may have ended it long before the job ended
    return wanted if wanted != current else None


def last_tags(recorded: RecordedRun | None) -> dict[str, str]:
    """Return the tags that mark a user's run as complete."""
    if recorded is None or not recorded.is_adopted:
        return {}
    done = recorded.tags.get(run_tags.BRIDGE) == run_tags.COMPLETED
    return {} if done else {run_tags.BRIDGE: run_tags.COMPLETED}


def is_time(timestamp: int, now: int) -> bool:
    """Return whether ``timestamp`` is credible at ``now``, both in Unix milliseconds."""
    return 0 < timestamp <= now + CLOCK_SKEW


def times(snapshot: Snapshot, now: int) -> list[int]:
    """Return every credible time that the provider gives for the job."""
    job = snapshot.job
    moments = [job.created_at, job.finished_at]
    moments += [checkpoint.created_at for checkpoint in snapshot.checkpoints]
    moments += [point.created_at for point in snapshot.curve]
    return [time for time in moments if time is not None and is_time(time, now)]


def is_settling(snapshot: Snapshot, now: int) -> bool:
    """Return whether a job has just succeeded and its checkpoints are still to come."""
    job = snapshot.job
    if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
        return False
    if snapshot.checkpoints or snapshot.is_whole:
        return False
    # Refused checkpoints do not come later.
    if any(part.name == "checkpoints" and part.is_lasting for part in snapshot.missing):
        return False
    # Either clock may be slightly ahead.
    return -CLOCK_SKEW < now - job.finished_at < SETTLING


def has_long_ended(snapshot: Snapshot, start: int, now: int) -> bool:
    """Return whether a job ended so long ago that its run should not look running."""
    return now - end_of(snapshot, start, now) >= PATIENCE


def start_of(snapshot: Snapshot, recorded: RecordedRun | None, now: int) -> int:
    """Return the start of the run: as recorded, else the job's creation."""
    if recorded is not None:
        return recorded.start_time
    created = snapshot.job.created_at
    if created is not None and is_time(created, now):
        return created
    return min(times(snapshot, now), default=now)


def end_of(snapshot: Snapshot, start: int, now: int) -> int:
    """Return the end of the job, or its last known time, as failed jobs often give no end."""
    finished = snapshot.job.finished_at
    if finished is not None and is_time(finished, now):
        return max(start, finished)
    return max([start, *times(snapshot, now)])


def last_sign(run: RecordedRun) -> int:
    """Return a job's last sign of life, or its start, in Unix milliseconds."""
    return max(run.start_time, _training_began(run), *(time for _, time in run.newest.values()))


def is_training(run: RecordedRun) -> bool:
    """Return whether a job is training according to its run; a paused job is not."""
    state = run.tags.get(run_tags.STATE)
    return run.status == "RUNNING" and state in {None, JobStatus.RUNNING}


def _training_began(run: RecordedRun) -> int:
    try:
        return int(datetime.fromisoformat(run.tags[run_tags.STARTED]).timestamp() * 1000)
    except (KeyError, ValueError, OverflowError):
        return 0
