"""The metric names of an experiment's hosted runs, chosen once and remembered there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.plan import tags
from bridge.plan.metric_names import preset_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG: Final = "fine_tuning_metric_names"
"""Tag of an experiment, as of its runs: a preset's name, or a mapping as JSON."""
_LOCAL_RUNS: Final = 50
"""Local runs, the newest, that decide."""
_NEWEST_RUNS: Final = 1000
"""Runs of any kind among which an older server's local ones are found."""


def label_of(client: MlflowClient, experiment_id: str, *, remember: bool) -> str:
    """Return the label of the names in an experiment.

    Its hosted runs keep the names that they have; without any, what its local runs log decides.

    Args:
        client: MLflow's.
        experiment_id: the experiment's.
        remember: whether to write down what is decided.
    """
    known = client.get_experiment(experiment_id).tags.get(TAG)
    if known:
        return str(known)
    for run in client.search_runs(
        [experiment_id], f"tags.{tags.METRIC_NAMES} != ''", max_results=1
    ):
        return str(run.data.tags[tags.METRIC_NAMES])
    label = preset_of(local_metric_names(client, experiment_id))
    if remember:
        client.set_experiment_tag(experiment_id, TAG, label)
    return label


def local_metric_names(client: MlflowClient, experiment_id: str) -> list[frozenset[str]]:
    """Return the names of the metrics of each of the newest local runs."""
    from mlflow.exceptions import MlflowException

    is_local = f"tags.{tags.PROVIDER} IS NULL"
    try:
        runs = [*client.search_runs([experiment_id], is_local, max_results=_LOCAL_RUNS)]
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        # MLflow 3.5 and older cannot search for tags that are absent.
        newest = client.search_runs([experiment_id], max_results=_NEWEST_RUNS)
        runs = [run for run in newest if tags.PROVIDER not in run.data.tags][:_LOCAL_RUNS]
    return [frozenset(run.data.metrics) for run in runs]
