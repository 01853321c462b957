"""The memory of a process between passes, and the choice of the jobs that need to be read.

All of it can be read again from MLflow and the provider; a new process starts without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from bridge.errors import JobVanished
from bridge.model import Job
from bridge.plan.ownership import Fate, Ownership
from bridge.plan.recorded import Logged
from bridge.sync.outcome import Failed, Outcome, Synced, Untouched
from bridge.sync.report import Selection


@dataclass(slots=True)
class Listing:
    """The progress of a pass through its provider's list."""

    seen: set[str]
    """Ids of jobs that are already listed or in work."""
    is_cut: bool = False
    """Whether the list continues beyond what could be read."""
    unselected: set[str] = field(default_factory=set)
    """Ids of listed jobs that are not wanted."""


@dataclass(slots=True, kw_only=True)
class Memory:
    """The results of the passes over one provider."""

    settled: set[str] = field(default_factory=set)
    """Ids of jobs with nothing left to do: MLflow has everything, or their user deleted the run."""
    vanished: set[str] = field(default_factory=set)
    """Ids of open jobs that their provider no longer has."""
    open: set[str] = field(default_factory=set)
    logged: dict[str, Logged] = field(default_factory=dict)
    """State of the runs of open jobs, by job id."""
    duplicated: set[str] = field(default_factory=set)
    """Ids of jobs with duplicates to delete at the end of the pass."""
    waiting: set[str] = field(default_factory=set)
    """Ids of jobs with duplicates to delete once the owner is final."""
    places: dict[str, str] = field(default_factory=dict)
    """Ids of the experiments with runs of this provider, by name."""
    elsewhere: set[str] = field(default_factory=set)
    """Ids of experiments that only single jobs name."""
    has_read_runs: bool = False
    has_listed_all: bool = False

    @property
    def experiment_ids(self) -> list[str]:
        """Ids of all experiments with runs of this provider."""
        return [*self.places.values(), *sorted(self.elsewhere - {*self.places.values()})]

    def learn_runs(self, owned: Ownership, *, but: AbstractSet[str] = frozenset()) -> None:
        """Record the runs in MLflow, except for jobs with newer results."""
        self.duplicated |= owned.jobs_with(Fate.GOES)
        self.waiting |= owned.jobs_with(Fate.WAITS)
        still_open = owned.open.keys() - but
        # Job by job, because a difference of the sets is a third set of a long history.
        self.settled.update(job_id for job_id in owned.settled if job_id not in but)
        self.settled -= still_open
        self.open |= still_open
        self.open -= self.settled
        self.open -= self.vanished

    def learn(self, outcome: Outcome) -> None:
        """Record the outcome of a job."""
        job_id = outcome.job_id
        match outcome:
            case Failed(error=JobVanished()):
                # Not requested again until the next start.
                self.vanished.add(job_id)
                self.open.discard(job_id)
                self.logged.pop(job_id, None)
            case Failed():
                self.logged.pop(job_id, None)
            case Untouched():
                self._settle(job_id)
            case Synced(plan=plan, error=None) if plan.is_final:
                self._settle(job_id)
            case Synced(error=None):
                self.logged[job_id] = outcome.logged
            case Synced():
                self.logged.pop(job_id, None)
        if isinstance(outcome, Synced) and outcome.experiment_id:
            self.elsewhere.add(outcome.experiment_id)
        if not isinstance(outcome, Failed) and outcome.has_duplicates:
            self.duplicated.add(job_id)

    @property
    def duplicates_due(self) -> set[str]:
        """Ids of jobs whose duplicates go, or wait for an owner that is final or never will be."""
        return self.duplicated | (self.waiting & (self.settled | self.vanished))

    def forget_duplicates(self, due: AbstractSet[str], owned: Ownership) -> None:
        """Record that the duplicates of jobs are deleted, except for those that still wait."""
        self.duplicated -= due
        self.waiting -= due
        self.waiting |= owned.jobs_with(Fate.WAITS) - self.vanished

    def _settle(self, job_id: str) -> None:
        self.settled.add(job_id)
        self.open.discard(job_id)
        self.logged.pop(job_id, None)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The decision of a pass about a page of the job list."""

    due: tuple[Job, ...]
    """The jobs to read."""
    settled: tuple[str, ...]
    """Ids of the selected jobs with nothing left to do."""
    unselected: tuple[str, ...]
    """Ids of the other jobs."""
    is_last: bool
    """Whether no further page is needed."""


def choose(jobs: Sequence[Job], memory: Memory, selection: Selection, *, before: int = 0) -> Chosen:
    """Return the jobs of a page that need to be read.

    Args:
        jobs: the jobs of the page that no earlier page had.
        memory: the results of earlier passes.
        selection: the jobs to sync.
        before: number of selected jobs on earlier pages.
    """
    wanted = [job for job in jobs if selection.wants(job)]
    if selection.limit is not None:
        wanted = wanted[: selection.limit - before]
    due = tuple(job for job in wanted if job.id not in memory.settled)
    settled = tuple(job.id for job in wanted if job.id in memory.settled)
    selected = {job.id for job in wanted}
    unselected = tuple(job.id for job in jobs if job.id not in selected)
    is_full = selection.limit is not None and before + len(wanted) >= selection.limit
    # Jobs are listed newest first: beyond a page of settled jobs, open ones are known by id.
    is_old = memory.has_listed_all and all(job.id in memory.settled for job in jobs)
    return Chosen(due, settled, unselected, is_full or is_old)
