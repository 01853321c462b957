"""The decisions after several processes created runs for the same jobs. No database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from bridge.plan import tags
from bridge.plan.ownership import Deletion
from bridge.plan.recorded import RecordedRun
from bridge.sync.outcome import Synced
from bridge.sync.races import Races, races
from tests.support.plans import plan
from tests.support.run_states import run_state


def run(run_id: str, job_id: str = "a", *, is_final: bool = False) -> RecordedRun:
    """Return a run that a bridge created."""
    found = run_state(job_id, "FINISHED" if is_final else "RUNNING")
    return replace(found, run_id=run_id, tags={tags.BRIDGE: tags.OWNED})


def created(*run_ids: str) -> dict[str, Synced]:
    """Return what a pass created: a run for each of the jobs a, b, and so on."""
    return {
        run_id: Synced(provider="openai", job_id=job_id, plan=plan(job_id), run_id=run_id)
        for job_id, run_id in zip("abc", run_ids, strict=False)
    }


@dataclass(frozen=True)
class Case:
    """The runs that MLflow has, and the decision; this pass created run 5 for job a."""

    runs: tuple[RecordedRun, ...]
    lost: str = ""
    owners: tuple[tuple[str, str], ...] = ()
    waiting: str = ""
    deleted: tuple[tuple[str, str], ...] = ()


CASES = {
    "nobody else": Case((run("5"),)),
    "won": Case((run("5"), run("7")), deleted=(("7", "run 5 owns its job"),)),
    "lost": Case(
        (run("3"), run("5")), "a", owners=(("5", "3"),), deleted=(("5", "run 3 owns its job"),)
    ),
    "lost, and already deleted by the winner": Case(
        (run("3"),), "a", owners=(("5", "3"),), deleted=(("5", "run 3 owns its job"),)
    ),
    "lost, but the winner is not final yet": Case(
        (run("3"), run("5", is_final=True)), "a", owners=(("5", "3"),), waiting="a"
    ),
    "won, but the other is final": Case((run("5"), run("7", is_final=True)), waiting="a"),
    "all runs are gone": Case((), "a"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_race_has_one_winner(case: Case) -> None:
    """The smallest run id wins, the loser goes at once, and a final loser waits for the winner."""
    asked: list[str] = []

    def runs_of(jobs: Iterable[str]) -> Iterator[RecordedRun]:
        asked.extend(jobs)
        return iter(case.runs)

    found = races(created("5"), {"a"}, runs_of)
    assert asked == ["a"]
    assert found == Races(
        lost=frozenset(case.lost),
        owners=dict(case.owners),
        waiting=frozenset(case.waiting),
        deletions=tuple(Deletion(run_id, "a", reason) for run_id, reason in case.deleted),
    )


def test_only_jobs_of_this_pass_are_decided() -> None:
    """Only contested jobs for which this pass created a run are read and decided."""
    asked: set[str] = set()

    def runs_of(jobs: Iterable[str]) -> Iterator[RecordedRun]:
        asked.update(jobs)
        yield from (run("3", "b"), run("6", "b"))

    found = races(created("5", "6"), {"b", "c"}, runs_of)
    assert asked == {"b"}
    assert found.lost == {"b"}
    assert found.owners == {"6": "3"}
    assert [each.run_id for each in found.deletions] == ["6"]
