"""One pass over one provider: what the daemon repeats and ``backfill`` does once.

::

    provider.pages ──> choose ──> provider.read ──> make_plan ──> tracking.record ... finish
                         ^                              ^                │
                         └──── ledger <── MLflow's runs ┴────────────────┘

A first pass reads the whole history, MLflow's and the provider's. Later passes read the list until
a page holds only settled jobs, and open jobs beyond it one by one. At its end a pass tells which
runs start from the models of which others, and shutdown dates that were announced after a run was
final. A dry run stops before the last arrow. A thorough pass takes settled jobs for open ones.

Neither waits nor logs, and keeps nothing between passes that MLflow could not tell again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Final

from bridge import errors
from bridge.model import Job
from bridge.plan.ownership import Ledger, resolve
from bridge.plan.recorded import RunState
from bridge.plan.routing import Router
from bridge.providers.base import Provider
from bridge.sync.events import Watch
from bridge.sync.find_run import Carrier, RunFinder
from bridge.sync.job_sync import JobSync, RecordingOptions, Task
from bridge.sync.lineage import Lineage
from bridge.sync.report import Known, Outcome, Report, Result, Selection
from bridge.sync.shutdown_dates import ShutdownDates
from bridge.sync.spares import Spares
from bridge.sync.workers import WorkerPool
from bridge.tracking import Tracking

_MORE_ROUNDS: Final = 3
"""How often a pass takes up again a job whose run turned out to be another process's."""
_LOOKUPS: Final = 20
"""Up to this many jobs are looked up in MLflow one by one; for more, all runs are read."""


class ProviderSync:
    """The passes over one provider. Not for use from several threads at once."""

    def __init__(
        self,
        *,
        name: str,
        provider: Provider,
        tracking: Tracking,
        router: Router,
        options: RecordingOptions,
        executor: Executor,
        now: Callable[[], int],
        is_stopping: Callable[[], bool] = lambda: False,
        work: Callable[[Task], Outcome] | None = None,
    ) -> None:
        self.name = name
        self._provider = provider
        self._tracking = tracking
        self._router = router
        self._executor = executor
        self._is_stopping = is_stopping
        self._finder = RunFinder(tracking=tracking, router=router, metrics=options.metrics)
        self._announced = ShutdownDates(provider, tracking, now)
        # On a cluster another process does it, with connections of its own.
        self._work = work or JobSync(
            name=name,
            provider=provider,
            tracking=tracking,
            finder=self._finder,
            options=options,
            now=now,
            stop_if_asked=self._stop_if_asked,
        )
        self._lineage = Lineage(name, tracking)
        self._spares = Spares(tracking)
        # A cache of what MLflow and the provider say; a new process starts without it.
        self._settled: set[str] = set()
        """Jobs with nothing left to do: MLflow has everything, or its user deleted the run."""
        self._vanished: set[str] = set()
        """Open jobs that their provider no longer has."""
        self._open: set[str] = set()
        self._known: dict[str, Known] = {}
        self._places: dict[str, str] = {}
        """Ids of the experiments that have runs of this provider, by name."""
        self._elsewhere: set[str] = set()
        """Ids of experiments that only single jobs have named, with their runs."""
        self._has_read_runs = False
        self._has_listed_all = False

    def run(
        self,
        selection: Selection | None = None,
        *,
        dry_run: bool = False,
        watch: Watch | None = None,
    ) -> Report:
        """Make one pass.

        A job's failure is in the report, and the others go on. Where nothing more can be done the
        report says why; the next pass goes on from there.
        """
        selection = selection or Selection()
        report = Report(provider=self.name, is_dry=dry_run, is_thorough=selection.thorough)
        try:
            self._pass(selection, report, watch or _Nobody())
        except errors.BridgeError as error:
            report.stopped = error
        except Exception as error:  # noqa: BLE001 - a defect must not end the daemon without a word
            report.stopped = errors.unexpected(error)
        report.open = len(self._open)
        return report

    def _pass(self, selection: Selection, report: Report, watch: Watch) -> None:
        self._find_places(is_dry=not report.makes_runs)
        ledger = self._read_ledger(selection, is_dry=not report.makes_runs)
        watch.tracked(self.name, ledger)
        again = self._round(self._choose(selection, ledger, report, watch), ledger, report, watch)
        for _ in range(_MORE_ROUNDS):
            if again:
                jobs = [(job_id, None) for job_id in sorted(again)]
                again = self._round(jobs, Ledger(), report, watch)
        for job_id in sorted(again):
            contested = errors.RunChanged("Other processes keep changing its run")
            self._count(Outcome.failed(self.name, job_id, contested), report, watch)
        if not report.is_dry:
            self._spares.let_go(self._runs_of, settled=self._settled, vanished=self._vanished)
            self._lineage.tell(self._everywhere())
            self._announced.tell()

    def _round(
        self,
        jobs: Iterable[tuple[str, Job | None]],
        ledger: Ledger,
        report: Report,
        watch: Watch,
    ) -> set[str]:
        """Work off jobs; returns those whose run turned out to be another process's."""
        created: dict[str, str] = {}
        starts: dict[str, int] = {}
        again: set[str] = set()
        pool = WorkerPool(self._executor, self._work)
        try:
            for outcome in pool.outcomes(self._tasks(jobs, ledger, report)):
                if isinstance(outcome.error, errors.RunChanged):
                    again.add(outcome.job_id)
                    continue
                if outcome.run_id and outcome.plan and outcome.plan.is_new:
                    created[outcome.job_id] = outcome.run_id
                    starts[outcome.run_id] = outcome.plan.start_time
                self._count(outcome, report, watch)
        finally:
            report.unreached += pool.unreached
            if created:
                again |= self._lost_races(created, starts)
        return again

    def _count(self, outcome: Outcome, report: Report, watch: Watch) -> None:
        if outcome.experiment_id:
            self._elsewhere.add(outcome.experiment_id)
        if not report.is_dry:
            self._remember(outcome)
            self._lineage.recorded(outcome)
        report.add(outcome)
        watch.done(outcome)

    # Which jobs

    def _find_places(self, *, is_dry: bool) -> None:
        """The experiments that the configuration names, as far as there are any."""
        for name in self._router.experiments:
            is_needed = name == self._router.experiment and not is_dry
            found = (
                self._finder.experiment(name, is_dry=False)
                if is_needed
                else self._tracking.experiment(name, create=False)
            )
            if found:
                self._places[name] = found

    def _read_ledger(self, selection: Selection, *, is_dry: bool) -> Ledger:
        """MLflow's runs: all of them at first and when dates change, else those that are open."""
        if self._announced.have_changed():
            self._has_read_runs = False
        if selection.job_ids and selection.thorough:
            return resolve(self._runs_of(selection.job_ids))
        if selection.job_ids or (self._has_read_runs and not self._open):
            return Ledger()
        first = not self._has_read_runs
        ledger = self._ledger_of(list(self._places.values()), first=first, is_dry=is_dry)
        self._has_read_runs = True
        return ledger

    def _ledger_of(self, places: list[str], *, first: bool, is_dry: bool) -> Ledger:
        runs = self._tracking.runs(places, self.name, only_open=not first)
        ledger = resolve(self._seen(runs) if first else runs, is_complete=first)
        if not is_dry:
            self._tracking.delete(ledger.losers)
            self._spares.saw(ledger)
        self._settled |= ledger.settled
        self._settled -= ledger.open.keys()
        self._open |= ledger.open.keys()
        self._open -= self._settled | self._vanished
        return ledger

    def _seen(self, runs: Iterable[RunState]) -> Iterator[RunState]:
        for run in runs:
            self._lineage.saw(run)
            self._announced.saw(run)
            yield run

    def _choose(
        self, selection: Selection, ledger: Ledger, report: Report, watch: Watch
    ) -> Iterator[tuple[str, Job | None]]:
        """The jobs that need a look, with what the list already says of them."""
        if selection.job_ids:
            watch.listed(self.name, len(selection.job_ids))
            yield from ((job_id, None) for job_id in selection.job_ids)
            return
        seen: set[str] = set()
        chosen = 0
        for page in self._provider.pages():
            self._stop_if_asked()
            report.failures += [("", errors.BadReply(reason)) for reason in page.unreadable]
            # A job that appears while pages are read shifts others onto the next one.
            fresh = {job.id: job for job in page.jobs if job.id not in seen}
            seen |= fresh.keys()
            wanted = [job for job in fresh.values() if selection.wants(job)]
            if selection.limit is not None:
                wanted = wanted[: selection.limit - chosen]
            chosen += len(wanted)
            settled = () if selection.thorough else self._settled
            due = [job for job in wanted if job.id not in settled]
            self._open.update(job.id for job in due)
            report.jobs[Result.UNCHANGED] += len(wanted) - len(due)
            watch.listed(self.name, len(due))
            yield from ((job.id, job) for job in due)
            is_old = self._has_listed_all and not fresh.keys() - self._settled
            if chosen == selection.limit or is_old:
                break
        if selection.is_everything:
            self._has_listed_all = True
            tracked = ledger.run_ids.keys() if selection.thorough else self._open
            beyond = sorted(tracked - seen)
            watch.listed(self.name, len(beyond))
            yield from ((job_id, None) for job_id in beyond)

    def _stop_if_asked(self) -> None:
        if self._is_stopping():
            raise errors.Stopped("Asked to stop")

    # What to do with them

    def _tasks(
        self, jobs: Iterable[tuple[str, Job | None]], ledger: Ledger, report: Report
    ) -> Iterator[Task]:
        for job_id, listed in jobs:
            self._stop_if_asked()
            yield Task(
                provider=self.name,
                job_id=job_id,
                listed=listed,
                carrier=self._carrier(job_id, listed, ledger, is_dry=not report.makes_runs),
                known=self._known.get(job_id),
                shutdowns=self._announced.needed_for(listed),
                is_dry=report.is_dry,
                is_thorough=report.is_thorough,
            )

    def _carrier(
        self, job_id: str, listed: Job | None, ledger: Ledger, *, is_dry: bool
    ) -> Carrier | None:
        """The run that carries a job, as far as the ledger says; else the worker asks MLflow."""
        if listed is not None:
            route = self._router.route(listed)
            try:
                place = self._place(route.experiment, ledger, is_dry=is_dry)
            except errors.TrackingDown:
                raise
            except errors.TrackingError:
                return None  # the worker meets it too: it costs this job alone
        run = ledger.open.get(job_id)
        if run is not None:
            return Carrier(experiment_id=run.experiment_id, run=run)
        if job_id in ledger.run_ids:
            run_id = ledger.run_ids[job_id]
            return Carrier(experiment_id=None, is_settled=True, run_id=run_id)
        if listed is None or not ledger.is_complete:
            return None
        if job_id in ledger.settled:
            return Carrier(experiment_id=place, is_settled=True)
        return None if route.run_id else Carrier(experiment_id=place, route=route)

    def _place(self, experiment: str, ledger: Ledger, *, is_dry: bool) -> str | None:
        """The id of an experiment. Its runs are added to the ledger if it is a new one."""
        if experiment not in self._places:
            found = self._finder.experiment(experiment, is_dry=is_dry)
            if found is None:
                return None
            self._places[experiment] = found
            ledger.add(self._ledger_of([found], first=ledger.is_complete, is_dry=is_dry))
        return self._places[experiment]

    # Afterwards

    def _remember(self, outcome: Outcome) -> None:
        job_id = outcome.job_id
        if outcome.error is None and (outcome.plan is None or outcome.plan.is_final):
            self._settled.add(job_id)
            self._open.discard(job_id)
        if isinstance(outcome.error, errors.JobVanished):
            # Not asked for again until the next start.
            self._vanished.add(job_id)
            self._open.discard(job_id)
        if outcome.error or job_id in self._settled:
            self._known.pop(job_id, None)
        else:
            self._known[job_id] = outcome.known

    def _lost_races(self, created: Mapping[str, str], starts: Mapping[str, int]) -> set[str]:
        """Jobs that another process created a run for at the same time, and whose run counts."""
        others = self._tracking.others(self._everywhere(), self.name, starts)
        contested = {run.job_id for run in others} & created.keys()
        searches = sorted(contested) if len(contested) <= _LOOKUPS else (None,)
        ledger = resolve(run for run in self._runs_of(searches) if run.job_id in contested)
        lost = {job_id for job_id in contested if ledger.run_ids.get(job_id) != created[job_id]}
        winners = {
            created[job_id]: ledger.run_ids[job_id] for job_id in lost & ledger.run_ids.keys()
        }
        # Those that another process has deleted too: they were still written to.
        self._tracking.delete(sorted({*ledger.losers, *winners} - ledger.spares.keys()))
        self._spares.saw(ledger)
        self._lineage.carried_by(winners)
        self._settled -= lost
        return lost

    def _runs_of(self, job_ids: Iterable[str | None]) -> Iterator[RunState]:
        """The runs of some jobs; of all for ``None``."""
        places = self._everywhere()
        for job_id in job_ids:
            yield from self._tracking.runs(places, self.name, job_id=job_id)

    def _everywhere(self) -> list[str]:
        """The experiments with runs of this provider, also those that only single jobs name."""
        return sorted({*self._places.values(), *self._elsewhere})


class _Nobody(Watch):
    """Watches nothing."""
