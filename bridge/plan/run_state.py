"""The status of a run, its start, its last sign of life, and its end. Pure."""

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
"""The status that MLflow gives a new run."""
CLOCK_SKEW: Final = 24 * 3_600_000
"""Milliseconds. A time further ahead than this is not a time."""
SETTLING: Final = 5 * 60_000
"""Milliseconds. OpenAI publishes a job's checkpoints some seconds after its success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """How far a run is once a plan is written."""

    start_time: int
    """Start of the run, Unix milliseconds."""
    end_time: int | None
    """Unix milliseconds; ``None``: the run has not ended."""
    status: str | None
    """The status that the run is to get; ``None``: it has it already."""
    is_settling: bool
    """Whether the job has ended but its last data is still to come."""
    is_final: bool
    """Whether MLflow has everything."""


def state_of(
    snapshot: Snapshot, recorded: RecordedRun | None, *, is_awaited: bool, now: int
) -> RunState:
    """Return how far a run is.

    Args:
        snapshot: what the provider says.
        recorded: what MLflow has; ``None``: no run yet.
        is_awaited: whether a part of the job is read again in the next pass.
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
    """Return the status that a run is to get; ``None`` where it has it already.

    Args:
        snapshot: what the provider says.
        recorded: what MLflow has; ``None``: no run yet.
        is_open: whether the run of a job that has ended is still shown as running.
        is_final: whether MLflow has everything once this is written.
    """
    status = snapshot.job.status
    wanted = RUN_STATUS[JobStatus.RUNNING if is_open and status.is_final else status]
    current = recorded.status if recorded else NEW_RUN_STATUS
    if recorded is not None and recorded.is_adopted and wanted == "SCHEDULED":
        return None  # its user has begun it already
    if is_final and last_tags(recorded):
        return wanted  # its user may have ended it long before the job
    return wanted if wanted != current else None


def last_tags(recorded: RecordedRun | None) -> dict[str, str]:
    """Return the tags that say that everything is in a run that a user created."""
    if recorded is None or not recorded.is_adopted:
        return {}
    done = recorded.tags.get(run_tags.BRIDGE) == run_tags.COMPLETED
    return {} if done else {run_tags.BRIDGE: run_tags.COMPLETED}


def is_time(timestamp: int, now: int) -> bool:
    """Whether ``timestamp`` can be believed at ``now``, both Unix milliseconds."""
    return 0 < timestamp <= now + CLOCK_SKEW


def times(snapshot: Snapshot, now: int) -> list[int]:
    """Return every credible moment that the provider gives of the job."""
    job = snapshot.job
    moments = [job.created_at, job.finished_at]
    moments += [checkpoint.created_at for checkpoint in snapshot.checkpoints]
    moments += [point.created_at for point in snapshot.curve]
    return [time for time in moments if time is not None and is_time(time, now)]


def is_settling(snapshot: Snapshot, now: int) -> bool:
    """Whether a job has only just succeeded and its checkpoints are still to come."""
    job = snapshot.job
    if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
        return False
    if snapshot.checkpoints or snapshot.is_whole:
        return False
    # Checkpoints that are refused do not come later.
    if any(part.name == "checkpoints" and part.is_lasting for part in snapshot.missing):
        return False
    # Either clock may be ahead a little.
    return -CLOCK_SKEW < now - job.finished_at < SETTLING


def has_long_ended(snapshot: Snapshot, start: int, now: int) -> bool:
    """Return whether nobody would take a job for running, whatever of it is still awaited."""
    return now - end_of(snapshot, start, now) >= PATIENCE


def start_of(snapshot: Snapshot, recorded: RecordedRun | None, now: int) -> int:
    """Return when the run starts: as recorded, else when the job was created."""
    if recorded is not None:
        return recorded.start_time
    created = snapshot.job.created_at
    if created is not None and is_time(created, now):
        return created
    return min(times(snapshot, now), default=now)


def end_of(snapshot: Snapshot, start: int, now: int) -> int:
    """Return when the job ended: failed jobs often do not say, then their last known moment."""
    finished = snapshot.job.finished_at
    if finished is not None and is_time(finished, now):
        return max(start, finished)
    return max([start, *times(snapshot, now)])


def last_sign(run: RecordedRun) -> int:
    """Return when a job last showed something, or began, in Unix milliseconds."""
    return max(run.start_time, _training_began(run), *(time for _, time in run.newest.values()), 0)


def is_training(run: RecordedRun) -> bool:
    """Return whether a job trains, as far as its run says. A paused one does not."""
    state = run.tags.get(run_tags.STATE)
    return run.status == "RUNNING" and state in {None, JobStatus.RUNNING}


def _training_began(run: RecordedRun) -> int:
    try:
        return int(datetime.fromisoformat(run.tags[run_tags.STARTED]).timestamp() * 1000)
    except (KeyError, ValueError, OverflowError):
        return 0
