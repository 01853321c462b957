"""Complete runs, read in batches although they are requested one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Final

from bridge.plan.recorded import RecordedRun
from bridge.tracking import Tracking

BATCH: Final = 100
"""Number of runs in one search."""
_HELD: Final = 10 * BATCH
"""Number of runs that are held until requested; a complete run may be large."""


class RunBatches:
    """Reads the runs of a provider's jobs in batches. Thread-safe.

    Args:
        tracking: MLflow.
        experiment_ids: experiments to search.
        run_ids: the runs that will be requested, in about this order.
    """

    def __init__(
        self, tracking: Tracking, experiment_ids: Sequence[str], run_ids: Iterable[str]
    ) -> None:
        self._tracking = tracking
        self._experiment_ids = experiment_ids
        self._run_ids = [*run_ids]
        self._places = {run_id: place for place, run_id in enumerate(self._run_ids)}
        self._read: dict[str, RecordedRun] = {}
        self._batches_read: set[int] = set()
        self._lock = threading.Lock()

    def take(self, run_id: str) -> RecordedRun | None:
        """Return a run, deleted or not; ``None`` if it does not exist."""
        with self._lock:
            if run_id in self._places:
                self._read_batch(self._places[run_id] // BATCH)
            found = self._read.pop(run_id, None)
        # It is requested again, or it is in an experiment that only its job names.
        return found or self._tracking.run(run_id)

    def _read_batch(self, number: int) -> None:
        if number in self._batches_read:
            return
        self._batches_read.add(number)
        if len(self._read) > _HELD:
            self._read.clear()
        wanted = self._run_ids[number * BATCH : (number + 1) * BATCH]
        found = self._tracking.runs_by_id(self._experiment_ids, wanted)
        self._read |= {run.run_id: run for run in found}
