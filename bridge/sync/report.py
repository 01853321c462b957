"""What a pass is asked to look at, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bridge.errors import BridgeError
from bridge.model import Job
from bridge.plan.plan import Plan
from bridge.plan.recorded import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs a pass looks at; by default all."""

    job_ids: tuple[str, ...] = ()
    since: int | None = None
    """Unix milliseconds of the earliest creation."""
    until: int | None = None
    """Unix milliseconds before which a job was created."""
    statuses: frozenset[str] = frozenset()
    """The provider's words or the bridge's, lower case."""
    limit: int | None = None
    """At most so many jobs of each provider, in its order: newest first."""
    thorough: bool = False
    """Whether runs that have everything are looked at as if they had not. No run is created."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection(thorough=self.thorough)

    def wants(self, job: Job) -> bool:
        """Whether a listed job is selected."""
        if self.since is not None and (job.created_at or 0) < self.since:
            return False
        if self.until is not None and (job.created_at or 0) >= self.until:
            return False
        words = {job.status.value, job.provider_status.lower()}
        return not self.statuses or not self.statuses.isdisjoint(words)


class Result(StrEnum):
    """How a job fared in a pass."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is logged in a job's run. Kept between passes; MLflow could tell it again."""

    steps: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """By metric."""
    models: Mapping[str, str] | None = None
    """Ids of its complete models by their full names; ``None``: not asked for yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pass did with one job."""

    provider: str
    job_id: str
    kind: Result
    plan: Plan | None = None
    run_id: str | None = None
    run: RunState | None = None
    """The run as it was found, if there was one."""
    experiment_id: str | None = None
    """Where the job's run is, or would be."""
    known: Known = field(default_factory=Known)
    error: BridgeError | None = None

    @classmethod
    def failed(cls, provider: str, job_id: str, error: BridgeError) -> Outcome:
        """The outcome of a job that is lost for this pass."""
        return cls(provider=provider, job_id=job_id, kind=Result.FAILED, error=error)


@dataclass(slots=True, kw_only=True)
class Report:
    """What a pass over one provider did."""

    provider: str
    is_dry: bool = False
    is_thorough: bool = False
    jobs: Counter[Result] = field(default_factory=Counter)
    points: int = 0
    settling: int = 0
    """Jobs that have ended but whose last data is still to come."""
    open: int = 0
    """Jobs that the next pass looks at again, whatever this one looked at."""
    unreached: int = 0
    """Jobs that were known of when the pass was stopped."""
    failures: list[tuple[str, BridgeError]] = field(default_factory=list)
    """Jobs that were lost, by id; a row of the list that is no job has none."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Values that were left out, by job id."""
    plans: list[Plan] = field(default_factory=list)
    """Of a dry run: what would be written."""
    stopped: BridgeError | None = None
    """Why the pass ended early; what it did until then stands."""

    @property
    def is_well(self) -> bool:
        """Whether no job was lost."""
        return not self.failures and self.stopped is None

    @property
    def makes_runs(self) -> bool:
        """Whether runs are created, experiments for them, and doubled ones deleted."""
        return not (self.is_dry or self.is_thorough)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.jobs[outcome.kind] += 1
        if outcome.error:
            self.failures.append((outcome.job_id, outcome.error))
        plan = outcome.plan
        if plan is None:
            return
        self.points += len(plan.points)
        self.settling += plan.is_settling
        self.skipped += [(outcome.job_id, what) for what in plan.skipped]
        if self.is_dry and not self.is_thorough and not plan.is_empty:
            self.plans.append(plan)
