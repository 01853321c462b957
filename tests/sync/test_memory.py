"""The choice of jobs on a page, and the memory of a process between passes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from bridge import errors
from bridge.model import Job, JobStatus
from bridge.plan import tags
from bridge.plan.ownership import resolve
from bridge.plan.recorded import Logged, RecordedRun
from bridge.sync.memory import Memory, choose
from bridge.sync.outcome import Failed, Outcome, Synced, Untouched
from bridge.sync.report import Selection
from tests.support.plans import plan
from tests.support.run_states import run_state


def job(job_id: str, created_at: int = 1, word: str = "running") -> Job:
    """Return a listed job."""
    return Job(id=job_id, status=JobStatus.RUNNING, provider_status=word, created_at=created_at)


PAGE = [job("c", 3), job("b", 2), job("a", 1)]
"""Jobs, newest first, as providers list them."""


@dataclass(frozen=True)
class Case:
    """A page, the memory, a selection, and the jobs expected to be read."""

    settled: set[str] = field(default_factory=set)
    has_listed_all: bool = False
    selection: Selection = field(default_factory=Selection)
    before: int = 0
    due: str = ""
    unchanged: int = 0
    is_last: bool = False


CASES = {
    "first pass, nothing known": Case(due="cba"),
    "first pass, one settled": Case(settled={"b"}, due="ca", unchanged=1),
    "first pass, all settled: older pages may hold others": Case(
        settled={"a", "b", "c"}, unchanged=3
    ),
    "later pass, one open": Case(settled={"a", "b"}, has_listed_all=True, due="c", unchanged=2),
    "later pass, all settled: nothing new behind it": Case(
        settled={"a", "b", "c"}, has_listed_all=True, unchanged=3, is_last=True
    ),
    "since": Case(selection=Selection(since=2), due="cb"),
    "until": Case(selection=Selection(until=2), due="a"),
    "the provider's word": Case(selection=Selection(statuses=frozenset({"running"})), due="cba"),
    "another word": Case(selection=Selection(statuses=frozenset({"failed"}))),
    "limit within the page": Case(selection=Selection(limit=2), due="cb", is_last=True),
    "limit reached by the page": Case(selection=Selection(limit=3), due="cba", is_last=True),
    "limit beyond the page": Case(selection=Selection(limit=4), due="cba"),
    "limit reached with earlier pages": Case(
        selection=Selection(limit=4), before=2, due="cb", is_last=True
    ),
    "later pass, the open job is not wanted: it may be listed before others": Case(
        settled={"b", "a"}, has_listed_all=True, selection=Selection(until=2), unchanged=1
    ),
    "settled jobs count for the limit": Case(
        settled={"c"}, selection=Selection(limit=2), due="b", unchanged=1, is_last=True
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_page_is_chosen_from(case: Case) -> None:
    """Settled jobs are left out, and a page of nothing else ends a later pass."""
    memory = Memory(settled=case.settled, has_listed_all=case.has_listed_all)
    chosen = choose(PAGE, memory, case.selection, before=case.before)
    assert "".join(job.id for job in chosen.due) == case.due
    assert (len(chosen.settled), chosen.is_last) == (case.unchanged, case.is_last)


DOWN = errors.ServerFailed("500")
GONE = errors.JobVanished("404")


@pytest.mark.parametrize(
    ("outcome", "where"),
    [
        (Untouched(provider="p", job_id="a"), "settled"),
        (Synced(provider="p", job_id="a", plan=plan("a", is_final=True)), "settled"),
        (Synced(provider="p", job_id="a", plan=plan("a")), "open"),
        (Synced(provider="p", job_id="a", plan=plan("a", is_final=True), error=DOWN), "open"),
        (Failed(provider="p", job_id="a", error=DOWN), "open"),
        (Failed(provider="p", job_id="a", error=GONE), "vanished"),
    ],
)
def test_an_outcome_is_remembered(outcome: Outcome, where: str) -> None:
    """A job is settled once nothing is left to do, and a vanished one is not requested again."""
    memory = Memory(open={"a"}, logged={"a": Logged()})
    memory.learn(outcome)
    found = {name for name in ("settled", "open", "vanished") if "a" in getattr(memory, name)}
    assert found == {where}
    keeps = isinstance(outcome, Synced) and where == "open" and outcome.error is None
    assert ("a" in memory.logged) is keeps


def test_a_job_with_duplicates_is_remembered_until_they_are_deleted() -> None:
    """A job with duplicates is remembered until the end of the pass deletes them."""
    memory = Memory()
    memory.learn(Untouched(provider="p", job_id="a", has_duplicates=True))
    memory.learn(Untouched(provider="p", job_id="b"))
    assert memory.duplicated == {"a"}


def run(run_id: str, job_id: str, status: str = "RUNNING") -> RecordedRun:
    """Return a run that the bridge created."""
    found = run_state(job_id, status)
    return dataclasses.replace(found, run_id=run_id, tags={tags.BRIDGE: tags.OWNED})


def test_what_mlflow_has_is_remembered() -> None:
    """Settled and open jobs are remembered, and a job that opens again is no longer settled."""
    memory = Memory(settled={"old", "again"}, open={"gone"}, vanished={"lost"})
    memory.learn_runs(
        resolve([run("1", "a"), run("2", "b", "FINISHED"), run("3", "again"), run("4", "lost")])
    )
    assert memory.settled == {"old", "b"}
    assert memory.open == {"gone", "a", "again"}
    memory.learn_runs(resolve([run("1", "a", "FAILED")]))
    assert memory.settled == {"old", "a", "b"}
    assert memory.open == {"gone", "again"}


def test_duplicates_are_due_once_nothing_waits_for_them() -> None:
    """Duplicates are due at once, or when the owner is final, or when its job is lost."""
    memory = Memory()
    memory.learn_runs(
        resolve(
            [run("1", "goes"), run("2", "goes"), run("3", "waits"), run("4", "waits", "FINISHED")]
        )
    )
    assert memory.duplicates_due == {"goes"}
    for known in (memory.settled, memory.vanished):
        known.add("waits")
        assert memory.duplicates_due == {"goes", "waits"}
        known.clear()
    memory.forget_duplicates({"goes"}, resolve([]))
    assert (memory.duplicated, memory.waiting) == (set(), {"waits"})


def test_a_duplicate_that_still_waits_is_not_forgotten() -> None:
    """A duplicate that waits is not forgotten, unless the provider no longer has its job."""
    waits = resolve([run("1", "a"), run("2", "a", "FINISHED")])
    memory = Memory(waiting={"a"})
    memory.forget_duplicates({"a"}, waits)
    assert memory.waiting == {"a"}
    memory.vanished.add("a")
    memory.forget_duplicates({"a"}, waits)
    assert memory.waiting == set()


def test_experiments_are_those_of_the_configuration_and_of_single_jobs() -> None:
    """Each experiment appears once, those of the configuration before those of single jobs."""
    memory = Memory(places={"hosted": "7", "other": "3"})
    for experiment_id in ("9", "3", "8", None):
        synced = Synced(
            provider="p", job_id="a", plan=plan("a"), run_id="r", experiment_id=experiment_id
        )
        memory.learn(synced)
    assert memory.experiment_ids == ["7", "3", "8", "9"]


def test_a_failed_job_has_no_known_duplicates() -> None:
    """A failed job has no known duplicates, which only a comparison finds."""
    memory = Memory()
    memory.learn(Failed(provider="p", job_id="a", error=DOWN))
    memory.learn(Synced(provider="p", job_id="b", plan=plan("b"), has_duplicates=True))
    assert memory.duplicated == {"b"}


def test_a_page_says_what_it_leaves_out() -> None:
    """A page reports the settled and the unselected jobs that it leaves out."""
    memory = Memory(settled={"b", "a"})
    chosen = choose(PAGE, memory, Selection(since=2))
    assert ([each.id for each in chosen.due], chosen.settled) == (["c"], ("b",))
    assert chosen.unselected == ("a",)
