"""The lookup of one job's run, and the reasons for another run."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from mlflow import MlflowClient

from bridge.errors import BadReply, TrackingDown, TrackingError
from bridge.model import Job, LoggedSteps, Snapshot
from bridge.plan import tags
from bridge.plan.metric_names import Losses
from bridge.plan.plan import Plan
from bridge.plan.routing import EXPERIMENT_KEY, RUN_KEY, Router, Rule
from bridge.simulator import Simulator
from bridge.sync.find_run import Existing, Missing, RunFinder, Settled
from bridge.sync.report import Selection
from bridge.tracking import Tracking, Written
from tests.support.in_memory import InMemoryProvider, ended_job, snapshot_of
from tests.support.recorded import active_runs, recorded
from tests.support.world import Clock, job, make_sync

HOME = "hosted-fine-tunes"


def finder(tracking: Tracking) -> RunFinder:
    """Return a finder for jobs that may name nothing beyond the configuration."""
    return RunFinder(tracking=tracking, router=Router(provider="openai", experiment=HOME))


def named_run(uri: str) -> str:
    """Create a user's run in the configured experiment."""
    client = MlflowClient(uri)
    return str(client.create_run(client.create_experiment(HOME)).info.run_id)


def test_every_wish_that_is_refused_is_reported(tracking: Tracking) -> None:
    """A refused experiment is reported even if the named run is refused as well."""
    wishes = {EXPERIMENT_KEY: "elsewhere", RUN_KEY: "0" * 32}
    found = finder(tracking).find(ended_job("ftjob-a", metadata=wishes))
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
    assert isinstance(finder(Tracking(uri)).find(ended_job("ftjob-a", metadata=wish)), Existing)
    found = finder(Unreadable(uri)).find(ended_job("ftjob-a", metadata=wish))
    assert isinstance(found, Missing)
    (sentence,) = found.route.refused
    assert "is in an experiment that cannot be read" in sentence


class DownAtNames(Tracking):
    """A store that goes down before it returns the name of an experiment."""

    def experiment_name(self, experiment_id: str) -> str:
        """Fail for every job."""
        raise TrackingDown(f"MLflow is down at {experiment_id}")


def test_mlflow_that_goes_down_is_no_reason_for_another_run(uri: str) -> None:
    """A job that names a run gets no second run because MLflow goes down meanwhile."""
    wish = {RUN_KEY: named_run(uri)}
    with pytest.raises(TrackingDown):
        finder(DownAtNames(uri)).find(ended_job("ftjob-a", metadata=wish))


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


JOB_TAGS = {tags.PROVIDER: "openai", tags.JOB: "ftjob-a"}
CLAIM = "ftjob-a of openai"


@dataclass(frozen=True)
class Wish:
    """A run that a job's metadata names, and the answer: a reason, or the claim of the run."""

    tags: Mapping[str, str] = field(default_factory=dict)
    claim: str | None = None
    experiment: str = HOME
    end: str = ""
    answer: str | None = None


WISHES = {
    "a user's run": Wish(answer=CLAIM),
    "claimed by this job": Wish(claim=CLAIM, answer=CLAIM),
    "claimed by another": Wish(claim="ftjob-b of openai", answer="another job (ftjob-b of openai)"),
    "carries this job": Wish(JOB_TAGS),
    "carries this job, whoever claimed it": Wish(JOB_TAGS, claim="ftjob-b of openai"),
    "has a job but no provider": Wish({tags.JOB: "ftjob-a"}, answer=CLAIM),
    "has a provider but no job": Wish({tags.PROVIDER: "openai"}, answer=CLAIM),
    "claimed, and has half of a job": Wish(
        {tags.JOB: "ftjob-a"}, claim="ftjob-b of openai", answer="another job (ftjob-b of openai)"
    ),
    "carries another job": Wish(JOB_TAGS | {tags.JOB: "ftjob-b"}, answer="another job (ftjob-b)"),
    "carries a job of another provider": Wish(
        JOB_TAGS | {tags.PROVIDER: "azure"}, answer="carries a job of azure"
    ),
    "in an experiment that is open": Wish(experiment="open-1", answer=CLAIM),
    "in an experiment of a rule": Wish(experiment="ruled", answer=CLAIM),
    "in any other experiment": Wish(experiment="closed", answer="'closed', which mlflow.open_to"),
    "deleted": Wish(end="deleted", answer="names a run that is deleted"),
    "a user's run that has ended": Wish(end="FINISHED", answer=CLAIM),
    "completed": Wish({tags.BRIDGE: tags.COMPLETED}, end="FINISHED", answer="settled"),
    "deleted with this job": Wish(JOB_TAGS, end="deleted", answer="settled"),
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_a_named_run_is_continued_if_it_may_be(tracking: Tracking, wish: Wish) -> None:
    """A job continues the run that its metadata names, or gets another one and a reason."""
    router = Router(
        provider="openai",
        experiment=HOME,
        rules=(Rule(experiment="ruled", base_model="never"),),
        open_to_jobs=("open-*",),
    )
    with tracking.asked() as client:
        home = client.create_experiment(HOME)
        place = home if wish.experiment == HOME else client.create_experiment(wish.experiment)
        run_id = client.create_run(place, tags=dict(wish.tags)).info.run_id
        if wish.claim:
            client.log_param(run_id, tags.CLAIM, wish.claim)
        if wish.end == "deleted":
            client.delete_run(run_id)
        elif wish.end:
            client.set_terminated(run_id, wish.end)
    a_job = ended_job("ftjob-a", metadata={RUN_KEY: run_id})
    found = RunFinder(tracking=tracking, router=router).find(a_job)
    if wish.answer == "settled":
        assert isinstance(found, Settled)
        assert found.run_id == (None if wish.end == "deleted" else run_id)
    elif wish.answer in {None, CLAIM}:
        assert isinstance(found, Existing)
        assert (found.run.run_id, found.claim) == (run_id, wish.answer)
        assert not found.has_duplicates
    else:
        assert isinstance(found, Missing)
        assert (found.route.run_id, found.experiment_id) == (None, home)
        (sentence,) = found.route.refused
        assert str(wish.answer) in sentence


def test_a_run_in_another_experiment_of_the_configuration_is_found(tracking: Tracking) -> None:
    """A job that a new rule sends elsewhere keeps the run that it has."""
    router = Router(
        provider="openai", experiment=HOME, rules=(Rule(experiment="ruled", base_model="gpt-*"),)
    )
    with tracking.asked() as client:
        place = client.create_experiment(HOME)
        client.create_experiment("ruled")
        run_id = client.create_run(place, tags=JOB_TAGS).info.run_id
    found = RunFinder(tracking=tracking, router=router).find(ended_job("ftjob-a"))
    assert isinstance(found, Existing)
    assert found.run.run_id == run_id


def test_a_claim_fits_into_a_param(uri: str) -> None:
    """A claim has at most 500 characters, the most that every MLflow takes."""
    wish = {RUN_KEY: named_run(uri)}
    found = finder(Tracking(uri)).find(ended_job("x" * 600, metadata=wish))
    assert isinstance(found, Existing)
    assert found.claim
    assert len(found.claim) == 500


@pytest.mark.parametrize(
    ("rivals", "has_duplicates"),
    [
        ([], False),
        (["RUNNING"], True),
        (["FINISHED"], True),
        (["user's"], False),
    ],
)
@pytest.mark.parametrize("status", ["RUNNING", "FINISHED"])
def test_duplicates_are_those_that_can_go(
    tracking: Tracking, rivals: list[str], status: str, *, has_duplicates: bool
) -> None:
    """A job has duplicates if the bridge created them, whether they go at once or wait."""
    with tracking.asked() as client:
        home = client.create_experiment(HOME)
        ids = sorted(
            client.create_run(home, tags=JOB_TAGS).info.run_id for _ in range(len(rivals) + 1)
        )
        for run_id, ends in zip(ids, [status, *rivals], strict=True):
            if ends != "user's":
                client.set_tag(run_id, tags.BRIDGE, tags.OWNED)
            if ends == "FINISHED":
                client.set_terminated(run_id, ends)
    found = finder(tracking).find(ended_job("ftjob-a"))
    assert not isinstance(found, Missing)
    assert isinstance(found, Settled) is (status == "FINISHED")
    assert found.has_duplicates is has_duplicates
    owner = found.run_id if isinstance(found, Settled) else found.run.run_id
    assert owner == ids[0]


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


class Confused(InMemoryProvider):
    """A provider that answers with another job."""

    def job(self, job_id: str) -> Job:
        """Return the other job."""
        del job_id
        return ended_job("ftjob-other")


class ConfusedReading(InMemoryProvider):
    """A provider that lists one job, and then reads another."""

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return the other job."""
        del job, logged, keep
        return snapshot_of("ftjob-other", 0.5)


def test_another_jobs_data_are_not_recorded_under_a_job(
    uri: str, executor: ThreadPoolExecutor
) -> None:
    """A reply about another job is an error, and is not recorded."""
    confused = Confused().sync(Tracking(uri), executor)
    reports = [
        confused.run(Selection(job_ids=("ftjob-a",))),
        ConfusedReading(snapshot_of("ftjob-a", 0.5)).sync(Tracking(uri), executor).run(),
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
    assert (
        InMemoryProvider(snapshot_of("ftjob-a", 0.5))
        .sync(tracking, executor, register="model")
        .run()
        .is_well
    )
    assert tracking.done == ["register", "finish"]
