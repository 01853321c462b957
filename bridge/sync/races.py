"""Races between processes that recorded one job: which runs to delete. Deletes nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bridge.plan.ownership import Deletion, Fate, resolve
from bridge.plan.recorded import RecordedRun
from bridge.sync.outcome import Synced

RunsOf = Callable[[Iterable[str]], Iterator[RecordedRun]]
"""Returns the runs of some jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Races:
    """Jobs for which two processes created a run at the same time."""

    lost: frozenset[str]
    """Ids of jobs whose run is another process's."""
    owners: Mapping[str, str]
    """Run that owns the job, by the run that this pass created in vain."""
    waiting: frozenset[str]
    """Jobs with duplicates to delete once the owner is final."""
    deletions: tuple[Deletion, ...]


def races(created: Mapping[str, Synced], contested: Iterable[str], runs_of: RunsOf) -> Races:
    """Return the jobs that this pass lost, and the runs to delete now.

    Args:
        created: the runs that this pass created, by run id.
        contested: ids of jobs that other runs carry too.
        runs_of: reads the runs of jobs.
    """
    ours = {outcome.job_id: run_id for run_id, outcome in created.items()}
    contested = frozenset(contested) & ours.keys()
    owned = resolve(runs_of(contested))
    lost = frozenset(job for job in contested if owned.run_ids.get(job) != ours[job])
    owners = {ours[job]: owned.run_ids[job] for job in lost & owned.run_ids.keys()}
    deletions = {each.run_id: each for each in owned.deletions()}
    waiting = {each.run_id for each in owned.duplicates if each.fate is Fate.WAITS}
    for run_id in sorted(owners.keys() - waiting):
        # Another process may have deleted the run, and this one may have written to it since.
        reason = f"run {owners[run_id]} owns its job"
        deletions.setdefault(run_id, Deletion(run_id, created[run_id].job_id, reason))
    return Races(
        lost=lost,
        owners=owners,
        waiting=frozenset(owned.jobs_with(Fate.WAITS)),
        deletions=tuple(deletions.values()),
    )
