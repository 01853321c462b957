"""Which run carries which job. Pure.

Several processes may have created a run for one job; then all of them come to the same answer:

    an active run exists    the one with the smallest id carries the job; others of ours go
    only deleted runs       their user wants none: the job is left alone
    no run                  one is to be created
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.plan import FINAL_RUN_STATUS, Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run that carries a job, as one search shows it."""

    run_id: str
    job_id: str
    provider: str
    name: str
    status: str
    is_deleted: bool
    is_ours: bool
    """Whether the bridge created it."""
    start_time: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    newest: Mapping[str, tuple[int, int]]
    """Of each metric the highest step and its Unix milliseconds."""

    @property
    def is_final(self) -> bool:
        """Whether MLflow has everything."""
        return self.status in FINAL_RUN_STATUS

    def recorded(self, steps: Mapping[str, frozenset[int]]) -> Recorded:
        """What MLflow has of the job; ``steps`` by metric."""
        return Recorded(
            run_id=self.run_id,
            status=self.status,
            start_time=self.start_time,
            tags=self.tags,
            params=self.params,
            steps=steps,
        )


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


def resolve(runs: Iterable[RunState], *, is_complete: bool = False) -> Ledger:
    """The ledger of ``runs``, deleted ones among them, in any order."""
    ledger = Ledger(is_complete=is_complete)
    carriers: dict[str, RunState] = {}
    for run in runs:
        if run.is_deleted:
            ledger.settled.add(run.job_id)
            continue
        rival = carriers.setdefault(run.job_id, run)
        # A run that is created while pages are read shows another one twice.
        if rival.run_id != run.run_id:
            winner, loser = sorted((run, rival), key=lambda run: run.run_id)
            carriers[run.job_id] = winner
            if loser.is_ours:
                ledger.losers.append(loser.run_id)
    for job_id, run in carriers.items():
        ledger.run_ids[job_id] = run.run_id
        if run.is_final:
            ledger.settled.add(job_id)
        else:
            ledger.settled.discard(job_id)
            ledger.open[job_id] = run
    return ledger
