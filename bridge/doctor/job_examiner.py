"""The comparison of one job's run with everything that its provider has of the job."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bridge import errors
from bridge.doctor.run_batches import RunBatches
from bridge.model import Job, Page
from bridge.plan import tags
from bridge.plan.metric_names import MetricNames
from bridge.plan.plan import Plan, make_plan
from bridge.plan.recorded import RecordedRun
from bridge.plan.repair import farewell, lacking
from bridge.plan.routing import Route
from bridge.sync import archive
from bridge.sync.find_run import Existing, Found, Settled
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.outcome import Failed, Outcome, Synced, Untouched
from bridge.tracking import Written


@dataclass(frozen=True, slots=True)
class JobExaminer:
    """Completes runs that should have everything; passes create and continue the others."""

    job_sync: JobSync
    runs: RunBatches
    wants_all_files: bool = False
    """Whether files that were not available for the archive are requested again."""

    def __call__(self, task: Task) -> Outcome:
        """Examine one job. Raises nothing: an error becomes part of the outcome."""
        try:
            self.job_sync.stop_if_asked()
            return self._examined(task)
        except errors.BridgeError as error:
            return Failed(provider=task.provider, job_id=task.job_id, error=error)
        except Exception as error:  # noqa: BLE001 - no job may stop the others
            unexpected = errors.unexpected(error)
            return Failed(provider=task.provider, job_id=task.job_id, error=unexpected)

    def _examined(self, task: Task) -> Outcome:
        try:
            job = task.listed or self.job_sync.job(task.job_id)
        except errors.JobVanished:
            if task.found is None:
                raise
            return self._ended(task, task.found)
        found = task.found or self.job_sync.finder.find(job)
        run = self._run_of(found)
        if run is None or run.job_id != job.id:
            has_run = isinstance(found, Settled)
            return Untouched(provider=task.provider, job_id=task.job_id, is_recorded=has_run)
        if not (run.is_final or job.status.is_final):
            return Untouched(provider=task.provider, job_id=task.job_id)
        route = found.route if isinstance(found, Existing) else None
        return self._compared(job, run, route, task)

    def _run_of(self, found: Found) -> RecordedRun | None:
        """Return the run that was found, as a search shows it."""
        if isinstance(found, Existing):
            return found.run
        if not isinstance(found, Settled) or found.run_id is None:
            return None
        run = self.runs.take(found.run_id)
        return None if run is None or run.is_deleted else run

    def _compared(self, job: Job, run: RecordedRun, route: Route | None, task: Task) -> Outcome:
        sync = self.job_sync
        run = (
            sync.with_models(sync.with_steps(run)) if sync.possible.models else sync.with_steps(run)
        )
        options = replace(sync.possible, metric_names=self._names_of(run))
        snapshot = sync.read(job, None, task, keep=sync.options.archive)
        plan = make_plan(sync.name, snapshot, run, options, now=sync.now(), route=route)
        inventory = sync.tracking.inventory(run, plan, run.models, archive.ARTIFACT_PATH)
        inventory = replace(inventory, archived=self._archived(inventory.archived, run, plan))
        plan = lacking(plan, run, inventory, manifest=archive.MANIFEST)
        return sync.apply(plan, run, run.experiment_id, is_dry=task.is_dry)

    def _archived(self, names: frozenset[str], run: RecordedRun, plan: Plan) -> frozenset[str]:
        """Return the file names of an archive, with the manifest if no file is to be requested."""
        has_tried = not names.isdisjoint({archive.MANIFEST, archive.PARTIAL})
        is_done = has_tried and (not self.wants_all_files or self._has_all_files(run, plan))
        return names | {archive.MANIFEST} if is_done else names - {archive.MANIFEST}

    def _has_all_files(self, run: RecordedRun, plan: Plan) -> bool:
        folder = f"{archive.ARTIFACT_PATH}/{archive.DATASETS}"
        stored = self.job_sync.tracking.archived_names(run, folder) if plan.files else ()
        return len(stored) >= len(plan.files)

    def _names_of(self, run: RecordedRun) -> MetricNames:
        """Return the metric names of a run, which ``backfill --rename`` changes."""
        own = self.job_sync.options.metric_names
        label = run.tags.get(tags.METRIC_NAMES, MetricNames().label)
        try:
            return own if label == own.label else MetricNames.from_label(label, own.meanings)
        except ValueError:
            sentence = f"The tag {tags.METRIC_NAMES} of its run is unreadable"
            raise errors.TrackingError(sentence, f"Set it to {own.label}") from None

    def _ended(self, task: Task, found: Found) -> Outcome:
        """End an open run whose job is gone, because no pass would."""
        if not isinstance(found, Existing):
            return Untouched(provider=task.provider, job_id=task.job_id)
        run, sync = found.run, self.job_sync
        if not self._is_account_of(run):
            raise errors.JobVanished(
                "The provider has neither this job nor any of its newest ones in MLflow",
                "Its key may be of another account, so the run stays as it is: correct the key",
            )
        last = sync.provider.statuses.get(run.tags.get(tags.STATUS, ""))
        plan = farewell(run, last)
        if not task.is_dry:
            sync.tracking.finish(Written(run), plan)
        return Synced(
            provider=task.provider,
            job_id=task.job_id,
            plan=plan,
            before=run,
            run_id=run.run_id,
            experiment_id=run.experiment_id,
        )

    def _is_account_of(self, run: RecordedRun) -> bool:
        """Return whether the run's experiment has any of the provider's newest jobs.

        With the key of another account, all jobs would seem gone.
        """
        newest = next(iter(self.job_sync.provider.pages()), Page(()))
        listed = {job.id for job in newest.jobs}
        others = self.job_sync.tracking.runs([run.experiment_id], self.job_sync.name)
        return any(other.job_id in listed for other in others)
