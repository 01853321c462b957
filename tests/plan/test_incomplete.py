"""The effect of missing parts on a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import Checkpoint, CurvePoint, Job, JobStatus, MetricPoint, MissingPart, Snapshot
from bridge.plan.incomplete import PATIENCE, gaps_of
from bridge.plan.metric_names import MetricNames
from bridge.plan.points import new_points
from bridge.plan.recorded import RecordedRun
from bridge.plan.tags import INCOMPLETE_SINCE

NOW = 1_760_000_000_000
JOB = Job(
    id="a", status=JobStatus.SUCCEEDED, provider_status="succeeded", finished_at=NOW - 1_000_000
)
LOST = MissingPart("events", "it is refused", is_lasting=True)
AWAITED = MissingPart("result file", "it is busy", is_lasting=False)


def run(status: str = "RUNNING", **tags: str) -> RecordedRun:
    """Return a run that the bridge created, with these tags."""
    return RecordedRun(
        run_id="r",
        experiment_id="1",
        job_id="a",
        provider="p",
        name="p/a",
        status=status,
        is_deleted=False,
        start_time=NOW - 2_000_000,
        artifact_uri="",
        tags={"fine_tuning_bridge": "ftbridge", **tags},
        params={},
        newest={},
    )


def test_nothing_is_said_of_a_whole_job() -> None:
    """A complete job has no tag about missing parts, and loses an earlier one."""
    gaps = gaps_of(Snapshot(job=JOB), None, now=NOW)
    assert (gaps.tags, gaps.removed_tags, gaps.is_awaited) == ({}, (), False)
    for name in (INCOMPLETE_SINCE, "fine_tuning_incomplete_since"):
        reported = run(**{"fine_tuning_incomplete": "events", name: "2025-10-09T08:00:00"})
        gaps = gaps_of(Snapshot(job=JOB), reported, now=NOW)
        assert gaps.removed_tags == ("fine_tuning_incomplete", name)
        assert not gaps.tags


def test_parts_are_named_once() -> None:
    """Parts are named once and in order, and an existing tag is not written again."""
    snapshot = Snapshot(job=JOB, missing=(LOST, AWAITED, replace(LOST, reason="again")))
    gaps = gaps_of(snapshot, None, now=NOW)
    assert gaps.tags["fine_tuning_incomplete"] == "events, result file"
    assert gaps.tags[INCOMPLETE_SINCE] == "2025-10-09T08:53:20+00:00"
    assert gaps.awaited == ("its result file cannot be read: it is busy",)
    assert len(gaps.lost) == 2
    assert gaps_of(snapshot, run(**gaps.tags), now=NOW + 1).tags == {}


@pytest.mark.parametrize(
    ("later", "is_awaited"), [(0, True), (PATIENCE - 1, True), (PATIENCE, False)]
)
def test_a_part_is_awaited_for_a_day(later: int, *, is_awaited: bool) -> None:
    """A part is awaited for a day, and then counts as missing for good."""
    snapshot = Snapshot(job=JOB, missing=(AWAITED,))
    reported = run(**gaps_of(snapshot, None, now=NOW).tags)
    gaps = gaps_of(snapshot, reported, now=NOW + later)
    assert gaps.is_awaited is is_awaited
    assert bool(gaps.lost) is not is_awaited
    assert gaps.removed_tags == (() if is_awaited else (INCOMPLETE_SINCE,))


def test_a_time_that_cannot_be_read_begins_again() -> None:
    """An unreadable time in the tag, which a user may have edited, restarts the day."""
    reported = run(**{INCOMPLETE_SINCE: "long ago"})
    gaps = gaps_of(Snapshot(job=JOB, missing=(AWAITED,)), reported, now=NOW)
    assert gaps.is_awaited
    assert gaps.tags[INCOMPLETE_SINCE].startswith("2025-10-09")


def test_a_run_of_an_earlier_version_keeps_the_name_of_its_tag() -> None:
    """A tag of an earlier version keeps its name and time, and a settled run keeps its tags."""
    name = "fine_tuning_incomplete_since"
    reported = run(**{"fine_tuning_incomplete": "result file", name: "2025-10-09T08:53:20+00:00"})
    snapshot = Snapshot(job=JOB, missing=(AWAITED,))
    gaps = gaps_of(snapshot, reported, now=NOW + 1)
    assert (gaps.is_awaited, gaps.tags, gaps.removed_tags) == (True, {}, ())
    late = gaps_of(snapshot, reported, now=NOW + PATIENCE)
    assert (late.is_awaited, late.removed_tags) == (False, (name,))


def test_a_settled_run_is_not_opened_again() -> None:
    """A settled run stays settled if ``doctor`` fails to read a part."""
    settled = run("FINISHED", fine_tuning_incomplete="result file")
    assert settled.is_final
    gaps = gaps_of(Snapshot(job=JOB, missing=(AWAITED,)), settled, now=NOW)
    assert not gaps.is_awaited
    for name in (INCOMPLETE_SINCE, "fine_tuning_incomplete_since"):
        assert not run("FINISHED", **{name: "2025-10-09T08:53:20"}).is_final


@pytest.mark.parametrize(
    ("tags", "is_named"),
    [
        ({"fine_tuning_status": "succeeded"}, False),
        ({"fine_tuning_status": "succeeded", "fine_tuning_incomplete": "events"}, True),
        ({"fine_tuning_status": "running"}, True),
    ],
)
def test_a_run_that_had_everything_is_not_called_incomplete(
    tags: dict[str, str], *, is_named: bool
) -> None:
    """A part that is refused later is a gap of a run that lacks it, or was ended too early."""
    settled = run("FINISHED", **tags)
    gaps = gaps_of(Snapshot(job=JOB, missing=(LOST, AWAITED)), settled, now=NOW)
    assert gaps.lost == ("its events cannot be read: it is refused",)
    assert gaps.awaited == ("its result file cannot be read: it is busy",)
    assert not gaps.is_awaited
    named = gaps.tags.get("fine_tuning_incomplete", tags.get("fine_tuning_incomplete"))
    assert (named is not None) == is_named
    assert gaps.removed_tags == ()


# Time along a curve


def times(
    snapshot: Snapshot, newest: dict[str, tuple[int, int]] | None = None, fallback: int = NOW
) -> dict[int, int]:
    """Return the time of each step's training loss, in seconds after the beginning."""
    points, _ = new_points(
        snapshot, MetricNames(), {}, fallback=fallback, now=NOW * 2, newest=newest
    )
    return {point.step: (point.timestamp - NOW) // 1000 for point in points}


def saved(step: int, at: int | None, loss: float = 0.5) -> Checkpoint:
    """Return a checkpoint published this many seconds after the beginning."""
    moment = None if at is None else NOW + at * 1000
    return Checkpoint(step=step, created_at=moment, metrics={"train_loss": loss})


def trained(step: int, at: int | None, loss: float = 0.25) -> CurvePoint:
    """Return a training event."""
    return CurvePoint("train_loss", step, loss, None if at is None else NOW + at * 1000)


def test_the_event_s_time_counts_and_the_checkpoint_s_value() -> None:
    """A point has the time of its event and the value of its checkpoint, published later."""
    snapshot = Snapshot(
        job=JOB,
        checkpoints=(saved(80, 410), saved(90, 470), saved(100, 520)),
        curve=tuple(trained(step, step) for step in (100, 90, 80, 70)),
    )
    points, _ = new_points(snapshot, MetricNames(), {}, fallback=NOW, now=NOW * 2)
    assert [(point.step, (point.timestamp - NOW) // 1000, point.value) for point in points] == [
        (70, 70, 0.25),
        (80, 80, 0.5),
        (90, 90, 0.5),
        (100, 100, 0.5),
    ]


def test_a_checkpoint_without_an_event_is_not_later_than_the_next_event() -> None:
    """A checkpoint without an event is not later than the next step, logged or new."""
    snapshot = Snapshot(job=JOB, checkpoints=(saved(80, 410),), curve=(trained(90, 90),))
    assert times(snapshot) == {80: 90, 90: 90}
    alone = Snapshot(job=JOB, checkpoints=(saved(80, 410),))
    assert times(alone) == {80: 410}
    assert times(alone, {"train_loss": (90, NOW + 95_000)}) == {80: 95}
    assert times(alone, {"train_loss": (70, NOW + 95_000)}) == {80: 410}


def test_time_never_runs_backwards() -> None:
    """Time never runs backwards along the steps, whatever a server's clock does."""
    snapshot = Snapshot(job=JOB, curve=tuple(trained(n, at) for n, at in enumerate((5, 9, 3, 7))))
    found = times(snapshot)
    assert [found[step] for step in sorted(found)] == sorted(found.values())


def test_a_step_without_a_time_has_that_of_the_step_before() -> None:
    """A step without a time has that of the step before, or else the start of the job."""
    snapshot = Snapshot(job=JOB, curve=(trained(1, None), trained(2, 20), trained(3, None)))
    assert times(snapshot) == {1: 0, 2: 20, 3: 20}


def test_points_stay_one_row_each() -> None:
    """A checkpoint, an event and a result file give one row per point."""
    snapshot = Snapshot(
        job=JOB,
        checkpoints=(saved(2, 30, 0.123456789),),
        curve=(trained(2, 20, 0.123457), trained(2, 25, 0.12346)),
    )
    points, _ = new_points(snapshot, MetricNames(), {}, fallback=NOW, now=NOW * 2)
    assert points == (MetricPoint("train_loss", 2, 0.123456789, NOW + 20_000),)
