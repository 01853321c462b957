"""Open jobs that show nothing new."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge import errors
from bridge.daemon.stalls import Stalled, Stalls
from bridge.plan.ownership import Ownership
from bridge.plan.recorded import RecordedRun
from bridge.sync.events import JobDone, PassEnded, RunsRead
from bridge.sync.outcome import Failed, Outcome
from bridge.sync.report import Report
from tests.support.outcomes import outcome
from tests.support.run_states import run_state
from tests.support.world import Clock

NOW = 1_760_000_000
HOUR = 3600
DOWN = errors.NoAnswer("None", "Wait")


class Watch:
    """A watch over one provider, with its reports."""

    def __init__(self, after: float | None = 2 * HOUR) -> None:
        self.clock = Clock(NOW)
        self.found: list[Stalled] = []
        self.stalls = Stalls(after, self.clock, self.found.append)

    def pass_over(
        self, *outcomes: Outcome, runs: tuple[RecordedRun, ...] = (), well: bool = True
    ) -> list[str]:
        """Make a pass, and return the jobs that it reports."""
        before = len(self.found)
        self.stalls(RunsRead("openai", Ownership(open={run.job_id: run for run in runs})))
        for each in outcomes:
            self.stalls(JobDone(each))
        self.stalls(PassEnded(Report(provider="openai", stopped=None if well else DOWN), 1.0))
        return [each.job_id for each in self.found[before:]]


def training(job_id: str = "a", at: int = NOW, **tags: str) -> RecordedRun:
    """Return the run of an open job, with its newest point at these seconds."""
    return replace(run_state(job_id, at=at), tags=tags)


def test_a_job_is_reported_once() -> None:
    """A stalled job is reported once, and stays on the page."""
    watch, run = Watch(), training()
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == []
    watch.clock.now += 2 * HOUR - 1
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == []
    assert watch.stalls.view() == ()
    watch.clock.now += 1
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == ["a"]
    watch.clock.now += HOUR
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == []
    (shown,) = watch.stalls.view()
    assert (shown.name, shown.run_id, shown.seconds) == ("a", "run-a", 3 * HOUR)


def test_a_new_point_ends_it() -> None:
    """A new point ends a stall, even if this very pass writes it."""
    watch, run = Watch(), training(at=NOW - 5 * HOUR)
    assert watch.pass_over(outcome("a", run=run, at=NOW - HOUR), runs=(run,)) == []
    # A pass over runs that were read before the point was written changes nothing.
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == []
    watch.clock.now += HOUR
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == ["a"]


@pytest.mark.parametrize(
    "run",
    [
        training(at=NOW - 9 * HOUR, fine_tuning_state="paused"),
        training(at=NOW - 9 * HOUR, fine_tuning_state="succeeded"),  # its checkpoints are to come
        replace(training(at=NOW - 9 * HOUR), status="SCHEDULED"),
        training(at=0, fine_tuning_started_at="2025-10-09T08:00:00+00:00"),
    ],
)
def test_what_does_not_train_is_not_stalled(run: RecordedRun) -> None:
    """A job that does not train, or has just begun to, is not stalled."""
    assert Watch().pass_over(outcome("a", run=run), runs=(run,)) == []


def test_a_long_history_may_be_read_late() -> None:
    """A job that was recorded while the history was read counts with its newer point."""
    watch, old = Watch(), training(at=NOW - 9 * HOUR)
    paused = outcome("a", run=old, tags={"fine_tuning_state": "paused"})
    watch.stalls(JobDone(paused))
    watch.stalls(RunsRead("openai", Ownership(open={"a": old}, is_complete=True)))
    watch.stalls(PassEnded(Report(provider="openai"), 1.0))
    assert watch.found == []


def test_a_job_that_is_recorded_before_the_history_is_read_is_watched() -> None:
    """A job whose new run is on no page of the history is watched all the same."""
    watch = Watch()
    new = outcome("a", "RUNNING", at=NOW - 9 * HOUR, tags={"fine_tuning_state": "running"})
    watch.stalls(JobDone(new))
    watch.stalls(RunsRead("openai", Ownership(is_complete=True)))
    watch.stalls(PassEnded(Report(provider="openai"), 1.0))
    assert [each.job_id for each in watch.found] == ["a"]


def test_a_stalled_job_stays_on_the_page_while_a_pass_reads() -> None:
    """A stalled job is shown until its pass ends, and a pass over another provider hides none."""
    watch, run = Watch(), training(at=NOW - 9 * HOUR)
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == ["a"]
    watch.stalls(RunsRead("openai", Ownership(open={"a": run})))
    watch.stalls(RunsRead("mistral", Ownership()))
    assert [each.job_id for each in watch.stalls.view()] == ["a"]


def test_a_job_that_another_run_carries_is_linked_there() -> None:
    """A job whose run lost a race stalls with the run that owns it."""
    watch, run = Watch(), training(at=NOW - 9 * HOUR)
    moved = replace(outcome("a", run=run), run_id="owner")
    assert watch.pass_over(moved, runs=(run,)) == ["a"]
    assert [each.run_id for each in watch.found] == ["owner"]


def test_a_new_job_that_stalls_is_found_in_its_experiment() -> None:
    """A job that this process has recorded stalls with its run and experiment."""
    watch = Watch()
    state = {"fine_tuning_state": "running"}
    new = replace(outcome("a", "RUNNING", at=NOW, tags=state), run_id="r", experiment_id="7")
    assert watch.pass_over(new) == []
    watch.clock.now += 2 * HOUR
    run = replace(training(), run_id="r", experiment_id="7")
    later = replace(outcome("a", run=run), experiment_id=None)
    watch.stalls(JobDone(later))
    watch.stalls(PassEnded(Report(provider="openai"), 1.0))
    (found,) = watch.found
    assert (found.run_id, found.experiment_id, found.name) == ("r", "7", "openai/job")


def test_a_point_that_another_process_writes_is_a_sign_of_life() -> None:
    """A point that another process writes counts as soon as its run is read."""
    watch, run = Watch(), training()
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == []
    watch.clock.now += 2 * HOUR
    newer = training(at=NOW + HOUR)
    assert watch.pass_over(outcome("a", run=newer), runs=(newer,)) == []


def test_jobs_of_two_providers_may_have_one_id() -> None:
    """Jobs of two providers with the same id are both reported."""
    watch, run = Watch(), training(at=NOW - 9 * HOUR)
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == ["a"]
    watch.stalls(JobDone(replace(outcome("a", run=run), provider="mistral")))
    watch.stalls(PassEnded(Report(provider="mistral"), 1.0))
    assert [each.provider for each in watch.found] == ["openai", "mistral"]


def test_a_wait_is_not_a_stall() -> None:
    """The time counts from the start of training, or else from its first sight."""
    watch = Watch()
    waiting = replace(training(at=0), status="SCHEDULED")
    watch.pass_over(outcome("a", run=waiting), runs=(waiting,))
    watch.clock.now += 9 * HOUR
    begins = outcome("a", "RUNNING", run=waiting, tags={"fine_tuning_state": "running"})
    assert watch.pass_over(begins, runs=(waiting,)) == []
    run = training(at=0)
    watch.clock.now += 2 * HOUR
    assert watch.pass_over(outcome("a", run=run), runs=(run,)) == ["a"]


def test_a_job_that_cannot_be_read_may_train_well() -> None:
    """An unreadable job and one of a stopped pass are not stalled, and an ended one is dropped."""
    old = training(at=NOW - 9 * HOUR)
    lost = Failed(provider="openai", job_id="a", error=DOWN)
    assert Watch().pass_over(lost, runs=(old,)) == []
    watch, new = Watch(), training()
    assert watch.pass_over(outcome("a", run=new), runs=(new,)) == []
    watch.clock.now += 9 * HOUR
    assert watch.pass_over(lost, runs=(new,)) == []
    watch = Watch()
    assert watch.pass_over(outcome("a", run=old), runs=(old,), well=False) == []
    watch.stalls(PassEnded(Report(provider="mistral"), 1.0))
    assert watch.found == [], "another provider's pass says nothing about the job"
    assert Watch().pass_over(outcome("a", "FINISHED", run=old, is_final=True), runs=(old,)) == []
    gone = Failed(provider="openai", job_id="a", error=errors.JobVanished("Gone"))
    assert Watch().pass_over(outcome("a", run=old), gone, runs=(old,)) == []
    watch = Watch()
    assert watch.pass_over(outcome("a", run=old), runs=(old,)) == ["a"]
    watch.pass_over()
    assert watch.stalls.view() == ()


def test_without_a_limit_nothing_is_stalled() -> None:
    """Without a limit no job is stalled, because nobody knows a provider's usual silence."""
    old = training(at=NOW - 9 * HOUR)
    assert Watch(after=None).pass_over(outcome("a", run=old), runs=(old,)) == []
