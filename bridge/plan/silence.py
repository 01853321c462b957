"""How long a job that trains has shown nothing new. Pure."""

from __future__ import annotations

from datetime import datetime

from bridge.model import JobStatus
from bridge.plan import tags
from bridge.plan.recorded import RecordedRun


def last_sign(run: RecordedRun) -> int:
    """Return when a job last showed something, or began, in Unix milliseconds."""
    return max(run.start_time, _started(run), *(time for _, time in run.newest.values()), 0)


def is_training(run: RecordedRun) -> bool:
    """Return whether a job trains, as far as its run says. A paused one does not."""
    state = run.tags.get(tags.STATE)
    return run.status == "RUNNING" and state in {None, JobStatus.RUNNING}


def _started(run: RecordedRun) -> int:
    try:
        return int(datetime.fromisoformat(run.tags[tags.STARTED]).timestamp() * 1000)
    except (KeyError, ValueError, OverflowError):
        return 0
