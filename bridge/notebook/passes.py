"""The bridge for a notebook: its configuration, and a pass for one job."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from bridge.bootstrap.bridge import Bridge, assemble
from bridge.bootstrap.factories import experiments_of
from bridge.bootstrap.one_pass import Made, one_pass
from bridge.errors import (
    BridgeError,
    ConfigError,
    NotFound,
    Refused,
)
from bridge.plan import tags
from bridge.settings.load import load
from bridge.settings.model import Settings
from bridge.sync.report import Selection
from bridge.tracking.client import quoted
from bridge.tracking.runs import recorded_run

if TYPE_CHECKING:
    pass

_PAGE: Final = 1000
"""Number of runs in one reply."""
_ID_NAMES: Final = ("id", "job_id", "jobArn", "job_arn", "name")
"""Attributes of the SDKs' objects that contain the job id."""


def settings_of(providers: Sequence[str]) -> Settings:
    """Return the configuration, with the settings of MLflow's own functions as its defaults."""
    environ = dict(os.environ)
    if mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call] # MLflow's
        environ["MLFLOW_TRACKING_URI"] = mlflow.get_tracking_uri()
    experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID")  # mlflow.set_experiment sets it
    if experiment_id:
        environ["MLFLOW_EXPERIMENT_NAME"] = MlflowClient().get_experiment(experiment_id).name
    settings = load(None, environ)
    known = [provider.name for provider in settings.providers]
    if unknown := [name for name in providers if name not in known]:
        raise ConfigError(
            [f"{name}: not configured; choose from {', '.join(known)}" for name in unknown]
        )
    chosen = tuple(each for each in settings.providers if not providers or each.name in providers)
    return settings.model_copy(update={"providers": chosen})


@contextmanager
def bridge_for(
    provider: str | None, job: object, run_id: str | None
) -> Iterator[tuple[Bridge, str]]:
    """Yield the bridge, and the id of a job."""
    job_id = _id_of(job)
    settings = settings_of([provider] if provider else [])
    if run_id:
        # Callers may name any run of theirs; the job belongs to its experiment.
        client = MlflowClient(settings.mlflow.tracking_uri)
        name = client.get_experiment(client.get_run(run_id).info.experiment_id).name
        mlflow_settings = settings.mlflow.model_copy(update={"experiment": name, "routes": ()})
        ours = tuple(p.model_copy(update={"experiment": None}) for p in settings.providers)
        settings = settings.model_copy(update={"mlflow": mlflow_settings, "providers": ours})
    runs = {job_id: run_id} if run_id else {}
    with assemble(settings, os.environ, threading.Event(), runs=runs) as bridge:
        yield bridge, job_id


def _id_of(job: object) -> str:
    """Return a job's id as the bridge writes it."""
    found = job if isinstance(job, str) else next(filter(None, map(_read(job), _ID_NAMES)), None)
    if not isinstance(found, str) or not found:
        raise TypeError(f"{type(job).__name__} has no job id; pass the id itself")
    if found.startswith("accounts/"):  # Fireworks: the account is in the address already
        return found.split("/", 2)[-1]
    # Vertex AI and Bedrock name a job by its full path.
    return found.rpartition("/")[2] if found.startswith(("projects/", "arn:")) else found


def _read(job: object) -> Callable[[str], object]:
    return job.get if isinstance(job, Mapping) else lambda name: getattr(job, name, None)


def logged(bridge: Bridge, job_id: str, run_id: str | None) -> tuple[Run, bool]:
    """Make a pass for one job; return its run and whether nothing is left to do."""
    made = one_pass(bridge, Selection(job_ids=(job_id,)))
    found = next((job for job in made.landed if job.error is None), None)
    if found is None:
        raise _error(bridge, made, job_id)
    runs = {run.info.run_id: run for run in runs_of(bridge, job_id)}
    if not runs:
        raise BridgeError(
            f"The run of {job_id} was deleted in MLflow, and is not created again",
            "Restore it: mlflow runs restore --run-id ID",
        )
    # The run with the smallest id owns the job.
    run = runs.get(found.run_id or "") or runs[min(runs)]
    if run_id and run.info.run_id != run_id:
        reasons = "; ".join(what for report in made.reports for _, what in report.skipped)
        raise BridgeError(
            f"{job_id} is in run {run.info.run_id}, not in {run_id}"
            f"{f': {reasons}' if reasons else ''}",
            "Delete that run in MLflow for good to let the job continue another one",
        )
    return run, recorded_run(run).is_final


def _error(bridge: Bridge, made: Made, job_id: str) -> BridgeError:
    """Return the error of a job that could not be logged, its own provider's if one knows it."""
    stopped = [report.stopped for report in made.reports if report.stopped]
    errors = [error for report in made.reports for _, error in report.failures]
    known = [error for error in errors if not isinstance(error, NotFound | Refused)]
    if known or stopped:
        return (known or stopped)[0]
    names = ", ".join(provider.name for provider in bridge.settings.providers)
    return NotFound(f"No provider knows the job {job_id} (tried: {names})", "Check its id")


def runs_of(bridge: Bridge, job_id: str | None = None) -> Iterator[Run]:
    """Yield the runs of the configured providers, the newest first."""
    found = (
        bridge.tracking.experiment(name, create=False) for name in experiments_of(bridge.settings)
    )
    places = [place for place in found if place]
    names = {provider.name for provider in bridge.settings.providers}
    client = MlflowClient(bridge.tracking.uri)
    wanted = quoted(job_id)
    token: str | None = None
    while places:
        page = client.search_runs(
            places,
            f"tags.{tags.JOB} = {wanted}" if wanted else f"tags.{tags.JOB} != ''",
            max_results=_PAGE,
            page_token=token,
        )
        yield from (run for run in page if run.data.tags.get(tags.PROVIDER) in names)
        token = page.token
        if not token:
            return


def is_covered(run: Run, selection: Selection) -> bool:
    """Return whether the run's job was created within the selected time."""
    since, until, at = selection.since, selection.until, run.info.start_time
    return (since is None or at >= since) and (until is None or at < until)
