"""The audit of everything that the bridge wrote about runs, and the removal of surplus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge import errors
from bridge.plan import tags
from bridge.plan.plan import Plan
from bridge.plan.recorded import RecordedRun
from bridge.plan.repair import Inventory
from bridge.text import one_line
from bridge.tracking import logged_models, registry
from bridge.tracking.capabilities import Feature
from bridge.tracking.client import quoted
from bridge.tracking.connections import one_each
from bridge.tracking.runs import RunReader, outputs_of

if TYPE_CHECKING:
    from mlflow.entities import FileInfo

_PAGE_SIZE: Final = 100
"""Page size for models and versions, whose filters are slow over a server if pages are large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeModel:
    """A LoggedModel that the bridge has created."""

    model_id: str
    experiment_id: str
    run_id: str
    job_id: str
    model: str
    """Its full name at the provider."""
    age: tuple[int, str]
    """Creation time in Unix milliseconds, and the id; the smallest of duplicates is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeVersion:
    """A version of a registered model that the bridge has created."""

    name: str
    """Name of the registered model."""
    number: int
    run_id: str
    job_id: str


class Audit(RunReader):
    """All models and versions of a provider's jobs."""

    def inventory(
        self, run: RecordedRun, plan: Plan, model_ids: Mapping[str, str], artifact_path: str
    ) -> Inventory:
        """Return the part of a run in MLflow to which the plan would add.

        Args:
            run: the run.
            plan: the plan to compare with.
            model_ids: ids of the run's complete models, by their full names.
            artifact_path: folder of the archive.
        """
        archived: frozenset[str] = frozenset()
        if plan.documents or plan.files:
            archived = self.archived_names(run, artifact_path)
        registered: frozenset[str] = frozenset()
        emptied: frozenset[int] = frozenset()
        with self.asked(one_job=True) as client:
            if plan.registration:
                model_id = model_ids.get(plan.registration.model)
                registered = registry.names_of(client, run.run_id, model_id)
            if plan.models and self.capabilities.has(Feature.MODELS):
                emptied = frozenset(
                    step
                    for model_id, step in outputs_of(client, run).items()
                    if logged_models.is_deleted(client, model_id)
                )
        return Inventory(archived=archived, registered=registered, emptied=emptied)

    def archived_names(self, run: RecordedRun, folder: str) -> frozenset[str]:
        """Return the names in a folder of a run's artifacts; empty if the folder is missing."""
        return frozenset(
            each.path.removeprefix(f"{folder}/") for each in self._artifacts(run, folder)
        )

    def archived(self, run: RecordedRun, folder: str) -> list[int]:
        """Return the size of each file in a folder of a run's artifacts and below it, in bytes."""
        sizes: list[int] = []
        for each in self._artifacts(run, folder):
            sizes += self.archived(run, each.path) if each.is_dir else [each.file_size or 0]
        return sizes

    def _artifacts(self, run: RecordedRun, folder: str) -> list[FileInfo]:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            repository = get_artifact_repository(run.artifact_uri, tracking_uri=self.uri)
            with one_each(self.uri):
                return repository.list_artifacts(folder)
        except Exception as error:
            # Each kind of artifact store raises different exceptions.
            said = one_line(self.redactor.text(str(error)).replace(run.run_id, "RUN"), 200)
            raise errors.ArchiveFailed(
                "The artifact store did not list the archive", f"It said: {said}"
            ) from error

    def made_models(
        self, experiment_ids: Sequence[str], provider: str, job_id: str | None = None
    ) -> Iterator[MadeModel]:
        """Yield the models of a provider's jobs, grouped by run."""
        token: str | None = None
        while experiment_ids and self.capabilities.has(Feature.MODELS):
            with self.asked() as client:
                page = client.search_logged_models(
                    list(experiment_ids),
                    filter_string=_filter(provider, job_id),
                    max_results=_PAGE_SIZE,
                    order_by=[{"field_name": "source_run_id"}],
                    page_token=token,
                )
            for model in page:
                if model.tags.get(tags.BRIDGE) == tags.OWNED:
                    yield MadeModel(
                        model_id=model.model_id,
                        experiment_id=model.experiment_id,
                        run_id=model.source_run_id or "",
                        job_id=model.tags.get(tags.JOB, ""),
                        model=model.tags.get(tags.MODEL, ""),
                        age=(model.creation_timestamp, model.model_id),
                    )
            token = page.token
            if not token:
                return

    def made_versions(self, provider: str, job_id: str | None = None) -> Iterator[MadeVersion]:
        """Yield the versions of a provider's jobs, by registered model and ascending number."""
        token: str | None = None
        while True:
            with self.asked() as client:
                page = client.search_model_versions(
                    _filter(provider, job_id),
                    max_results=_PAGE_SIZE,
                    order_by=["name ASC", "version_number ASC"],
                    page_token=token,
                )
            for version in page:
                if version.tags.get(tags.BRIDGE) == tags.OWNED:
                    yield MadeVersion(
                        name=version.name,
                        number=int(version.version),
                        run_id=version.run_id or "",
                        job_id=version.tags.get(tags.JOB, ""),
                    )
            token = page.token
            if not token:
                return

    def alias(self, name: str) -> tuple[int | None, int | None]:
        """Return the numbers of the version with a model's alias, and of the right one."""
        with self.asked(one_job=True) as client:
            return registry.alias(client, name)

    def users_aliases(self, version: MadeVersion) -> list[str]:
        """Return the aliases of a version that users created."""
        with self.asked(one_job=True) as client:
            return registry.users_aliases(client, version.name, version.number)

    def delete_model(self, model_id: str) -> None:
        """Delete a LoggedModel."""
        with self.asked(one_job=True) as client:
            client.delete_logged_model(model_id)

    def delete_version(self, version: MadeVersion) -> None:
        """Delete a version; its alias moves to the newest remaining version."""
        with self.asked(one_job=True) as client:
            registry.remove(client, version.name, version.number)

    def move_alias(self, name: str) -> None:
        """Move the alias of a registered model to the version whose job ended last."""
        with self.asked(one_job=True) as client:
            registry.point_at_newest(client, name)


def _filter(provider: str, job_id: str | None) -> str:
    terms = {tags.PROVIDER: quoted(provider), tags.JOB: quoted(job_id)}
    return " and ".join(f"tags.{name} = {value}" for name, value in terms.items() if value)
