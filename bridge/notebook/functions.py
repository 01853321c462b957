"""The functions that ``import bridge`` offers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mlflow.entities import Run

from bridge.bootstrap.bridge import assemble
from bridge.bootstrap.one_pass import one_pass
from bridge.errors import (
    ConfigError,
    NoAnswer,
    ServerFailed,
    Throttled,
    TrackingDown,
    Unreachable,
)
from bridge.notebook.bar import bar
from bridge.notebook.logged import Logged, failures_of
from bridge.notebook.passes import bridge_for, is_covered, logged, runs_of, settings_of
from bridge.plan.routing import RUN_KEY
from bridge.settings.moments import moment
from bridge.sync.outcome import Result
from bridge.sync.report import Selection

if TYPE_CHECKING:
    pass

_INTERVAL: Final = 10.0
"""Interval in seconds."""
_PASSING: Final = (NoAnswer, ServerFailed, Throttled, TrackingDown, Unreachable)
"""Temporary errors."""


def log_job(job: object, *, provider: str | None = None, run_id: str | None = None) -> Run:
    """Put one job into MLflow as it is now; return its run.

    Args:
        job: its id, or an SDK's object with the id in ``id`` (OpenAI, Azure, Together, Mistral,
            Nebius), ``job_id``, ``jobArn`` (Bedrock) or ``name`` (Fireworks, Vertex).
        provider: the name of its provider; by default all configured providers are tried.
        run_id: your run that the job continues, for providers that store no metadata with a job;
            see ``metadata``.

    Raises:
        BridgeError: no provider knows the job, or it cannot be logged.
    """
    with bridge_for(provider, job, run_id) as (bridge, job_id):
        return logged(bridge, job_id, run_id)[0]


def follow(
    job: object,
    *,
    provider: str | None = None,
    run_id: str | None = None,
    interval: float = _INTERVAL,
    progress: bool = True,
    sleep: Callable[[float], object] | None = None,
) -> Run:
    """Put one job into MLflow while it trains; return its run when it has ended.

    Ctrl-C, or the notebook's stop button, ends the wait: what is logged stays, and the next
    ``follow``, or a daemon, continues from there.

    Args:
        job: as for ``log_job``.
        provider: as for ``log_job``.
        run_id: as for ``log_job``.
        interval: seconds between two passes.
        progress: whether to show a progress bar.
        sleep: waits for a number of seconds; by default ``time.sleep``.

    Raises:
        BridgeError: as for ``log_job``. A temporary failure of a provider or MLflow raises nothing.
    """
    pause = sleep or threading.Event().wait
    with bridge_for(provider, job, run_id) as (bridge, job_id), bar(shown=progress) as show:
        run, is_over = logged(bridge, job_id, run_id)
        show(run)
        while not is_over:
            pause(interval)
            try:
                run, is_over = logged(bridge, job_id, run_id)
            except _PASSING:
                continue
            show(run)
        return run


def backfill(
    providers: Sequence[str] = (),
    *,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    dry_run: bool = False,
) -> Logged:
    """Put the jobs of all or some providers into MLflow.

    Args:
        providers: their names; by default all that are configured.
        since: only jobs created at or after: ``2026-01-31``, ``30d``, ``2w``, ``yesterday``.
        until: only jobs created before.
        dry_run: whether to write nothing; ``runs`` then holds the existing runs.

    Raises:
        BridgeError: the configuration is invalid. Errors of single jobs are in ``failures``.
    """
    settings = settings_of(providers)
    now = datetime.now(UTC)
    selection = Selection(since=_moment(since, now), until=_moment(until, now))
    with assemble(settings, os.environ, threading.Event()) as bridge:
        made = one_pass(bridge, selection, dry_run=dry_run)
        return Logged(
            runs=tuple(run for run in runs_of(bridge) if is_covered(run, selection)),
            new=sum(report.jobs[Result.NEW] for report in made.reports),
            updated=sum(report.jobs[Result.UPDATED] for report in made.reports),
            failures=tuple(failures_of(made)),
        )


def metadata(run: Run | str) -> dict[str, str]:
    """Return the metadata that lets a job continue one of your runs.

    For providers whose jobs take metadata (OpenAI, Azure, Nebius, Mistral)::

        with mlflow.start_run() as run:
            client.fine_tuning.jobs.create(..., metadata=bridge.metadata(run))

    For others (Together, Fireworks, Vertex), name the run once the job exists::

        with mlflow.start_run() as run:
            job = client.fine_tuning.create(...)
        bridge.log_job(job, run_id=run.info.run_id)

    Args:
        run: the run, or its id.
    """
    return {RUN_KEY: run if isinstance(run, str) else run.info.run_id}


def _moment(when: str | datetime | None, now: datetime) -> int | None:
    if when is None or isinstance(when, str):
        try:
            return None if when is None else moment(when, now)
        except ValueError as error:
            raise ConfigError([f"{when}: {error}"]) from None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)
