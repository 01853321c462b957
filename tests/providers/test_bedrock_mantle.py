"""Bedrock's ``bedrock-mantle``: its differences from OpenAI's API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from bridge.model import JobStatus
from bridge.simulator import Outcome, Simulator
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.contract import read
from tests.support.recorded import recorded
from tests.support.wire_openai_like import MantleApi
from tests.support.wire_server import Row, over
from tests.support.world import KEY, NOW, BrokenReplies, Clock, job, make_sync

JOBS = (
    job("ftjob-mantle-1", "bedrock-mantle"),
    job("ftjob-mantle-2", "bedrock-mantle", outcome=Outcome.FAILED, ends_at_step=7),
)
REWARD = "critic_rewards_mean"
LATER = 400


@pytest.mark.parametrize("seconds", [0.0, 25.0, 36.5, 44.9, 45.0, 1000.0])
def test_openais_client_reads_the_simulator(clock: Clock, seconds: float) -> None:
    """OpenAI's client reads the simulator, with checkpoints only once training has begun."""
    clock.now = NOW + seconds
    url = "bedrock-mantle"
    with (
        Simulator(jobs=JOBS, clock=clock, api_key=KEY) as simulator,
        openai.OpenAI(base_url=simulator.base_urls[url], api_key=KEY, max_retries=0) as client,  # type: ignore[index] # one of its providers
    ):
        jobs = client.fine_tuning.jobs
        listed = list(jobs.list(limit=1))
        assert [each.id for each in listed] == [each.id for each in JOBS]
        for each in listed:
            whole = jobs.retrieve(each.id)
            assert whole.method is not None
            assert whole.method.type == "reinforcement"
            reported = [event.data for event in jobs.list_events(each.id, limit=7)]
            steps = [row["step"] for row in reported if isinstance(row, dict) and "step" in row]
            if whole.status in {"validating_files", "queued"}:
                with pytest.raises(openai.BadRequestError):
                    jobs.checkpoints.list(each.id)
                continue
            saved = [row.step_number for row in jobs.checkpoints.list(each.id)]
            assert {*saved} <= {*steps}


def mantle_with(status: str, listed: Row) -> MantleApi:
    """Return a job whose row in the list differs from its own reply."""

    class Stale(MantleApi):
        def page(self, query: object) -> object:
            del query
            rows = [row | listed for row in self.jobs if isinstance(row, dict)]
            return {"object": "list", "data": rows, "has_more": False}

    api = Stale()
    api.jobs = [api.row("a-job", status=status)]
    return api


@pytest.mark.parametrize(
    ("status", "listed"), [("succeeded", "running"), ("running", "succeeded"), ("queued", "failed")]
)
def test_what_a_job_says_itself_comes_before_the_list(status: str, listed: str) -> None:
    """Status and end come from the job's own reply, because the rows of the list are stale."""
    api = mantle_with(status, {"status": listed, "finished_at": None})
    provider = api.provider()
    (row,) = next(iter(provider.pages())).jobs
    assert row.provider_status == listed
    snapshot = provider.read(row, logged={})
    assert snapshot.job.provider_status == status


def test_checkpoints_that_are_refused_while_a_job_runs_are_not_there_yet() -> None:
    """Refused checkpoints of a running job are not reported, and requested again at the end."""
    api = MantleApi()
    api.fill(5)
    api.checkpoints = None
    provider = api.provider()
    snapshot = provider.read(provider.job("a-job"), logged={})
    assert snapshot.job.status is JobStatus.RUNNING
    assert (snapshot.checkpoints, snapshot.skipped, snapshot.missing) == ((), (), ())
    assert {point.step for point in snapshot.curve} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_ended_before_training_lacks_no_checkpoints(status: str) -> None:
    """A job that ended before training lacks no checkpoints, unless it has made a model."""
    api = MantleApi()
    api.checkpoints = None
    api.jobs = [api.row("a-job", status=status)]
    assert read(api.provider(), "a-job").missing == ()
    api.jobs = [api.row("a-job", status="succeeded")]
    assert [part.name for part in read(api.provider(), "a-job").missing] == ["checkpoints"]


@pytest.mark.parametrize("status", [408, 500])
def test_checkpoints_that_fail_while_a_job_runs_are_named(status: int) -> None:
    """Checkpoints that fail while a job runs are named: a failure is not an empty list."""
    api = MantleApi()
    api.fill(5)

    def answer(request: httpx.Request) -> httpx.Response:
        is_failing = request.url.path.endswith("/checkpoints")
        return httpx.Response(status, json={}) if is_failing else api(request)

    provider = over(answer, "bedrock-mantle")
    snapshot = provider.read(provider.job("a-job"), logged={})
    assert [(part.name, part.is_lasting) for part in snapshot.missing] == [("checkpoints", False)]
    assert {point.step for point in snapshot.curve} == {1, 2, 3, 4, 5}


def test_a_recorded_event_is_read() -> None:
    """A recorded event is read with its metrics and the number of steps."""
    api = MantleApi()
    data: Row = {"step": 4, "total_steps": 67, REWARD: 0.5, "actor_entropy": 0.25}
    api.jobs = [api.row("a-job")]
    api.checkpoints = []
    api.events = [api.event(4) | {"data": data}]
    provider = api.provider()
    snapshot = provider.read(provider.job("a-job"), logged={})
    assert {p.name: p.value for p in snapshot.curve} == {REWARD: 0.5, "actor_entropy": 0.25}
    assert snapshot.job.total_steps == 67


def test_a_history_is_recorded_once(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A history is recorded once, with and without broken replies; then a pass is one request."""
    faults = BrokenReplies(rate=0.2)
    with Simulator(jobs=JOBS, clock=clock, intercept=faults) as simulator:
        clock.now += LATER
        sync = make_sync(simulator, tracking, executor, clock, kind="bedrock-mantle")
        for _ in range(3):
            sync.run()
        runs = recorded(uri)
        assert [runs[each.id].status for each in JOBS] == ["FINISHED", "FAILED"]
        rewards = {step for name, step, *_ in runs[JOBS[0].id].rows if name == REWARD}
        assert rewards == {*range(1, 13)}
        assert runs[JOBS[0].id].tags["fine_tuned_model"]
        faults.rate = 0.0
        before = len(simulator.requests)
        assert sync.run().jobs[Result.UNCHANGED] == 2
        assert len(simulator.requests) == before + 1
        again = make_sync(simulator, tracking, executor, clock, kind="bedrock-mantle").run()
        assert +again.jobs == {Result.UNCHANGED: 2}
        assert recorded(uri) == runs


def test_a_job_is_followed_while_it_trains(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job is followed while it trains: points as steps end, checkpoints as they are saved."""
    with Simulator(jobs=JOBS[:1], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind="bedrock-mantle")
        counts: list[int] = []
        while clock.now < JOBS[0].settled_at + 5:
            assert sync.run().failures == []
            (run,) = recorded(uri).values()
            counts.append(len(run.rows))
            clock.now += 2.9
        clock.now += LATER
        sync.run()
        (run,) = recorded(uri).values()
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert run.status == "FINISHED"
    assert "fine_tuned_model_checkpoint" in run.tags
