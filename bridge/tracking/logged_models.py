"""Hosted models as MLflow's LoggedModels.

MLflow gives them ids of its own and lets two have the same name. What makes a model one and the
same is its run and the tag with its full name: it is searched for before it is created and, since
another process may have done the same at that moment, once more afterwards and before the run is
final. It becomes READY when everything about it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge import errors
from bridge.model import MetricPoint
from bridge.plan import tags
from bridge.plan.models import HostedModel
from bridge.tracking.client import quoted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

_PAGE_SIZE: Final = 100
_EXTERNAL: Final = "mlflow.model.isExternal"
"""Says that the model's files are elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A LoggedModel of a run."""

    model_id: str
    is_ready: bool


def models_of_run(client: MlflowClient, experiment_id: str, run_id: str) -> dict[str, ModelState]:
    """A run's models by their full names at the provider; of doubled ones the first."""
    return {
        name: ModelState(model_id=models[0].model_id, is_ready=models[0].status.value == "READY")
        for name, models in _by_name(client, experiment_id, run_id).items()
    }


def create_missing(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    models: Sequence[HostedModel],
    *,
    is_new_run: bool,
) -> dict[str, str]:
    """The ids of ``models`` by their full names, created where they do not exist yet."""
    known: dict[str, str] = {}
    if not is_new_run:
        by_name = _by_name(client, experiment_id, run_id)
        known = {name: found[0].model_id for name, found in by_name.items()}
    missing = [model for model in models if model.model not in known]
    for model in missing:
        client.create_logged_model(
            experiment_id,
            name=model.name,
            source_run_id=run_id,
            tags={**model.about, _EXTERNAL: "true", tags.BRIDGE: tags.OWNED},
            params=dict(model.about),
        )
    if missing:
        known |= _only_firsts(client, experiment_id, run_id)
    return {model.model: known[model.model] for model in models}


def check_single(
    client: MlflowClient, experiment_id: str, run_id: str, model_ids: Mapping[str, str]
) -> None:
    """Look at all models of a run once more, as nobody will again: who doubled one may be dead.

    Raises:
        RunChanged: the other process's are the first.
    """
    firsts = _only_firsts(client, experiment_id, run_id)
    if any(firsts.get(name) != model_id for name, model_id in model_ids.items()):
        raise errors.RunChanged("Another process makes the same models")


def _only_firsts(client: MlflowClient, experiment_id: str, run_id: str) -> dict[str, str]:
    """The ids of a run's models by their full names; of doubled ones all but the first go."""
    firsts: dict[str, str] = {}
    for name, (first, *losers) in _by_name(client, experiment_id, run_id).items():
        firsts[name] = first.model_id
        for loser in losers:
            _delete(client, loser)
    return firsts


def links(
    models: Sequence[HostedModel], model_ids: Mapping[str, str]
) -> dict[tuple[str, int], list[str]]:
    """By metric and step the ids of the models that it measures."""
    linked: dict[tuple[str, int], list[str]] = {}
    for model in models:
        for measurement in model.metrics:
            linked.setdefault(measurement, []).append(model_ids[model.model])
    return linked


def logged_points(
    client: MlflowClient, run_id: str, measurements: Iterable[tuple[str, int]]
) -> Iterator[MetricPoint]:
    """The points that a run has at these metrics and steps: one request a metric.

    A model's measurement must equal its run's row, or the run would get a second one.
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
    """By metric and step the model of a run that it measures."""
    return {
        (metric.key, metric.step): models[0].model_id
        for models in _by_name(client, experiment_id, run_id).values()
        for metric in models[0].metrics or ()
    }


def source_run(client: MlflowClient, experiment_ids: Sequence[str], model: str) -> str | None:
    """The run that a model came from; ``None`` where no such model is known."""
    literal = quoted(model)
    if literal is None:
        return None
    found = client.search_logged_models(
        list(experiment_ids), filter_string=f"tags.{tags.MODEL} = {literal}", max_results=1
    )
    return found[0].source_run_id if found else None


def is_deleted(client: MlflowClient, model_id: str) -> bool:
    """Whether a model is no longer there."""
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
    """A run's models by full name, those with the same in an order that all processes see."""
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
