"""The sync of one job: read it, decide, write what is new. Runs in a worker, perhaps elsewhere.

::

    find the run ──> read the job ──> make_plan ──> record ──> archive ──> register ──> finish

A task contains what a worker needs to know about the job, and the outcome contains what it found,
so that a worker keeps no state between two jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from bridge import errors
from bridge.model import Job, LoggedSteps, Snapshot
from bridge.plan.incomplete import has_gaps
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import Plan, make_plan
from bridge.plan.recorded import Logged, RecordedRun, steps_with
from bridge.plan.routing import Route
from bridge.providers.base import Provider, shutdowns_of
from bridge.providers.model_shutdowns import shutdown_of
from bridge.sync import archive
from bridge.sync.experiments import Experiments
from bridge.sync.find_run import Existing, Found, Missing, RunFinder, Settled, held_by
from bridge.sync.outcome import Failed, Outcome, Synced, Untouched
from bridge.tracking import Tracking, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A job to read, with what the pass already knows about it."""

    provider: str
    """Name of the provider in the configuration."""
    job_id: str
    listed: Job | None
    """The job as this pass listed it, if it did."""
    found: Found | None
    """Run of the job; ``None``: unknown, so the worker searches MLflow."""
    logged: Logged | None = None
    """State of the run, as the last pass left it."""
    shutdowns: Mapping[str, int] | None = None
    """Shutdown times by model, Unix milliseconds; ``None``: not requested yet."""
    is_dry: bool = False
    """Whether to write nothing."""


_HOUR: Final = 3_600_000
"""One hour in milliseconds."""
_READ: Final = ""
"""Key of the hour among the names of experiments, none of which is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSync:
    """Brings jobs up to date, one at a time."""

    name: str
    """Name of the provider in the configuration."""
    provider: Provider
    tracking: Tracking
    finder: RunFinder
    options: RecordingOptions
    now: Callable[[], int]
    """Returns the current time in Unix milliseconds."""
    stop_if_asked: Callable[[], None] = lambda: None
    labels: dict[str, str] = field(default_factory=dict)
    """The names that experiments have chosen, by the experiment's id and name."""

    def __call__(self, task: Task) -> Outcome:
        """Sync one job. Raises nothing: an error becomes part of the outcome."""
        try:
            self.stop_if_asked()
            return self._synced(task)
        except errors.BridgeError as error:
            return Failed(provider=self.name, job_id=task.job_id, error=error)
        except Exception as error:  # noqa: BLE001 - no job may stop the others
            unexpected = errors.unexpected(error)
            return Failed(provider=self.name, job_id=task.job_id, error=unexpected)

    def _synced(self, task: Task) -> Outcome:
        job = task.listed or self.job(task.job_id)
        found = task.found or self.finder.find(job)
        if isinstance(found, Existing) and found.claim and not task.is_dry:
            found = self._claimed(job, found, found.claim)
        if isinstance(found, Settled):
            return Untouched(
                provider=self.name, job_id=task.job_id, has_duplicates=found.has_duplicates
            )
        if isinstance(found, Missing):
            options = self.experiments.options_in(found.experiment_id, remember=not task.is_dry)
            plan = self._plan(self.read(job, None, task), None, found.route, options)
            return self.apply(plan, None, self._experiment(found, task), is_dry=task.is_dry)
        run = self._with_logged(found.run, task.logged)
        # If a user logged a step, the steps before it may still be missing.
        is_resumed = (task.logged is not None or not run.is_adopted) and not has_gaps(run)
        snapshot = self.read(job, run if is_resumed else None, task)
        if self.possible.models and _has_models(snapshot):
            run = self.with_models(run)
        plan = self._plan(
            snapshot, run, found.route, self.experiments.options_of(run, remember=not task.is_dry)
        )
        outcome = self.apply(plan, run, run.experiment_id, is_dry=task.is_dry)
        return replace(outcome, has_duplicates=found.has_duplicates)

    @property
    def experiments(self) -> Experiments:
        """Experiments of the jobs."""
        hour = str(self.now() // _HOUR)
        if self.labels.get(_READ) != hour:
            # `backfill --rename` may change names: a daemon notices it within an hour.
            self.labels.clear()
            self.labels[_READ] = hour
        return Experiments(
            tracking=self.tracking,
            router=self.finder.router,
            options=self.options,
            labels=self.labels,
        )

    @property
    def possible(self) -> RecordingOptions:
        """The options that the tracking store can record."""
        return self.tracking.possible(self.options)

    def job(self, job_id: str) -> Job:
        """Return a job by its id.

        Raises:
            JobVanished: the provider does not have it.
            BadReply: the provider returned another one.
        """
        try:
            job = self.provider.job(job_id)
        except errors.NotFound as error:
            raise errors.JobVanished.of(error) from error
        return _checked(job, job_id)

    def read(
        self, job: Job, run: RecordedRun | None, task: Task, *, keep: bool | None = None
    ) -> Snapshot:
        """Return the provider's data about a job that its run lacks.

        Args:
            job: the job, as listed or as returned by id.
            run: its data need not be read again; ``None``: everything is read.
            task: what the pass knows about the job.
            keep: whether to keep the replies about an ended job; by default as configured.
        """
        logged = self._logged_steps(run, task)
        keeps = (self.options.archive and not task.is_dry) if keep is None else keep
        snapshot = self.provider.read(job, logged=logged, keep=keeps and job.status.is_final)
        if keeps and snapshot.job.status.is_final and not job.status.is_final:
            # The job has ended since it was listed.
            snapshot = self.provider.read(snapshot.job, logged=logged, keep=True)
        ended = _checked(snapshot.job, job.id)
        if ended.fine_tuned_model is None or not ended.status.is_final:
            return snapshot
        dates = shutdowns_of(self.provider) if task.shutdowns is None else task.shutdowns
        shutdown = shutdown_of(dates or {}, ended.fine_tuned_model, ended.base_model)
        return replace(snapshot, job=replace(ended, model_shutdown=shutdown))

    def apply(
        self, plan: Plan, run: RecordedRun | None, experiment_id: str | None, *, is_dry: bool
    ) -> Synced:
        """Write a plan, the final status last.

        Args:
            plan: the plan.
            run: the run to write to; ``None``: a new one.
            experiment_id: experiment of the run.
            is_dry: whether to write nothing.
        """
        # A new run has no models; those of an existing run may not have been read.
        models = (run.logged.models if run.logged else None) if run else {}
        outcome = Synced(
            provider=self.name,
            job_id=plan.job_id,
            # The archive may be large, and is stored before this returns; its names are enough.
            plan=replace(plan, documents=dict.fromkeys(plan.documents, b"")),
            before=run,
            run_id=plan.run_id,
            experiment_id=experiment_id,
            logged=Logged(steps=steps_with(run, plan.points), models=models),
            error=_awaited(plan),
        )
        if experiment_id is None or is_dry or plan.is_empty:
            return outcome
        written = self.tracking.record(experiment_id, plan, run)
        if models is not None:
            models = {**models, **written.model_ids}
            written = replace(written, model_ids=models)
        logged = replace(outcome.logged, models=models)
        outcome = replace(outcome, run_id=written.run_id, logged=logged)
        try:
            missing = self._archive(plan, written)
        except errors.BridgeError as error:
            # Everything else is recorded: the next pass tries the archive again.
            return replace(outcome, error=error)
        self.tracking.register(written, plan)
        self.tracking.finish(written, plan)
        skipped = (*plan.skipped, *missing)
        return replace(outcome, plan=replace(outcome.plan, skipped=skipped))

    def with_models(self, run: RecordedRun) -> RecordedRun:
        """Return the run with its complete LoggedModels, which are read once."""
        logged = run.logged or Logged()
        if logged.models is not None:
            return run
        return replace(run, logged=replace(logged, models=self.tracking.ready_models(run)))

    def with_steps(self, run: RecordedRun) -> RecordedRun:
        """Return the run with its logged steps."""
        return replace(run, logged=Logged(steps=self.tracking.steps(run)))

    def _with_logged(self, run: RecordedRun, logged: Logged | None) -> RecordedRun:
        """Return the run with its logged data, which is read again only if others wrote to it."""
        if logged is not None and logged.is_up_to(run.newest):
            return replace(run, logged=logged)
        models = logged.models if logged else None
        return replace(run, logged=Logged(steps=self.tracking.steps(run), models=models))

    def _claimed(self, job: Job, found: Existing, claim: str) -> Existing | Missing:
        """Claim a user's run; the first of several jobs, here or elsewhere, gets it."""
        holder = self.tracking.claim(found.run.run_id, claim)
        return found if holder == claim else self.finder.without(job, held_by(holder))

    def _experiment(self, missing: Missing, task: Task) -> str | None:
        """Return the experiment for a new run, and create it unless nothing is written."""
        if missing.experiment_id is not None or task.is_dry:
            return missing.experiment_id
        name = missing.route.experiment
        return self.experiments.open(name, create=True, is_dry=False)

    def _plan(
        self,
        snapshot: Snapshot,
        run: RecordedRun | None,
        route: Route | None,
        options: RecordingOptions,
    ) -> Plan:
        possible = self.tracking.possible(options)
        return make_plan(self.name, snapshot, run, possible, now=self.now(), route=route)

    def _archive(self, plan: Plan, written: Written) -> tuple[str, ...]:
        """Store the archive; return a sentence for each file that was not available."""
        missing: list[str] = []
        # The documents first, so that no file is fetched in vain if the store refuses them.
        for documents, files in ((plan.documents, ()), ({}, plan.files)):
            if documents or files:
                with archive.laid_out(documents, files, self.provider.file) as laid_out:
                    self.tracking.archive(written, laid_out.folder, archive.ARTIFACT_PATH)
                missing += laid_out.missing
        return tuple(missing)

    def _logged_steps(self, run: RecordedRun | None, task: Task) -> LoggedSteps:
        """Return the logged steps, which need not be read again, by the provider's names."""
        if run is None:
            return {}
        names, steps = (
            self.experiments.options_of(run, remember=not task.is_dry).metric_names,
            run.steps,
        )
        own = {*steps, *names.metrics}
        return {name: steps[names.metric(name)] for name in own if names.metric(name) in steps}


def _has_models(snapshot: Snapshot) -> bool:
    """Return whether the job has any models."""
    return bool(snapshot.job.fine_tuned_model) or any(c.model for c in snapshot.checkpoints)


def _awaited(plan: Plan) -> errors.BridgeError | None:
    """Return the error for a part of a job that could not be read now."""
    if not plan.awaited:
        return None
    remedy = "Its run stays as it is" if plan.is_final else "All else is recorded"
    again = "run this again" if plan.is_final else "the next pass goes on"
    return errors.NoAnswer("; ".join(plan.awaited), f"{remedy}; {again}")


def _checked(job: Job, job_id: str) -> Job:
    if job.id != job_id:
        raise errors.BadReply(f"The provider returned another job ({job.id})")
    return job
