"""The simulator against the providers' own clients and specifications."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator import (
    Outcome,
    SimulatedJob,
    Simulator,
)
from tests.support.simulated import (
    MISTRAL,
    MISTRAL_JOBS,
    OPENAI,
    OPENAI_JOBS,
    START,
    STEPS,
    World,
    histories,
    render,
)


@pytest.mark.parametrize(
    ("job", "statuses"),
    list(
        zip(
            (*OPENAI_JOBS, *MISTRAL_JOBS),
            (
                "validating_files queued running succeeded",
                "validating_files queued running succeeded",
                "validating_files failed",
                "validating_files queued running failed",
                "validating_files queued running cancelled",
                "validating_files queued cancelled",
                "validating_files queued",
                "validating_files queued running paused",
                "validating_files queued running succeeded",
                "validating_files queued running succeeded",
                "QUEUED VALIDATING QUEUED RUNNING SUCCESS",
                "QUEUED VALIDATING QUEUED RUNNING SUCCESS",
                "QUEUED VALIDATING FAILED_VALIDATION",
                "QUEUED VALIDATING QUEUED RUNNING FAILED",
                "QUEUED VALIDATING QUEUED RUNNING CANCELLATION_REQUESTED CANCELLED",
                "QUEUED VALIDATING QUEUED CANCELLED",
                "QUEUED VALIDATING VALIDATED",
            ),
            strict=True,
        )
    ),
)
def test_each_life_takes_its_course(job: SimulatedJob, statuses: str) -> None:
    """A job goes through its provider's statuses in order and stays in the last."""
    seen: list[str] = []
    for quarter in range(200):
        reply = render(job, START + quarter / 4, f"/fine_tuning/jobs/{job.id}")
        if [reply["status"]] != seen[-1:]:
            seen.append(reply["status"])
    assert seen == statuses.split()


def test_a_job_shows_up_when_its_time_has_come(world: World) -> None:
    """A job that is created later cannot be listed or found before, and the newest come first."""
    late = replace(OPENAI, created_at=START + 50)
    world.simulator.add(late)
    world.clock.now = START + 49
    assert late.id not in [job["id"] for job in world.openai("/fine_tuning/jobs")["data"]]
    assert world.http.get(f"{world.simulator.openai_url}/fine_tuning/jobs/{late.id}").is_error
    world.clock.now = START + 50
    assert world.openai("/fine_tuning/jobs")["data"][0]["id"] == late.id
    with pytest.raises(ValueError, match="already"):
        world.simulator.add(late)


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_cursor_paging_has_no_gaps_or_doubles(world: World, limit: int) -> None:
    """Pages have no gaps or repetitions, even if a job continues between two of them."""
    job = OPENAI_JOBS[0]
    path = f"/fine_tuning/jobs/{job.id}/events"
    world.clock.now = START + 25
    there = [event["id"] for event in world.events(job)]
    read: list[str] = []
    query: dict[str, str | int] = {"limit": limit}
    for _ in there:
        page = world.openai(path, **query)
        read += [event["id"] for event in page["data"]]
        world.clock.now += 0.5
        if not page["has_more"]:
            break
        query["after"] = read[-1]
    assert read == there


def test_page_sizes(world: World) -> None:
    """Jobs and events come in pages of 20, checkpoints in pages of 10, and a limit is 1 to 100."""
    many = [replace(OPENAI, id=f"ftjob-x{n:023}", created_at=START + 1 + n) for n in range(130)]
    long = replace(OPENAI, created_at=START - 1, total_steps=200)
    for job in (*many, long):
        world.simulator.add(job)
    for path, default in (("", 20), (f"/{long.id}/events", 20)):
        sizes = [
            len(world.openai(f"/fine_tuning/jobs{path}", **query)["data"])
            for query in ({}, {"limit": 1000}, {"limit": 0})
        ]
        assert sizes == [default, 100, 1]
    assert world.openai("/fine_tuning/jobs", **{"metadata[team]": "x"})["data"] == []
    empty = world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[2].id}/checkpoints")
    assert (empty["first_id"], empty["last_id"], empty["has_more"]) == (None, None, False)


@given(
    provider=st.sampled_from(["openai", "mistral"]),
    outcome=st.sampled_from(
        [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.WAITING]
    ),
    ends_at_step=st.integers(0, STEPS),
    seconds_per_step=st.floats(0.001, 3),
    waits=st.tuples(*[st.floats(0, 20)] * 4),
    moments=st.tuples(st.floats(0, 120), st.floats(0, 120)),
)
def test_the_past_never_changes(
    *,
    provider: str,
    outcome: Outcome,
    ends_at_step: int,
    seconds_per_step: float,
    waits: tuple[float, float, float, float],
    moments: tuple[float, float],
) -> None:
    """Everything that a reply contains at one time is in later replies in the same words, last."""
    job = replace(
        OPENAI if provider == "openai" else MISTRAL,
        outcome=outcome,
        ends_at_step=ends_at_step,
        seconds_per_step=seconds_per_step,
        validating_seconds=waits[0],
        queued_seconds=waits[1],
        finishing_seconds=waits[2],
        late_seconds=waits[3],
    )
    earlier, later = (histories(job, START + moment) for moment in sorted(moments))
    for then, now in zip(earlier, later, strict=True):
        assert now[len(now) - len(then) :] == then
    assert histories(job, START + moments[0]) == histories(job, START + moments[0])


def test_the_same_time_gives_the_same_bytes(world: World) -> None:
    """Replies depend only on the jobs and the time, not on earlier requests."""
    for path in ("/fine_tuning/jobs", f"/fine_tuning/jobs/{OPENAI_JOBS[0].id}/events"):
        url = world.simulator.openai_url + path
        first = world.http.get(url).content
        with Simulator(jobs=OPENAI_JOBS[::-1], clock=world.clock) as other:
            assert world.http.get(other.openai_url + path).content == first
        assert world.http.get(url).content == first
