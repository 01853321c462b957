"""The lookup of one job's run, and the reasons for another run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient

from bridge.errors import BadReply, TrackingDown, TrackingError
from bridge.model import Job, LoggedSteps, Snapshot
from bridge.plan.metric_names import Losses
from bridge.plan.plan import Plan
from bridge.plan.routing import EXPERIMENT_KEY, RUN_KEY, Router
from bridge.simulator import Simulator
from bridge.sync.find_run import Existing, Missing, RunFinder
from bridge.sync.report import Selection
from bridge.tracking import Tracking, Written
from tests.support.recorded import active_runs, recorded
from tests.support.told import Told, told, told_job
from tests.support.world import Clock, job, make_sync

HOME = "hosted-fine-tunes"


def finder(tracking: Tracking) -> RunFinder:
    """Return a finder for jobs that may name nothing beyond the configuration."""
    return RunFinder(tracking=tracking, router=Router(provider="openai", experiment=HOME))


def named_run(uri: str) -> str:
    """Create a user's run in the configured experiment."""
    client = MlflowClient(uri)
    return str(client.create_run(client.create_experiment(HOME)).info.run_id)


def test_every_wish_that_is_refused_is_told(tracking: Tracking) -> None:
    """A refused experiment is reported even if the named run is refused as well."""
    wishes = {EXPERIMENT_KEY: "elsewhere", RUN_KEY: "0" * 32}
    found = finder(tracking).find(told_job("ftjob-a", metadata=wishes))
    assert isinstance(found, Missing)
    first, second = found.route.refused
    assert "elsewhere" in first
    assert "a run that does not exist" in second


class Unreadable(Tracking):
    """A store that cannot read the name of an experiment."""

    def experiment_name(self, experiment_id: str) -> str:
        """Fail for this one job."""
        raise TrackingError(f"experiment {experiment_id} is not for you")


def test_a_named_run_in_an_unreadable_experiment_costs_the_job_nothing(uri: str) -> None:
    """A job that names a run in an unreadable experiment gets another run, and a reason."""
    wish = {RUN_KEY: named_run(uri)}
    assert isinstance(finder(Tracking(uri)).find(told_job("ftjob-a", metadata=wish)), Existing)
    found = finder(Unreadable(uri)).find(told_job("ftjob-a", metadata=wish))
    assert isinstance(found, Missing)
    (sentence,) = found.route.refused
    assert "is in an experiment that cannot be read" in sentence


def test_a_run_that_its_user_deleted_where_only_its_job_points_is_not_made_again(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A run that its user deleted is not created again, even where only its job names the place."""
    one = job("ftjob-a", metadata={EXPERIMENT_KEY: "elsewhere"})
    with Simulator(jobs=[one], clock=clock) as simulator:
        clock.now += 10_000
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
        (run,) = active_runs(uri, "elsewhere")
        MlflowClient(uri).delete_run(run.info.run_id)
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
    assert active_runs(uri, "elsewhere") == []
    assert recorded(uri) == {}


class DownElsewhere(Tracking):
    """A store that goes down at the lookup of a place that only a job names."""

    def experiment(
        self,
        name: str,
        *,
        create: bool,
        losses: Losses | None = None,
        one_job: bool = False,
    ) -> str | None:
        """Answer for the configured experiment."""
        if name == "elsewhere":
            raise TrackingDown("MLflow is down")
        return super().experiment(name, create=create, losses=losses, one_job=one_job)


def test_mlflow_that_goes_down_while_a_place_is_looked_up_ends_the_pass(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """An MLflow that goes down at a lookup ends the pass, and the job is not at fault."""
    one = job("ftjob-a", metadata={EXPERIMENT_KEY: "elsewhere"})
    with Simulator(jobs=[one], clock=clock) as simulator:
        report = make_sync(simulator, DownElsewhere(uri), executor, clock).run()
    assert isinstance(report.stopped, TrackingDown)
    assert report.failures == []


class Confused(Told):
    """A provider that answers with another job."""

    def job(self, job_id: str) -> Job:
        """Return the other job."""
        del job_id
        return told_job("ftjob-other")


class ConfusedReading(Told):
    """A provider that lists one job, and then reads another."""

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return the other job."""
        del job, logged, keep
        return told("ftjob-other", 0.5)


def test_another_jobs_data_are_not_recorded_under_a_job(
    uri: str, executor: ThreadPoolExecutor
) -> None:
    """A reply about another job is an error, and is not recorded."""
    confused = Confused().sync(Tracking(uri), executor)
    reports = [
        confused.run(Selection(job_ids=("ftjob-a",))),
        ConfusedReading(told("ftjob-a", 0.5)).sync(Tracking(uri), executor).run(),
    ]
    for report in reports:
        ((job_id, error),) = report.failures
        assert (job_id, type(error)) == ("ftjob-a", BadReply)
        assert "another job (ftjob-other)" in str(error)
    assert recorded(uri) == {}


class InOrder(Tracking):
    """Records the order of the last writes."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.done: list[str] = []

    def register(self, written: Written, plan: Plan) -> None:
        """Record the call."""
        self.done.append("register")
        super().register(written, plan)

    def finish(self, written: Written, plan: Plan) -> None:
        """Record the call."""
        self.done.append("finish")
        super().finish(written, plan)


def test_a_version_is_registered_before_its_run_is_final(
    uri: str, executor: ThreadPoolExecutor
) -> None:
    """A version is registered before its run is final, so that a process can die in between."""
    tracking = InOrder(uri)
    assert Told(told("ftjob-a", 0.5)).sync(tracking, executor, register="model").run().is_well
    assert tracking.done == ["register", "finish"]
