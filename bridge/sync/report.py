"""The selection of jobs for a pass, and its report."""

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
    """The jobs that a pass selects; by default all."""

    job_ids: tuple[str, ...] = ()
    since: int | None = None
    """Earliest creation time of a job, Unix milliseconds."""
    until: int | None = None
    """Time before which a job was created, Unix milliseconds."""
    statuses: frozenset[str] = frozenset()
    """The provider's or the bridge's words, lower case."""
    limit: int | None = None
    """Highest number of jobs of each provider, in its order, newest first."""

    @property
    def is_everything(self) -> bool:
        """Whether all jobs are selected."""
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
    """Number of jobs that have ended but whose last data is still to come."""
    open: int = 0
    """Number of jobs that the next pass reads again, whatever this pass selected."""
    unreached: int = 0
    """Number of known jobs that were not read when the pass was stopped."""
    failures: list[tuple[str, BridgeError]] = field(default_factory=list)
    """Errors of jobs that were not recorded, with the job id; unreadable rows have none."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Sentences about values that were left out, with the job id."""
    deleted: list[Deletion] = field(default_factory=list)
    """Deleted runs, whose job another run owns; in a dry run, runs that would be deleted."""
    withheld: list[Deletion] = field(default_factory=list)
    """Runs that were not deleted because they are too many for one pass."""
    plans: list[Plan] = field(default_factory=list)
    """Plans that a dry run would write."""
    stopped: BridgeError | None = None
    """Reason why the pass ended early; its earlier writes remain."""

    @property
    def is_well(self) -> bool:
        """Whether every job was recorded."""
        return not self.failures and self.stopped is None

    def add_cut(self, cut: MissingPart) -> None:
        """Report that a job list continues beyond what could be read."""
        sentence = f"the {cut.name} is cut short: {cut.reason}"
        if cut.is_lasting:
            self.skipped.append(("", sentence))
        else:
            self.failures.append(("", BadReply(sentence, "The next pass tries again")))

    def add(self, outcome: Outcome) -> None:
        """Count the outcome of a job."""
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
