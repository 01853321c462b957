"""The models, versions, datasets and artifacts in MLflow, in a form that can be compared.

Ids that MLflow generates are left out, so that two recordings of the same job compare equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.artifacts import list_artifacts
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion

from tests.support.recorded import Row, active_runs

EXPERIMENT = "hosted-fine-tunes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRows:
    """Everything that the bridge writes of a model."""

    name: str
    job_id: str
    """Job of the run that it came from."""
    output_steps: tuple[int, ...]
    """Steps at which it is an output of that run; exactly one if all is well."""
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    rows: tuple[Row, ...]


def client_of(uri: str) -> MlflowClient:
    """Return MLflow's client."""
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(uri: str, experiment: str = EXPERIMENT) -> str:
    """Return the id of an existing experiment."""
    found = client_of(uri).get_experiment_by_name(experiment)
    assert found is not None
    return str(found.experiment_id)


def logged_models(uri: str, experiment: str = EXPERIMENT) -> list[LoggedModel]:
    """Return all active LoggedModels of an experiment."""
    client, place = client_of(uri), experiment_id(uri, experiment)
    models: list[LoggedModel] = []
    token: str | None = None
    while True:
        page = client.search_logged_models([place], page_token=token)
        models += page
        token = page.token
        if not token:
            return models


def models(uri: str, experiment: str = EXPERIMENT) -> dict[str, ModelRows]:
    """Return the models by full name, and fail if two share one."""
    active = [run.info.run_id for run in active_runs(uri, experiment)]
    # One by one, because the outputs that a search returns depend on the version.
    runs = {run_id: client_of(uri).get_run(run_id) for run_id in active}
    found: dict[str, ModelRows] = {}
    for model in logged_models(uri, experiment):
        full_name = model.tags["fine_tuned_model"]
        assert full_name not in found, f"two models are {full_name}"
        assert model.source_run_id in runs, f"{full_name} is of no active run"
        run = runs[model.source_run_id]
        found[full_name] = ModelRows(
            name=model.name,
            job_id=run.data.tags["fine_tuning_job_id"],
            output_steps=tuple(
                output.step
                for output in (run.outputs.model_outputs if run.outputs else ())
                if output.model_id == model.model_id
            ),
            status=str(model.status),
            tags=dict(model.tags),
            params=dict(model.params),
            rows=tuple(sorted((m.key, m.step, m.value, m.timestamp) for m in model.metrics or ())),
        )
    return found


def models_of(uri: str, run: Run) -> list[tuple[str, str, int]]:
    """Return name, status and number of metrics of a run's models, sorted to show duplicates."""
    place = run.info.experiment_id
    found = client_of(uri).search_logged_models(
        [place], filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    return sorted(
        (model.tags["fine_tuned_model"], str(model.status), len(model.metrics or ()))
        for model in found
    )


def versions(uri: str, name: str) -> list[ModelVersion]:
    """Return the versions of a registered model, in ascending order."""
    found = client_of(uri).search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version))


def versions_by_model(uri: str, prefix: str = "") -> dict[tuple[str, str], dict[str, str]]:
    """Return tags of versions by registered name and full name, and fail if two share one."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for version in client_of(uri).search_model_versions(f"name LIKE '{prefix}%'"):
        key = version.name.removeprefix(prefix), version.tags["fine_tuned_model"]
        assert key not in found, f"two versions are {key}"
        found[key] = dict(version.tags)
    return found


def newest(uri: str, name: str) -> str:
    """Return the full name of the model that the alias points to."""
    version = client_of(uri).get_model_version_by_alias(name, "newest")
    return str(version.tags["fine_tuned_model"])


def run_of(uri: str, job_id: str, experiment: str = EXPERIMENT) -> Run:
    """Return the active run of a job."""
    (run,) = (
        run for run in active_runs(uri, experiment) if run.data.tags["fine_tuning_job_id"] == job_id
    )
    return run


def datasets(run: Run) -> list[tuple[str, str]]:
    """Return name and context of a run's datasets, sorted to show duplicates."""
    return sorted(
        (each.dataset.name, tag.value)
        for each in (run.inputs.dataset_inputs if run.inputs else ())
        for tag in each.tags
        if tag.key == "mlflow.data.context"
    )


def artifacts(uri: str, run: Run) -> dict[str, int]:
    """Return the size of each of a run's artifacts, by path."""
    return dict(_artifacts(uri, run.info.artifact_uri, ""))


def _artifacts(uri: str, root: str, folder: str) -> Iterator[tuple[str, int]]:
    # By the address of a folder, as MLflow would read the run for each of its folders.
    place = f"{root}/{folder}" if folder else root
    for found in list_artifacts(artifact_uri=place, tracking_uri=uri):
        name = found.path.rpartition("/")[2]  # what is before depends on the store
        path = f"{folder}/{name}" if folder else name
        if found.is_dir:
            yield from _artifacts(uri, root, path)
        else:
            yield path, found.file_size or 0
