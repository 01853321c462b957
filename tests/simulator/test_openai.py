"""OpenAI, simulated: its SDK and its specification are the referees."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace
from itertools import permutations

import openai
import pytest
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import TypeAdapter

from bridge.simulator import (
    INVALID_TRAINING_FILE,
    SimulatedJob,
    all_end_by,
    openai_objects,
)
from tests.support.simulated import (
    MISTRAL_JOBS,
    MOMENTS,
    OPENAI,
    OPENAI_JOBS,
    SETTLED,
    START,
    STARTED,
    STEPS,
    Json,
    World,
    conforms,
    ids,
)


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
        reported = list(jobs.list_events(job.id, limit=7))
        assert reported[-1].message == f"Created fine-tuning job: {job.id}"
        assert len({event.id for event in reported}) == len(reported)
        assert [e.created_at for e in reported] == sorted(
            (e.created_at for e in reported), reverse=True
        )
        for file_id in job.result_files:
            assert openai_sdk.files.retrieve(file_id).purpose == "fine-tune-results"
            assert openai_sdk.files.content(file_id).content
        for file_id in filter(None, (job.training_file, job.validation_file)):
            described = openai_sdk.files.retrieve(file_id)
            assert described.purpose == "fine-tune"
            assert described.bytes == len(openai_sdk.files.content(file_id).content)


@pytest.mark.parametrize("seconds", MOMENTS)
def test_openai_replies_conform(world: World, seconds: float) -> None:
    """Each reply fits the specification and, where that allows it, the client's types."""
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


def test_openai_checkpoints_come_in_one_batch_at_the_end(world: World) -> None:
    """Checkpoints of the last three epochs come together at the end, dated to their steps."""
    job = OPENAI_JOBS[0]
    world.clock.now = SETTLED - 0.01
    assert world.checkpoints(job) == []
    world.clock.now = SETTLED
    page = world.openai(f"/fine_tuning/jobs/{job.id}/checkpoints")
    rows = page["data"]
    assert [row["step_number"] for row in rows] == [30, 24, 18]
    # Slightly before the events of the same steps, as recorded.
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
    """The closing messages and checkpoints can appear some time after the job has succeeded."""
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
    """Unknown values are auto or null until the job runs or ends, and its error is all nulls."""
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
    """A job of 2024 has exactly the keys of the recorded one, in order."""
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
    """A failed job has its reason in the job and in an event, and never a finishing time."""
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
    """The loss falls, the accuracy rises within its bounds, and each seed gives another curve."""
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
    """The result file is base64 (plain CSV for old jobs), rounds to five decimals, and has gaps."""
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
    """The id of the result file leads nowhere before the job has succeeded."""
    job = world.openai(f"/fine_tuning/jobs/{OPENAI_JOBS[0].id}")
    world.clock.now = SETTLED - 0.1
    reply = world.http.get(f"{world.simulator.openai_url}/files/{job['result_files'][0]}")
    assert reply.status_code == 404
    conforms(reply.json(), "openai_error")


@pytest.mark.parametrize("job", [OPENAI_JOBS[0], OPENAI_JOBS[1], OPENAI_JOBS[8], MISTRAL_JOBS[0]])
def test_the_training_file_has_examples(world: World, job: SimulatedJob) -> None:
    """Training files are lines of JSON that say they are simulated: conversations, or DPO pairs."""
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
    """Each job has a separate file with a separate id from the start."""
    world.clock.now = START
    jobs = world.openai("/fine_tuning/jobs")["data"]
    ids_of_files = [job["training_file"] for job in jobs]
    url = f"{world.simulator.openai_url}/files"
    contents = {world.http.get(f"{url}/{file_id}/content").content for file_id in ids_of_files}
    assert len(contents) == len(set(ids_of_files)) == len(OPENAI_JOBS)


def test_openai_metadata_is_shown(world: World) -> None:
    """Metadata is null if the owner noted nothing."""
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
    """A list filtered by metadata has the jobs that meet all conditions."""
    assert len(world.openai("/fine_tuning/jobs", **query)["data"]) == found


def test_the_openai_client_filters_by_metadata(openai_sdk: openai.OpenAI) -> None:
    """The official client writes the metadata query as the specification has it."""
    found = list(openai_sdk.fine_tuning.jobs.list(metadata={"team": "search"}))
    assert [job.id for job in found] == [OPENAI_JOBS[8].id]


def test_a_model_can_be_trained_further(world: World, openai_sdk: openai.OpenAI) -> None:
    """A job can start from another one's model, and its result is named after the original one."""
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
    """A missing job or file is refused with OpenAI's error object."""
    reply = world.http.get(world.simulator.openai_url + path)
    assert reply.status_code == status
    conforms(reply.json(), "openai_error")
