"""One pass over one provider, which the daemon repeats and ``backfill`` makes once.

::

    list jobs ──> choose ──> read ──> make_plan ──> record ... finish ──> delete duplicates
                    ^                    ^             │
                    └───── ownership <── MLflow's runs ┘

The first pass of a process reads the whole history, MLflow's and the provider's side by side, and
records jobs meanwhile, first the open jobs beyond the first page. Later passes read the list until
a page has only settled jobs, and then open jobs beyond it one by one. At its end a pass links runs
that start from each other's models, and adds newly announced shutdown dates. A dry run only reads.

A pass neither waits nor logs: its handlers receive events, and its caller a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

from bridge import errors
from bridge.model import Job, Page
from bridge.plan.ownership import Deletion, may_delete, resolve
from bridge.sync.events import Handler, JobDone, JobsChosen, RunDeleted, RunsRead
from bridge.sync.find_run import Existing, Found, Missing, Settled
from bridge.sync.history import History
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.lineage import Lineage
from bridge.sync.memory import Listing, Memory, choose
from bridge.sync.outcome import Failed, Outcome, Result, Synced
from bridge.sync.races import races
from bridge.sync.recorded_runs import LOOKUPS, RecordedRuns
from bridge.sync.report import Report, Selection
from bridge.sync.shutdown_dates import ShutdownDates
from bridge.sync.workers import WorkerPool

_MORE_ROUNDS: Final = 3
"""Number of times that a pass retries a job whose run turned out to be another process's."""

Jobs = Iterable[tuple[str, Job | None] | None]
"""Ids of jobs to read, with their rows of the list; ``None``: more may follow after a while."""


def no_handler(_event: object) -> None:
    """Ignore an event."""


class ProviderSync:
    """The passes over one provider. Not thread-safe."""

    def __init__(
        self,
        job_sync: JobSync,
        *,
        executor: Executor,
        work: Callable[[Task], Outcome] | None = None,
        pages: Callable[[], Iterator[Page]] | None = None,
    ) -> None:
        """Make passes.

        Args:
            job_sync: syncs one job, and contains the parts that a pass needs.
            executor: the executor for jobs.
            work: called there instead of ``job_sync``, by processes with separate connections.
            pages: reads the list of jobs; by default the provider does.
        """
        self.name = job_sync.name
        self.job_sync = job_sync
        self.executor = executor
        self._pages = pages or job_sync.provider.pages
        self._tracking = job_sync.tracking
        self._work = work or job_sync
        self._memory = Memory()
        self._lineage = Lineage(self.name, self._tracking)
        self._dates = ShutdownDates(job_sync.provider, self._tracking, job_sync.now)
        self._runs = RecordedRuns(
            job_sync=job_sync, memory=self._memory, lineage=self._lineage, dates=self._dates
        )

    def run(
        self,
        selection: Selection | None = None,
        *,
        dry_run: bool = False,
        handler: Handler = no_handler,
    ) -> Report:
        """Make one pass.

        If a job fails, the report contains the error, and the other jobs continue. If the pass ends
        early, the report contains the reason, and the next pass continues from there.
        """
        report = Report(provider=self.name, is_dry=dry_run)
        try:
            self._pass(selection or Selection(), report, handler)
        except errors.BridgeError as error:
            report.stopped = error
        except Exception as error:  # noqa: BLE001 - a defect must be reported, not end the daemon
            report.stopped = errors.unexpected(error)
        report.open = len(self._memory.open)
        return report

    def _pass(self, selection: Selection, report: Report, handler: Handler) -> None:
        self._runs.open_experiments(is_dry=report.is_dry)
        history = self._runs.begin(selection, lambda owned: handler(RunsRead(self.name, owned)))
        jobs = self._chosen(selection, history, report, handler)
        again = self._round(jobs, history, report, handler)
        for _ in range(_MORE_ROUNDS):
            if again:
                jobs = ((job_id, None) for job_id in sorted(again))
                again = self._round(jobs, History(memory=self._memory), report, handler)
        contested = errors.RunChanged("Other processes keep changing its run")
        for job_id in sorted(again):
            self._count(Failed(provider=self.name, job_id=job_id, error=contested), report, handler)
        self._delete_duplicates(report, handler)
        left_out = self._tracking.left_out(self.job_sync.options)
        report.skipped += [("mlflow", sentence) for sentence in left_out]
        if not report.is_dry:
            self._lineage.write(self._memory.experiment_ids)
            self._dates.write()

    def _round(self, jobs: Jobs, history: History, report: Report, handler: Handler) -> set[str]:
        """Sync jobs; return the ids of those whose run turned out to be another process's."""
        created: dict[str, Synced] = {}
        again: set[str] = set()
        pool = WorkerPool(self.executor, self._work)
        try:
            tasks = self._tasks(jobs, history, report)
            for outcome in pool.outcomes(tasks, is_held_up=lambda: not history.is_read):
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

    # Which jobs

    def _chosen(
        self, selection: Selection, history: History, report: Report, handler: Handler
    ) -> Jobs:
        """Yield the jobs that need to be read, with their rows of the list."""
        memory = self._memory
        if first := selection.job_ids or history.first:
            handler(JobsChosen(self.name, len(first)))
            yield from ((job_id, None) for job_id in first)
        if selection.job_ids:
            return
        yield None
        listing = Listing(seen={*history.first})
        yield from self._due(listing, selection, history, report, handler)
        while not history.is_read:
            history.read_page()
            yield None
        # An older run owns the job and lacks data.
        if late := sorted((memory.open & listing.seen) - history.taken - listing.unselected):
            report.jobs[Result.UNCHANGED] -= len(late)
            handler(JobsChosen(self.name, len(late)))
            yield from ((job_id, None) for job_id in late)
        if selection.is_everything:
            # Beyond a cut there may be jobs that no pass has seen.
            memory.has_listed_all = not listing.is_cut
            beyond = sorted(memory.open - listing.seen)
            handler(JobsChosen(self.name, len(beyond)))
            yield from ((job_id, None) for job_id in beyond)

    def _due(
        self,
        listing: Listing,
        selection: Selection,
        history: History,
        report: Report,
        handler: Handler,
    ) -> Jobs:
        """Yield the jobs of the list that need to be read, while MLflow's runs are read."""
        before = 0
        for jobs in self._listed(listing, history, report):
            chosen = choose(jobs, self._memory, selection, before=before)
            listing.unselected.update(chosen.unselected)
            number = len(chosen.due)
            before += number + len(chosen.settled)
            self._memory.open.update(job.id for job in chosen.due)
            report.jobs[Result.UNCHANGED] += len(chosen.settled)
            handler(JobsChosen(self.name, number, chosen.settled, chosen.unselected))
            yield from ((job.id, job) for job in chosen.due)
            for _ in range(0, number, LOOKUPS):
                yield None
                history.read_page()
            yield None
            if chosen.is_last:
                break

    def _listed(
        self, listing: Listing, history: History, report: Report
    ) -> Iterator[Sequence[Job]]:
        """Yield the jobs of the list once the runs of their time are read."""
        for page in self._pages():
            self.job_sync.stop_if_asked()
            report.failures += [("", errors.BadReply(reason)) for reason in page.unreadable]
            if page.cut is not None:
                listing.is_cut = True
                report.add_cut(page.cut)
            # A job that appears between two pages shifts others to the next page.
            fresh = {job.id: job for job in page.jobs if job.id not in listing.seen}
            listing.seen |= fresh.keys()
            yield from history.parts([*fresh.values()])

    def _tasks(self, jobs: Jobs, history: History, report: Report) -> Iterator[Task | None]:
        for due in jobs:
            self.job_sync.stop_if_asked()
            if due is None:
                yield None
                continue
            job_id, listed = due
            history.taken.add(job_id)
            yield Task(
                provider=self.name,
                job_id=job_id,
                listed=listed,
                found=self._found(job_id, listed, history, report),
                logged=self._memory.logged.get(job_id),
                shutdowns=self._dates.needed_for(listed),
                is_dry=report.is_dry,
            )

    def _found(
        self, job_id: str, listed: Job | None, history: History, report: Report
    ) -> Found | None:
        """Return a job's run if ``history`` has it; ``None``: the worker searches MLflow."""
        route = self.job_sync.finder.router.route(listed) if listed else None
        try:
            is_dry = report.is_dry
            place = self._runs.place(route.experiment, history, is_dry=is_dry) if route else None
        except errors.TrackingDown:
            raise
        except errors.TrackingError:
            return None  # the worker meets the same error, which then costs only this job
        owned = history.owned
        if job_id in owned.open:
            return Existing(run=owned.open[job_id])
        if job_id in owned.run_ids:
            return Settled(run_id=owned.run_ids[job_id])
        if route is None or not owned.is_complete:
            return None  # its run may not have been read yet
        if job_id in owned.settled:
            return Settled()
        # The worker reads the run that the job's metadata names.
        return None if route.run_id else Missing(route=route, experiment_id=place)

    # Duplicates

    def _lost_races(
        self, created: Mapping[str, Synced], report: Report, handler: Handler
    ) -> frozenset[str]:
        """Delete the runs that lost a race; return the ids of the jobs that lost it."""
        memory = self._memory
        starts = {run_id: outcome.plan.start_time for run_id, outcome in created.items()}
        others = self._tracking.others(memory.experiment_ids, self.name, starts)
        found = races(created, {run.job_id for run in others}, self._runs.of_jobs)
        self._delete(found.deletions, report, handler)
        memory.waiting |= found.waiting
        memory.settled -= found.lost
        self._lineage.owned_by(found.owners)
        return found.lost

    def _delete_duplicates(self, report: Report, handler: Handler) -> None:
        """Delete the duplicates that this pass found, unless there are too many for one pass."""
        memory = self._memory
        due = memory.duplicates_due
        # Read again, because they may have changed since they were found.
        owned = resolve(self._runs.of_jobs(due))
        deletions = [*owned.deletions(memory.vanished)]
        if may_delete(len(deletions), len(memory.settled) + len(memory.open)):
            self._delete(deletions, report, handler)
        else:
            report.withheld += deletions
        if not report.is_dry:
            memory.forget_duplicates(due, owned)

    def _delete(self, deletions: Iterable[Deletion], report: Report, handler: Handler) -> None:
        """Delete runs; nothing else in a pass deletes any."""
        for deletion in deletions:
            if not report.is_dry:
                self._tracking.delete([deletion.run_id])
                handler(RunDeleted(self.name, deletion))
            report.deleted.append(deletion)
