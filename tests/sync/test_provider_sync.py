"""Passes over a simulated provider into a real MLflow."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient

from bridge.errors import JobVanished
from bridge.model import Page
from bridge.plan.metric_names import MetricNames
from bridge.plan.plan import Plan
from bridge.plan.recorded import RecordedRun
from bridge.simulator import Outcome, Reply, Request, Simulator, json_reply
from bridge.sync.outcome import Result
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Selection
from bridge.tracking import Tracking, Written
from tests.support.in_memory import InMemoryProvider, snapshot_of
from tests.support.recorded import active_runs, deleted_runs, recorded
from tests.support.world import Clock, job, make_sync


def test_a_second_pass_writes_nothing(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A second pass, even of a new process, finds nothing to write."""
    jobs = [job("ftjob-a"), job("ftjob-b", total_steps=300)]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 100
        first = make_sync(simulator, tracking, executor, clock).run()
        assert +first.jobs == Counter({Result.NEW: 2}), first
        before = recorded(uri)
        again = make_sync(simulator, tracking, executor, clock).run()
        assert +again.jobs == Counter({Result.UNCHANGED: 2}), again
        assert recorded(uri) == before


def test_a_run_is_not_finished_before_its_late_checkpoints_are_there(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A run stays open until OpenAI publishes the late checkpoints of its job."""
    late = job("ftjob-a", late_seconds=20.0)
    with Simulator(jobs=[late], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now = late.settled_at + 1
        assert sync.run().settling == 1
        assert recorded(uri)["ftjob-a"].status == "RUNNING"
        clock.now = late.settled_at + 21
        assert sync.run().settling == 0
        run = recorded(uri)["ftjob-a"]
        assert run.status == "FINISHED"
        assert run.tags["fine_tuned_model_checkpoint"] == run.tags["fine_tuned_model"]
        assert run.end_time == int(late.settled_at) * 1000


def test_an_open_job_beyond_the_first_page_is_read_by_itself(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A later pass reads a known open job by id instead of paging through the history."""
    old = job("ftjob-old", total_steps=500)
    with Simulator(jobs=[old], clock=clock, page_limit=10) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now += 100
        sync.run()
        for n in range(15):
            simulator.add(job(f"ftjob-{n:03}", created_at=clock.now - 60, outcome=Outcome.FAILED))
        sync.run()
        steps = len(recorded(uri)["ftjob-old"].rows)
        clock.now += 10
        before = len(simulator.requests)
        sync.run()
        paths = [request.path for request in simulator.requests[before:]]
        assert sum(path.endswith("/fine_tuning/jobs") for path in paths) == 1
        assert sum(path.endswith("/ftjob-old") for path in paths) == 1
        assert len(recorded(uri)["ftjob-old"].rows) > steps


def test_a_list_that_is_gone_does_not_make_its_job_vanish(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job is completed by its id even if the list is gone."""
    broken: set[str] = set()
    old = job("ftjob-old", total_steps=500)

    def without(request: Request) -> Reply | None:
        is_gone = any(request.path.endswith(path) for path in broken)
        return json_reply({"error": {"message": "Not Found"}}, 404) if is_gone else None

    with Simulator(jobs=[old], clock=clock, intercept=without, page_limit=10) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now = old.step_at(10)
        for n in range(15):
            simulator.add(job(f"ftjob-{n:03}", created_at=clock.now, outcome=Outcome.FAILED))
        clock.now = old.step_at(400)
        assert sync.run().is_well
        clock.now += 1000
        broken.add("/ftjob-old/checkpoints")
        assert sync.run().is_well
        run = recorded(uri)["ftjob-old"]
        assert (run.status, run.tags["fine_tuning_incomplete"]) == ("FINISHED", "checkpoints")


def test_a_job_that_its_provider_has_deleted_is_asked_for_once(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A deleted open job is requested once, reported, and then left."""
    gone: set[str] = set()

    def without(request: Request) -> Reply | None:
        if request.path.endswith("/fine_tuning/jobs") and gone:
            return json_reply({"object": "list", "data": [], "has_more": False})
        is_gone = any(request.path.endswith(path) for path in gone)
        return json_reply({"error": {"message": "No such job"}}, 404) if is_gone else None

    lost = job("ftjob-lost", total_steps=50)
    with Simulator(jobs=[lost], clock=clock, intercept=without) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now = lost.step_at(10)
        assert sync.run().is_well
        gone.add("/ftjob-lost")
        ((job_id, error),) = sync.run().failures
        assert (job_id, type(error)) == ("ftjob-lost", JobVanished)
        before = len(simulator.requests)
        assert sync.run().is_well
        assert len(simulator.requests) == before + 1


class Meeting(Tracking):
    """Creates the run of a job only when another bridge is about to create one too."""

    def __init__(self, uri: str, meetings: Mapping[str, threading.Barrier]) -> None:
        super().__init__(uri)
        self._meetings = meetings

    def record(self, experiment_id: str, plan: Plan, run: RecordedRun | None) -> Written:
        """Wait for the other bridge, which has found no run of the job either."""
        if run is None:
            self._meetings[plan.job_id].wait()
        return super().record(experiment_id, plan, run)


def test_two_bridges_at_once_leave_one_run_a_job(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Two bridges that both find nothing and both create leave one whole run per job."""
    jobs = [job(f"ftjob-{n}", total_steps=20) for n in range(6)]
    meetings = {each.id: threading.Barrier(2, timeout=60) for each in jobs}
    # As many threads as both have jobs: none of them may wait for one that has no thread.
    with (
        Simulator(jobs=jobs, clock=clock) as simulator,
        ThreadPoolExecutor(2) as pool,
        ThreadPoolExecutor(2 * len(jobs)) as threads,
    ):
        clock.now += 200
        bridges = [make_sync(simulator, Meeting(uri, meetings), threads, clock) for _ in range(2)]
        reports = list(pool.map(lambda bridge: bridge.run(), bridges))
        assert all(report.is_well for report in reports), reports
        found = recorded(uri)
        assert set(found) == {each.id for each in jobs}
        assert all(run.status == "FINISHED" for run in found.values())
        assert len({len(run.rows) for run in found.values()}) == 1
        assert len(deleted_runs(uri)) == 6
        alone = make_sync(simulator, tracking, executor, clock)
        assert +alone.run().jobs == Counter({Result.UNCHANGED: 6})
        assert recorded(uri) == found


class Raced(Tracking):
    """Another process has begun a run of the same job with a smaller id, and died."""

    def __init__(self, uri: str, afterwards: Callable[[], None]) -> None:
        super().__init__(uri)
        self._afterwards = afterwards
        self.other = ""

    def finish(self, written: Written, plan: Plan) -> None:
        """Show its run once this process has finished another."""
        super().finish(written, plan)
        if self.other:
            return
        mlflow = MlflowClient(tracking_uri=self.uri)
        self.other = written.run_id
        while self.other >= written.run_id:  # MLflow generates the ids
            if self.other != written.run_id:
                mlflow.delete_run(self.other)
            run = mlflow.create_run(written.run.experiment_id, start_time=plan.start_time)
            self.other = str(run.info.run_id)
        for name, value in plan.tags.items():
            mlflow.set_tag(self.other, name, value)
        self._afterwards()


def test_a_lost_race_is_no_loss_where_the_winner_has_died(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """After a lost race the dead winner's run is completed before the finished one is deleted."""
    with Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator:
        clock.now += 200
        tracking = Raced(uri, lambda: None)
        assert make_sync(simulator, tracking, executor, clock).run().is_well
        rows = recorded(uri)
        (active,) = active_runs(uri)
        assert active.info.run_id == tracking.other
        assert rows["ftjob-a"].status == "FINISHED"
        assert len(rows["ftjob-a"].rows) > 12
        assert +make_sync(simulator, Tracking(uri), executor, clock).run().jobs == Counter(
            {Result.UNCHANGED: 1}
        )
        assert recorded(uri) == rows


def test_a_lost_race_is_completed_by_a_later_pass_too(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A dead winner's run that cannot be completed at once is completed by the next pass."""
    refusing: list[bool] = []

    def refuse(request: Request) -> Reply | None:
        is_refused = refusing and request.path.endswith("/ftjob-a")
        return json_reply({"error": {"message": "no"}}, 422) if is_refused else None

    with Simulator(jobs=[job("ftjob-a")], clock=clock, intercept=refuse) as simulator:
        clock.now += 200
        tracking = Raced(uri, lambda: refusing.append(True))
        sync = make_sync(simulator, tracking, executor, clock)
        ((job_id, _),) = sync.run().failures
        assert job_id == "ftjob-a"
        refusing.clear()
        assert sync.run().is_well
        (active,) = active_runs(uri)
        assert (active.info.run_id, active.info.status) == (tracking.other, "FINISHED")


def test_a_lost_race_is_no_loss_where_the_provider_forgets_the_job(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """After a lost race the finished run stays if the provider forgets the job."""
    with Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator:
        clock.now += 200
        tracking = Raced(uri, lambda: simulator.remove("ftjob-a"))
        ((job_id, error),) = make_sync(simulator, tracking, executor, clock).run().failures
        assert (job_id, type(error)) == ("ftjob-a", JobVanished)
        rows = recorded(uri)["ftjob-a"]
        assert (rows.status, len(rows.rows) > 0) == ("FINISHED", True)
        assert tracking.other in {run.info.run_id for run in deleted_runs(uri)}
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
        assert recorded(uri)["ftjob-a"] == rows


def test_a_run_that_its_user_deleted_stays_deleted(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A run that its user deleted is not created again, by this process or by a new one."""
    with Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator:
        clock.now += 35
        sync = make_sync(simulator, tracking, executor, clock)
        sync.run()
        tracking.delete([active_runs(uri)[0].info.run_id])
        clock.now += 100
        assert sync.run().is_well
        assert make_sync(simulator, tracking, executor, clock).run().is_well
        assert not active_runs(uri)


def test_a_dry_run_plans_what_a_pass_then_writes(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A dry run writes nothing, and counts the same jobs and points as the pass after it."""
    jobs = [job("ftjob-a"), job("ftjob-b", outcome=Outcome.FAILED)]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 100
        sync = make_sync(simulator, tracking, executor, clock)
        dry = sync.run(dry_run=True)
        assert not active_runs(uri)
        assert tracking.experiment("hosted-fine-tunes", create=False) is None
        real = sync.run()
        assert (dry.jobs, dry.points) == (real.jobs, real.points)
        assert {plan.job_id for plan in dry.plans} == {"ftjob-a", "ftjob-b"}


def test_a_reader_of_the_list_replaces_the_providers(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A reader of the list that is passed in, such as one that reads ahead, replaces the others."""
    provider = InMemoryProvider(snapshot_of("ftjob-a", 0.5), snapshot_of("ftjob-b", 0.5))
    job_sync = provider.sync(tracking, executor).job_sync
    page = Page(jobs=(provider.job("ftjob-b"),))
    assert ProviderSync(job_sync, executor=executor, pages=lambda: iter([page])).run().is_well
    assert recorded(uri).keys() == {"ftjob-b"}


def test_a_selection_reads_only_what_it_selects(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A selection by id skips the list, and one by status or number reads it newest first."""
    jobs = [job(f"ftjob-{n}", created_at=clock.now + n) for n in range(4)]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 200
        sync = make_sync(simulator, tracking, executor, clock)
        assert sync.run(Selection(job_ids=("ftjob-1",))).jobs[Result.NEW] == 1
        assert not any(each.path.endswith("/jobs") for each in simulator.requests)
        sync.run(Selection(limit=1))
        assert set(recorded(uri)) == {"ftjob-1", "ftjob-3"}
        sync.run(Selection(until=int(jobs[1].created_at * 1000)))
        assert set(recorded(uri)) == {"ftjob-0", "ftjob-1", "ftjob-3"}
        sync.run(Selection(statuses=frozenset({"failed"})))
        sync.run(Selection(statuses=frozenset({"succeeded"})))
        assert len(recorded(uri)) == 4


def test_metrics_get_the_names_of_the_vocabulary(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A later pass under the same ``metric_names`` recognizes the rows under their new names."""
    with Simulator(jobs=[job("ftjob-a", total_steps=300)], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, metric_names="huggingface")
        clock.now += 250
        sync.run()
        before = len(simulator.requests)
        clock.now += 1
        assert sync.run().points == 3
        events = [each for each in simulator.requests[before:] if each.path.endswith("/events")]
        assert len(events) == 1
        assert {name for name, *_ in recorded(uri)["ftjob-a"].rows} == {
            "loss",
            "mean_token_accuracy",
            "eval_batch_loss",
            "eval_batch_mean_token_accuracy",
            "eval_loss",
            "eval_mean_token_accuracy",
            "epoch",
        }
        epochs = {
            step: value for name, step, value, _ in recorded(uri)["ftjob-a"].rows if name == "epoch"
        }
        assert epochs[100] == 1.0
        assert epochs.keys() == set(range(1, max(epochs) + 1))


def test_an_unexpected_error_in_one_job_stops_no_other(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A defect of the bridge is reported as one, and the next job is recorded."""
    jobs = [job("ftjob-a"), job("ftjob-b")]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 100
        sync = make_sync(simulator, tracking, executor, clock, metric_names=Explosive())
        report = sync.run()
        assert +report.jobs == Counter({Result.FAILED: 1, Result.NEW: 1})
        assert "ZeroDivisionError" in str(report.failures[0][1])
        assert report.stopped is None
        assert len(recorded(uri)) == 1


class Explosive(MetricNames):
    """Metric names with a defect that shows once."""

    _fuse = itertools.count()

    def param(self, name: str) -> str:
        """Fail the first time."""
        if next(self._fuse) == 0:
            raise ZeroDivisionError
        return name
