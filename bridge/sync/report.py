"""Which jobs a pass selects, and what it did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bridge.errors import BadReply, BridgeError
from bridge.model import Job, MissingPart
from bridge.plan.ownership import Deletion
from bridge.plan.plan import Plan
from bridge.sync.outcome import Outcome, Result, Synced


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs a pass selects; by default all."""

    job_ids: tuple[str, ...] = ()
    since: int | None = None
    """Unix milliseconds of the earliest creation."""
    until: int | None = None
    """Unix milliseconds before which a job was created."""
    statuses: frozenset[str] = frozenset()
    """The provider's words or the bridge's, lower case."""
    limit: int | None = None
    """The most jobs of each provider, in its order: newest first."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection()

    def wants(self, job: Job) -> bool:
        """Return whether a listed job is selected."""
        if self.since is not None and (job.created_at or 0) < self.since:
            return False
        if self.until is not None and (job.created_at or 0) >= self.until:
            return False
        words = {job.status.value, job.provider_status.lower()}
        return not self.statuses or not self.statuses.isdisjoint(words)


@dataclass(slots=True, kw_only=True)
class Report:
    """The report of a pass over one provider."""

    provider: str
    is_dry: bool = False
    jobs: Counter[Result] = field(default_factory=Counter)
    points: int = 0
    settling: int = 0
    """Jobs that have ended but whose last data is still to come."""
    open: int = 0
    """Jobs that the next pass reads again, whatever this one selected."""
    unreached: int = 0
    """Jobs that were known of when the pass was stopped."""
    failures: list[tuple[str, BridgeError]] = field(default_factory=list)
    """Jobs that were lost, by id; an unreadable row of the list has none."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Values that were left out, by job id."""
    deleted: list[Deletion] = field(default_factory=list)
    """Runs whose job another run owns; in a dry run those that would be deleted."""
    withheld: list[Deletion] = field(default_factory=list)
    """Runs that are not deleted because they are too many for a pass."""
    plans: list[Plan] = field(default_factory=list)
    """The plans that a dry run would write."""
    stopped: BridgeError | None = None
    """Why the pass ended early; what it did until then stands."""

    @property
    def is_well(self) -> bool:
        """Whether no job was lost."""
        return not self.failures and self.stopped is None

    def add_cut(self, cut: MissingPart) -> None:
        """Say that a job list goes on where it cannot be read."""
        sentence = f"the {cut.name} is cut short: {cut.reason}"
        if cut.is_lasting:
            self.skipped.append(("", sentence))
        else:
            self.failures.append(("", BadReply(sentence, "The next pass tries again")))

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.jobs[outcome.result] += 1
        if outcome.error:
            self.failures.append((outcome.job_id, outcome.error))
        if not isinstance(outcome, Synced):
            return
        plan = outcome.plan
        self.points += len(plan.points)
        self.settling += plan.is_settling
        self.skipped += [(outcome.job_id, what) for what in plan.skipped]
        if self.is_dry and not plan.is_empty:
            self.plans.append(plan)
