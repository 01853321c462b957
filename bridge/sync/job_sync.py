"""One job: read it, decide, write what is new. Runs in a worker, perhaps on another machine.

What a worker needs to know of one job travels in the task, and what it has learned in the outcome:
between two jobs it keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bridge import errors
from bridge.model import IsLogged, Job, Meaning, Page, Snapshot
from bridge.plan import tags
from bridge.plan.metric_names import MetricNames
from bridge.plan.plan import Plan, make_plan, steps_with
from bridge.plan.recorded import Recorded, RunState
from bridge.plan.repair import farewell, lacking
from bridge.providers.base import Provider
from bridge.providers.model_shutdowns import shutdown_of
from bridge.sync import archive
from bridge.sync.find_run import Carrier, RunFinder
from bridge.sync.report import Known, Outcome, Result
from bridge.tracking import METRICS, Tracking, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A job that needs a look, with what the pass knows of it already."""

    provider: str
    """Its name in the configuration."""
    job_id: str
    listed: Job | None
    """The job as this pass has listed it, if it has."""
    carrier: Carrier | None
    """``None``: its run is not known and has to be looked for."""
    known: Known | None
    shutdowns: Mapping[str, int] | None = None
    """By model when its provider shuts it down, Unix milliseconds; ``None``: not asked yet."""
    is_dry: bool
    """Plan only."""
    is_thorough: bool = False
    """Compare a run that has everything with all that is to be known of its job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """How jobs are recorded."""

    kind: str = ""
    """The provider's type."""
    metric_names: MetricNames = field(default_factory=MetricNames)
    models: bool = True
    datasets: bool = True
    archive: bool = True
    archive_datasets: bool = False
    register: str | None = None
    """Template of the registered model's name."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What runs are compared by: validation loss, then training loss."""
        losses = (Meaning.VALID_LOSS, Meaning.BATCH_VALID_LOSS, Meaning.TRAIN_LOSS)
        names = [name for loss in losses for name in self.metric_names.named(loss)]
        return tuple(map(self.metric_names.metric, names)) or METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSync:
    """Brings one job after the other up to date."""

    name: str
    """The provider's, in the configuration."""
    provider: Provider
    tracking: Tracking
    finder: RunFinder
    options: RecordingOptions
    now: Callable[[], int]
    stop_if_asked: Callable[[], None]

    def __call__(self, task: Task) -> Outcome:
        """Read one job and write what is new of it. Raises nothing: the outcome says it."""
        try:
            self.stop_if_asked()
            return self._checked(task) if task.is_thorough else self._followed(task)
        except errors.BridgeError as error:
            return Outcome.failed(self.name, task.job_id, error)
        except Exception as error:  # noqa: BLE001 - no job may stop the others, whatever it holds
            return Outcome.failed(self.name, task.job_id, errors.unexpected(error))

    def _followed(self, task: Task) -> Outcome:
        job = task.listed or self._job(task.job_id)
        carrier = task.carrier or self.finder.find(job, is_dry=task.is_dry)
        if carrier.is_settled:
            return self._untouched(task, Result.UNCHANGED)
        return self._synced(job, carrier, task)

    def _checked(self, task: Task) -> Outcome:
        """A run that should have everything. Others are for a pass to create and to go on with."""
        try:
            job = task.listed or self._job(task.job_id)
        except errors.JobVanished:
            if task.carrier is None:
                raise
            return self._ended(task, task.carrier.run)
        found = task.carrier or self.finder.find(job, is_dry=True)
        carrier = self.finder.unsettled(found)
        run = carrier.run
        if run is None or run.job_id != job.id:
            return self._untouched(task, Result.UNCHANGED if found.is_settled else Result.NEW)
        if not (run.is_final or job.status.is_final):
            return self._untouched(task, Result.UNCHANGED)
        return self._synced(job, carrier, task)

    def _ended(self, task: Task, run: RunState | None) -> Outcome:
        """An open run whose job is gone: nobody else would ever end it."""
        if run is None:
            return self._untouched(task, Result.UNCHANGED)
        if not self._is_known_here(run):
            raise errors.JobVanished(
                "The provider has neither this job nor any of its newest ones in MLflow",
                "Its key may be of another account, so the run stays as it is: correct the key",
            )
        plan = farewell(run, self.provider.statuses.get(run.tags.get(tags.STATUS, "")))
        if not task.is_dry:
            self.tracking.finish(Written.of(run), plan)
        carrier = Carrier(experiment_id=run.experiment_id, run=run)
        return self._outcome(plan, carrier, None, run.run_id, {})

    def _is_known_here(self, run: RunState) -> bool:
        """Whether MLflow knows any of the provider's newest jobs, in the experiment of a run.

        To the key of another account all jobs are gone.
        """
        newest = next(iter(self.provider.pages()), Page(()))
        listed = {job.id for job in newest.jobs}
        others = self.tracking.runs([run.experiment_id], self.name)
        return any(other.job_id in listed for other in others)

    def _untouched(self, task: Task, kind: Result) -> Outcome:
        return Outcome(provider=self.name, job_id=task.job_id, kind=kind)

    def _job(self, job_id: str) -> Job:
        try:
            job = self.provider.job(job_id)
        except errors.NotFound as error:
            raise errors.JobVanished.of(error) from error
        if job.id != job_id:
            raise errors.BadReply(f"The provider answered with another job ({job.id})")
        return job

    def _synced(self, job: Job, carrier: Carrier, task: Task) -> Outcome:
        run = carrier.run
        recorded = self._recorded(run, task.known) if run else None
        # What a user has logged does not say that the steps before it are there.
        is_ours = recorded is not None and (task.known is not None or not recorded.is_adopted)
        metric_names = self._names_of_run(run) if task.is_thorough else self.options.metric_names
        is_resumed = is_ours and not task.is_thorough
        snapshot = self._snapshot(job, recorded if is_resumed else None, task)
        if run and recorded and self.options.models and _has_models(snapshot):
            known = task.known.models if task.known else None
            models = self.tracking.ready_models(run) if known is None else known
            recorded = replace(recorded, models=models)
        plan = make_plan(
            self.name,
            snapshot,
            recorded,
            metric_names,
            now=self.now(),
            route=carrier.route,
            kind=self.options.kind,
            register=self.options.register,
            archive_datasets=self.options.archive and self.options.archive_datasets,
            models=self.options.models,
            datasets=self.options.datasets,
        )
        if task.is_thorough and run and recorded:
            inventory = self.tracking.inventory(run, plan, recorded.models, archive.ARTIFACT_PATH)
            plan = lacking(plan, recorded, inventory, manifest=archive.MANIFEST)
        if carrier.experiment_id is None or task.is_dry or plan.is_empty:
            models = recorded.models if recorded else {}
            return self._outcome(plan, carrier, recorded, plan.run_id, models)
        written = self.tracking.record(carrier.experiment_id, plan, run)
        if recorded:
            written = replace(written, model_ids={**recorded.models, **written.model_ids})
        try:
            plan = self._archived(plan, written)
        except errors.BridgeError as error:
            # All else is recorded: the pass counts it, and tells of the models.
            outcome = self._outcome(plan, carrier, recorded, written.run_id, written.model_ids)
            return replace(outcome, kind=Result.FAILED, error=error)
        self.tracking.register(written, plan)
        self.tracking.finish(written, plan)
        return self._outcome(plan, carrier, recorded, written.run_id, written.model_ids)

    def _names_of_run(self, run: RunState | None) -> MetricNames:
        """The one that a run is logged under; to change it is for ``backfill --rename``."""
        own = self.options.metric_names
        label = run.tags.get(tags.METRIC_NAMES, MetricNames().label) if run else own.label
        try:
            return own if label == own.label else MetricNames.from_label(label, own.meanings)
        except ValueError:
            sentence = f"The tag {tags.METRIC_NAMES} of its run says nothing that can be read"
            raise errors.TrackingError(sentence, f"Set it to {own.label}") from None

    def _snapshot(self, job: Job, recorded: Recorded | None, task: Task) -> Snapshot:
        """All that is to be known of a job, with the replies once it has ended."""
        is_logged = self._is_logged(recorded)
        is_kept = self.options.archive and (task.is_thorough or not task.is_dry)
        keep = is_kept and job.status.is_final
        snapshot = self.provider.read(job, is_logged=is_logged, keep=keep)
        if is_kept and not keep and snapshot.job.status.is_final:
            # It has ended since it was listed.
            snapshot = self.provider.read(snapshot.job, is_logged=is_logged, keep=True)
        if snapshot.job.id != job.id:
            raise errors.BadReply(f"The provider answered with another job ({snapshot.job.id})")
        ended = snapshot.job
        if ended.fine_tuned_model is None or not ended.status.is_final:
            return snapshot
        dates = self.provider.shutdowns() if task.shutdowns is None else task.shutdowns
        shutdown = shutdown_of(dates, ended.fine_tuned_model, ended.base_model)
        return replace(snapshot, job=replace(ended, model_shutdown=shutdown))

    def _archived(self, plan: Plan, written: Written) -> Plan:
        """The plan, with what of the archive could not be had; stores the rest."""
        missing: list[str] = []
        # The documents first: where the store takes nothing, no file is fetched in vain.
        for documents, files in ((plan.documents, ()), ({}, plan.files)):
            if documents or files:
                with archive.laid_out(documents, files, self.provider.file) as laid_out:
                    self.tracking.archive(written, laid_out.folder, archive.ARTIFACT_PATH)
                missing += laid_out.missing
        return replace(plan, skipped=(*plan.skipped, *missing))

    def _recorded(self, run: RunState, known: Known | None) -> Recorded:
        """What MLflow has of a job. Its curves are read once, and again if others wrote them."""
        newest = {name: step for name, (step, _) in run.newest.items()}
        steps = known.steps if known else None
        if steps is None or {name: max(logged) for name, logged in steps.items()} != newest:
            steps = self.tracking.steps(run)
        return run.recorded(steps)

    def _is_logged(self, recorded: Recorded | None) -> IsLogged:
        if recorded is None:
            return lambda _name, _step: False
        return lambda name, step: recorded.has(self.options.metric_names.metric(name), step)

    def _outcome(
        self,
        plan: Plan,
        carrier: Carrier,
        recorded: Recorded | None,
        run_id: str | None,
        models: Mapping[str, str],
    ) -> Outcome:
        return Outcome(
            provider=self.name,
            job_id=plan.job_id,
            kind=_kind(plan),
            # What is archived by now may be large; its names are enough.
            plan=replace(plan, documents=dict.fromkeys(plan.documents, b"")),
            run_id=run_id,
            run=carrier.run,
            experiment_id=carrier.experiment_id,
            known=Known(steps=steps_with(recorded, plan.points), models=models),
        )


def _has_models(snapshot: Snapshot) -> bool:
    """Whether there is anything that a LoggedModel could stand for."""
    return bool(snapshot.job.fine_tuned_model) or any(c.model for c in snapshot.checkpoints)


def _kind(plan: Plan) -> Result:
    if plan.is_new:
        return Result.NEW
    return Result.UNCHANGED if plan.is_empty else Result.UPDATED
