"""The result of a backfill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow.entities import Run

from bridge.bootstrap.one_pass import Made
from bridge.errors import (
    BridgeError,
)

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job, or a whole provider, that could not be logged."""

    provider: str
    job_id: str | None
    """Id of the job; ``None``: the provider's pass ended early."""
    error: BridgeError
    """Sentence about the failure and its remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The jobs of a backfill in MLflow, new and earlier ones."""

    runs: tuple[Run, ...]
    """One run for each selected job, the newest first."""
    new: int
    """Number of runs that this backfill has created."""
    updated: int
    failures: tuple[Failure, ...]

    def data_frame(self) -> DataFrame:
        """Return the runs as ``mlflow.search_runs`` does: one row for each run."""
        import pandas as pd  # noqa: PLC0415 - slow, and only used here

        rows = [
            {
                "run_id": run.info.run_id,
                "experiment_id": run.info.experiment_id,
                "status": run.info.status,
                "artifact_uri": run.info.artifact_uri,
                "start_time": pd.to_datetime(run.info.start_time, unit="ms", utc=True),
                "end_time": pd.to_datetime(run.info.end_time, unit="ms", utc=True),
                **{f"metrics.{name}": value for name, value in run.data.metrics.items()},
                **{f"params.{name}": value for name, value in run.data.params.items()},
                **{f"tags.{name}": value for name, value in run.data.tags.items()},
            }
            for run in self.runs
        ]
        return pd.DataFrame(rows)


def failures_of(made: Made) -> Iterator[Failure]:
    """Yield the failures of a pass."""
    for report in made.reports:
        for job_id, error in report.failures:
            yield Failure(provider=report.provider, job_id=job_id or None, error=error)
        if report.stopped:
            yield Failure(provider=report.provider, job_id=None, error=report.stopped)
