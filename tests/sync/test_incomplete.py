"""Jobs with unreadable parts: their rows in MLflow, and the retries."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from bridge.doctor.job_examiner import JobExaminer
from bridge.doctor.run_batches import RunBatches
from bridge.plan.tags import INCOMPLETE_SINCE
from bridge.simulator import Outcome, Reply, Request, Simulator, json_reply
from bridge.sync.job_sync import Task
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Report
from bridge.tracking import Tracking
from tests.support.models import run_of
from tests.support.recorded import RunRows, recorded
from tests.support.world import Clock, job, make_sync

DAY = 86_400
JOB = "ftjob-a"


@dataclass(slots=True)
class Faults:
    """Refusals of a simulated provider."""

    status: int = 0
    endings: tuple[str, ...] = ("/events",)
    pages: int = 0
    """Number of list pages answered before the failure."""
    seen: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply | None:
        """Return a reply that differs from the simulator's."""
        if not self.status or not request.path.endswith(self.endings):
            return None
        self.seen.append(request.path)
        if self.pages and "after" not in request.query:
            return None
        return json_reply({"error": {"message": "no"}}, self.status)


@dataclass(slots=True)
class World:
    """A provider that refuses parts, and the passes over it."""

    uri: str
    clock: Clock
    faults: Faults
    simulator: Simulator
    new_process: Callable[[], ProviderSync]

    def look(self, process: ProviderSync | None = None) -> Report:
        """Make a pass."""
        return (process or self.new_process()).run()

    @property
    def run(self) -> RunRows:
        """Return the job's run."""
        return recorded(self.uri)[JOB]

    def since(self) -> str | None:
        """Return when the bridge first waited for a part of the job."""
        return run_of(self.uri, JOB).data.tags.get(INCOMPLETE_SINCE)

    def steps(self, name: str = "train_loss") -> set[int]:
        """Return the steps at which a metric is logged."""
        return {step for metric, step, *_ in self.run.rows if metric == name}


@pytest.fixture
def faults() -> Faults:
    """Stop all failures."""
    return Faults()


@pytest.fixture
def world(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, faults: Faults
) -> World:
    """Run a provider whose job ended a quarter of an hour ago."""
    jobs = [job(JOB, total_steps=130)]
    simulator = Simulator(jobs=jobs, clock=clock, intercept=faults)
    clock.now += 1000

    def new_process() -> ProviderSync:
        return make_sync(simulator, tracking, executor, clock, archive=True)

    return World(uri, clock, faults, simulator, new_process)


@pytest.fixture(autouse=True)
def _serving(world: World) -> object:
    with world.simulator:
        yield


def test_a_part_that_is_refused_is_named_and_the_run_is_final(world: World) -> None:
    """A refused part is reported once and never read again, with the result file for its events."""
    world.faults.status = 404
    process = world.new_process()
    report = world.look(process)
    assert report.is_well
    assert [sentence for _, sentence in report.skipped if "events" in sentence]
    run = world.run
    assert run.status == "FINISHED"
    assert run.tags["fine_tuning_incomplete"] == "events"
    assert world.since() is None
    assert world.steps() == set(range(1, 131))
    asked = len(world.faults.seen)
    again = world.look(process)
    assert again.is_well
    assert again.skipped == []
    assert world.look().is_well
    assert len(world.faults.seen) == asked


def test_a_part_that_fails_for_the_moment_keeps_the_run_open(world: World) -> None:
    """A part that fails for now keeps the run open, with everything read so far."""
    world.faults.status = 503
    process = world.new_process()
    report = world.look(process)
    ((job_id, error),) = report.failures
    assert job_id == JOB
    assert "events" in error.sentence
    run = world.run
    assert run.status == "RUNNING"
    assert run.params["n_epochs"] == "3"
    assert len(world.steps()) == 3
    assert run.tags["fine_tuning_incomplete"] == "events"
    world.faults.status = 0
    assert world.look(process).is_well
    whole = world.run
    assert whole.status == "FINISHED"
    assert world.steps() == set(range(1, 131))
    assert not [name for name in whole.tags if "incomplete" in name]
    assert whole.end_time is not None


def test_points_that_were_recorded_without_events_keep_their_times(world: World) -> None:
    """Points that are recorded while the events fail keep the times of their checkpoints.

    MLflow keeps the first row of a step: a checkpoint that is published late, or early, differs by
    that much from the steps around it.
    """
    world.faults.status = 503
    process = world.new_process()
    assert not world.look(process).is_well
    early = set(world.run.rows)
    assert {step for _, step, *_ in early} == {44, 87, 130}
    world.faults.status = 0
    assert world.look(process).is_well
    rows = world.run.rows
    assert early < set(rows)
    places = [(name, step) for name, step, *_ in rows]
    assert len(places) == len(set(places))


def test_a_list_that_breaks_off_leaves_no_hole(world: World) -> None:
    """A list that breaks off has its newest page recorded; the rest follows, in any process."""
    world.faults.status, world.faults.pages = 503, 1
    assert not world.look().is_well
    first = world.steps()
    assert 130 in first
    assert 1 not in first
    world.faults.status = 0
    assert world.look().is_well
    assert world.steps() == set(range(1, 131))
    assert len(world.run.rows) == len({row[:2] for row in world.run.rows})


def test_after_a_day_of_failures_the_part_is_missing_for_good(world: World) -> None:
    """A part that fails for a day is missing for good, even after restarts in between."""
    world.faults.status = 500
    assert not world.look().is_well
    since = world.since()
    assert since
    world.clock.now += DAY - 60
    process = world.new_process()
    assert not world.look(process).is_well
    assert world.since() == since
    world.clock.now += 120
    report = world.look(process)
    assert report.is_well
    assert [sentence for _, sentence in report.skipped if "events" in sentence]
    run = world.run
    assert run.status == "FINISHED"
    assert run.tags["fine_tuning_incomplete"] == "events"
    assert world.since() is None
    asked = len(world.faults.seen)
    assert world.look(process).is_well
    assert world.look().is_well
    assert len(world.faults.seen) == asked


def test_a_job_that_ended_long_ago_is_not_shown_as_running(world: World) -> None:
    """A job that ended long ago has a final run at once, and is read again for a day."""
    world.clock.now += 10 * DAY
    world.faults.status = 500
    process = world.new_process()
    assert not world.look(process).is_well
    assert world.run.status == "FINISHED"
    end = world.run.end_time
    assert not world.look(process).is_well, "the same process reads it again"
    assert not world.look().is_well, "another one too"
    world.faults.status = 0
    assert world.look().is_well
    assert world.steps() == set(range(1, 131))
    assert (world.run.status, world.run.end_time) == ("FINISHED", end)
    assert not [name for name in world.run.tags if "incomplete" in name]
    before = world.run
    assert world.look().is_well
    assert world.run == before


@pytest.mark.parametrize("status", [404, 500])
def test_nothing_but_the_job_is_enough(world: World, status: int) -> None:
    """Nothing but the job itself is necessary."""
    world.faults.status = status
    world.faults.endings = ("/events", "/checkpoints", "/content", f"/{JOB}")
    world.clock.now += 10 * DAY
    world.look()
    run = world.run
    assert run.status == "FINISHED"
    assert run.tags["fine_tuned_model"]
    names = run.tags["fine_tuning_incomplete"].split(", ")
    assert {"checkpoints", "events"} <= set(names)


def test_the_doctor_tries_again(world: World) -> None:
    """``doctor`` completes a run that lacks a part for good, once the server has it."""
    world.faults.status, world.faults.endings = 404, ("/events", "/content")
    process = world.new_process()
    world.look(process)
    settled = world.run
    assert (settled.status, len(world.steps())) == ("FINISHED", 3)
    examine = JobExaminer(process.job_sync, RunBatches(process.job_sync.tracking, (), ()))
    task = Task(provider="openai", job_id=JOB, listed=None, found=None)
    for status in (404, 500):
        world.faults.status = status
        examine(task)
        assert world.run == settled, "a doctor does not open a run again"
    world.faults.status = 0
    outcome = examine(task)
    assert outcome.error is None
    assert world.steps() == set(range(1, 131))
    assert world.run.status == "FINISHED"
    assert not [name for name in world.run.tags if "incomplete" in name]


def test_the_description_names_what_is_missing(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """The description names the missing part and the reason, for a failed job too."""
    jobs = [job(JOB, outcome=Outcome.FAILED)]
    faults = Faults(status=403, endings=("/checkpoints",))
    with Simulator(jobs=jobs, clock=clock, intercept=faults) as simulator:
        clock.now += 1000
        assert make_sync(simulator, tracking, executor, clock).run().is_well
    (run,) = tracking.runs([tracking.experiment("hosted-fine-tunes", create=False) or ""], "openai")
    assert "Not recorded: checkpoints" in run.tags["mlflow.note.content"]
    assert "403" in run.tags["mlflow.note.content"]
    assert run.status == "FAILED"
