"""Fireworks simulated: against the official SDK, and on into MLflow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import fireworks
import httpx
import pytest
from fireworks.training.sdk.fireworks_client import FireworksClient

from bridge.providers.fireworks import COLLECTIONS
from bridge.providers.registry import TYPES
from bridge.simulator import Outcome, Reply, Request, SimulatedJob, Simulator, json_reply
from bridge.simulator import fireworks as simulated
from bridge.simulator.fireworks_objects import model_name
from bridge.sync.outcome import Result
from bridge.sync.report import Selection
from bridge.tracking import Tracking
from tests.support.fireworks import LATER
from tests.support.models import models
from tests.support.recorded import RunRows, recorded
from tests.support.wire_fireworks import (
    ACCOUNT,
    SUPERVISED,
)
from tests.support.world import KEY, NOW, Clock, job, make_sync, over_http

SFT = job("sft-000001", "fireworks", seed=3)


DPO = job("dpo-000001", "fireworks", method="dpo", seed=4, suffix="preferred")


MOMENTS = (0.0, 25.0, 30.5, 36.2, 42.0, 43.0, 44.9, 45.0, 1000.0)
"""Seconds after the jobs' creation that cover all states, and their borders."""


@pytest.fixture
def simulator(clock: Clock) -> Iterator[Simulator]:
    """Return an account with two jobs."""
    with Simulator(jobs=[SFT, DPO], clock=clock, api_key=KEY) as started:
        yield started


@pytest.fixture
def sdk(simulator: Simulator) -> fireworks.Fireworks:
    """Return Fireworks' client, in which a reply of another type is an error."""
    return fireworks.Fireworks(
        api_key=KEY,
        account_id="acme",
        base_url=f"{simulator.url}/fireworks",
        max_retries=0,
        _strict_response_validation=True,
    )


@pytest.mark.parametrize("seconds", MOMENTS)
def test_the_sdk_reads_every_job_at_every_moment(
    sdk: fireworks.Fireworks, clock: Clock, seconds: float
) -> None:
    """The SDK reads the same job from the list and from its own address, at every moment."""
    clock.now = NOW + seconds
    lists: tuple[Any, ...] = (sdk.supervised_fine_tuning_jobs, sdk.dpo_jobs)
    for resource, each in zip(lists, (SFT, DPO), strict=True):
        (listed,) = resource.list(order_by="createTime desc")
        own = resource.get(each.id)
        assert listed == own
        assert own.name == f"{ACCOUNT}/{'dpoJobs' if each is DPO else SUPERVISED}/{each.id}"
        assert own.state in TYPES["fireworks"].statuses
        assert not own.model_extra
    assert list(sdk.reinforcement_fine_tuning_jobs.list()) == []


def test_the_sdk_pages_through_all_jobs(
    sdk: fireworks.Fireworks, simulator: Simulator, clock: Clock
) -> None:
    """The SDK pages through all jobs, newest first on request, by name otherwise."""
    clock.now += 100
    for n in range(7):
        simulator.add(replace(SFT, id=f"more-{n}", created_at=NOW + 7 - n))
    resource = sdk.supervised_fine_tuning_jobs
    by_time = [each.name for each in resource.list(page_size=3, order_by="createTime desc")]
    assert [str(name).rpartition("/")[2] for name in by_time] == [
        *(f"more-{n}" for n in range(7)),
        SFT.id,
    ]
    assert [each.name for each in resource.list(page_size=3)] == sorted(map(str, by_time))


def test_the_sdk_lists_checkpoints(simulator: Simulator, clock: Clock) -> None:
    """The SDK lists one checkpoint for each epoch that is over, oldest first."""
    clock.now = SFT.step_at(9)
    headers = {"Authorization": f"Bearer {KEY}"}  # the SDK's default name for the key differs
    client = FireworksClient(KEY, base_url=f"{simulator.url}/fireworks", additional_headers=headers)
    rows = client.list_training_job_checkpoints(f"{ACCOUNT}/{SUPERVISED}/{SFT.id}")
    assert [set(row) for row in rows] == [
        {"name", "createTime", "updateTime", "checkpointType", "promotable"}
    ] * 2
    assert rows[0]["createTime"] < rows[1]["createTime"]


def test_signed_urls_lead_to_the_files(sdk: fireworks.Fireworks, clock: Clock) -> None:
    """Signed URLs work without a key for an hour, and refuse a key as real storages do."""
    clock.now = SFT.step_at(2)
    urls = [
        str(sdk.supervised_fine_tuning_jobs.get(SFT.id).metrics_file_signed_url),
        str(sdk.dpo_jobs.get_metrics_file_endpoint(DPO.id).signed_url),
        *(
            sdk.datasets.get_download_endpoint(f"{SFT.id}-training").filename_to_signed_urls or {}
        ).values(),
    ]
    for url in urls:
        reply = httpx.get(url)
        assert reply.status_code == 200
        assert all(json.loads(line) for line in reply.text.splitlines())
        assert httpx.get(url, headers={"Authorization": f"Bearer {KEY}"}).status_code == 400
        assert httpx.get(url.replace("Signature=", "Signature=x")).status_code == 403
    clock.now += 3601
    assert {httpx.get(url).status_code for url in urls} == {403}
    assert len(urls) == 3


def test_the_sdk_gets_what_is_wrong(sdk: fireworks.Fireworks, simulator: Simulator) -> None:
    """The SDK gets the right codes for missing jobs, bad orders and bad keys."""
    with pytest.raises(fireworks.NotFoundError):
        sdk.supervised_fine_tuning_jobs.get(DPO.id)
    with pytest.raises(fireworks.BadRequestError):
        sdk.dpo_jobs.list(order_by="color")
    with pytest.raises(fireworks.BadRequestError):
        sdk.dpo_jobs.list(page_token="%%%")
    stranger = sdk.with_options(api_key="another")
    with pytest.raises(fireworks.AuthenticationError):
        stranger.dpo_jobs.list()
    assert httpx.post(f"{simulator.fireworks_url}/dpoJobs", json={}).status_code == 401


def test_a_server_on_this_machine_opens_no_other_one(clock: Clock) -> None:
    """Files of the API's own server are fetched, those of its neighbours are reported instead."""
    clock.now += 1000

    def elsewhere(request: Request) -> Reply | None:
        if not request.path.endswith(SFT.id):
            return None
        reply = simulated.answer([SFT], clock(), replace(request, path=f"/{SUPERVISED}/{SFT.id}"))
        return replace(reply, body=reply.body.replace(here, there))

    with (
        Simulator(jobs=[SFT], clock=clock) as neighbour,
        Simulator(jobs=[SFT, DPO], clock=clock, intercept=elsewhere) as simulator,
    ):
        here, there = simulator.url.encode(), neighbour.url.encode()
        provider = TYPES["fireworks"](over_http(simulator.fireworks_url), curves=True)
        found = {
            job_id: provider.read(provider.job(job_id), logged={})
            for job_id in (f"{SUPERVISED}/{SFT.id}", f"dpoJobs/{DPO.id}")
        }
        asked = neighbour.requests
    other, own = found.values()
    assert asked == ()
    assert other.curve == ()
    assert "127.0.0.1 was not requested" in " ".join(part.reason for part in other.missing)
    assert len({point.step for point in own.curve}) == DPO.total_steps
    assert own.skipped == ()


def without_time(run: RunRows) -> RunRows:
    """Return the run and its points, without their times."""
    return replace(run, rows=tuple((*row[:3], 0) for row in run.rows))


def test_a_history_is_recorded_once(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Jobs of two collections are recorded with all points, and a second pass writes nothing."""
    failed = job("sft-failed", "fireworks", outcome=Outcome.FAILED)
    further = job("sft-more", "fireworks", base_model=model_name(SFT), created_at=NOW + 1)
    with Simulator(jobs=[SFT, DPO, failed, further], clock=clock) as simulator:
        clock.now += 60 + LATER
        report = make_sync(simulator, tracking, executor, clock, kind="fireworks").run()
        assert +report.jobs == Counter({Result.NEW: 4}), report
        runs = recorded(uri)
        run = runs[f"{SUPERVISED}/{SFT.id}"]
        assert (run.name, run.status) == ("fireworks/about-000001-000001", "FINISHED")
        assert {name for name, *_ in run.rows} == {
            *("train/loss", "train/lr", "train/total_tokens", "eval/loss")
        }
        assert {step for name, step, *_ in run.rows if name == "train/loss"} == {*range(1, 13)}
        assert len(run.rows) == 12 * 3 + sum(name == "eval/loss" for name, *_ in run.rows)
        assert run.tags["fine_tuned_model"] == f"{ACCOUNT}/models/about-000001"
        assert run.params["batchSizeSamples"] == "8"
        start, end = int(SFT.created_at) * 1000, int(SFT.settled_at) * 1000
        assert all(start < at <= end for *_, at in run.rows)
        assert runs["dpoJobs/dpo-000001"].params["lossConfig.method"] == "DPO"
        assert len(runs["dpoJobs/dpo-000001"].rows) >= 36
        assert runs[f"{SUPERVISED}/sft-failed"].status == "FAILED"
        assert "INVALID_ARGUMENT" in runs[f"{SUPERVISED}/sft-failed"].tags["fine_tuning_error"]
        assert runs[f"{SUPERVISED}/sft-more"].tags["base_model"] == run.tags["fine_tuned_model"]
        assert f"{ACCOUNT}/models/about-000001" in {
            each.params.get("model", "") for each in models(uri).values()
        } | {value for each in models(uri).values() for value in each.tags.values()}
        again = make_sync(simulator, tracking, executor, clock, kind="fireworks").run()
        assert +again.jobs == Counter({Result.UNCHANGED: 4}), again
        assert recorded(uri) == runs


def test_a_job_is_finished_as_soon_as_its_metrics_are_there(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job is finished as soon as its metrics file is there: it has no late checkpoints."""
    is_late = True

    def late(request: Request) -> Reply | None:
        is_asked = is_late and "metrics" in request.path.lower()
        return json_reply({"error": "not found"}, 404) if is_asked else None

    with Simulator(jobs=[SFT], clock=clock, intercept=late) as simulator:
        clock.now = SFT.settled_at + 1
        sync = make_sync(simulator, tracking, executor, clock, kind="fireworks")
        sync.run()
        (run,) = recorded(uri).values()
        assert run.status == "RUNNING"
        is_late = False
        clock.now += 1
        assert sync.run().failures == []
        (run,) = recorded(uri).values()
        assert (run.status, len(run.rows) >= 36) == ("FINISHED", True)


@pytest.mark.parametrize("every", [4.7, 11.0])
def test_a_job_is_followed_while_it_trains(
    uri: str,
    tracking: Tracking,
    clock: Clock,
    executor: ThreadPoolExecutor,
    other_uri: str,
    *,
    every: float,
) -> None:
    """A job is followed while it trains, and ends with the points of a single backfill."""
    with Simulator(jobs=[SFT, DPO], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind="fireworks")
        counts: list[int] = []
        while clock.now < SFT.settled_at + every:
            assert sync.run().failures == []
            counts.append(sum(len(run.rows) for run in recorded(uri).values()))
            clock.now += every
        clock.now += LATER
        assert sync.run().failures == []
        followed = recorded(uri)
        assert sync.run().jobs[Result.UPDATED] == 0
        assert recorded(uri) == followed
        again = make_sync(simulator, tracking, executor, clock, kind="fireworks").run()
        assert +again.jobs == Counter({Result.UNCHANGED: 2})
        assert recorded(uri) == followed
        at_once = make_sync(simulator, Tracking(other_uri), executor, clock, kind="fireworks").run()
        assert +at_once.jobs == Counter({Result.NEW: 2})
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    whole = {job_id: without_time(run) for job_id, run in recorded(other_uri).items()}
    assert {job_id: without_time(run) for job_id, run in followed.items()} == whole
    assert {run.status for run in followed.values()} == {"FINISHED"}


def small_pages(jobs: list[SimulatedJob], clock: Clock) -> Callable[[Request], Reply | None]:
    """Return a server whose pages have two jobs, whatever a request asks for."""

    def answer(request: Request) -> Reply | None:
        base = f"/fireworks/v1/{ACCOUNT}"
        if "orderBy" not in request.query:
            return None
        query = {**request.query, "pageSize": "2"}
        asked = replace(request, path=request.path.removeprefix(base), query=query)
        return simulated.answer(jobs, clock(), asked)

    return answer


def test_a_settled_collection_hides_no_new_job_of_another(
    tracking: Tracking, uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A quiet pass reads one page of each collection, and finds a new job in any of them."""
    old = [
        *(job(f"sft-{n}", "fireworks", outcome=Outcome.FAILED) for n in range(7)),
        *(job(f"dpo-{n}", "fireworks", outcome=Outcome.FAILED, method="dpo") for n in range(3)),
    ]
    jobs = list(old)
    intercept = small_pages(jobs, clock)
    with Simulator(jobs=jobs, clock=clock, intercept=intercept) as simulator:
        clock.now += 100
        sync = make_sync(simulator, tracking, executor, clock, kind="fireworks")
        assert sync.run().jobs[Result.NEW] == 10
        before = len(simulator.requests)
        assert sync.run().jobs[Result.UNCHANGED] == 6 - 2
        assert len(simulator.requests) - before == len(COLLECTIONS)
        for collection, method in (("dpoJobs", "dpo"), (SUPERVISED, "supervised")):
            new = job(
                f"new-{method}",
                "fireworks",
                outcome=Outcome.FAILED,
                method=method,
                created_at=clock.now,
            )
            jobs.append(new)
            simulator.add(new)
            clock.now += 100
            assert sync.run().jobs[Result.NEW] == 1
            assert f"{collection}/new-{method}" in recorded(uri)


def test_one_job_can_be_chosen_by_its_id(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job can be chosen by the id of its run's tag; an id without the collection is explained."""
    with Simulator(jobs=[SFT, DPO], clock=clock) as simulator:
        clock.now += 60 + LATER
        sync = make_sync(simulator, tracking, executor, clock, kind="fireworks")
        report = sync.run(Selection(job_ids=("dpoJobs/dpo-000001",)))
        assert +report.jobs == Counter({Result.NEW: 1})
        report = sync.run(Selection(job_ids=("dpo-000001",)))
        ((_, error),) = report.failures
        assert "dpoJobs/ID" in str(error)


def test_datasets_and_replies_are_archived(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Datasets and replies are archived through signed URLs, which refuse any key."""
    with Simulator(jobs=[SFT], clock=clock) as simulator:
        clock.now += 60 + LATER
        sync = make_sync(
            simulator,
            tracking,
            executor,
            clock,
            kind="fireworks",
            archive=True,
            archive_datasets=True,
        )
        report = sync.run()
        assert +report.jobs == Counter({Result.NEW: 1}), report
        assert not report.failures
        paths = [each.path for each in simulator.requests]
    fetched = [path for path in paths if path.startswith(simulated.FILES)]
    assert sorted(fetched) == [
        f"{simulated.FILES}/datasets/{SFT.id}-training",
        f"{simulated.FILES}/datasets/{SFT.id}-validation",
        f"{simulated.FILES}/metrics/{SFT.id}",
    ]
