"""The outcome of a pass for one job."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bridge.errors import BridgeError
from bridge.plan.plan import Plan
from bridge.plan.recorded import Logged, RecordedRun


class Result(StrEnum):
    """The results of a job's sync."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A job that this pass could not record."""

    provider: str
    """Name of the provider in the configuration."""
    job_id: str
    error: BridgeError

    @property
    def result(self) -> Result:
        """How the sync ended."""
        return Result.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Untouched:
    """A job with nothing left to do: MLflow has everything, or its user deleted the run."""

    provider: str
    job_id: str
    is_recorded: bool = True
    """Whether the job has a run, or had a run that its user deleted."""
    has_duplicates: bool = False
    """Whether other runs carry the job too."""

    @property
    def result(self) -> Result:
        """How the sync ended."""
        return Result.UNCHANGED

    @property
    def error(self) -> None:
        """``None``: nothing failed."""
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """A job that was compared with its run and recorded."""

    provider: str
    job_id: str
    plan: Plan
    before: RecordedRun | None = None
    """The run as it was found, if there was one."""
    run_id: str | None = None
    """Id of the run; ``None``: a dry run would create it."""
    experiment_id: str | None = None
    """Id of the run's experiment; ``None``: a dry run does not create it."""
    logged: Logged = field(default_factory=Logged)
    """State of the run once the plan is written."""
    has_duplicates: bool = False
    error: BridgeError | None = None
    """Reason why the archive or a part of the job is not recorded yet; everything else is."""

    @property
    def result(self) -> Result:
        """How the sync ended."""
        if self.error:
            return Result.FAILED
        if self.plan.is_new:
            return Result.NEW
        return Result.UNCHANGED if self.plan.is_empty else Result.UPDATED


Outcome = Failed | Untouched | Synced
