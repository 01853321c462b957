"""MLflow's runs of one provider's jobs, as a pass reads them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.plan.ownership import Ownership, resolve
from bridge.plan.recorded import RecordedRun
from bridge.sync.job_sync import JobSync
from bridge.sync.lineage import Lineage
from bridge.sync.memory import Memory
from bridge.sync.report import Selection
from bridge.sync.shutdown_dates import ShutdownDates

_LOOKUPS: Final = 20
"""Up to this many jobs or models are looked up one by one; for more, all runs are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRuns:
    """Reads the runs; the first reading of a process is of the whole history."""

    job_sync: JobSync
    memory: Memory
    lineage: Lineage
    dates: ShutdownDates

    def open_experiments(self, *, is_dry: bool) -> None:
        """Find the experiments that the configuration names, and create the provider's own."""
        router = self.job_sync.finder.router
        for name in router.experiments:
            creates = name == router.experiment
            if found := self.job_sync.experiments.open(name, create=creates, is_dry=is_dry):
                self.memory.places[name] = found

    def read_ownership(self, selection: Selection) -> Ownership:
        """Return who owns which job: of all runs in the first pass, later of those still open."""
        memory = self.memory
        self._learn_dates(self.dates.refresh())
        if selection.job_ids or (memory.has_read_runs and not memory.open):
            return Ownership()
        owned = self._owned([*memory.places.values()], is_first=not memory.has_read_runs)
        memory.has_read_runs = True
        return owned

    def place(self, experiment: str, owned: Ownership, *, is_dry: bool) -> str | None:
        """Return the id of a job's experiment. The runs of a new one join ``owned``.

        Returns ``None`` where it does not exist and nothing is to be written.

        Raises:
            TrackingDown: the configuration names it, and it cannot be used.
            TrackingError: only a job's metadata does.
        """
        places = self.memory.places
        if experiment not in places:
            found = self.job_sync.experiments.open(experiment, create=True, is_dry=is_dry)
            if found is None:
                return None
            places[experiment] = found
            owned.add(self._owned([found], is_first=owned.is_complete))
        return places[experiment]

    def of_jobs(self, job_ids: Iterable[str]) -> Iterator[RecordedRun]:
        """Yield the runs of some jobs."""
        places, wanted = self.memory.experiment_ids, sorted(job_ids)
        tracking, name = self.job_sync.tracking, self.job_sync.name
        if len(wanted) > _LOOKUPS:
            runs = tracking.runs(places, name)
            yield from (run for run in runs if run.job_id in set(wanted))
            return
        for job_id in wanted:
            yield from tracking.runs(places, name, job_id=job_id)

    def _owned(self, places: Sequence[str], *, is_first: bool) -> Ownership:
        runs = self.job_sync.tracking.runs(places, self.job_sync.name, only_open=not is_first)
        owned = resolve(self._learned(runs) if is_first else runs, is_complete=is_first)
        self.memory.learn_runs(owned)
        return owned

    def _learned(self, runs: Iterable[RecordedRun]) -> Iterator[RecordedRun]:
        for run in runs:
            self.lineage.learn(run)
            self.dates.learn(run)
            yield run

    def _learn_dates(self, models: frozenset[str]) -> None:
        """Find the runs of models whose shutdown date is another one since yesterday."""
        places = self.memory.experiment_ids
        tracking, name = self.job_sync.tracking, self.job_sync.name
        if len(models) > _LOOKUPS:
            for run in tracking.runs(places, name):
                self.dates.learn(run)
            return
        for model in sorted(models):
            # A model without a date of its own goes with the one that it was trained from.
            made = tracking.runs(places, name, model=model)
            trained_from = tracking.runs(places, name, base_model=model)
            for run in itertools.chain(made, trained_from):
                self.dates.learn(run)
