"""A daemon's status, which passes and requests feed and Prometheus and people read."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest

from bridge import errors
from bridge.daemon.status import DaemonStatus, ProviderView
from bridge.plan.ownership import Ownership
from bridge.sync.events import JobDone, JobsChosen, NextPass, PassBegan, PassEnded, RunsRead
from bridge.sync.outcome import Failed
from bridge.sync.report import Report
from tests.support.outcomes import outcome
from tests.support.passes import AWAY, DOWN, SECRET, ended, status_of_two
from tests.support.run_states import run_state
from tests.support.world import NOW, Clock


@pytest.fixture
def picture(clock: Clock) -> DaemonStatus:
    """Return the status of two providers."""
    return status_of_two(clock)


def jobs(picture: DaemonStatus) -> dict[str, int]:
    """Return the states of jobs."""
    found = picture.view().providers["openai"].jobs
    return {state: number for state, number in found.items() if number}


# Counts


def test_jobs_are_counted_by_state(picture: DaemonStatus) -> None:
    """Earlier jobs count once by MLflow's state, and a job that changes state moves its count."""
    running = run_state("a")
    ledger = Ownership(is_complete=True, open={"a": running}, ends=Counter(FINISHED=5, KILLED=1))
    picture(RunsRead("openai", ledger))
    assert jobs(picture) == {"running": 1, "succeeded": 5, "cancelled": 1}
    picture(JobDone(outcome("b", "SCHEDULED")))
    picture(JobDone(outcome("a", "FAILED", run=running, is_final=True)))
    assert jobs(picture) == {"waiting": 1, "succeeded": 5, "cancelled": 1, "failed": 1}
    ended(picture)
    picture(RunsRead("openai", Ownership(open={"b": run_state("b", "SCHEDULED")})))
    assert jobs(picture) == {"waiting": 1, "succeeded": 5, "cancelled": 1, "failed": 1}


def test_a_run_without_its_archive_has_not_ended(picture: DaemonStatus) -> None:
    """A run without its archive keeps its status, and counts under it."""
    error = errors.ArchiveFailed("The store is full")
    picture(JobDone(outcome("a", "FINISHED", is_final=True, error=error)))
    assert jobs(picture) == {"running": 1}


def test_a_job_that_ends_twice_in_a_pass_counts_once(picture: DaemonStatus) -> None:
    """A job that ends twice in a pass counts once, as one that lost a race does."""
    for _ in range(2):
        picture(JobDone(outcome("a", "FINISHED", is_final=True)))
    assert jobs(picture) == {"succeeded": 1}
    ended(picture)
    assert jobs(picture) == {"succeeded": 1}


def test_what_is_recorded_meanwhile_is_newer_than_the_history(picture: DaemonStatus) -> None:
    """Jobs that start or end while the history is read count as this process has seen them."""
    waiting = run_state("a", "SCHEDULED")
    picture(JobDone(outcome("a", "RUNNING", run=waiting)))
    picture(JobDone(outcome("b", "FAILED", is_final=True)))
    picture(JobDone(outcome("c", "KILLED", is_final=True)))
    history = Ownership(
        is_complete=True,
        open={"a": waiting, "b": run_state("b")},
        settled={"c"},
        ends=Counter(KILLED=1),
    )
    picture(RunsRead("openai", history))
    assert jobs(picture) == {"running": 1, "failed": 1, "cancelled": 1}


def test_a_job_that_its_provider_has_lost_is_not_waited_for(picture: DaemonStatus) -> None:
    """A job that its provider has lost has no lag, although its run stays open in MLflow."""
    ledger = Ownership(open={"a": run_state("a", at=int(NOW))})
    picture(RunsRead("openai", ledger))
    lost = errors.JobVanished("It is gone")
    picture(JobDone(Failed(provider="openai", job_id="a", error=lost)))
    picture(RunsRead("openai", ledger))
    assert jobs(picture) == {}


def test_memory_does_not_grow_with_settled_jobs(picture: DaemonStatus) -> None:
    """Only the number of settled jobs is kept after a pass."""
    tracemalloc.start()
    try:
        for number in range(1000):
            long_id = f"job-{number}-{'x' * 1000}"
            picture(JobDone(outcome(long_id, "FINISHED", is_final=True)))
        ended(picture)
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert jobs(picture) == {"succeeded": 1000}
    assert most > 1_000_000  # during the pass all of them are known
    assert held < 100_000


def test_lag_is_that_of_the_newest_point_of_running_jobs(
    picture: DaemonStatus, clock: Clock
) -> None:
    """The lag is that of the newest point of running jobs, at the moment of the request."""
    now = int(clock.now)
    view = picture.view().providers["openai"]
    assert view.lag(clock.now) is None
    picture(JobDone(outcome("n", "RUNNING")))
    assert picture.view().providers["openai"].lag(clock.now) is None, "a new job has no point yet"
    waiting = run_state("w", "SCHEDULED", at=now)
    running = run_state("a", at=now - 60)
    picture(RunsRead("openai", Ownership(open={"a": running, "w": waiting})))
    assert picture.view().providers["openai"].lag(clock.now) == 60
    clock.now += 10
    picture(JobDone(outcome("a", run=running, at=now - 20)))
    assert picture.view().providers["openai"].lag(clock.now) == 30
    picture(JobDone(outcome("a", "FINISHED", run=running, is_final=True)))
    assert picture.view().providers["openai"].lag(clock.now) is None


# Up or down


def test_a_stopped_pass_is_no_success(picture: DaemonStatus, clock: Clock) -> None:
    """A pass that stopped does not count as a success, and the last success stays known."""
    assert picture.view().providers["openai"].is_up is None
    assert not picture.view().is_ready
    view = ended(picture)
    assert (view.is_up, view.succeeded, picture.view().is_ready) == (True, NOW, True)
    clock.now += 60
    view = ended(picture, DOWN)
    assert (view.is_up, view.succeeded, view.ended) == (False, NOW, NOW + 60)
    assert view.stopped == "No connection with ***. Check the network"
    clock.now += 60
    view = ended(picture)
    assert (view.is_up, view.succeeded, view.stopped) == (True, NOW + 120, None)


def test_mlflows_outage_is_not_the_providers(picture: DaemonStatus) -> None:
    """An outage of MLflow leaves the provider as it was, and ends with an answer in any pass."""
    assert ended(picture).is_up is True
    view = ended(picture, AWAY)
    assert view.is_up is True
    assert picture.view().mlflow_is_up is False
    assert picture.view().mlflow_trouble == "MLflow is down. Start it"
    picture(RunsRead("mistral", Ownership()))
    assert picture.view().mlflow_is_up is True
    assert ended(picture, DOWN, provider="mistral").is_up is False
    assert picture.view().mlflow_is_up is True


def test_a_pass_that_was_asked_to_stop_says_nothing(picture: DaemonStatus) -> None:
    """A pass that was asked to stop changes nothing, because its user knows."""
    before = ended(picture)
    assert ended(picture, errors.Stopped("Asked to stop")) == before


def test_failures_are_those_of_the_last_pass(picture: DaemonStatus) -> None:
    """Failures are those of the last pass, masked and bounded in number."""
    many = [(f"job-{number}", errors.NotFound(f"No {SECRET}")) for number in range(50)]
    view = ended(picture, None, *many)
    assert view.failures[0] == "job-0: No ***"
    assert (len(view.failures), view.failing) == (20, 50)
    view = ended(picture)
    assert (view.failures, view.failing) == ((), 0)


def test_other_providers_are_no_part_of_it(picture: DaemonStatus) -> None:
    """Events of a provider outside the configuration are not shown."""
    picture(PassBegan("azure"))
    picture(NextPass("azure", 1.0))
    ended_elsewhere = Report(provider="azure")
    picture(PassEnded(ended_elsewhere, 1.0))
    assert "azure" not in picture.view().providers


# Bounds


@pytest.mark.parametrize(
    ("now", "is_late"), [(NOW, False), (NOW + 90, False), (NOW + 90.5, True), (NOW - 1, False)]
)
def test_a_pass_is_late_once_its_patience_is_over(now: float, *, is_late: bool) -> None:
    """A pass is late after its patience, unless it is in progress or not planned yet."""
    due = ProviderView(due=NOW + 30)
    assert due.is_late(now, 60) is is_late
    assert not ProviderView(due=NOW, is_busy=True).is_late(NOW + 1000, 60)
    assert not ProviderView().is_late(NOW, 60)
    assert ProviderView(due=NOW, is_busy=True, is_hanging=True).is_late(NOW, 60)


def test_a_lag_is_never_less_than_none() -> None:
    """A lag is never negative, although the provider's clock can be ahead."""
    assert ProviderView(newest_point=NOW + 5).lag(NOW) == 0.0
    assert ProviderView(newest_point=NOW - 5).lag(NOW) == 5.0


def test_a_pass_hangs_after_two_silent_hours(picture: DaemonStatus, clock: Clock) -> None:
    """A pass hangs after two hours without a page or a job."""
    picture(PassBegan("openai"))
    for sign in (JobsChosen("openai", 1), JobDone(outcome("a"))):
        clock.now += 7200
        assert not picture.view().providers["openai"].is_hanging
        clock.now += 1
        assert picture.view().providers["openai"].is_hanging
        picture(sign)
        assert not picture.view().providers["openai"].is_hanging


def test_a_pass_shows_while_it_is_under_way(picture: DaemonStatus, clock: Clock) -> None:
    """A pass is shown with its beginning, and afterwards with its end and the next one's time."""
    clock.now += 5
    picture(PassBegan("openai"))
    view = picture.view().providers["openai"]
    assert (view.is_busy, view.begun, view.ended) == (True, NOW + 5, None)
    clock.now += 3
    view = ended(picture, seconds=3.0)
    assert (view.is_busy, view.begun, view.ended, view.seconds) == (False, NOW + 5, NOW + 8, 3.0)
    picture(NextPass("openai", NOW + 60))
    assert picture.view().providers["openai"].due == NOW + 60
    assert picture.view().started == NOW
    assert picture.view().now == NOW + 8


def test_points_are_counted_since_the_start(picture: DaemonStatus) -> None:
    """Points are counted since the start, over all jobs and passes."""
    picture(JobDone(outcome("a", at=5)))
    ended(picture)
    picture(JobDone(outcome("b", at=5)))
    picture(JobDone(outcome("b")))
    assert picture.view().providers["openai"].points == 2
    assert picture.view().providers["mistral"].points == 0


def test_the_newest_point_never_gets_older(picture: DaemonStatus, clock: Clock) -> None:
    """The newest point never gets older, even after a later write of earlier steps."""
    now = int(clock.now)
    running = run_state("a", at=now - 10)
    picture(RunsRead("openai", Ownership(open={"a": running})))
    picture(JobDone(outcome("a", run=running, at=now - 50)))
    assert picture.view().providers["openai"].newest_point == now - 10
    new = outcome("b", "RUNNING", at=now - 5)
    older = replace(new.plan.points[0], timestamp=(now - 7) * 1000)
    picture(JobDone(replace(new, plan=replace(new.plan, points=(older, *new.plan.points)))))
    assert picture.view().providers["openai"].newest_point == now - 5


def test_a_history_is_counted_once_it_is_whole(picture: DaemonStatus) -> None:
    """The whole history is counted once, and a later pass reads only open runs."""
    picture(RunsRead("openai", Ownership(ends=Counter(FINISHED=3))))
    assert jobs(picture) == {}
    picture(RunsRead("openai", Ownership(is_complete=True, ends=Counter(FINISHED=3))))
    assert jobs(picture) == {"succeeded": 3}


def test_a_job_that_failed_stays_as_it_was(picture: DaemonStatus) -> None:
    """A job that failed stays open until the provider no longer has it."""
    picture(RunsRead("openai", Ownership(open={"a": run_state("a", "SCHEDULED")})))
    broken = errors.ServerFailed("It broke")
    picture(JobDone(Failed(provider="openai", job_id="a", error=broken)))
    assert jobs(picture) == {"waiting": 1}


def test_a_failure_without_a_job_is_a_sentence(picture: DaemonStatus) -> None:
    """A failure without a job, such as an unreadable row, is a sentence without an id."""
    view = ended(picture, None, ("", errors.BadReply("A row is odd", "Look at it")))
    assert view.failures == ("A row is odd. Look at it",)


def test_nothing_is_ready_before_a_pass_has_gone_through(picture: DaemonStatus) -> None:
    """A daemon is ready once a pass of any provider has succeeded."""
    ended(picture, DOWN)
    assert not picture.view().is_ready
    ended(picture, provider="mistral")
    assert picture.view().is_ready
