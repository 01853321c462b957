"""The examination of one provider's runs: MLflow compared with itself, then with the provider.

::

    checks of MLflow ──> list every job ──> read all of it ──> make_plan ──> lacking ──> apply

It uses the parts of a pass under other rules: no job counts as settled, everything that the
provider has is read, and runs are completed but never created.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from bridge import errors
from bridge.doctor.checks import GIVE_UP, Checks, Finding
from bridge.doctor.comparison import compared, withheld_parts
from bridge.doctor.job_examiner import JobExaminer
from bridge.doctor.run_batches import RunBatches
from bridge.model import Job
from bridge.plan.ownership import Ownership
from bridge.sync.events import Handler, JobDone, JobsChosen
from bridge.sync.find_run import Existing, Found, Settled
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.outcome import Outcome, Synced, Untouched
from bridge.sync.report import Report
from bridge.sync.shutdown_dates import ShutdownDates
from bridge.sync.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class Treated:
    """A finding, and the result of its repair."""

    finding: Finding
    is_fixed: bool
    error: errors.BridgeError | None = None


@dataclass(slots=True)
class Examination:
    """The findings about one provider."""

    provider: str
    report: Report
    treated: list[Treated] = field(default_factory=list)
    compared: int = 0
    """Ids of jobs whose run was compared with everything that the provider has."""
    without_run: int = 0
    """Ids of jobs that no pass has recorded."""

    @property
    def is_well(self) -> bool:
        """Whether nothing is damaged and everything could be compared."""
        return self.report.is_well and not self.damage

    @property
    def damage(self) -> list[Treated]:
        """Findings that are left for a person to repair."""
        return [
            each
            for each in self.treated
            if not (each.is_fixed or each.finding.is_note or each.finding.is_withheld)
        ]

    @property
    def notes(self) -> list[Treated]:
        """Findings about runs that the next pass brings up to date."""
        return [each for each in self.treated if each.finding.is_note and not each.is_fixed]

    @property
    def withheld(self) -> list[Treated]:
        """Findings about parts that the provider does not return, and mostly never will."""
        return [each for each in self.treated if each.finding.is_withheld]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Examines one provider's runs."""

    job_sync: JobSync
    executor: Executor
    handler: Handler
    job_ids: tuple[str, ...] = ()
    """Ids of the jobs to examine; empty: all."""
    fix: bool = False
    wants_all_files: bool = False
    """Whether files that were not available for the archive are requested again."""
    is_stopping: Callable[[], bool] = lambda: False

    def examine(self) -> Examination:
        """Find what is wrong, and repair it if asked."""
        tracking, name = self.job_sync.tracking, self.job_sync.name
        found = Examination(name, Report(provider=name, is_dry=not self.fix))
        experiments = self.job_sync.finder.router.experiments
        ids = (tracking.experiment(each, create=False) for each in experiments)
        places = [each for each in ids if each]
        checks = Checks(
            tracking=tracking, provider=name, experiment_ids=places, job_ids=self.job_ids
        )
        # Runs come first, because deleting a run also deletes its models and versions. Each list is
        # read completely before anything is deleted, which would shift its further pages.
        for check in (checks.runs, checks.models, checks.versions) if places else ():
            if self.is_stopping():
                break  # the comparison below reports it
            found.treated += [self._treated(finding) for finding in list(check())]
        try:
            owned = checks.owners(again=any(each.is_fixed for each in found.treated))
            self._compare(places, owned, found)
        except errors.BridgeError as error:
            found.report.stopped = error
        except Exception as error:  # noqa: BLE001 - a defect in one provider must not end the others
            found.report.stopped = errors.unexpected(error)
        stopped = found.report.stopped
        if isinstance(stopped, errors.Withdrawn) and not isinstance(stopped, errors.NoService):
            stranded = checks.stranded(self.job_sync.provider.statuses)
            found.treated += [self._treated(finding) for finding in list(stranded)]
        return found

    def _treated(self, finding: Finding) -> Treated:
        if not self.fix or finding.repair is None:
            return Treated(finding, is_fixed=False)
        try:
            finding.repair()
        except errors.RunChanged:
            pass  # another process has repaired it
        except errors.BridgeError as error:
            return Treated(finding, is_fixed=False, error=error)
        return Treated(finding, is_fixed=True)

    def _compare(self, places: Sequence[str], owned: Ownership, found: Examination) -> None:
        given_up = {each.finding.run_id for each in found.treated if each.finding.remedy == GIVE_UP}
        runs = RunBatches(self.job_sync.tracking, places, owned.run_ids.values())
        pool = WorkerPool(self.executor, JobExaminer(self.job_sync, runs, self.wants_all_files))
        try:
            for outcome in pool.outcomes(self._tasks(owned, found.report)):
                self._note(outcome, found, given_up)
        finally:
            found.report.unreached += pool.unreached

    def _tasks(self, owned: Ownership, report: Report) -> Iterator[Task]:
        sync = self.job_sync
        dates = ShutdownDates(sync.provider, sync.tracking, sync.now)
        for job_id, listed in self._jobs(owned, report):
            self.job_sync.stop_if_asked()
            yield Task(
                provider=self.job_sync.name,
                job_id=job_id,
                listed=listed,
                found=_found(job_id, owned),
                shutdowns=dates.needed_for(listed),
                is_dry=not self.fix,
            )

    def _jobs(self, owned: Ownership, report: Report) -> Iterator[tuple[str, Job | None]]:
        """Yield every job that the provider lists, then those that only MLflow still has."""
        name = self.job_sync.name
        if self.job_ids:
            self.handler(JobsChosen(name, len(self.job_ids)))
            yield from ((job_id, None) for job_id in self.job_ids)
            return
        seen: set[str] = set()
        for page in self.job_sync.provider.pages():
            self.job_sync.stop_if_asked()
            report.failures += [("", errors.BadReply(reason)) for reason in page.unreadable]
            if page.cut:
                report.add_cut(page.cut)
            fresh = {job.id: job for job in page.jobs if job.id not in seen}
            seen |= fresh.keys()
            self.handler(JobsChosen(name, len(fresh)))
            yield from fresh.items()
        beyond = sorted(owned.run_ids.keys() - seen)
        self.handler(JobsChosen(name, len(beyond)))
        yield from ((job_id, None) for job_id in beyond)

    def _note(self, outcome: Outcome, found: Examination, given_up: set[str]) -> None:
        found.report.add(outcome)
        self.handler(JobDone(outcome))
        if isinstance(outcome, Untouched):
            found.without_run += not outcome.is_recorded
            found.compared += outcome.is_recorded
        if not isinstance(outcome, Synced):
            return
        found.compared += outcome.error is None
        plan, run = outcome.plan, outcome.before
        # The last data of a job that has just ended is still to come.
        if run is None or run.run_id in given_up or plan.is_settling:
            return
        link = self.job_sync.tracking.link(run.experiment_id, run.run_id)
        if run.is_final:
            withheld = withheld_parts(run, plan, link)
            found.treated += [Treated(finding, is_fixed=False) for finding in withheld]
        if plan.is_empty:
            return
        is_fixed = self.fix and outcome.error is None
        found.treated.append(Treated(compared(run, plan, link), is_fixed, outcome.error))


def _found(job_id: str, owned: Ownership) -> Found | None:
    if job_id in owned.open:
        return Existing(run=owned.open[job_id])
    if job_id in owned.run_ids:
        return Settled(run_id=owned.run_ids[job_id])
    return None  # the job may have a run in another experiment
