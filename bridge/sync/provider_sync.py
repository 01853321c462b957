"""One pass over one provider: what the daemon repeats and ``backfill`` makes once.

::

    list jobs ──> choose ──> read ──> make_plan ──> record ... finish ──> delete duplicates
                    ^                    ^             │
                    └───── ownership <── MLflow's runs ┘

The first pass of a process reads the whole history, MLflow's and the provider's. Later passes read
the list until a page holds only settled jobs, and open jobs beyond it one by one. At its end a pass
links runs that start from each other's models, and adds shutdown dates that were announced after a
run was final. A dry run stops before anything is written.

A pass neither waits nor logs: its handlers get events, its caller a report.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

from bridge import errors
from bridge.model import Job
from bridge.plan.ownership import Deletion, Fate, Ownership, may_delete, resolve
from bridge.plan.recorded import RecordedRun
from bridge.sync.events import Handler, JobDone, JobsChosen, RunDeleted, RunsRead
from bridge.sync.find_run import Existing, Found, Missing, Settled
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.lineage import Lineage
from bridge.sync.memory import Memory, choose
from bridge.sync.outcome import Failed, Outcome, Result, Synced
from bridge.sync.report import Report, Selection
from bridge.sync.shutdown_dates import ShutdownDates
from bridge.sync.workers import WorkerPool
from bridge.tracking import METRICS

_MORE_ROUNDS: Final = 3
"""How often a pass takes up again a job whose run turned out to be another process's."""
_LOOKUPS: Final = 20
"""Up to this many jobs or models are looked up one by one; for more, all runs are read."""

Jobs = Iterable[tuple[str, Job | None]]
"""Ids of jobs to read, with what the list says of them."""


def no_handler(_event: object) -> None:
    """Handle nothing."""


class ProviderSync:
    """The passes over one provider. Not for use from several threads at once."""

    def __init__(
        self,
        job_sync: JobSync,
        *,
        executor: Executor,
        work: Callable[[Task], Outcome] | None = None,
    ) -> None:
        """Make passes.

        Args:
            job_sync: syncs one job, and has the parts that a pass needs too.
            executor: where jobs are synced.
            work: what is called there instead of ``job_sync``; on a cluster another process does
                it, with connections of its own.
        """
        self.name = job_sync.name
        self.job_sync = job_sync
        self.executor = executor
        self._provider = job_sync.provider
        self._tracking = job_sync.tracking
        self._router = job_sync.finder.router
        self._work = work or job_sync
        self._memory = Memory()
        self._lineage = Lineage(self.name, self._tracking)
        self._dates = ShutdownDates(job_sync.provider, self._tracking, job_sync.now)

    def run(
        self,
        selection: Selection | None = None,
        *,
        dry_run: bool = False,
        handler: Handler = no_handler,
    ) -> Report:
        """Make one pass.

        A job's failure is in the report, and the others go on. Where nothing more can be done the
        report says why; the next pass goes on from there.
        """
        report = Report(provider=self.name, is_dry=dry_run)
        try:
            self._pass(selection or Selection(), report, handler)
        except errors.BridgeError as error:
            report.stopped = error
        except Exception as error:  # noqa: BLE001 - a defect must not end the daemon without a word
            report.stopped = errors.unexpected(error)
        report.open = len(self._memory.open)
        return report

    def _pass(self, selection: Selection, report: Report, handler: Handler) -> None:
        self._open_experiments(report)
        owned = self._read_ownership(selection)
        handler(RunsRead(self.name, owned))
        again = self._round(self._chosen(selection, report, handler), owned, report, handler)
        for _ in range(_MORE_ROUNDS):
            if again:
                jobs = [(job_id, None) for job_id in sorted(again)]
                again = self._round(jobs, Ownership(), report, handler)
        for job_id in sorted(again):
            contested = errors.RunChanged("Other processes keep changing its run")
            failed = Failed(provider=self.name, job_id=job_id, error=contested)
            self._count(failed, report, handler)
        self._delete_duplicates(report, handler)
        if not report.is_dry:
            self._lineage.write(self._memory.experiment_ids)
            self._dates.write()

    def _round(self, jobs: Jobs, owned: Ownership, report: Report, handler: Handler) -> set[str]:
        """Sync jobs; return those whose run turned out to be another process's."""
        created: dict[str, Synced] = {}
        again: set[str] = set()
        pool = WorkerPool(self.executor, self._work)
        try:
            for outcome in pool.outcomes(self._tasks(jobs, owned, report)):
                if isinstance(outcome.error, errors.RunChanged):
                    again.add(outcome.job_id)
                    continue
                if isinstance(outcome, Synced) and outcome.run_id and outcome.plan.is_new:
                    created[outcome.run_id] = outcome
                self._count(outcome, report, handler)
        finally:
            report.unreached += pool.unreached
            if created:
                again |= self._lost_races(created, report, handler)
        return again

    def _count(self, outcome: Outcome, report: Report, handler: Handler) -> None:
        if not report.is_dry:
            self._memory.learn(outcome)
            if isinstance(outcome, Synced):
                self._lineage.learn_outcome(outcome)
        report.add(outcome)
        handler(JobDone(outcome))

    # What MLflow has

    def _open_experiments(self, report: Report) -> None:
        """Find the experiments that the configuration names, and create the provider's own."""
        for name in self._router.experiments:
            found = self._experiment(name, create=name == self._router.experiment, report=report)
            if found:
                self._memory.places[name] = found

    def _experiment(self, name: str, *, create: bool, report: Report) -> str | None:
        return self._tracking.experiment(
            name,
            create=create and not report.is_dry,
            metrics=self.job_sync.options.losses or METRICS,
            one_job=name not in self._router.experiments,
        )

    def _read_ownership(self, selection: Selection) -> Ownership:
        """Return who owns which job: of all runs in the first pass, later of those still open."""
        memory = self._memory
        self._learn_dates(self._dates.refresh())
        if selection.job_ids or (memory.has_read_runs and not memory.open):
            return Ownership()
        owned = self._owned([*memory.places.values()], is_first=not memory.has_read_runs)
        memory.has_read_runs = True
        return owned

    def _owned(self, places: Sequence[str], *, is_first: bool) -> Ownership:
        runs = self._tracking.runs(places, self.name, only_open=not is_first)
        owned = resolve(self._learned(runs) if is_first else runs, is_complete=is_first)
        self._memory.learn_runs(owned)
        return owned

    def _learned(self, runs: Iterable[RecordedRun]) -> Iterator[RecordedRun]:
        for run in runs:
            self._lineage.learn(run)
            self._dates.learn(run)
            yield run

    def _learn_dates(self, models: frozenset[str]) -> None:
        """Find the runs of models whose shutdown date is another one since yesterday."""
        places = self._memory.experiment_ids
        if len(models) > _LOOKUPS:
            for run in self._tracking.runs(places, self.name):
                self._dates.learn(run)
            return
        for model in sorted(models):
            # A model without a date of its own goes with the one that it was trained from.
            made = self._tracking.runs(places, self.name, model=model)
            trained_from = self._tracking.runs(places, self.name, base_model=model)
            for run in itertools.chain(made, trained_from):
                self._dates.learn(run)

    def _runs_of(self, job_ids: Iterable[str]) -> Iterator[RecordedRun]:
        """Yield the runs of some jobs."""
        places, wanted = self._memory.experiment_ids, sorted(job_ids)
        if len(wanted) > _LOOKUPS:
            runs = self._tracking.runs(places, self.name)
            yield from (run for run in runs if run.job_id in set(wanted))
            return
        for job_id in wanted:
            yield from self._tracking.runs(places, self.name, job_id=job_id)

    # Which jobs

    def _chosen(self, selection: Selection, report: Report, handler: Handler) -> Jobs:
        """Yield the jobs that need to be read, with what the list already says of them."""
        memory = self._memory
        if selection.job_ids:
            handler(JobsChosen(self.name, len(selection.job_ids)))
            yield from ((job_id, None) for job_id in selection.job_ids)
            return
        seen: set[str] = set()
        before = 0
        for page in self._provider.pages():
            self.job_sync.stop_if_asked()
            report.failures += [("", errors.BadReply(reason)) for reason in page.unreadable]
            # A job that appears while pages are read shifts others onto the next one.
            fresh = {job.id: job for job in page.jobs if job.id not in seen}
            seen |= fresh.keys()
            chosen = choose([*fresh.values()], memory, selection, before=before)
            before += len(chosen.due) + chosen.unchanged
            memory.open.update(job.id for job in chosen.due)
            report.jobs[Result.UNCHANGED] += chosen.unchanged
            handler(JobsChosen(self.name, len(chosen.due)))
            yield from ((job.id, job) for job in chosen.due)
            if chosen.is_last:
                break
        if selection.is_everything:
            memory.has_listed_all = True
            beyond = sorted(memory.open - seen)
            handler(JobsChosen(self.name, len(beyond)))
            yield from ((job_id, None) for job_id in beyond)

    def _tasks(self, jobs: Jobs, owned: Ownership, report: Report) -> Iterator[Task]:
        for job_id, listed in jobs:
            self.job_sync.stop_if_asked()
            yield Task(
                provider=self.name,
                job_id=job_id,
                listed=listed,
                found=self._found(job_id, listed, owned, report),
                logged=self._memory.logged.get(job_id),
                shutdowns=self._dates.needed_for(listed),
                is_dry=report.is_dry,
            )

    def _found(
        self, job_id: str, listed: Job | None, owned: Ownership, report: Report
    ) -> Found | None:
        """Return a job's run as far as ``owned`` says; ``None``: the worker asks MLflow."""
        route = self._router.route(listed) if listed else None
        try:
            place = self._place(route.experiment, owned, report) if route else None
        except errors.TrackingDown:
            raise
        except errors.TrackingError:
            return None  # the worker meets it too: it costs this job, not the pass
        if job_id in owned.open:
            return Existing(run=owned.open[job_id])
        if job_id in owned.run_ids:
            return Settled(run_id=owned.run_ids[job_id])
        if route is None or not owned.is_complete:
            return None  # its run may be one of those that were not read
        if job_id in owned.settled:
            return Settled()
        # The worker reads the run that the job's metadata names.
        return None if route.run_id else Missing(route=route, experiment_id=place)

    def _place(self, experiment: str, owned: Ownership, report: Report) -> str | None:
        """Return the id of the experiment of a job. Those of its runs join ``owned`` if new."""
        places = self._memory.places
        if experiment not in places:
            found = self._experiment(experiment, create=True, report=report)
            if found is None:
                return None
            places[experiment] = found
            owned.add(self._owned([found], is_first=owned.is_complete))
        return places[experiment]

    # Duplicates

    def _lost_races(
        self, created: Mapping[str, Synced], report: Report, handler: Handler
    ) -> set[str]:
        """Return the jobs that another process created a run for meanwhile, which owns the job.

        The runs that this pass created for them, and other duplicates of theirs, go at once.
        """
        ours = {outcome.job_id: run_id for run_id, outcome in created.items()}
        starts = {run_id: outcome.plan.start_time for run_id, outcome in created.items()}
        others = self._tracking.others(self._memory.experiment_ids, self.name, starts)
        contested = {run.job_id for run in others} & ours.keys()
        owned = resolve(self._runs_of(contested))
        lost = {job_id for job_id in contested if owned.run_ids.get(job_id) != ours[job_id]}
        owners = {ours[job_id]: owned.run_ids[job_id] for job_id in lost & owned.run_ids.keys()}
        deletions = {each.run_id: each for each in owned.deletions()}
        waiting = {each.run_id for each in owned.duplicates if each.fate is Fate.WAITS}
        for run_id in owners.keys() - waiting:
            # Another process may have deleted it already, and this one written to it since.
            lost_to = f"run {owners[run_id]} owns its job"
            deletions.setdefault(run_id, Deletion(run_id, created[run_id].job_id, lost_to))
        self._delete(deletions.values(), report, handler)
        self._memory.waiting |= owned.jobs_with(Fate.WAITS)
        self._lineage.owned_by(owners)
        self._memory.settled -= lost
        return lost

    def _delete_duplicates(self, report: Report, handler: Handler) -> None:
        """Delete the duplicates of jobs, which are read again first: the world has moved on.

        Those that wait are read once their owner is final, or their provider forgot the job.
        """
        memory = self._memory
        due = memory.duplicated | (memory.waiting & (memory.settled | memory.vanished))
        owned = resolve(self._runs_of(due))
        deletions = [*owned.deletions(memory.vanished)]
        if may_delete(len(deletions), len(memory.settled) + len(memory.open)):
            self._delete(deletions, report, handler)
        else:
            report.withheld += deletions
        if not report.is_dry:
            memory.duplicated.clear()
            memory.waiting -= due
            memory.waiting |= owned.jobs_with(Fate.WAITS) - memory.vanished

    def _delete(self, deletions: Iterable[Deletion], report: Report, handler: Handler) -> None:
        """Delete runs: the only place of a pass that does."""
        for deletion in deletions:
            if not report.is_dry:
                self._tracking.delete([deletion.run_id])
                handler(RunDeleted(self.name, deletion))
            report.deleted.append(deletion)
