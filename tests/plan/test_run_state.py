"""The status, start and end of a run, at the limits of each decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import Checkpoint, CurvePoint, JobStatus, MissingPart, Snapshot
from bridge.plan import tags
from bridge.plan.incomplete import PATIENCE
from bridge.plan.recorded import RecordedRun
from bridge.plan.run_state import (
    CLOCK_SKEW,
    RUN_STATUS,
    SETTLING,
    end_of,
    has_long_ended,
    is_settling,
    is_time,
    last_tags,
    start_of,
    state_of,
    status_of,
    times,
)
from tests.support.in_memory import ended_job

NOW = 1_760_000_000_000
HOUR = 3_600_000


def run(status: str = "RUNNING", bridge: str = tags.OWNED) -> RecordedRun:
    """Return a run of the job, created by the bridge or by a user."""
    return RecordedRun(
        run_id="run",
        experiment_id="1",
        job_id="a",
        provider="openai",
        name="openai/a",
        status=status,
        is_deleted=False,
        start_time=NOW - 2 * HOUR,
        artifact_uri="",
        tags={tags.BRIDGE: bridge},
        params={},
        newest={},
    )


def job(**changes: object) -> Snapshot:
    """Return a job that began an hour ago and has nothing else."""
    facts = {"created_at": NOW - HOUR, "finished_at": None, "fine_tuned_model": None}
    return Snapshot(job=ended_job("a", **(facts | changes)))


def test_the_bounds_are_what_the_documents_say() -> None:
    """The limits are as documented: a day between clocks, five minutes for late checkpoints."""
    assert (CLOCK_SKEW, SETTLING, PATIENCE) == (24 * HOUR, 300_000, 24 * HOUR)


@pytest.mark.parametrize(
    ("ahead", "is_credible"), [(0, True), (24 * HOUR, True), (24 * HOUR + 1, False)]
)
def test_a_moment_may_be_a_day_ahead(ahead: int, *, is_credible: bool) -> None:
    """A time more than a day ahead is impossible, and so is a zero."""
    assert is_time(NOW + ahead, NOW) is is_credible
    assert is_time(1, NOW)
    assert not is_time(0, NOW)


@pytest.mark.parametrize("current", ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"])
@pytest.mark.parametrize("status", [*JobStatus])
def test_a_status_is_written_where_it_differs(status: JobStatus, current: str) -> None:
    """A status is written only if it differs from MLflow's."""
    wanted = RUN_STATUS[status]
    found = status_of(job(status=status), run(current), is_open=False, is_final=status.is_final)
    assert found == (wanted if wanted != current else None)


@pytest.mark.parametrize(
    ("status", "is_open", "expected"),
    [
        (JobStatus.SUCCEEDED, True, "RUNNING"),
        (JobStatus.FAILED, True, "RUNNING"),
        (JobStatus.SUCCEEDED, False, "FINISHED"),
        (JobStatus.QUEUED, True, "SCHEDULED"),
        (JobStatus.QUEUED, False, "SCHEDULED"),
    ],
)
def test_a_run_that_stays_open_is_shown_as_running(
    status: JobStatus, expected: str, *, is_open: bool
) -> None:
    """An open run of an ended job is shown as running, and a job that waits as waiting."""
    found = status_of(job(status=status), run("KILLED"), is_open=is_open, is_final=False)
    assert found == expected


@pytest.mark.parametrize(
    ("bridge", "current", "is_final", "expected"),
    [
        (tags.ADOPTED, "FINISHED", True, "FINISHED"),
        (tags.COMPLETED, "FINISHED", True, None),
        (tags.OWNED, "FINISHED", True, None),
        (tags.ADOPTED, "FINISHED", False, None),
        (tags.COMPLETED, "RUNNING", True, "FINISHED"),
    ],
)
def test_a_users_run_is_ended_with_the_job(
    bridge: str, current: str, expected: str | None, *, is_final: bool
) -> None:
    """A user's run is ended once with its job, even if its user ended it before."""
    assert status_of(job(), run(current, bridge), is_open=False, is_final=is_final) == expected


def test_a_users_run_does_not_go_back_to_waiting() -> None:
    """A user's run never goes back to waiting, while one of the bridge's does."""
    queued = job(status=JobStatus.QUEUED)
    assert status_of(queued, run(bridge=tags.ADOPTED), is_open=False, is_final=False) is None
    assert status_of(queued, run(), is_open=False, is_final=False) == "SCHEDULED"
    assert status_of(queued, None, is_open=False, is_final=False) == "SCHEDULED"


def test_only_a_users_run_is_marked_as_complete() -> None:
    """Only a user's run is marked as complete, because the bridge's own has a status for it."""
    assert last_tags(run(bridge=tags.ADOPTED)) == {tags.BRIDGE: tags.COMPLETED}
    assert last_tags(run(bridge=tags.COMPLETED)) == {}
    assert last_tags(run()) == {}
    assert last_tags(None) == {}


def test_every_part_of_a_job_tells_a_moment() -> None:
    """Every part of a job gives a time, except impossible ones."""
    checkpoints = (
        Checkpoint(step=1, created_at=NOW - 3, metrics={}),
        Checkpoint(step=2, created_at=None, metrics={}),
        Checkpoint(step=3, created_at=0, metrics={}),
    )
    curve = (CurvePoint("loss", 1, 0.5, NOW - 2), CurvePoint("loss", 2, 0.5, NOW + 2 * CLOCK_SKEW))
    snapshot = replace(job(finished_at=NOW - 1), checkpoints=checkpoints, curve=curve)
    assert times(snapshot, NOW) == [NOW - HOUR, NOW - 1, NOW - 3, NOW - 2]


@pytest.mark.parametrize(
    ("finished_at", "expected"),
    [
        (NOW - 5, NOW - 5),
        (NOW - HOUR - 1, NOW - HOUR),  # never before its start
        (None, NOW - 7),
        (0, NOW - 7),
        (NOW + 2 * CLOCK_SKEW, NOW - 7),
    ],
)
def test_a_job_ends_when_it_says_so(finished_at: int | None, expected: int) -> None:
    """A job ends at its stated time, or else at the last known one."""
    curve = (CurvePoint("loss", 1, 0.5, NOW - 7), CurvePoint("loss", 2, 0.5, NOW - 8))
    snapshot = replace(job(finished_at=finished_at), curve=curve)
    assert end_of(snapshot, NOW - HOUR, NOW) == expected


def test_a_job_of_a_users_run_ends_when_it_was_created_at_the_earliest() -> None:
    """A job of an older user's run ends at its creation at the earliest."""
    assert end_of(job(status=JobStatus.FAILED), NOW - 2 * HOUR, NOW) == NOW - HOUR


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [(NOW - HOUR, NOW - HOUR), (None, NOW - 9), (0, NOW - 9), (NOW + 2 * CLOCK_SKEW, NOW - 9)],
)
def test_a_run_starts_with_its_job(created_at: int | None, expected: int) -> None:
    """A run starts at the first known time of its job, and an existing run keeps its start."""
    curve = (CurvePoint("loss", 2, 0.5, NOW - 8), CurvePoint("loss", 1, 0.5, NOW - 9))
    snapshot = replace(job(created_at=created_at), curve=curve)
    assert start_of(snapshot, None, NOW) == expected
    assert start_of(snapshot, run(), NOW) == NOW - 2 * HOUR


def test_a_run_of_a_job_without_any_moment_starts_now() -> None:
    """A run of a job without any time starts now."""
    assert start_of(job(created_at=None), None, NOW) == NOW


@pytest.mark.parametrize(
    ("ago", "settles"),
    [
        (0, True),
        (SETTLING - 1, True),
        (SETTLING, False),
        (1 - CLOCK_SKEW, True),
        (-CLOCK_SKEW, False),
    ],
)
def test_a_success_settles_for_a_while(ago: int, *, settles: bool) -> None:
    """A success settles for a while by either clock, because one may be ahead."""
    assert is_settling(job(finished_at=NOW - ago), NOW) is settles


def test_nothing_is_waited_for_that_does_not_come() -> None:
    """A failed or complete job settles at once, as does one without an end."""
    just_now = job(finished_at=NOW - 1)
    refused = MissingPart("checkpoints", "it is forbidden (403)", is_lasting=True)
    failing = replace(refused, is_lasting=False)
    other = replace(refused, name="events")
    assert is_settling(just_now, NOW)
    assert is_settling(replace(just_now, missing=(failing, other)), NOW)
    assert not is_settling(replace(just_now, missing=(other, refused)), NOW)
    assert not is_settling(replace(just_now, is_whole=True), NOW)
    assert not is_settling(job(finished_at=None), NOW)
    assert not is_settling(job(finished_at=NOW - 1, status=JobStatus.FAILED), NOW)


@pytest.mark.parametrize(("ago", "has_ended"), [(PATIENCE - 1, False), (PATIENCE, True)])
def test_nobody_takes_a_job_of_yesterday_for_running(ago: int, *, has_ended: bool) -> None:
    """A job of yesterday is never shown as running, however much of it is awaited."""
    snapshot = job(created_at=NOW - 2 * PATIENCE, finished_at=NOW - ago)
    assert has_long_ended(snapshot, NOW - 2 * PATIENCE, NOW) is has_ended


@pytest.mark.parametrize(
    ("status", "ago", "is_awaited", "expected"),
    [
        # status, end time, whether it settles, whether it is complete
        (JobStatus.RUNNING, None, False, ("RUNNING", None, False, False)),
        (JobStatus.RUNNING, None, True, ("RUNNING", None, False, False)),
        (JobStatus.SUCCEEDED, HOUR, False, ("FINISHED", NOW - HOUR, False, True)),
        (JobStatus.SUCCEEDED, 1, False, ("RUNNING", None, True, False)),
        (JobStatus.SUCCEEDED, HOUR, True, ("RUNNING", None, False, False)),
        (JobStatus.FAILED, PATIENCE, True, ("FAILED", NOW - PATIENCE, False, False)),
        (JobStatus.FAILED, PATIENCE, False, ("FAILED", NOW - PATIENCE, False, True)),
    ],
)
def test_a_run_is_as_far_as_its_job(
    status: JobStatus,
    ago: int | None,
    expected: tuple[str, int | None, bool, bool],
    *,
    is_awaited: bool,
) -> None:
    """A run has its job's progress, and looks ended if the job ended long ago."""
    finished_at = None if ago is None else NOW - ago
    snapshot = job(status=status, created_at=NOW - 2 * PATIENCE, finished_at=finished_at)
    started = replace(run("SCHEDULED"), start_time=NOW - 2 * PATIENCE)
    found = state_of(snapshot, started, is_awaited=is_awaited, now=NOW)
    assert (found.status, found.end_time, found.is_settling, found.is_final) == expected
    assert found.start_time == NOW - 2 * PATIENCE
