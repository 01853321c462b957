"""Which jobs a pass selects, and how it counts what it did."""

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
    """A job that waits."""
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
    """From the first one on, and before the last; a job without a moment is the oldest."""
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
    """In lower case."""
    assert Selection(statuses=frozenset(statuses)).wants(job(word="WAITS")) is is_wanted


@pytest.mark.parametrize(
    "selection",
    [
        *(Selection(job_ids=("a",)), Selection(since=0), Selection(until=0), Selection(limit=0)),
        Selection(statuses=frozenset({"failed"})),
    ],
)
def test_any_wish_leaves_something_out(selection: Selection) -> None:
    """Without one it is everything."""
    assert Selection().is_everything
    assert not selection.is_everything


def synced(*, error: errors.BridgeError | None = None, **facts: object) -> Synced:
    """A job that was compared with its run."""
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
    """By how the sync ended; a failure is kept with its job."""
    report = Report(provider="openai")
    report.add(outcome)
    assert report.jobs == {result: 1}
    assert report.failures == ([("a", BROKEN)] if result is Result.FAILED else [])
    assert report.is_well is (result is not Result.FAILED)


def test_what_was_written_adds_up() -> None:
    """Points, jobs that settle and sentences; an untouched job adds none."""
    report = Report(provider="openai")
    report.add(synced(points=(POINT, POINT), is_settling=True, skipped=("one", "two")))
    report.add(synced(points=(POINT,), skipped=("three",)))
    report.add(Untouched(provider="openai", job_id="b"))
    assert (report.points, report.settling) == (3, 1)
    assert report.skipped == [("a", "one"), ("a", "two"), ("a", "three")]
    assert report.plans == []


def test_a_dry_run_keeps_the_plans_that_write() -> None:
    """The others have nothing to show."""
    report = Report(provider="openai", is_dry=True)
    report.add(synced())
    report.add(synced(points=(POINT,)))
    assert [each.points for each in report.plans] == [(POINT,)]


def test_a_list_that_is_cut_short_is_said() -> None:
    """As a failure, unless no later pass reads further."""
    for is_lasting in (True, False):
        report = Report(provider="openai")
        report.add_cut(MissingPart("job list", "it has no end", is_lasting))
        sentence = "the job list is cut short: it has no end"
        assert report.skipped == ([("", sentence)] if is_lasting else [])
        assert [error.sentence for _, error in report.failures] == [sentence] * (not is_lasting)
        assert report.is_well is is_lasting


def test_a_pass_that_was_stopped_is_not_well() -> None:
    """Though it lost no job."""
    assert Report(provider="openai").is_well
    assert not Report(provider="openai", stopped=BROKEN).is_well
