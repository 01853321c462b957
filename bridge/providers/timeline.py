"""Place the steps of a curve between the known times of a job. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from bridge.model import Job, JobStatus


class Timeline:
    """The times of steps, interpolated between the known times."""

    def __init__(self, job: Job, known: Iterable[tuple[int, int | None]]) -> None:
        moments: dict[int, int] = {}
        for step, timestamp in known:
            if timestamp is not None:
                moments.setdefault(step, timestamp)
        if job.created_at is not None:
            moments.setdefault(0, job.created_at)
        self._steps = sorted(moments)
        self._times = [moments[step] for step in self._steps]
        # A step that was published late was trained before the next known step.
        for place in range(len(self._times) - 1, 0, -1):
            self._times[place - 1] = min(self._times[place - 1 : place + 1])
        self._end = job.finished_at

    def ending_at(self, last_step: int) -> Timeline:
        """Return this timeline with the job's end for ``last_step``, if that has no time."""
        if self._end is not None and (not self._steps or self._steps[-1] < last_step):
            self._steps.append(last_step)
            self._times.append(self._end)
        return self

    def at(self, step: int) -> int | None:
        """Return the time of a step, Unix milliseconds in whole seconds; ``None`` if unknown."""
        if not self._steps:
            return None
        right = bisect.bisect_left(self._steps, step)
        if right == len(self._steps):
            return self._times[-1]
        if right == 0 or self._steps[right] == step:
            return self._times[right]
        (step_0, step_1), (time_0, time_1) = (
            self._steps[right - 1 : right + 1],
            self._times[right - 1 : right + 1],
        )
        return time_0 + (time_1 - time_0) * (step - step_0) // (step_1 - step_0) // 1000 * 1000


def steps_of(job: Job, steps: Iterable[int]) -> int | None:
    """Return a job's number of steps: as given, or the last of ``steps`` if it succeeded."""
    if job.total_steps or job.status is not JobStatus.SUCCEEDED:
        return job.total_steps
    return max((step for step in steps if step > 0), default=None)
