"""Mistral, simulated: its SDK and its specification are the referees."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.models import CompletionFineTuningJob, CompletionFineTuningJobDetails

from bridge.simulator import mistral as mistral_api
from tests.support.simulated import (
    MISTRAL_JOBS,
    MOMENTS,
    SETTLED,
    START,
    STARTED,
    World,
    conforms,
    ids,
)


@pytest.mark.parametrize("seconds", MOMENTS)
def test_the_mistral_client_reads_everything(
    world: World, mistral_sdk: Mistral, seconds: float
) -> None:
    """The last official client with fine-tuning and the specification accept all jobs."""
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


def test_a_mistral_model_can_be_trained_further(world: World) -> None:
    """A Mistral model can be trained further."""
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
    """Checkpoints grow newest first, one per step, with zeros where nothing was validated."""
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
    """Dates, the model's name and the events, oldest first, follow the status."""
    detail = world.mistral(f"/fine_tuning/jobs/{MISTRAL_JOBS[0].id}")
    date = datetime.fromtimestamp(START, UTC).strftime("%Y%m%d")
    name = f"ft:open-mistral-7b:simulated:{date}:support-bot:00000000"
    assert detail["fine_tuned_model"] == name
    assert detail["modified_at"] == int(SETTLED)
    assert detail["trained_tokens"] == detail["metadata"]["train_tokens"]
    reported = [
        (event["created_at"] - START, event["data"]["status"]) for event in detail["events"]
    ]
    assert reported == [
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
    """A missing or malformed id is refused with an error that the client recognizes."""
    reply = world.http.get(world.simulator.mistral_url + path)
    assert reply.status_code == status
    if status == 422:
        assert set(reply.json()["detail"][0]) == {"type", "loc", "msg", "ctx"}
    with pytest.raises(SDKError):
        mistral_sdk.fine_tuning.jobs.get(job_id="not-a-uuid")
