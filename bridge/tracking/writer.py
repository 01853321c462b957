"""Writing of runs, models, archives and versions to MLflow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import errors
from bridge.plan import tags
from bridge.plan.plan import Plan
from bridge.plan.recorded import RecordedRun
from bridge.plan.rename import Renaming
from bridge.text import one_line
from bridge.tracking import logged_models, registry
from bridge.tracking.capabilities import Feature
from bridge.tracking.connections import one_each
from bridge.tracking.failures import reason_of
from bridge.tracking.relations import Relations
from bridge.tracking.runs import outputs_of, recorded_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput


@dataclass(frozen=True, slots=True)
class Written:
    """A run after all writes of a plan except the last."""

    run: RecordedRun
    """The run before the plan was written."""
    model_ids: Mapping[str, str] = field(default_factory=dict)
    """Ids of the LoggedModels by the models' full names."""

    @property
    def run_id(self) -> str:
        """Id of the run in MLflow."""
        return self.run.run_id


class Tracking(Relations):
    """Writes to one tracking store, a server or a database. Thread-safe.

    Every method raises ``TrackingDown`` if the store cannot be reached or refuses everything, and
    ``TrackingError`` if it refuses one request.
    """

    def claim(self, run_id: str, holder: str) -> str:
        """Claim a user's run for ``holder``; return its holder, which may be an earlier one.

        MLflow never changes a param: if several processes claim a run at the same time, one
        succeeds, and all others learn which.
        """
        try:
            with self.asked(one_job=True) as client:
                client.log_param(run_id, tags.CLAIM, holder)
        except errors.TrackingDown:
            raise
        except errors.TrackingError:
            run = self.run(run_id)
            other = run.params.get(tags.CLAIM) if run else None
            if other in {None, holder}:
                raise
            return str(other)
        return holder

    def record(self, experiment_id: str, plan: Plan, run: RecordedRun | None) -> Written:
        """Write a plan, except for its last part.

        Args:
            experiment_id: experiment for a new run.
            plan: the plan.
            run: the run to write to, as last read; ``None``: a new one.

        Raises:
            RunChanged: the run was deleted, or others wrote the same, meanwhile.
        """
        from mlflow.entities import Param, RunTag

        new_tags = plan.tags if run else {}
        run = run or self._created(experiment_id, plan)
        run_id = run.run_id
        with self._writing(run_id) as client:
            if plan.datasets:
                with self.capabilities.trying(Feature.DATASETS, client):
                    client.log_inputs(run_id, datasets=_dataset_inputs(plan))
            model_ids = self._models(client, plan, run)
            if started := new_tags.get(tags.STARTED):
                # MLflow writes a batch's metrics before its tags. A process that continues from
                # these metrics reads no further back, and would miss the tags.
                client.set_tag(run_id, tags.STARTED, started)
            first, *others = logged_models.metric_batches(client, run_id, plan, model_ids)
            client.log_batch(
                run_id,
                metrics=first,
                params=[Param(name, value) for name, value in plan.params.items()],
                tags=[RunTag(name, value) for name, value in new_tags.items()],
            )
            for metrics in others:
                client.log_batch(run_id, metrics=metrics)
            for model_id in model_ids.values():
                client.finalize_logged_model(model_id, "READY")
        return Written(run, model_ids)

    def _created(self, experiment_id: str, plan: Plan) -> RecordedRun:
        with self.asked(one_job=True) as client:
            return recorded_run(
                client.create_run(
                    experiment_id,
                    start_time=plan.start_time,
                    tags=dict(plan.tags),
                    run_name=plan.run_name,
                )
            )

    def _models(self, client: MlflowClient, plan: Plan, run: RecordedRun) -> dict[str, str]:
        """Create a plan's models; return their ids by full name, none if the store lacks models."""
        if plan.models:
            with self.capabilities.trying(Feature.MODELS, client):
                known = {} if plan.is_new else outputs_of(client, run)
                return logged_models.create_missing(client, run, plan, known)
        return {}

    def archive(self, written: Written, folder: Path, artifact_path: str) -> None:
        """Store a folder's files as artifacts of a run, replacing files with the same names.

        Raises:
            ArchiveFailed: the artifact store refused them.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = written.run.artifact_uri
        try:
            repository = get_artifact_repository(place, tracking_uri=self.uri)
            with one_each(self.uri):
                repository.log_artifacts(str(folder), artifact_path)  # type: ignore[no-untyped-call] # MLflow's
        except Exception as error:
            # Each kind of artifact store has different exceptions.
            words = reason_of(error, self.redactor.text(str(error)))
            said = one_line(words.replace(written.run_id, "RUN"), 200)
            where = one_line(self.redactor.text(place.partition(written.run_id)[0]))
            # Its message is not in the sentence, because it names a different file each time.
            raise errors.ArchiveFailed(
                f"The artifact store {where} refused the archive",
                "Everything else is recorded; make the store reachable from here, or set"
                f" mlflow.archive: false, and the runs get their final status. It said: {said}",
            ) from error

    def register(self, written: Written, plan: Plan) -> None:
        """Register a job's result as a version of its registered model."""
        registration = plan.registration
        if registration is None or registration.model not in written.model_ids:
            return
        model = registration.model
        facts = {tags.MODEL: model, tags.PROVIDER: plan.provider, tags.JOB: plan.job_id}
        with (
            self._writing(written.run_id) as client,
            self.capabilities.trying(Feature.REGISTRY, client),
        ):
            registry.register(client, registration, written.run_id, written.model_ids[model], facts)

    def finish(self, written: Written, plan: Plan) -> None:
        """Write the final status, which marks the run as complete.

        Raises:
            RunChanged: the run was deleted, or others wrote the same, meanwhile.
        """
        with self._writing(written.run_id) as client:
            if plan.is_final and written.model_ids:
                new = {each.model: written.model_ids[each.model] for each in plan.models}
                logged_models.check_single(client, written.run.experiment_id, written.run_id, new)
            for name in plan.removed_tags:
                client.delete_tag(written.run_id, name)
            if plan.status and plan.end_time is not None:
                client.set_terminated(written.run_id, plan.status, plan.end_time)
            elif plan.status:
                client.update_run(written.run_id, status=plan.status)
            for name, value in plan.last_tags.items():
                client.set_tag(written.run_id, name, value)

    def rename(self, run: RecordedRun, renaming: Renaming, label: str | None) -> None:
        """Write a run's points and params under other names, with the models that they measure.

        Args:
            run: the run.
            renaming: the additions.
            label: the tag that marks the renaming as done; ``None`` if it is incomplete.
        """
        from mlflow.entities import Param

        with self.asked(one_job=True) as client:
            linked: dict[tuple[str, int], str] = {}
            if self.capabilities.has(Feature.MODELS):
                linked = logged_models.measurements(client, run.experiment_id, run.run_id)
            old_names = {new: old for old, new in renaming.renamed.items()}
            client.log_batch(
                run.run_id,
                metrics=[
                    logged_models.metric(
                        point, linked.get((old_names.get(point.name, ""), point.step))
                    )
                    for point in renaming.points
                ],
                params=[Param(name, value) for name, value in renaming.params.items()],
            )
            if label is not None:
                client.set_tag(run.run_id, tags.METRIC_NAMES, label)

    def tag(self, run_id: str, name: str, value: str) -> None:
        """Set a tag of a run, unless the run has been deleted."""
        with contextlib.suppress(errors.RunChanged), self.asked(one_job=True) as client:
            client.set_tag(run_id, name, value)

    def delete(self, run_ids: Iterable[str]) -> None:
        """Move runs to MLflow's trash, and delete the bridge's models and versions of them.

        The run itself is deleted in between: a run in the trash is not checked again, and until
        then another process may still create a model of it.
        """
        for run_id in run_ids:
            self._forget(run_id)
            # Another process that resolves the same race may have been faster.
            with contextlib.suppress(errors.RunChanged), self.asked(one_job=True) as client:
                client.delete_run(run_id)
            self._forget(run_id)

    def _forget(self, run_id: str) -> None:
        run = self.run(run_id)
        if run is not None:
            with self.asked(one_job=True) as client:
                with self.capabilities.trying(Feature.REGISTRY, client):
                    registry.forget(client, run_id)
                if self.capabilities.has(Feature.MODELS):
                    logged_models.forget(client, run.experiment_id, run_id)
            if parent := run.tags.get(tags.FROM_RUN):
                self.change_children(parent, lambda known: known - {run_id}, {})

    @contextlib.contextmanager
    def _writing(self, run_id: str) -> Iterator[MlflowClient]:
        """Yield a client; if the run is deleted meanwhile, delete its models and versions too."""
        try:
            with self.asked(one_job=True) as client:
                yield client
        except errors.RunChanged:
            run = self.run(run_id)
            if run is not None and run.is_deleted:
                self._forget(run_id)
            raise


def _dataset_inputs(plan: Plan) -> list[DatasetInput]:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(
                name=each.file_id,
                digest=each.digest,
                source_type=f"{plan.provider} file",
                source=each.source(plan.provider),
            ),
            [InputTag("mlflow.data.context", each.context)],
        )
        for each in plan.datasets
    ]
