"""Hosted models as MLflow's LoggedModels.

MLflow gives them ids and allows two with the same name. A model is identified by its run and by the
tag with its full name: it is searched for before it is created and, because another process may do
the same, again afterwards and before the run is final. It becomes READY when everything about it is
written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge import errors
from bridge.model import MetricPoint
from bridge.plan import tags
from bridge.plan.models import HostedModel
from bridge.plan.plan import Plan
from bridge.plan.recorded import RecordedRun
from bridge.tracking.client import quoted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

_PAGE_SIZE: Final = 100
_EXTERNAL: Final = "mlflow.model.isExternal"
"""Tag that marks a model whose files are elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A LoggedModel of a run."""

    model_id: str
    is_ready: bool


def models_of_run(client: MlflowClient, experiment_id: str, run_id: str) -> dict[str, ModelState]:
    """Return a run's models by their full names at the provider; the first of duplicates counts."""
    return {
        name: ModelState(model_id=models[0].model_id, is_ready=models[0].status.value == "READY")
        for name, models in _by_name(client, experiment_id, run_id).items()
    }


def create_missing(
    client: MlflowClient, run: RecordedRun, plan: Plan, known_outputs: Collection[str]
) -> dict[str, str]:
    """Create the missing models of a plan as outputs of their run.

    Args:
        client: MLflow's client.
        run: the run of the models.
        plan: the plan.
        known_outputs: ids of models that are already outputs of the run.

    Returns:
        The ids of all models of the plan, by their full names.
    """
    from mlflow.entities import LoggedModelOutput

    known: dict[str, str] = {}
    if not plan.is_new:
        by_name = _by_name(client, run.experiment_id, run.run_id)
        known = {name: found[0].model_id for name, found in by_name.items()}
    missing = [model for model in plan.models if model.model not in known]
    for model in missing:
        client.create_logged_model(
            run.experiment_id,
            name=model.name,
            source_run_id=run.run_id,
            tags={**model.about, _EXTERNAL: "true", tags.BRIDGE: tags.OWNED},
            params=dict(model.about),
        )
    if missing:
        known |= _only_firsts(client, run.experiment_id, run.run_id)
    model_ids = {model.model: known[model.model] for model in plan.models}
    outputs = [
        LoggedModelOutput(model_ids[model.model], model.step)
        for model in plan.models
        if model_ids[model.model] not in known_outputs
    ]
    if outputs:
        client.log_outputs(run.run_id, outputs)
    return model_ids


def check_single(
    client: MlflowClient, experiment_id: str, run_id: str, model_ids: Mapping[str, str]
) -> None:
    """Check the models of a run a last time, as the creator of a duplicate may be dead.

    Raises:
        RunChanged: another process's models come first.
    """
    firsts = _only_firsts(client, experiment_id, run_id)
    if any(firsts.get(name) != model_id for name, model_id in model_ids.items()):
        raise errors.RunChanged("Another process is creating the same models")


def _only_firsts(client: MlflowClient, experiment_id: str, run_id: str) -> dict[str, str]:
    """Delete all duplicates but the first; return the ids of the run's models by full name."""
    firsts: dict[str, str] = {}
    for name, (first, *losers) in _by_name(client, experiment_id, run_id).items():
        firsts[name] = first.model_id
        for loser in losers:
            _delete(client, loser)
    return firsts


def metric_batches(
    client: MlflowClient, run_id: str, plan: Plan, model_ids: Mapping[str, str]
) -> list[list[Metric]]:
    """Yield the plan's points in batches, each point with the model that it measures.

    A point that measures several models is sent once for each, and MLflow keeps one row in the run.
    Repetitions come in separate batches, because a batch may contain a row only once.
    """
    linked = _links(plan.models if model_ids else (), model_ids)
    new = {(point.name, point.step) for point in plan.points}
    old = _logged_points(client, run_id, linked.keys() - new)
    batches: list[list[Metric]] = [[]]
    for point in (*plan.points, *old):
        for number, model_id in enumerate(linked.get((point.name, point.step), [None])):
            if number == len(batches):
                batches.append([])
            batches[number].append(metric(point, model_id))
    return batches


def metric(point: MetricPoint, model_id: str | None) -> Metric:
    """Return a point as MLflow's metric; an older MLflow does not support models."""
    from mlflow.entities import Metric

    about = {} if model_id is None else {"model_id": model_id}
    return Metric(point.name, point.value, point.timestamp, point.step, **about)


def _links(
    models: Sequence[HostedModel], model_ids: Mapping[str, str]
) -> dict[tuple[str, int], list[str]]:
    """Return the ids of the models that each metric and step measures."""
    linked: dict[tuple[str, int], list[str]] = {}
    for model in models:
        for measurement in model.metrics:
            linked.setdefault(measurement, []).append(model_ids[model.model])
    return linked


def _logged_points(
    client: MlflowClient, run_id: str, measurements: Iterable[tuple[str, int]]
) -> Iterator[MetricPoint]:
    """Yield the points of a run at these metrics and steps, with one request per metric.

    A model's measurement must equal its run's row, or the run would get a second row.
    """
    wanted = set(measurements)
    for name in sorted({name for name, _ in wanted}):
        for metric in client.get_metric_history(run_id, name):
            if (name, metric.step) in wanted:
                yield MetricPoint(name, metric.step, metric.value, metric.timestamp)


def forget(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Delete the models of a run that loses its job to another run."""
    for found in _by_name(client, experiment_id, run_id).values():
        for model in found:
            _delete(client, model)


def measurements(
    client: MlflowClient, experiment_id: str, run_id: str
) -> dict[tuple[str, int], str]:
    """Return the ids of the run's models by the metric and step that measure them."""
    return {
        (metric.key, metric.step): models[0].model_id
        for models in _by_name(client, experiment_id, run_id).values()
        for metric in models[0].metrics or ()
    }


def source_run(client: MlflowClient, experiment_ids: Sequence[str], model: str) -> str | None:
    """Return the run that made a model; ``None`` if the model is unknown."""
    literal = quoted(model)
    if literal is None:
        return None
    found = client.search_logged_models(
        list(experiment_ids), filter_string=f"tags.{tags.MODEL} = {literal}", max_results=1
    )
    return found[0].source_run_id if found else None


def is_deleted(client: MlflowClient, model_id: str) -> bool:
    """Return whether a model no longer exists."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return True
    return False


def _delete(client: MlflowClient, model: LoggedModel) -> None:
    if model.tags.get(tags.BRIDGE) == tags.OWNED:
        client.delete_logged_model(model.model_id)


def _by_name(client: MlflowClient, experiment_id: str, run_id: str) -> dict[str, list[LoggedModel]]:
    """Return a run's models by full name, with duplicates in the same order for all processes."""
    by_name: dict[str, list[LoggedModel]] = {}
    token: str | None = None
    while True:
        page = client.search_logged_models(
            [experiment_id],
            filter_string=f"source_run_id = '{run_id}'",
            max_results=_PAGE_SIZE,
            page_token=token,
        )
        for model in page:
            if name := model.tags.get(tags.MODEL):
                by_name.setdefault(name, []).append(model)
        token = page.token
        if not token:
            break
    for models in by_name.values():
        models.sort(key=lambda model: (model.creation_timestamp, model.model_id))
    return by_name
