"""Which jobs of a page are read, and what a process remembers of the passes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bridge import errors
from bridge.model import Job, JobStatus
from bridge.plan.recorded import Logged
from bridge.sync.memory import Memory, choose
from bridge.sync.outcome import Failed, Outcome, Synced, Untouched
from bridge.sync.report import Selection
from tests.support.plans import plan


def job(job_id: str, created_at: int = 1, word: str = "running") -> Job:
    """A job that is listed."""
    return Job(id=job_id, status=JobStatus.RUNNING, provider_status=word, created_at=created_at)


PAGE = [job("c", 3), job("b", 2), job("a", 1)]
"""Newest first, as providers list jobs."""


@dataclass(frozen=True)
class Case:
    """A page, what is remembered and selected, and what is to be read."""

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
    """A job is settled once nothing is left to do; a vanished one is not asked for again."""
    memory = Memory(open={"a"}, logged={"a": Logged()})
    memory.learn(outcome)
    found = {name for name in ("settled", "open", "vanished") if "a" in getattr(memory, name)}
    assert found == {where}
    keeps = isinstance(outcome, Synced) and where == "open" and outcome.error is None
    assert ("a" in memory.logged) is keeps


def test_a_job_with_duplicates_is_remembered_until_they_are_deleted() -> None:
    """The end of the pass reads them again."""
    memory = Memory()
    memory.learn(Untouched(provider="p", job_id="a", has_duplicates=True))
    memory.learn(Untouched(provider="p", job_id="b"))
    assert memory.duplicated == {"a"}
