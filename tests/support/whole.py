"""A few ended jobs, and everything that one backfill records of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Run

from bridge.simulator import Simulator
from bridge.simulator.jobs import Provider
from bridge.simulator.openai_objects import model_name
from tests.support import config_file
from tests.support.models import artifacts, datasets, models, newest, versions_by_model
from tests.support.recorded import active_runs, recorded
from tests.support.world import NOW, job

PARENT = job("ftjob-parent", total_steps=6, suffix="parent")
CHILD = job(
    "ftjob-child",
    total_steps=2,
    n_epochs=1,
    suffix="child",
    base_model=model_name(PARENT, 4),
    created_at=NOW + 200,
)
MISTRAL = job("11111111-2222-3333-4444-555555555555", "mistral", total_steps=4, suffix="other")
JOBS = (PARENT, CHILD, MISTRAL)


def write_config(
    folder: Path,
    provider: Simulator,
    uri: str,
    trial: str,
    *,
    workers: int = 1,
    kinds: Sequence[Provider] = ("openai", "mistral"),
    archive: bool = True,
) -> Path:
    """Write a configuration in which every name contains that of the trial.

    Each provider has a separate experiment: in a shared one only the first to arrive would write.
    """
    mlflow = {
        "register": f"{trial}-of-{{suffix}}",
        "archive": archive,
        "archive_datasets": archive,
    }
    return config_file.write_config(
        folder / f"{trial}.yaml",
        uri,
        {
            name: {"base_url": provider.base_urls[name], "experiment": f"{trial}-{name}"}
            for name in kinds
        },
        mlflow=mlflow,
        poll={"workers": workers, "interval": "1h"},
    )


def experiments(trial: str) -> tuple[str, ...]:
    """Return the experiments that a trial writes to."""
    return tuple(f"{trial}-{name}" for name in ("openai", "mistral"))


def everything(uri: str, trial: str, *, server: str | None = None) -> dict[str, dict[str, object]]:
    """Return everything that is recorded of each job, without the ids that MLflow generates.

    Args:
        uri: the tracking store.
        trial: the beginning of every name.
        server: the server that has the artifacts, if ``uri`` is its database.
    """
    return {
        job_id: found
        for experiment in experiments(trial)
        for job_id, found in _recorded_in(uri, experiment, f"{trial}-of-", server or uri).items()
    }


def _recorded_in(
    uri: str, experiment: str, prefix: str, archive: str
) -> dict[str, dict[str, object]]:
    runs = {run.data.tags["fine_tuning_job_id"]: run for run in active_runs(uri, experiment)}
    if not runs:
        return {}
    rows = recorded(uri, experiment)
    assert rows.keys() == runs.keys()
    names = {run.info.run_id: job_id for job_id, run in runs.items()}
    known = models(uri, experiment)
    versions = versions_by_model(uri, prefix)
    aliases = {name: newest(uri, prefix + name) for name, _ in versions}
    return {
        job_id: {
            "rows": replace(rows[job_id], tags=_tags(run, names)),
            "datasets": datasets(run),
            "artifacts": artifacts(archive, run),
            "models": {
                name: replace(model, tags=_without_numbers(model.tags, prefix))
                for name, model in known.items()
                if model.job_id == job_id
            },
            "versions": {
                name: {**tags, "is newest": aliases[name] == full_name}
                for (name, full_name), tags in versions.items()
                if tags["fine_tuning_job_id"] == job_id
            },
        }
        for job_id, run in runs.items()
    }


def _tags(run: Run, names: Mapping[str, str]) -> dict[str, str]:
    """Return a run's tags including the note; job ids stand in for other runs."""
    tags: dict[str, str] = {}
    for name, value in run.data.tags.items():
        if name != "mlflow.ftbridge.noteDigest":  # a digest of the note
            for run_id, job_id in names.items():
                value = value.replace(run_id, job_id).replace(run_id[:8], job_id)  # noqa: PLW2901 - masks
            tags[name] = value
    return tags


def _without_numbers(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return a model's tags, without the version number, which depends on concurrent writers."""
    links = json.loads(tags.get("mlflow.modelVersions", "[]"))
    plain = {name: value for name, value in tags.items() if name != "mlflow.modelVersions"}
    return plain | {"registered as": str([link["name"].removeprefix(prefix) for link in links])}
