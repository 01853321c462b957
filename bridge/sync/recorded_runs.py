"""MLflow's runs of one provider's jobs, as a pass reads them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.plan.ownership import Ownership, resolve
from bridge.plan.recorded import RecordedRun
from bridge.sync.history import History, Pages
from bridge.sync.job_sync import JobSync
from bridge.sync.lineage import Lineage
from bridge.sync.memory import Memory
from bridge.sync.report import Selection
from bridge.sync.shutdown_dates import ShutdownDates

LOOKUPS: Final = 20
"""Number of jobs or models up to which they are searched one by one; for more, all runs are
read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRuns:
    """Reads the runs of a provider; a process reads the whole history once."""

    job_sync: JobSync
    memory: Memory
    lineage: Lineage
    dates: ShutdownDates

    def open_experiments(self, *, is_dry: bool) -> None:
        """Find the configured experiments; a job's first run creates a missing one."""
        for name in self.job_sync.finder.router.experiments:
            if found := self.job_sync.experiments.open(name, create=False, is_dry=is_dry):
                self.memory.places[name] = found

    def begin(self, selection: Selection, tell: Callable[[Ownership], object]) -> History:
        """Return the runs for a pass: the first pass reads all runs, later ones only open runs.

        The first page is read immediately.
        """
        memory = self.memory
        self._learn_dates(self.dates.refresh())
        if selection.job_ids or (memory.has_read_runs and not memory.open):
            history = History(memory=memory)
            tell(history.owned)
        elif memory.has_read_runs:
            history = History(memory=memory, owned=self._open_ones([*memory.places.values()]))
            tell(history.owned)
        else:
            history = self._unread([*memory.places.values()], tell)
            history.read_page()
            if not history.is_read and selection.is_everything:
                history.take_up(self._open_runs([*memory.places.values()]))
        return history

    def place(self, experiment: str, history: History, *, is_dry: bool) -> str | None:
        """Return the id of a job's experiment. The runs of a new one join ``history``.

        Returns ``None`` if it does not exist and nothing is to be written.

        Raises:
            TrackingDown: the configuration names it, and it cannot be used.
            TrackingError: only a job's metadata names it, and it cannot be used.
        """
        places = self.memory.places
        if experiment not in places:
            found = self.job_sync.experiments.open(experiment, create=True, is_dry=is_dry)
            if found is None:
                return None
            places[experiment] = found
            if not history.is_read:
                history.add(self._pages([found]))
            elif history.owned.is_complete:
                history.owned.add(self._all([found]))
            else:
                history.owned.add(self._open_ones([found]))
        return places[experiment]

    def of_jobs(self, job_ids: Iterable[str]) -> Iterator[RecordedRun]:
        """Yield the runs of some jobs."""
        places, wanted = self.memory.experiment_ids, sorted(job_ids)
        tracking, name = self.job_sync.tracking, self.job_sync.name
        if len(wanted) > LOOKUPS:
            runs = tracking.runs(places, name)
            yield from (run for run in runs if run.job_id in set(wanted))
            return
        for job_id in wanted:
            yield from tracking.runs(places, name, job_id=job_id)

    def _open_ones(self, places: Sequence[str]) -> Ownership:
        owned = resolve(self._open_runs(places))
        self.memory.learn_runs(owned)
        return owned

    def _open_runs(self, places: Sequence[str]) -> Iterator[RecordedRun]:
        return self.job_sync.tracking.runs(places, self.job_sync.name, only_open=True)

    def _all(self, places: Sequence[str]) -> Ownership:
        history = self._unread(places, lambda _owned: None)
        while not history.is_read:
            history.read_page()
        return history.owned

    def _unread(self, places: Sequence[str], tell: Callable[[Ownership], object]) -> History:
        pages = self._pages(places)
        return History(memory=self.memory, pages=pages, learn=self._learn, tell=tell)

    def _pages(self, places: Sequence[str]) -> Pages:
        # An experiment that a dry run would create has no runs.
        if not places:
            return iter([(iter(()), True)])
        return self.job_sync.tracking.pages(places, self.job_sync.name)

    def _learn(self, run: RecordedRun) -> None:
        self.lineage.learn(run)
        self.dates.learn(run)

    def _learn_dates(self, models: frozenset[str]) -> None:
        """Find the runs of models whose shutdown date has changed."""
        places = self.memory.experiment_ids
        tracking, name = self.job_sync.tracking, self.job_sync.name
        if len(models) > LOOKUPS:
            for run in tracking.runs(places, name):
                self.dates.learn(run)
            return
        for model in sorted(models):
            # A model without a date ends with the model that it was trained from.
            made = tracking.runs(places, name, model=model)
            trained_from = tracking.runs(places, name, base_model=model)
            for run in itertools.chain(made, trained_from):
                self.dates.learn(run)
