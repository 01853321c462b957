"""Which run owns a job, and the fate of the others. Pure.

Several processes may have created a run for one job. All of them choose the same owner, because the
rank of a run never changes::

    active runs exist       the one with the smallest id owns the job, the others are duplicates
    only deleted runs       their user wants none: the job is settled
    no run                  a run has to be created

A duplicate goes, waits or stays. The bridge deletes only what it created, and only in the owner's
experiment: a run elsewhere may come from an earlier configuration. A duplicate that is final waits
until the owner is final too, because the process that should complete the owner may be dead. If the
provider forgets the job before that, the final one stays and the owner goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from bridge.plan.recorded import RecordedRun

MOST_DELETIONS: Final = 10
"""Number of earlier duplicates that a pass may delete, however few runs a provider has."""
_SHARE: Final = 10
"""Reciprocal of the share of a provider's runs that a pass may delete."""


class Fate(StrEnum):
    """The fate of a duplicate."""

    GOES = "goes"
    WAITS = "waits"
    STAYS = "stays"


class Duplicate(NamedTuple):
    """A run whose job another run owns."""

    run_id: str
    job_id: str
    owner: str
    """Id of the run that owns the job."""
    fate: Fate


@dataclass(frozen=True, slots=True)
class Deletion:
    """A run to delete softly, and the reason."""

    run_id: str
    job_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The runs of one provider's jobs, resolved."""

    is_complete: bool = False
    """Whether jobs that are not listed here have no run."""
    open: dict[str, RecordedRun] = field(default_factory=dict)
    """Owners that are not final yet, by job id."""
    settled: set[str] = field(default_factory=set)
    """Ids of jobs with nothing left to do."""
    run_ids: dict[str, str] = field(default_factory=dict)
    """Owners by job id."""
    duplicates: list[Duplicate] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    """Number of settled jobs' owners by MLflow's status."""

    def add(self, other: Ownership) -> None:
        """Add the runs of another experiment."""
        self.open.update(other.open)
        self.settled.update(other.settled)
        self.run_ids.update(other.run_ids)
        self.duplicates.extend(other.duplicates)

    def jobs_with(self, *fates: Fate) -> set[str]:
        """Return the ids of the jobs that have duplicates with these fates."""
        return {each.job_id for each in self.duplicates if each.fate in fates}

    def deletions(self, vanished: Collection[str] = ()) -> Iterator[Deletion]:
        """Yield the runs to delete.

        Args:
            vanished: ids of jobs that their provider no longer has.
        """
        for each in self.duplicates:
            if each.fate is Fate.GOES:
                yield Deletion(each.run_id, each.job_id, f"run {each.owner} owns its job")
        for job_id in sorted(self.jobs_with(Fate.WAITS) & set(vanished)):
            final = next(
                each.run_id
                for each in self.duplicates
                if each.job_id == job_id and each.fate is Fate.WAITS
            )
            reason = f"its provider no longer has the job, and run {final} has everything of it"
            yield Deletion(self.open[job_id].run_id, job_id, reason)


def may_delete(deletions: int, runs: int) -> bool:
    """Return whether a pass may delete this number of earlier duplicates.

    A defect of the bridge must not empty an experiment. ``doctor --fix`` deletes any number,
    because a person requested it.
    """
    return deletions <= max(MOST_DELETIONS, runs // _SHARE)


def resolve(runs: Iterable[RecordedRun], *, is_complete: bool = False) -> Ownership:
    """Return the owners of the jobs of ``runs``, which include deleted ones, in any order."""
    claims = Claims()
    for run in runs:
        claims.add(run)
    return claims.resolved(is_complete=is_complete)


class Claims:
    """The claims of runs on jobs, collected run by run."""

    def __init__(self) -> None:
        self._deleted: set[str] = set()
        """Ids of jobs with a deleted run."""
        self._first: dict[str, str] = {}
        """The first run of each job."""
        self._claims: dict[str, _Claim] = {}
        """The claim of the first run of each job, unless it is the usual one."""
        self._contested: dict[str, dict[str, _Claim]] = {}
        # Most runs of a long history share the same claim, which is not stored for each of them.
        self._usual = _NO_CLAIM
        self._final: dict[_Claim, _Claim] = {}

    def add(self, run: RecordedRun) -> None:
        """Add a run."""
        if run.is_deleted:
            self._deleted.add(run.job_id)
            return
        claim = _Claim.of(run)
        if claim.open is None:
            claim = self._final.setdefault(claim, claim)
            self._usual = claim if self._usual is _NO_CLAIM else self._usual
        first = self._first.setdefault(run.job_id, run.run_id)
        if run.job_id in self._contested or first != run.run_id:
            rivals = self._contested.setdefault(run.job_id, {first: self._claim_of(run.job_id)})
            rivals[run.run_id] = claim
        elif claim is self._usual:
            self._claims.pop(run.job_id, None)
        else:
            self._claims[run.job_id] = claim

    def _claim_of(self, job_id: str) -> _Claim:
        return self._claims.get(job_id, self._usual)

    def is_settled(self, job_id: str) -> bool:
        """Return whether the runs so far show that nothing is left to do for a job."""
        if job_id in self._contested:
            return self._contested[job_id][min(self._contested[job_id])].open is None
        if job_id in self._first:
            return self._claim_of(job_id).open is None
        return job_id in self._deleted

    def resolved(self, *, is_complete: bool) -> Ownership:
        """Return the owners of the jobs, and hand over the collected claims."""
        owned = Ownership(is_complete=is_complete, settled=self._deleted, run_ids=self._first)
        for job_id, rivals in self._contested.items():
            owner = owned.run_ids[job_id] = min(rivals)
            self._claims[job_id] = rivals[owner]
            owned.duplicates.extend(_duplicates(job_id, owner, rivals))
        for job_id in owned.run_ids:
            claim = self._claim_of(job_id)
            if claim.open is None:
                owned.settled.add(job_id)
                owned.ends[claim.status] += 1
            else:
                owned.settled.discard(job_id)
                owned.open[job_id] = claim.open
        return owned


def _duplicates(job_id: str, owner: str, rivals: Mapping[str, _Claim]) -> Iterator[Duplicate]:
    won = rivals[owner]
    for run_id, claim in rivals.items():
        if run_id == owner:
            continue
        if not claim.is_ours or claim.experiment_id != won.experiment_id:
            fate = Fate.STAYS  # created by a user, or elsewhere on purpose
        elif won.open is not None and claim.open is None:
            fate = Fate.WAITS  # the owner may never become complete
        else:
            fate = Fate.GOES
        yield Duplicate(run_id, job_id, owner, fate)


class _Claim(NamedTuple):
    """The relevant part of an active run, without a final run's many tags."""

    experiment_id: str
    is_ours: bool
    status: str
    open: RecordedRun | None

    @classmethod
    def of(cls, run: RecordedRun) -> _Claim:
        return cls(run.experiment_id, run.is_ours, run.status, None if run.is_final else run)


_NO_CLAIM: Final = _Claim("", is_ours=False, status="", open=None)
