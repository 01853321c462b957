"""The selection of jobs, and the counts of a pass."""

from __future__ import annotations

import pytest

from bridge import errors
from bridge.model import Job, JobStatus, MetricPoint, MissingPart
from bridge.sync.outcome import Failed, Outcome, Result, Synced, Untouched
from bridge.sync.report import Report, Selection
from tests.support.plans import plan

BROKEN = errors.ServerFailed("It broke")
POINT = MetricPoint("loss", 1, 0.5, 1)


def job(created_at: int | None = 5, word: str = "Queued") -> Job:
    """Return a job that waits."""
    return Job(id="a", status=JobStatus.QUEUED, provider_status=word, created_at=created_at)


@pytest.mark.parametrize(
    ("selection", "created_at", "is_wanted"),
    [
        (Selection(), 5, True),
        (Selection(), None, True),
        (Selection(since=5), 5, True),
        (Selection(since=6), 5, False),
        (Selection(since=0), None, True),
        (Selection(since=1), None, False),
        (Selection(until=6), 5, True),
        (Selection(until=5), 5, False),
        (Selection(until=1), None, True),
        (Selection(until=0), None, False),
        (Selection(since=5, until=6), 5, True),
    ],
)
def test_a_selection_is_bounded_by_moments(
    selection: Selection, created_at: int | None, *, is_wanted: bool
) -> None:
    """A selection includes its first moment and excludes its last; a job without time is oldest."""
    assert selection.wants(job(created_at)) is is_wanted


@pytest.mark.parametrize(
    ("statuses", "is_wanted"),
    [
        ((), True),
        (("queued",), True),
        (("waits",), True),
        (("failed", "waits"), True),
        (("failed",), False),
        (("Waits",), False),
    ],
)
def test_a_status_is_the_providers_word_or_the_bridges(
    statuses: tuple[str, ...], *, is_wanted: bool
) -> None:
    """A status is selected by the provider's or the bridge's word, in lower case."""
    assert Selection(statuses=frozenset(statuses)).wants(job(word="WAITS")) is is_wanted


@pytest.mark.parametrize(
    "selection",
    [
        *(Selection(job_ids=("a",)), Selection(since=0), Selection(until=0), Selection(limit=0)),
        Selection(statuses=frozenset({"failed"})),
    ],
)
def test_any_wish_leaves_something_out(selection: Selection) -> None:
    """Every option leaves something out, and without options everything is selected."""
    assert Selection().is_everything
    assert not selection.is_everything


def synced(*, error: errors.BridgeError | None = None, **facts: object) -> Synced:
    """Return a job that was compared with its run."""
    return Synced(provider="openai", job_id="a", plan=plan("a", **facts), error=error)


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (synced(run_id=None), Result.NEW),
        (synced(), Result.UNCHANGED),
        (synced(points=(POINT,)), Result.UPDATED),
        (synced(run_id=None, error=BROKEN), Result.FAILED),
        (Untouched(provider="openai", job_id="a"), Result.UNCHANGED),
        (Failed(provider="openai", job_id="a", error=BROKEN), Result.FAILED),
    ],
)
def test_an_outcome_counts_once(outcome: Outcome, result: Result) -> None:
    """An outcome counts once, by the end of its sync, and a failure is kept with its job."""
    report = Report(provider="openai")
    report.add(outcome)
    assert report.jobs == {result: 1}
    assert report.failures == ([("a", BROKEN)] if result is Result.FAILED else [])
    assert report.is_well is (result is not Result.FAILED)


def test_what_was_written_adds_up() -> None:
    """Points, settled jobs and sentences add up, and an untouched job adds none."""
    report = Report(provider="openai")
    report.add(synced(points=(POINT, POINT), is_settling=True, skipped=("one", "two")))
    report.add(synced(points=(POINT,), skipped=("three",)))
    report.add(Untouched(provider="openai", job_id="b"))
    assert (report.points, report.settling) == (3, 1)
    assert report.skipped == [("a", "one"), ("a", "two"), ("a", "three")]
    assert report.plans == []
    assert Untouched(provider="openai", job_id="b").is_recorded


def test_a_dry_run_keeps_the_plans_that_write() -> None:
    """A dry run keeps only the plans that would write."""
    report = Report(provider="openai", is_dry=True)
    report.add(synced())
    report.add(synced(points=(POINT,)))
    assert [each.points for each in report.plans] == [(POINT,)]


def test_a_list_that_is_cut_short_is_said() -> None:
    """A list that is cut short is a failure, unless a later pass reads further."""
    for is_lasting in (True, False):
        report = Report(provider="openai")
        report.add_cut(MissingPart("job list", "it has no end", is_lasting))
        sentence = "the job list is cut short: it has no end"
        assert report.skipped == ([("", sentence)] if is_lasting else [])
        assert [error.sentence for _, error in report.failures] == [sentence] * (not is_lasting)
        assert report.is_well is is_lasting


def test_a_pass_that_was_stopped_is_not_well() -> None:
    """A pass that was stopped is not well, although it lost no job."""
    assert Report(provider="openai").is_well
    assert not Report(provider="openai", stopped=BROKEN).is_well
