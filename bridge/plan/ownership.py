"""Which run carries which job. Pure.

Several processes may have created a run for one job; then all of them come to the same answer:

    an active run exists    the one with the smallest id carries the job; others of ours go, but
                            those that have everything not before that one has everything too
    only deleted runs       their user wants none: the job is left alone
    no run                  one is to be created
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.plan.recorded import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The runs of one provider's jobs, resolved."""

    is_complete: bool = False
    """Whether a job that is not in here has no run."""
    open: dict[str, RunState] = field(default_factory=dict)
    """By job id the run that does not have everything yet."""
    settled: set[str] = field(default_factory=set)
    """Ids of jobs with nothing left to do."""
    run_ids: dict[str, str] = field(default_factory=dict)
    """By job id the run that carries it."""
    losers: list[str] = field(default_factory=list)
    """Runs to delete: created by the bridge for a job that another run carries."""
    spares: dict[str, str] = field(default_factory=dict)
    """Runs with everything, and their jobs: to delete once the run that carries the job has
    everything too. Whoever was to complete that one may be dead, and its provider forget the job.
    """
    rivals: list[str] = field(default_factory=list)
    """Other runs of such jobs, which are not the bridge's to delete."""
    ends: Counter[str] = field(default_factory=Counter)
    """How many of the settled jobs' runs have which status of MLflow."""

    def add(self, other: Ledger) -> None:
        """Take in the runs of one more experiment."""
        self.open.update(other.open)
        self.settled.update(other.settled)
        self.run_ids.update(other.run_ids)


def resolve(runs: Iterable[RunState], *, is_complete: bool = False) -> Ledger:
    """The ledger of ``runs``, deleted ones among them, in any order."""
    ledger = Ledger(is_complete=is_complete)
    claims: dict[str, _Claim] = {}
    contested: dict[str, dict[str, _Claim]] = {}
    # A history may be long: what its runs claim is nearly always the same, and held once.
    final: dict[_Claim, _Claim] = {}
    for run in runs:
        if run.is_deleted:
            ledger.settled.add(run.job_id)
            continue
        claim = _Claim.of(run)
        if claim.open is None:
            claim = final.setdefault(claim, claim)
        first = ledger.run_ids.setdefault(run.job_id, run.run_id)
        if run.job_id in contested or first != run.run_id:
            rivals = contested.setdefault(run.job_id, {first: claims[run.job_id]})
            rivals[run.run_id] = claim
        else:
            claims[run.job_id] = claim
    for job_id, rivals in contested.items():
        claims[job_id] = _decide(ledger, job_id, rivals)
    for job_id, claim in claims.items():
        if claim.open is None:
            ledger.settled.add(job_id)
            ledger.ends[claim.status] += 1
        else:
            ledger.settled.discard(job_id)
            ledger.open[job_id] = claim.open
    return ledger


def _decide(ledger: Ledger, job_id: str, rivals: dict[str, _Claim]) -> _Claim:
    """The claim that counts; what becomes of the other runs goes into the ledger."""
    ledger.run_ids[job_id] = min(rivals)
    winner = rivals.pop(min(rivals))
    for loser, rival in rivals.items():
        # Another experiment's may be there on purpose: the configuration was another then.
        if not rival.is_ours or rival.experiment_id != winner.experiment_id:
            ledger.rivals.append(loser)
        elif winner.open is not None and rival.open is None:
            ledger.spares[loser] = job_id
        else:
            ledger.losers.append(loser)
    return winner


class _Claim(NamedTuple):
    """What counts of an active run; a final one's many tags are let go of."""

    experiment_id: str
    is_ours: bool
    status: str
    open: RunState | None

    @classmethod
    def of(cls, run: RunState) -> _Claim:
        return cls(run.experiment_id, run.is_ours, run.status, None if run.is_final else run)
