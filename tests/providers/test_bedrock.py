"""Bedrock's jobs and their files in S3: AWS's SDK, its service model and moto are the referees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.validate import ParamValidator
from moto.server import ThreadedMotoServer

from bridge.http.aws_auth import S3, AwsSignature, Identity, signed_in
from bridge.http.client import connect
from bridge.http.s3 import Buckets
from bridge.model import JobStatus
from bridge.providers.bedrock import Bedrock
from bridge.redaction import Redactor
from bridge.simulator import Outcome, SimulatedJob, Simulator
from bridge.simulator.bedrock import arn_of
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.moments import iso
from tests.support.recorded import recorded
from tests.support.wire_bedrock import OUTPUT, TRAINING, BedrockApi, xml
from tests.support.wire_server import CREATED, S3_HOST, over
from tests.support.world import KEY, NOW, BrokenReplies, Clock, job, make_sync

JOBS = (
    job("aaaaaaaaaaa1", "bedrock"),
    job("aaaaaaaaaaa2", "bedrock", created_at=NOW - 5, method="dpo", seed=2),
    job("aaaaaaaaaaa3", "bedrock", created_at=NOW - 9, outcome=Outcome.FAILED),
    job(
        "aaaaaaaaaaa4",
        "bedrock",
        created_at=NOW - 20,
        outcome=Outcome.CANCELLED,
        ends_at_step=7,
        validation=False,
    ),
)
MOMENTS = (0.0, 21.0, 35.0, 41.5, 44.9, 45.0, 1000.0)
LATER = 400


# The simulator against AWS's software


def sdk(url: str) -> Any:  # noqa: ANN401 - botocore has no types
    """Return AWS's client of a control plane."""
    return botocore.session.Session().create_client(
        "bedrock",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key="a-secret",
    )


@pytest.mark.parametrize("seconds", MOMENTS)
def test_awss_client_reads_the_simulator(clock: Clock, seconds: float) -> None:
    """AWS's client reads all pages newest first, and each job by ARN and by name."""
    clock.now = NOW + seconds
    with Simulator(jobs=JOBS, clock=clock, api_key=KEY) as simulator:
        client = sdk(simulator.base_urls["bedrock"])
        pages = client.get_paginator("list_model_customization_jobs").paginate(
            sortBy="CreationTime", sortOrder="Descending", PaginationConfig={"PageSize": 2}
        )
        rows = [row for page in pages for row in page["modelCustomizationJobSummaries"]]
        assert [row["jobArn"] for row in rows] == [arn_of(each) for each in JOBS]
        for row in rows:
            whole = client.get_model_customization_job(jobIdentifier=row["jobArn"])
            assert client.get_model_customization_job(jobIdentifier=row["jobName"])
            assert whole["status"] == row["status"]
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_model_customization_job(jobIdentifier="nobody")
    with Simulator(jobs=JOBS, clock=clock, api_key="another") as locked:
        stranger = sdk(locked.base_urls["bedrock"])
        with pytest.raises(stranger.exceptions.ClientError, match="UnrecognizedClient"):
            stranger.list_model_customization_jobs()


@pytest.mark.parametrize("seconds", MOMENTS)
def test_the_simulator_s_replies_fit_the_service_model(clock: Clock, seconds: float) -> None:
    """The simulator's replies fit the service model: members, types and words."""
    clock.now = NOW + seconds
    model = botocore.session.Session().get_service_model("bedrock")
    headers = {"Authorization": f"Bearer {KEY}"}
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        base = f"{simulator.base_urls['bedrock']}/model-customization-jobs"
        listed = httpx.get(base, headers=headers).json()
        conforms(listed, model.operation_model("ListModelCustomizationJobs").output_shape)
        for each in JOBS:
            whole = httpx.get(f"{base}/{arn_of(each)}", headers=headers).json()
            conforms(whole, model.operation_model("GetModelCustomizationJob").output_shape)


def conforms(body: object, shape: Any) -> None:  # noqa: ANN401 - botocore has no types
    """Fail unless a body fits its shape."""
    assert ParamValidator().validate(body, shape).generate_report() == ""
    for word, enum in words(body, shape):
        assert word in enum


def words(body: Any, shape: Any) -> Iterator[tuple[str, list[str]]]:  # noqa: ANN401 - JSON
    """Yield each text of an enumeration, with the enumeration."""
    if shape.type_name == "structure":
        for name, value in body.items():
            yield from words(value, shape.members[name])
    elif shape.type_name == "list":
        for value in body:
            yield from words(value, shape.member)
    elif shape.type_name == "string" and shape.enum:
        yield body, shape.enum


# The life of a job


def stages(training: str, validation: str = "Completed") -> dict[str, object]:
    """Return the stages of a job."""
    return {
        "validationDetails": {"status": validation},
        "trainingDetails": {"status": training},
    }


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (stages("NotStarted"), JobStatus.QUEUED),
        (stages("NotStarted", "InProgress"), JobStatus.VALIDATING),
        (stages("InProgress"), JobStatus.RUNNING),
        (None, JobStatus.RUNNING),
        ({}, JobStatus.RUNNING),
    ],
)
def test_a_job_that_waits_is_in_progress_with_training_not_started(
    details: object, expected: JobStatus
) -> None:
    """A job that waits is ``InProgress`` with training not started, and keeps this word."""
    api = BedrockApi()
    api.jobs = [api.row("abc", statusDetails=details)]
    (found,) = next(iter(api.provider().pages())).jobs
    assert (found.status, found.provider_status) == (expected, "InProgress")


# Files


def test_rows_lie_between_the_beginning_and_the_end_of_training() -> None:
    """Rows lie between start and end of training, with the job's final losses at the last step."""
    api = BedrockApi()
    details = {
        "status": "Completed",
        "creationTime": iso(CREATED + 100),
        "lastModifiedTime": iso(CREATED + 500),
    }
    api.jobs = [
        api.row(
            "abc",
            status="Completed",
            statusDetails={"trainingDetails": details},
            endTime=iso(CREATED + 900),
            trainingMetrics={"trainingLoss": 0.25},
            validationMetrics=[{"validationLoss": 0.5}, {"validationLoss": 0.75}],
        )
    ]
    api.checkpoints = [api.checkpoint(step, training_loss=1 / (step + 1)) for step in range(21)]
    provider = api.provider()
    snapshot = provider.read(provider.job("abc"), logged={})
    times = [point.created_at or 0 for point in snapshot.curve if point.name == "training_loss"]
    assert times == sorted(times)
    assert (times[0], times[-1]) == ((CREATED + 100) * 1000, (CREATED + 500) * 1000)
    final = {p.name: (p.step, p.value) for p in snapshot.curve if p.name != "training_loss"}
    assert final == {
        "trainingLoss": (20, 0.25),
        "validationLoss.0": (20, 0.5),
        "validationLoss.1": (20, 0.75),
    }
    assert snapshot.job.total_steps == 20


@pytest.mark.parametrize("inner", ["", "validation/"])
def test_files_are_found_in_either_layout(inner: str) -> None:
    """Files are found in the guide's layout and in that of four public projects."""
    api = BedrockApi()
    folder = "some/where/model-customization-job-abc"
    place = f"{folder}/validation_artifacts/post_fine_tuning_validation/{inner}"
    api.objects = {
        f"{folder}/{TRAINING}": (
            b"step_number,epoch_number,training_loss,text\n"
            b"1,0,2.0,a\n1,0,1.0,b\n1,0,,c\n2,0,N/A,d\n,,,\nlast,0,3,e\n"
        ),
        f"{place}validation_metrics.csv": b"\xef\xbb\xbfstep_number,training_loss\r\n2,0.5\r\n",
        f"{folder}/{TRAINING}.json": b"{}",
    }
    api.jobs = [api.row("abc")]
    provider = api.provider()
    snapshot = provider.read(provider.job("abc"), logged={})
    assert {(p.name, p.step): p.value for p in snapshot.curve} == {
        ("epoch_number", 1): 0.0,
        ("training_loss", 1): 1.5,
        ("epoch_number", 2): 0.0,
        ("validation_training_loss", 2): 0.5,
    }
    (sentence,) = snapshot.skipped
    assert "2 lines" in sentence


@pytest.mark.parametrize(
    "reply",
    [
        xml(403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
        xml(404, "<Error><Code>NoSuchBucket</Code><Message>None</Message></Error>"),
        xml(403, "<Error><Code>InvalidAccessKeyId</Code><Message>Who?</Message></Error>"),
        xml(200, "<html>"),
    ],
)
def test_a_bucket_that_refuses_costs_the_curve(reply: httpx.Response) -> None:
    """A bucket that refuses costs the curve: the final losses stay, and a sentence helps."""
    api = BedrockApi()
    api.jobs = [api.row("abc", status="Completed", trainingMetrics={"trainingLoss": 0.25})]
    api.checkpoints = [api.checkpoint(1, training_loss=0.5)]

    def answer(request: httpx.Request) -> httpx.Response:
        return reply if request.url.host == S3_HOST else api(request)

    provider = over(answer, "bedrock")
    snapshot = provider.read(provider.job("abc"), logged={})
    assert [(p.name, p.value) for p in snapshot.curve] == [("trainingLoss", 0.25)]
    assert snapshot.job.status is JobStatus.SUCCEEDED
    (part,) = snapshot.missing
    assert (part.name, part.is_lasting) == ("metrics file", True)
    assert "s3://a-bucket" in part.reason


def test_a_place_that_is_none_of_s3s_is_not_asked() -> None:
    """An output address leads to a bucket or is not requested: others wrote its text."""
    for place in ("https://evil.example/a", "s3://evil.example@host/a", "s3://", "file:///etc"):
        api = BedrockApi()
        api.jobs = [api.row("abc", outputDataConfig={"s3Uri": place})]
        provider = api.provider()
        snapshot = provider.read(provider.job("abc"), logged={})
        assert api.fetched == []
        assert [part.name for part in snapshot.missing] == ["metrics file"]


@pytest.fixture
def moto() -> Iterator[str]:
    """Return S3 as moto's server provides it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_motos_s3_is_read(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket with several pages and with names that need escaping is read from moto's S3."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-access-key")
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    store = botocore.session.Session().create_client(
        "s3", region_name="us-east-1", endpoint_url=moto
    )
    store.create_bucket(Bucket="a-bucket")
    names = [f"some/wh ere+/{number:04}.txt" for number in range(15)]
    for name in [*names, "some/wh ere+/Ä&<metrics.csv", "other/metrics.csv"]:
        store.put_object(Bucket="a-bucket", Key=name, Body=name.encode())
    redactor = Redactor()
    auth = AwsSignature(signed_in(Identity(), redactor), S3, "us-east-1")
    buckets = Buckets(
        lambda url: connect(url, headers={}, redactor=redactor, auth=auth),
        region="us-east-1",
        url=moto,
    )
    found = buckets.files("s3://a-bucket/some/wh ere+")
    assert found.problem is None
    assert found.value is not None
    assert len(found.value) == 16
    assert all(found.value.values())
    odd = "s3://a-bucket/some/wh ere+/Ä&<metrics.csv"
    assert buckets.content(odd).value == "some/wh ere+/Ä&<metrics.csv".encode()
    with buckets.stream(odd) as pieces:
        assert b"".join(pieces) == "some/wh ere+/Ä&<metrics.csv".encode()
    assert "NoSuchBucket" in str(buckets.files("s3://another/a").problem)
    assert "NoSuchKey" in str(buckets.content("s3://a-bucket/gone").problem)
    buckets.close()


# Passes


def test_a_history_is_recorded_once(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A history is recorded with all points, and a second pass is one request without a write."""
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        clock.now += LATER
        sync = make_sync(simulator, tracking, executor, clock, kind="bedrock", archive=True)
        report = sync.run()
        assert report.jobs[Result.NEW] == 4, report
        runs = recorded(uri)
        run = runs[JOBS[0].id]
        assert (run.status, run.params["epochCount"]) == ("FINISHED", "3")
        assert run.tags["base_model"] == JOBS[0].base_model
        assert run.tags["fine_tuned_model"].endswith(JOBS[0].id)
        assert {name for name, *_ in run.rows} == {
            *("training_loss", "perplexity", "epoch_number", "validation_loss"),
            *("trainingLoss", "validationLoss"),
        }
        assert {step for name, step, *_ in run.rows if name == "training_loss"} == {*range(1, 13)}
        assert {name for name, *_ in runs[JOBS[1].id].rows} >= {"train_reward_mean"}
        assert runs[JOBS[2].id].tags["fine_tuning_error"]
        assert [runs[each.id].status for each in JOBS] == [
            *("FINISHED", "FINISHED", "FAILED", "KILLED")
        ]
        before = len(simulator.requests)
        assert sync.run().jobs[Result.UNCHANGED] == 4
        assert len(simulator.requests) == before + 1
        again = make_sync(simulator, tracking, executor, clock, kind="bedrock").run()
        assert +again.jobs == {Result.UNCHANGED: 4}
        assert recorded(uri) == runs


def test_a_fifth_of_all_replies_broken_changes_no_row(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A fifth of all replies broken, of the control plane and of S3, changes no row."""
    faults = BrokenReplies(rate=0.2)
    with Simulator(jobs=JOBS, clock=clock, intercept=faults) as simulator:
        clock.now += LATER
        sync = make_sync(simulator, tracking, executor, clock, kind="bedrock")
        for _ in range(3):
            sync.run()
        broken = recorded(uri)
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        (other,) = [make_sync(simulator, tracking, executor, clock, kind="bedrock")]
        assert +other.run().jobs == {Result.UNCHANGED: 4}
    assert recorded(uri) == broken
    assert len([row for row in broken[JOBS[0].id].rows if row[0] == "training_loss"]) == 12


def test_a_job_is_followed_while_it_trains(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job is followed while its files grow, and time along the curve never runs backwards."""
    one: SimulatedJob = replace(JOBS[0], seconds_per_step=2.0)
    with Simulator(jobs=[one], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind="bedrock")
        counts: list[int] = []
        while clock.now < one.settled_at + 5:
            assert sync.run().failures == []
            (run,) = recorded(uri).values()
            counts.append(len(run.rows))
            clock.now += 3.3
        clock.now += LATER
        sync.run()
        (run,) = recorded(uri).values()
    assert len(set(counts)) > 4
    assert run.status == "FINISHED"
    curve = sorted(row[1:] for row in run.rows if row[0] == "training_loss")
    times = [row[-1] for row in curve]
    assert times == sorted(times)
    assert one.started_at * 1000 <= times[0] <= times[-1] <= one.settled_at * 1000


def test_files_of_a_job_can_be_archived() -> None:
    """The files of a job are archived by their addresses in S3."""
    api = BedrockApi()
    api.files = {"data/train.jsonl": b'{"a": 1}\n'}
    provider = api.provider()
    assert isinstance(provider, Bedrock)
    with provider.file("s3://a-bucket/data/train.jsonl") as pieces:
        assert b"".join(pieces) == b'{"a": 1}\n'
    assert OUTPUT not in json.dumps([str(each.url) for each in api.fetched])
