"""The simulator against the providers' own clients and specifications."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any, cast, get_args

import httpx
import jsonschema
import openai
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.models import CompletionFineTuningJob, CompletionFineTuningJobDetails
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import TypeAdapter

from bridge.simulator import (
    INVALID_TRAINING_FILE,
    Failure,
    Outcome,
    Reply,
    Request,
    SimulatedJob,
    Simulator,
    all_end_by,
    all_jobs,
    demo_jobs,
    json_reply,
    openai_objects,
)
from bridge.simulator import mistral as mistral_api
from bridge.simulator import openai as openai_api
from bridge.simulator.world import Provider

Json = dict[str, Any]

START = 1_790_000_000.0
STEPS = 30
VALIDATED, STARTED, STOPPED, SETTLED = START + 10, START + 15, START + 30, START + 33
MOMENTS = (0.0, 4.0, 7.0, 12.0, 15.0, 15.5, 22.3, 30.0, 31.0, 33.0, 1000.0)
"""Seconds after START: through all statuses of the jobs below, and on their borders."""

SCHEMAS = yaml.safe_load(Path(__file__).with_name("simulator_schemas.yaml").read_text())

OPENAI = SimulatedJob(
    provider="openai",
    id="ftjob-000000000000000000000000",
    created_at=START,
    base_model="gpt-4.1-mini-2025-04-14",
    suffix="support-bot",
    validating_seconds=10,
    queued_seconds=5,
    total_steps=STEPS,
    seconds_per_step=0.5,
    finishing_seconds=3,
    n_epochs=5,
    eval_every=4,
    seed=7,
)
MISTRAL = replace(
    OPENAI,
    provider="mistral",
    id="00000000-0000-4000-8000-000000000000",
    base_model="open-mistral-7b",
)
VARIANTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"validation": False, "suffix": None, "n_epochs": 1},
    {"outcome": Outcome.FAILED},
    {"outcome": Outcome.FAILED, "ends_at_step": 12, "failure": Failure("server_error", "Oh no.")},
    {"outcome": Outcome.CANCELLED, "ends_at_step": 20, "learning_rate": 0.5},
    {"outcome": Outcome.CANCELLED},
    {"outcome": Outcome.WAITING},
)
OPENAI_VARIANTS: tuple[Mapping[str, Any], ...] = (
    {"outcome": Outcome.PAUSED, "ends_at_step": 9},
    {"method": "dpo", "metadata": {"team": "search", "ticket": ""}},
    {"plain_result_file": True},
)
OPENAI_JOBS = tuple(
    replace(OPENAI, id=f"ftjob-{n:024}", seed=n, **changes)
    for n, changes in enumerate((*VARIANTS, *OPENAI_VARIANTS), 1)
)
MISTRAL_JOBS = tuple(
    replace(MISTRAL, id=f"00000000-0000-4000-8000-{n:012}", seed=n, **changes)
    for n, changes in enumerate(VARIANTS, 1)
)


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = START + 1000

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@dataclass(frozen=True)
class World:
    """A running simulator and what to ask it with."""

    clock: Clock
    simulator: Simulator
    http: httpx.Client

    def openai(self, path: str, **query: str | int) -> Json:
        """OpenAI's reply."""
        return self._get(self.simulator.openai_url + path, query)

    def mistral(self, path: str, **query: str | int) -> Json:
        """Mistral's reply."""
        return self._get(self.simulator.mistral_url + path, query)

    def events(self, job: SimulatedJob) -> list[Json]:
        """The newest hundred events of an OpenAI job."""
        return cast(
            "list[Json]", self.openai(f"/fine_tuning/jobs/{job.id}/events", limit=100)["data"]
        )

    def metrics(self, job: SimulatedJob) -> dict[int, Json]:
        """The metrics among the events, by step."""
        rows = [event["data"] for event in self.events(job) if event["type"] == "metrics"]
        return {row["step"]: row for row in rows}

    def checkpoints(self, job: SimulatedJob) -> list[Json]:
        """The checkpoints of a job of either provider."""
        if job.provider == "mistral":
            return cast("list[Json]", self.mistral(f"/fine_tuning/jobs/{job.id}")["checkpoints"])
        path = f"/fine_tuning/jobs/{job.id}/checkpoints"
        return cast("list[Json]", self.openai(path)["data"])

    def _get(self, url: str, query: Mapping[str, str | int]) -> Json:
        return cast("Json", self.http.get(url, params=query).raise_for_status().json())


@pytest.fixture
def world() -> Iterator[World]:
    """A simulator of all jobs, long after they have ended."""
    clock = Clock()
    headers = {"Authorization": "Bearer any"}
    with (
        Simulator(jobs=(*OPENAI_JOBS, *MISTRAL_JOBS), clock=clock) as simulator,
        httpx.Client(headers=headers) as http,
    ):
        yield World(clock, simulator, http)


@pytest.fixture
def openai_sdk(world: World) -> Iterator[openai.OpenAI]:
    """OpenAI's client, set on the simulator."""
    with openai.OpenAI(base_url=world.simulator.openai_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def mistral_sdk(world: World) -> Iterator[Mistral]:
    """Mistral's client, set on the simulator."""
    url = world.simulator.mistral_url.removesuffix("/v1")  # this client appends it
    with Mistral(server_url=url, api_key="any") as client:
        yield client


def conforms(document: object, schema: str) -> None:
    """Fail unless ``document`` fits ``schema``."""
    jsonschema.Draft202012Validator(
        {**SCHEMAS, "$ref": f"#/$defs/{schema}"},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    ).validate(document)


def ids(jobs: Sequence[SimulatedJob]) -> list[str]:
    """The ids of ``jobs``, in their order."""
    return [job.id for job in jobs]


@pytest.mark.parametrize("seconds", MOMENTS)
def test_the_openai_client_reads_everything(
    world: World, openai_sdk: openai.OpenAI, seconds: float
) -> None:
    """The official client pages through jobs, checkpoints and events at any time of their lives."""
    world.clock.now = START + seconds
    jobs = openai_sdk.fine_tuning.jobs

    listed = list(jobs.list(limit=3))

    assert [job.id for job in listed] == ids(OPENAI_JOBS)
    for job in listed:
        assert jobs.retrieve(job.id) == job
        steps = [row.step_number for row in jobs.checkpoints.list(job.id, limit=2)]
        assert steps == sorted(set(steps), reverse=True)
        told = list(jobs.list_events(job.id, limit=7))
        assert told[-1].message == f"Created fine-tuning job: {job.id}"
        assert len({event.id for event in told}) == len(told)
        assert [e.created_at for e in told] == sorted((e.created_at for e in told), reverse=True)
        for file_id in job.result_files:
            assert openai_sdk.files.retrieve(file_id).purpose == "fine-tune-results"
            assert openai_sdk.files.content(file_id).content
        for file_id in filter(None, (job.training_file, job.validation_file)):
            described = openai_sdk.files.retrieve(file_id)
            assert described.purpose == "fine-tune"
            assert described.bytes == len(openai_sdk.files.content(file_id).content)


@pytest.mark.parametrize("seconds", MOMENTS)
def test_openai_replies_conform(world: World, seconds: float) -> None:
    """Each reply fits the specification and, where that allows it, the client's own types."""
    world.clock.now = START + seconds
    page = world.openai("/fine_tuning/jobs")
    conforms(page, "openai_page")
    assert "first_id" not in page
    for job in page["data"]:
        conforms(job, "openai_job")
        assert world.openai(f"/fine_tuning/jobs/{job['id']}") == job
        for name, schema in (("checkpoints", "checkpoint"), ("events", "event")):
            rows = world.openai(f"/fine_tuning/jobs/{job['id']}/{name}", limit=100)
            conforms(rows, "openai_page")
            for row in rows["data"]:
                conforms(row, f"openai_{schema}")
                model = FineTuningJobCheckpoint if name == "checkpoints" else FineTuningJobEvent
                TypeAdapter(model).validate_python(row)
        for file_id in filter(
            None, (*job["result_files"], job["training_file"], job["validation_file"])
        ):
            described = world.openai(f"/files/{file_id}")
            assert described["id"] == file_id
            conforms(described, "openai_file")
            TypeAdapter(FileObject).validate_python(described)


@pytest.mark.parametrize("seconds", MOMENTS)
def test_the_mistral_client_reads_everything(
    world: World, mistral_sdk: Mistral, seconds: float
) -> None:
    """The last official client that knew fine-tuning reads all jobs; so does the specification."""
    world.clock.now = START + seconds
    conforms(world.mistral("/fine_tuning/jobs"), "mistral_page")

    pages = [mistral_sdk.fine_tuning.jobs.list(page=page, page_size=3) for page in range(4)]

    rows = [row for page in pages for row in page.data or ()]
    assert [page.total for page in pages] == [len(MISTRAL_JOBS)] * 4
    assert [cast("CompletionFineTuningJob", row).id for row in rows] == ids(MISTRAL_JOBS)
    for job in MISTRAL_JOBS:
        conforms(world.mistral(f"/fine_tuning/jobs/{job.id}"), "mistral_detail")
        detail = mistral_sdk.fine_tuning.jobs.get(job_id=job.id)
        assert isinstance(detail, CompletionFineTuningJobDetails)
        assert detail.events
        steps = [row.step_number for row in detail.checkpoints or ()]
        assert steps == list(range(len(steps), 0, -1))
        for file_id in (*detail.training_files, *(detail.validation_files or ())):
            conforms(world.mistral(f"/files/{file_id}"), "mistral_file")
            described = mistral_sdk.files.retrieve(file_id=file_id)
            content = mistral_sdk.files.download(file_id=file_id).read()
            assert (described.id, described.size_bytes) == (file_id, len(content))
            assert described.num_lines == len(content.splitlines())


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
def test_each_life_takes_its_course(world: World, job: SimulatedJob, statuses: str) -> None:
    """A job goes through its provider's statuses in order and stays in the last."""
    seen: list[str] = []
    for quarter in range(200):
        world.clock.now = START + quarter / 4
        path = f"/fine_tuning/jobs/{job.id}"
        reply = world.openai(path) if job.provider == "openai" else world.mistral(path)
        if [reply["status"]] != seen[-1:]:
            seen.append(reply["status"])
    assert seen == statuses.split()


def test_a_job_shows_up_when_its_time_has_come(world: World) -> None:
    """A job that is created later is neither listed nor found before; newest jobs come first."""
    late = replace(OPENAI, created_at=START + 50)
    world.simulator.add(late)
    world.clock.now = START + 49
    assert late.id not in [job["id"] for job in world.openai("/fine_tuning/jobs")["data"]]
    assert world.http.get(f"{world.simulator.openai_url}/fine_tuning/jobs/{late.id}").is_error
    world.clock.now = START + 50
    assert world.openai("/fine_tuning/jobs")["data"][0]["id"] == late.id
    with pytest.raises(ValueError, match="already"):
        world.simulator.add(late)


def test_openai_checkpoints_come_in_one_batch_at_the_end(world: World) -> None:
    """None while the job runs; then the last three epochs at once, dated to their steps."""
    job = OPENAI_JOBS[0]
    world.clock.now = SETTLED - 0.01
    assert world.checkpoints(job) == []
    world.clock.now = SETTLED
    page = world.openai(f"/fine_tuning/jobs/{job.id}/checkpoints")
    rows = page["data"]
    assert [row["step_number"] for row in rows] == [30, 24, 18]
    # A little before the events of the same steps, as recorded.
    assert [row["created_at"] for row in rows] == [int(STARTED + s / 2 - 2) for s in (30, 24, 18)]
    assert (page["first_id"], page["last_id"]) == (rows[0]["id"], rows[-1]["id"])
    names = [row["fine_tuned_model_checkpoint"] for row in rows]
    final = world.openai(f"/fine_tuning/jobs/{job.id}")["fine_tuned_model"]
    assert names[0] == final
    assert final.startswith("ft:gpt-4.1-mini-2025-04-14:simulated:support-bot:")
    assert names[1].endswith(":ckpt-step-24")
    assert len({name.split(":")[4] for name in names}) == 3
    keys = {"step", "train_loss", "train_mean_token_accuracy"}
    assert set(rows[0]["metrics"]) == keys | {"valid_loss", "valid_mean_token_accuracy"}
    assert [set(row["metrics"]) for row in world.checkpoints(OPENAI_JOBS[1])] == [keys]


def test_openai_checkpoints_can_be_late(world: World) -> None:
    """The closing messages and checkpoints may show up a while after the job has succeeded."""
    late = replace(OPENAI, late_seconds=5)
    world.simulator.add(late)
    world.clock.now = SETTLED + 4.9
    assert world.openai(f"/fine_tuning/jobs/{late.id}")["status"] == "succeeded"
    assert world.checkpoints(late) == []
    assert world.events(late)[0]["type"] == "metrics"
    world.clock.now = SETTLED + 5
    assert len(world.checkpoints(late)) == 3
    assert world.events(late)[0]["message"] == "The job has successfully completed"
    assert all_end_by([late]) == SETTLED + 5


def test_openai_job_object_at_its_start_and_end(world: World) -> None:
    """Unknowns are auto or null until the job runs or ends; a healthy job's error is all nulls."""
    path = f"/fine_tuning/jobs/{OPENAI_JOBS[0].id}"
    world.clock.now = STARTED - 0.1
    early = world.openai(path)
    world.clock.now = STARTED
    assert early["hyperparameters"] == dict.fromkeys(early["hyperparameters"], "auto")
    assert world.openai(path)["hyperparameters"] == {
        "n_epochs": 5,
        "batch_size": 8,
        "learning_rate_multiplier": 2.0,
    }
    world.clock.now = SETTLED
    final = world.openai(path)
    for name in ("finished_at", "fine_tuned_model", "trained_tokens"):
        assert early[name] is None
        assert final[name]
    assert early["error"] == final["error"] == {"code": None, "message": None, "param": None}
    assert (early["result_files"], len(final["result_files"])) == ([], 1)
    assert final["finished_at"] == int(SETTLED)
    assert final["organization_id"] == "org-simulated"


def test_an_old_openai_job_has_just_the_recorded_keys(world: World) -> None:
    """A job of 2024 has the keys of the recorded one, in its order."""
    assert list(world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[9].id}")) == [
        "object",
        "id",
        "model",
        "created_at",
        "finished_at",
        "fine_tuned_model",
        "organization_id",
        "result_files",
        "status",
        "validation_file",
        "training_file",
        "hyperparameters",
        "trained_tokens",
        "error",
        "user_provided_suffix",
        "seed",
        "estimated_finish",
        "integrations",
    ]


def test_a_failed_openai_job_says_why(world: World) -> None:
    """The reason is in the job and in an event; such a job never gets a finishing time."""
    job = world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[2].id}")
    assert job["error"] == {
        "code": "invalid_training_file",
        "message": INVALID_TRAINING_FILE.message,
        "param": "training_file",
    }
    assert job["finished_at"] is None
    assert job["hyperparameters"]["n_epochs"] == "auto"
    assert world.events(OPENAI_JOBS[2])[0]["message"] == INVALID_TRAINING_FILE.message
    assert world.events(OPENAI_JOBS[2])[0]["level"] == "error"


def test_a_dpo_job_has_its_hyperparameters_in_the_method_only(world: World) -> None:
    """The outer hyperparameters of a DPO job are null as a whole."""
    job = world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[8].id}")
    assert job["hyperparameters"] is None
    assert job["method"]["type"] == "dpo"
    assert job["method"]["dpo"]["hyperparameters"]["beta"] == 0.1


@pytest.mark.parametrize("job", [OPENAI_JOBS[0], OPENAI_JOBS[1], OPENAI_JOBS[3]])
def test_openai_metrics_are_the_same_live_and_later(world: World, job: SimulatedJob) -> None:
    """Each step's event appears when the step is done, and its values never change afterwards."""
    live: dict[int, Json] = {}
    for step in range(1, STEPS + 1):
        world.clock.now = STARTED + step * 0.5
        seen = world.metrics(job)
        assert len(seen) == min(step, job.last_step)
        live[len(seen)] = seen[len(seen)]
    world.clock.now = START + 10_000
    assert world.metrics(job) == live
    for row in world.checkpoints(job):
        event = live[row["step_number"]]
        assert row["metrics"] == {name: event[name] for name in row["metrics"]}


def test_openai_evaluates_now_and_then(world: World) -> None:
    """Validation comes every few steps and after each epoch, on the whole file only then."""
    metrics = world.metrics(OPENAI_JOBS[0])
    epochs = {6, 12, 18, 24, 30}
    assert {step for step, row in metrics.items() if "full_valid_loss" in row} == epochs
    evaluated = {step for step, row in metrics.items() if "valid_loss" in row}
    assert evaluated == epochs | set(range(4, 29, 4))
    last = world.events(OPENAI_JOBS[0])[4]
    assert last["message"] == (
        f"Step 30/30: training loss={metrics[30]['train_loss']:.2f}, "
        f"validation loss={metrics[30]['valid_loss']:.2f}, "
        f"full validation loss={metrics[30]['full_valid_loss']:.2f}"
    )


def test_curves_look_like_learning(world: World) -> None:
    """The loss falls, the accuracy rises within its bounds, and each seed has its own curve."""
    beginnings: set[float] = set()
    for seed in range(20):
        job = replace(OPENAI, id=f"ftjob-s{seed:023}", total_steps=100, n_epochs=1, seed=seed)
        world.simulator.add(job)
        metrics = world.metrics(job)
        loss = [row["train_loss"] for row in metrics.values()]  # newest first
        accuracy = [row["train_mean_token_accuracy"] for row in metrics.values()]
        assert sum(loss[-20:]) > 2 * sum(loss[:20])
        assert sum(accuracy[-20:]) < sum(accuracy[:20])
        assert all(0 < value <= 1 for value in accuracy)
        beginnings.add(loss[-1])
    assert len(beginnings) == 20


@pytest.mark.parametrize("job", [OPENAI_JOBS[0], OPENAI_JOBS[1], OPENAI_JOBS[9]])
def test_the_result_file_has_the_metrics_of_the_events(world: World, job: SimulatedJob) -> None:
    """It is base64 (bare CSV for old jobs), rounds to five decimals and leaves cells empty."""
    file_id = world.openai(f"/fine_tuning/jobs/{job.id}")["result_files"][0]
    url = f"{world.simulator.openai_url}/files/{file_id}"
    content = world.http.get(f"{url}/content").content
    assert world.http.get(url).json()["bytes"] == len(content)
    text = (content if job.plain_result_file else base64.b64decode(content, validate=True)).decode()
    header = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert text.splitlines()[0] == header
    rows = list(csv.DictReader(io.StringIO(text)))
    events = world.metrics(job)
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    for row in rows:
        event = events[int(row["step"])]
        for column, name in zip(
            header.split(",")[1:],
            ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy"),
            strict=True,
        ):
            assert row[column] == (str(round(event[name], 5)) if name in event else "")


def test_the_result_file_is_there_at_the_end_only(world: World) -> None:
    """Its id leads nowhere before the job has succeeded."""
    job = world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[0].id}")
    world.clock.now = SETTLED - 0.1
    reply = world.http.get(f"{world.simulator.openai_url}/files/{job['result_files'][0]}")
    assert reply.status_code == 404
    conforms(reply.json(), "openai_error")


@pytest.mark.parametrize("job", [OPENAI_JOBS[0], OPENAI_JOBS[1], OPENAI_JOBS[8], MISTRAL_JOBS[0]])
def test_the_training_file_has_examples(world: World, job: SimulatedJob) -> None:
    """Lines of JSON that say they are simulated: conversations, or pairs of answers for DPO."""
    if job.provider == "openai":
        shown = world.openai(f"/fine_tuning/jobs/{job.id}")
        url, files = world.simulator.openai_url, [shown["training_file"], shown["validation_file"]]
    else:
        shown = world.mistral(f"/fine_tuning/jobs/{job.id}")
        url, files = (
            world.simulator.mistral_url,
            shown["training_files"] + shown["validation_files"],
        )
    contents = [world.http.get(f"{url}/files/{name}/content").content for name in files if name]
    assert len(contents) == 1 + job.validation
    assert all(not content.startswith(other) for content, other in permutations(contents, 2))
    for content in contents:
        assert content.endswith(b"\n")
        examples = [json.loads(line) for line in content.splitlines()]
        assert 5 < len(examples) < 50
        for example in examples:
            dpo = job.method == "dpo"
            talk = example["input"]["messages"] if dpo else example["messages"]
            assert [said["role"] for said in talk] == ["system", "user", "assistant"][: 3 - dpo]
            assert "simulated" in talk[0]["content"]
            assert not dpo or example["preferred_output"] != example["non_preferred_output"]


def test_files_of_different_jobs_differ(world: World) -> None:
    """Each job has a file of its own, under an id of its own, which is there from the start."""
    world.clock.now = START
    jobs = world.openai("/fine_tuning/jobs")["data"]
    ids_of_files = [job["training_file"] for job in jobs]
    url = f"{world.simulator.openai_url}/files"
    contents = {world.http.get(f"{url}/{file_id}/content").content for file_id in ids_of_files}
    assert len(contents) == len(set(ids_of_files)) == len(OPENAI_JOBS)


def test_openai_metadata_is_shown(world: World) -> None:
    """Null where the owner noted nothing."""
    assert world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[0].id}")["metadata"] is None
    noted = world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[8].id}")["metadata"]
    assert noted == {"team": "search", "ticket": ""}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"metadata[team]": "search"}, 1),
        ({"metadata[team]": "search", "metadata[ticket]": ""}, 1),
        ({"metadata[team]": "search", "metadata[ticket]": "7"}, 0),
        ({"metadata[team]": "ads"}, 0),
        ({"metadata[other]": "search"}, 0),
        ({"metadata": "null"}, len(OPENAI_JOBS) - 1),
        ({}, len(OPENAI_JOBS)),
    ],
)
def test_openai_metadata_filters_the_list(world: World, query: dict[str, str], found: int) -> None:
    """All conditions must hold."""
    assert len(world.openai("/fine_tuning/jobs", **query)["data"]) == found


def test_the_openai_client_filters_by_metadata(openai_sdk: openai.OpenAI) -> None:
    """It writes the query as the specification has it."""
    found = list(openai_sdk.fine_tuning.jobs.list(metadata={"team": "search"}))
    assert [job.id for job in found] == [OPENAI_JOBS[8].id]


def test_a_model_can_be_trained_further(world: World, openai_sdk: openai.OpenAI) -> None:
    """A job starts from another one's model; what it makes is named after the original one."""
    first = OPENAI_JOBS[0]
    for n, step in enumerate((first.total_steps, first.epoch_ends[-2])):
        base = openai_objects.model_name(first, step)
        world.simulator.add(replace(first, id=f"ftjob-f{n:023}", base_model=base, suffix="further"))
        job = openai_sdk.fine_tuning.jobs.retrieve(f"ftjob-f{n:023}")
        assert job.model == base
        assert job.fine_tuned_model is not None
        assert job.fine_tuned_model.startswith("ft:gpt-4.1-mini-2025-04-14:simulated:further:")
        steps = openai_sdk.fine_tuning.jobs.checkpoints.list(job.id)
        assert job.fine_tuned_model in [row.fine_tuned_model_checkpoint for row in steps]
    shown = openai_sdk.fine_tuning.jobs.retrieve(first.id).fine_tuned_model
    assert shown == openai_objects.model_name(first, first.total_steps)


def test_a_mistral_model_can_be_trained_further(world: World) -> None:
    """The same at Mistral."""
    first = MISTRAL_JOBS[0]
    shown = world.mistral(f"/fine_tuning/jobs/{first.id}")
    base = mistral_api.model_name(first)
    assert shown["fine_tuned_model"] == base
    again = replace(first, id="10000000-0000-4000-8000-000000000000", base_model=base)
    world.simulator.add(again)
    further = world.mistral(f"/fine_tuning/jobs/{again.id}")
    conforms(further, "mistral_detail")
    assert further["model"] == base
    assert further["fine_tuned_model"].startswith("ft:open-mistral-7b:simulated:")
    assert further["fine_tuned_model"] != base


def test_mistral_checkpoints_grow_with_placeholders(world: World) -> None:
    """One row per step, newest first; zeros stand for no validation; accuracy is 2 to the loss."""
    job = MISTRAL_JOBS[0]
    world.clock.now = STARTED + 0.5 * 10
    before = world.checkpoints(job)
    assert [row["step_number"] for row in before] == list(range(10, 0, -1))
    world.clock.now = START + 1000
    after = world.checkpoints(job)
    assert after[-10:] == before
    for row in after:
        loss = row["metrics"]["valid_loss"]
        accuracy = row["metrics"]["valid_mean_token_accuracy"]
        if row["step_number"] % 4 == 0 or row["step_number"] % 6 == 0:
            assert accuracy == round(2**loss, 6) > 1
        else:
            assert loss == accuracy == 0.0
        assert row["created_at"] == int(STARTED + row["step_number"] / 2)
    unvalidated = world.checkpoints(MISTRAL_JOBS[1])
    assert {row["metrics"]["valid_loss"] for row in unvalidated} == {0.0}


def test_mistral_job_object(world: World) -> None:
    """Dates, the model's name and the events follow the status; oldest event first."""
    detail = world.mistral(f"/fine_tuning/jobs/{MISTRAL_JOBS[0].id}")
    date = datetime.fromtimestamp(START, UTC).strftime("%Y%m%d")
    name = f"ft:open-mistral-7b:simulated:{date}:support-bot:00000000"
    assert detail["fine_tuned_model"] == name
    assert detail["modified_at"] == int(SETTLED)
    assert detail["trained_tokens"] == detail["metadata"]["train_tokens"]
    told = [(event["created_at"] - START, event["data"]["status"]) for event in detail["events"]]
    assert told == [
        (0, "QUEUED"),
        (5, "VALIDATING"),
        (10, "VALIDATED"),
        (10, "QUEUED"),
        (15, "RUNNING"),
        (33, "SUCCESS"),
    ]
    waiting = world.mistral(f"/fine_tuning/jobs/{MISTRAL_JOBS[6].id}")
    assert (waiting["auto_start"], waiting["status"]) == (False, "VALIDATED")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "VALIDATED"}, 1),
        ({"status": "SUCCESS", "suffix": "support-bot"}, 1),
        ({"model": "open-mistral-7b"}, 7),
        ({"model": "another"}, 0),
        ({"wandb_project": "any"}, 0),
        ({"created_after": "2026-09-22T00:00:00Z"}, 0),
        ({"created_before": "2026-09-22T00:00:00"}, 7),
    ],
)
def test_mistral_filters(world: World, query: dict[str, str], found: int) -> None:
    """The filters of the specification narrow the list and its total."""
    page = world.mistral("/fine_tuning/jobs", **query)
    assert page["total"] == len(page["data"]) == found


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_cursor_paging_has_no_gaps_or_doubles(world: World, limit: int) -> None:
    """Even if the job goes on between two pages, all that was there at the first page is read."""
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
    """Jobs and events come by 20, checkpoints by 10; a limit is held within 1 and 100."""
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
    """Whatever was told at one time is told in the same words, last, at any later time."""
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


def histories(job: SimulatedJob, now: float) -> list[list[Json]]:
    """All lists of ``job`` that grow, newest first."""
    if job.provider == "openai":
        base = f"/fine_tuning/jobs/{job.id}"
        return [
            render(job, now, f"{base}/events", {"limit": "100"})["data"],
            render(job, now, f"{base}/checkpoints")["data"],
        ]
    detail = render(job, now, f"/fine_tuning/jobs/{job.id}")
    return [detail["events"][::-1], detail["checkpoints"]]


def render(
    job: SimulatedJob, now: float, path: str, query: Mapping[str, str] | None = None
) -> Json:
    """The document that ``job``'s provider answers with, without a server."""
    request = Request(method="GET", path=path, query=query or {})
    answer = openai_api.answer if job.provider == "openai" else mistral_api.answer
    return cast("Json", json.loads(answer([job], now, request).body))


def test_the_same_time_gives_the_same_bytes(world: World) -> None:
    """Replies depend on the jobs and the time alone, not on what was asked before."""
    for path in ("/fine_tuning/jobs", f"/fine_tuning/jobs/{OPENAI_JOBS[0].id}/events"):
        url = world.simulator.openai_url + path
        first = world.http.get(url).content
        with Simulator(jobs=OPENAI_JOBS[::-1], clock=world.clock) as other:
            assert world.http.get(other.openai_url + path).content == first
        assert world.http.get(url).content == first


def test_a_key_is_needed() -> None:
    """Without a key, or with a wrong one, each provider refuses in its own words."""
    with Simulator(jobs=[OPENAI, MISTRAL], api_key="sk-the-right-one") as simulator:
        openai_jobs = f"{simulator.openai_url}/fine_tuning/jobs"
        mistral_jobs = f"{simulator.mistral_url}/fine_tuning/jobs"
        wrong = {"Authorization": "Bearer sk-some-other-one"}
        right = {"Authorization": "Bearer sk-the-right-one"}

        missing = httpx.get(openai_jobs)
        conforms(missing.json(), "openai_error")
        assert (missing.status_code, missing.json()["error"]["code"]) == (401, None)
        refused = httpx.get(openai_jobs, headers=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert "some-other" not in refused.text
        for headers in ({}, wrong, {"Authorization": "Basic sk-the-right-one"}):
            unauthorized = httpx.get(mistral_jobs, headers=headers)
            assert unauthorized.status_code == 401
            assert unauthorized.json() == {"detail": "Unauthorized"}
        assert httpx.get(openai_jobs, headers=right).is_success
        assert httpx.get(mistral_jobs, headers=right).is_success
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(
                base_url=simulator.openai_url, api_key="sk-wrong", max_retries=0
            ).fine_tuning.jobs.list()


def test_any_key_will_do_by_default_but_none(world: World) -> None:
    """A simulator without a key of its own still refuses requests without any."""
    assert httpx.get(f"{world.simulator.openai_url}/fine_tuning/jobs").status_code == 401
    assert world.mistral("/fine_tuning/jobs")["total"] == len(MISTRAL_JOBS)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fine_tuning/jobs/ftjob-unknown", 404),
        ("/fine_tuning/jobs/ftjob-unknown/events", 404),
        ("/fine_tuning/jobs/ftjob-unknown/checkpoints", 404),
        ("/files/file-unknown", 404),
        ("/files/file-unknown/content", 404),
        ("/engines", 404),
        ("/fine_tuning/jobs?limit=many", 400),
        ("/fine_tuning/jobs?after=ftjob-unknown", 400),
    ],
)
def test_openai_errors(world: World, path: str, status: int) -> None:
    """What is not there is refused with OpenAI's error object."""
    reply = world.http.get(world.simulator.openai_url + path)
    assert reply.status_code == status
    conforms(reply.json(), "openai_error")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fine_tuning/jobs/00000000-0000-4000-8000-00000000ffff", 404),
        ("/fine_tuning/jobs/not-a-uuid", 422),
        ("/files/00000000-0000-4000-8000-00000000ffff", 404),
        ("/files/00000000-0000-4000-8000-00000000ffff/content", 404),
        ("/files/not-a-uuid", 422),
        ("/fine_tuning/jobs?page=-1", 422),
        ("/fine_tuning/jobs?created_after=yesterday", 422),
        ("/models", 404),
    ],
)
def test_mistral_errors(world: World, mistral_sdk: Mistral, path: str, status: int) -> None:
    """What is not there or malformed is refused, which the client takes for an error."""
    reply = world.http.get(world.simulator.mistral_url + path)
    assert reply.status_code == status
    if status == 422:
        assert set(reply.json()["detail"][0]) == {"type", "loc", "msg", "ctx"}
    with pytest.raises(SDKError):
        mistral_sdk.fine_tuning.jobs.get(job_id="not-a-uuid")


def test_it_can_only_be_read(world: World) -> None:
    """Creating a job is refused, and the connection stays usable."""
    for url in (world.simulator.openai_url, world.simulator.mistral_url):
        reply = world.http.post(f"{url}/fine_tuning/jobs", json={"model": "any"})
        assert reply.status_code == 405
        assert world.http.get(f"{url}/fine_tuning/jobs").is_success


def test_it_says_that_it_is_simulated(world: World) -> None:
    """The front page, the server's name and all models say so; it listens on this machine only."""
    page = httpx.get(world.simulator.url)
    assert "simulated" in page.text
    assert page.headers["Content-Type"].startswith("text/plain")
    assert page.headers.get_list("Server") == ["ftbridge-simulator"]
    assert world.simulator.openai_url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{world.simulator.url}/elsewhere").status_code == 404


def intercepted(reply: Reply | Callable[[Request], Reply | None]) -> Simulator:
    """A simulator that gives ``reply`` to every request."""
    hook = reply if callable(reply) else lambda _request: reply
    return Simulator(jobs=[OPENAI], clock=Clock(), intercept=hook)


def test_an_intercepted_request_can_get_any_reply(world: World) -> None:
    """The hook sees each request before the key is checked, and may let it pass."""

    def busy_once(request: Request) -> Reply | None:
        if len(simulator.requests) > 1:
            return None
        assert request.query == {"limit": "3"}
        busy = json_reply({"error": {"message": "slow down"}}, 429)
        return replace(busy, headers={**busy.headers, "Retry-After": "7"})

    with intercepted(busy_once) as simulator:
        url = f"{simulator.openai_url}/fine_tuning/jobs"
        first, second = (
            world.http.get(url, params={"limit": "3"}, headers={"X-Count": str(n)})
            for n in range(2)
        )
    assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
    assert second.json()["data"][0]["id"] == OPENAI.id
    assert [request.headers["x-count"] for request in simulator.requests] == ["0", "1"]
    assert {request.path for request in simulator.requests} == {"/openai/v1/fine_tuning/jobs"}


def test_a_truncated_reply_breaks_off() -> None:
    """The client is promised the whole body and gets the beginning."""
    with (
        intercepted(Reply(body=b"0123456789", truncate_at=4)) as simulator,
        pytest.raises(httpx.RemoteProtocolError, match="received 4 bytes, expected 10"),
    ):
        httpx.get(simulator.url)


def test_a_reset_connection_is_reset() -> None:
    """The client sees the connection reset, not an orderly end."""
    with intercepted(Reply(reset=True)) as simulator:
        with pytest.raises(httpx.ReadError) as failure:
            httpx.get(simulator.url)
        assert "reset" in str(failure.value).lower()
        assert len(simulator.requests) == 1


def test_connections_are_kept_alive_until_the_end(world: World) -> None:
    """A stopped simulator hangs up on its clients; started again, it is where it was."""
    simulator = Simulator(jobs=[OPENAI], clock=Clock())
    peers: set[tuple[str, int]] = set()
    with httpx.Client() as client:
        for _ in range(2):
            with simulator:
                for _ in range(3):
                    with client.stream("GET", simulator.url) as reply:
                        stream = reply.extensions["network_stream"]
                        peers.add(stream.get_extra_info("client_addr"))
                        reply.read()
            with pytest.raises(httpx.TransportError):
                client.get(simulator.url)
    assert len(peers) == 2
    assert world.http.get(world.simulator.url).is_success


@pytest.mark.parametrize(
    "nonsense",
    [
        {"total_steps": 0},
        {"seconds_per_step": 0.0},
        {"provider": "mistral", "outcome": Outcome.PAUSED},
        {"provider": "mistral", "metadata": {"team": "search"}},
    ],
)
def test_impossible_jobs_are_refused(nonsense: Mapping[str, Any]) -> None:
    """A job that no provider could have is an error at once."""
    with pytest.raises(ValueError, match=r"start at 1|takes time|does not pause|no metadata"):
        replace(OPENAI, **nonsense)


def test_the_demo_has_a_history_and_a_present() -> None:
    """Both providers, all outcomes; some jobs run now and end soon; each demo's jobs are new."""
    jobs = demo_jobs(START)
    end = all_end_by(jobs)
    live = [job for job in jobs if job.created_at >= START]

    assert {job.provider for job in live} == {"openai", "mistral"}
    assert {job.outcome for job in jobs} == set(Outcome) - {Outcome.PAUSED}
    assert min(job.settled_at for job in live) - START > 45
    assert end - START < 90
    assert all(job.settled_at < START or job.outcome is Outcome.WAITING for job in jobs[:5])
    assert not set(ids(jobs)) & set(ids(demo_jobs(START + 1)))
    headers = {"Authorization": "Bearer any"}
    with Simulator(jobs=jobs, clock=Clock(end)) as simulator:
        for url in (simulator.openai_url, simulator.mistral_url):
            rows = httpx.get(f"{url}/fine_tuning/jobs", headers=headers).json()["data"]
            models = [row["fine_tuned_model"] for row in rows if row["fine_tuned_model"]]
            assert len(models) >= 3
            assert all(":simulated:" in model for model in models)


def test_the_simulator_alone_has_jobs_of_all_providers() -> None:
    """Each has a job that has succeeded and one that ends within a minute and a half."""
    jobs = all_jobs(START)
    assert len(set(ids(jobs))) == len(jobs)
    for provider in get_args(Provider):
        mine = [job for job in jobs if job.provider == provider]
        assert any(job.settled_at < START and job.outcome is Outcome.SUCCEEDED for job in mine)
        assert any(START + 45 < job.settled_at < START + 90 for job in mine)


def test_nothing_to_wait_for() -> None:
    """Jobs that wait for ever do not count when it comes to the end."""
    assert all_end_by([replace(OPENAI, outcome=Outcome.WAITING)]) == 0.0
    assert all_end_by([OPENAI, replace(OPENAI, outcome=Outcome.WAITING)]) == SETTLED
