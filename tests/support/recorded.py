"""The content of MLflow, read through its public client, in a form that can be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

Row = tuple[str, int, float, int]
"""Metric name, step, value, Unix milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """Everything that the bridge writes of a job."""

    name: str
    status: str
    start_time: int
    end_time: int | None
    tags: dict[str, str]
    params: dict[str, str]
    rows: tuple[Row, ...]
    """Every row of the metrics table, sorted to show duplicate points."""


def recorded(uri: str, experiment: str = "hosted-fine-tunes") -> dict[str, RunRows]:
    """Return the active runs of an experiment by job id, and fail if a job has two."""
    found: dict[str, RunRows] = {}
    for run in active_runs(uri, experiment):
        job_id = run.data.tags.get("fine_tuning_job_id", "")
        assert job_id not in found, f"two active runs carry {job_id}"
        found[job_id] = RunRows(
            name=run.info.run_name or "",
            status=run.info.status,
            start_time=run.info.start_time,
            end_time=run.info.end_time,
            tags={k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
            params=dict(run.data.params),
            rows=rows_of(uri, run),
        )
    return found


def without_links(runs: dict[str, RunRows]) -> dict[str, RunRows]:
    """Return tags without the links to other runs, which differ with the runs' ids."""
    linked = {"fine_tuned_from_run", "fine_tuned_into_runs"}
    return {
        job_id: replace(run, tags={k: v for k, v in run.tags.items() if k not in linked})
        for job_id, run in runs.items()
    }


def rows_of(uri: str, run: Run) -> tuple[Row, ...]:
    """Return every row of a run's metrics, sorted to show duplicate points."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return tuple(
        sorted(
            (metric.key, metric.step, metric.value, metric.timestamp)
            for name in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, name)
        )
    )


def active_runs(uri: str, experiment: str = "hosted-fine-tunes") -> list[Run]:
    """Return the active runs of an experiment, none if it does not exist."""
    return _runs(uri, experiment, ViewType.ACTIVE_ONLY)


def deleted_runs(uri: str, experiment: str = "hosted-fine-tunes") -> list[Run]:
    """Return the deleted runs of an experiment."""
    return _runs(uri, experiment, ViewType.DELETED_ONLY)


def _runs(uri: str, experiment: str, view: int) -> list[Run]:
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [found.experiment_id], run_view_type=view, max_results=1000, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs
