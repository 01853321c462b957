"""Mistral's peculiarities."""

from __future__ import annotations

import math

import httpx
import pytest

from bridge.providers.records import reply_of
from tests.support.contract import (
    JOB,
    lines_of,
    listed,
    only,
    read,
)
from tests.support.wire_server import (
    CREATED,
    MistralApi,
    over,
    sent,
)


def test_mistral_counts_jobs_not_pages() -> None:
    """No job is lost if the server's pages are smaller than requested: Mistral counts jobs."""
    api = MistralApi(largest_page=50)
    ids = [f"job-{n}" for n in range(130)]
    api.jobs = [api.row(job_id) for job_id in ids]
    assert [job.id for job in listed(api.provider())] == ids


@pytest.mark.parametrize("total", [None, "130", [], 10**9, 1e9])
def test_mistral_ends_without_a_usable_total(total: object) -> None:
    """A list without a usable total ends with its first empty page."""
    api = MistralApi(total=total)
    ids = [f"job-{n}" for n in range(130)]
    api.jobs = [api.row(job_id) for job_id in ids]
    assert [job.id for job in listed(api.provider())] == ids


def test_mistral_list_may_lack_its_data() -> None:
    """A list without ``data``, which the specification allows, has no jobs."""
    found = listed(over(lambda _request: sent({"object": "list", "total": 0}), "mistral"))
    assert found == []


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": 0.0}, {}),
        ({"valid_loss": 0, "valid_mean_token_accuracy": 0}, {}),
        ({"valid_loss": None, "valid_mean_token_accuracy": None}, {}),
        (
            {"valid_loss": 0.0, "valid_mean_token_accuracy": 1.0},
            {"valid_loss": 0.0, "valid_mean_token_accuracy": 1.0},
        ),
        (
            {"valid_loss": 0.000625, "valid_mean_token_accuracy": 1.000433},
            {"valid_loss": 0.000625, "valid_mean_token_accuracy": 1.000433},
        ),
        ({"valid_loss": 0.0}, {"valid_loss": 0.0}),
    ],
)
def test_mistral_zeros_are_placeholders_only_as_a_pair(
    metrics: dict[str, object], expected: dict[str, float]
) -> None:
    """Two exact zeros mark a step without validation; a perplexity above 1 is kept."""
    api = MistralApi()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5, **metrics)]
    (checkpoint,) = read(api.provider()).checkpoints
    assert dict(checkpoint.metrics) == {"train_loss": 0.5, **expected}


@pytest.mark.parametrize("order", [1, -1])
def test_mistral_job_ends_with_its_last_event(order: int) -> None:
    """A job ends with its last event, in any order, because it has no field for the end."""
    api = MistralApi()
    events = [{"name": "status-updated", "created_at": CREATED + n} for n in (0, 5, 90)]
    api.jobs = [api.row(JOB, status="SUCCESS", events=events[::order])]
    assert read(api.provider()).job.finished_at == (CREATED + 90) * 1000


def test_mistral_job_that_runs_has_no_end() -> None:
    """A running job has no end, although it has a last event."""
    api = MistralApi()
    api.jobs = [api.row(JOB, events=[{"created_at": CREATED + 5}])]
    assert read(api.provider()).job.finished_at is None


@pytest.mark.parametrize(
    ("status", "data", "expected"),
    [
        ("FAILED", {"status": "FAILED", "error": "out of luck"}, "out of luck"),
        ("FAILED", {"status": "FAILED"}, None),
        ("FAILED", None, None),
        ("FAILED_VALIDATION", {"status": "FAILED_VALIDATION"}, "validation failed"),
        ("SUCCESS", {"status": "SUCCESS", "message": "fine"}, None),
    ],
)
def test_mistral_failure_is_what_its_events_say(
    status: str, data: object, expected: str | None
) -> None:
    """The error of a job is that of its event, because the job has no field for it."""
    api = MistralApi()
    api.jobs = [api.row(JOB, status=status, events=[{"created_at": CREATED, "data": data}])]
    assert read(api.provider()).job.error == expected


def test_mistral_listed_job_is_read_for_its_checkpoints() -> None:
    """A listed job is read for its checkpoints, which only its own reply has."""
    api = MistralApi()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    provider = api.provider()
    (job,) = listed(provider)
    snapshot = read(provider, job=job)
    assert snapshot.job == job
    assert len(snapshot.checkpoints) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_mistral_training_begins_when_it_is_first_said_to_run(order: int) -> None:
    """Training starts with the first event that says so, in whichever order events come."""
    api = MistralApi()
    words = ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCESS"]
    events = [
        {"name": "status-updated", "data": {"status": word}, "created_at": CREATED + 10 * n}
        for n, word in enumerate(words)
    ]
    api.jobs = [api.row(JOB, status="SUCCESS", events=events[::order])]
    assert read(api.provider()).job.started_at == (CREATED + 10) * 1000


@pytest.mark.parametrize(
    "event",
    [
        {"created_at": CREATED},
        {"created_at": CREATED, "data": None},
        {"created_at": CREATED, "data": {"status": "QUEUED"}},
        {"created_at": CREATED, "data": {"status": ["RUNNING"]}},
        {"created_at": None, "data": {"status": "RUNNING"}},
    ],
)
def test_mistral_start_that_no_event_tells_is_unknown(event: object) -> None:
    """Events without data, as recordings have them, leave the start unknown."""
    api = MistralApi()
    api.jobs = [api.row(JOB, events=[event])]
    assert read(api.provider()).job.started_at is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        *((10, 10), (10.0, 10), (None, None), (0, None), (-1, None), (1.5, None), ("10", None)),
        *((2**63, None), (10**400, None), (math.nan, None), (True, None)),
    ],
)
def test_mistral_steps_are_a_hyperparameter(steps: object, expected: int | None) -> None:
    """The number of steps is a param, and known before the job begins."""
    api = MistralApi()
    api.jobs = [api.row(JOB, hyperparameters={"training_steps": steps})]
    assert only(api).total_steps == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"cost": 2.6214, "cost_currency": "USD"}, "2.62 USD"),
        ({"cost": 3.28, "cost_currency": "EUR"}, "3.28 EUR"),
        ({"cost": 120, "cost_currency": "EUR"}, "120.00 EUR"),
        ({"cost": 0.0, "cost_currency": "EUR"}, "0.00 EUR"),
        ({"cost": 0.0042, "cost_currency": "EUR"}, "0.004 EUR"),
        ({"cost": 2.5}, "2.50"),
        ({"cost": 2.5, "cost_currency": None}, "2.50"),
        ({"cost": 2.5, "cost_currency": "E\nU" + "R" * 999}, "2.50 E U" + "R" * 31 + "…"),
        ({"cost": None, "cost_currency": "EUR"}, None),
        ({"cost": "2.5", "cost_currency": "EUR"}, None),
        ({"cost": True, "cost_currency": "EUR"}, None),
        ({"cost": -1, "cost_currency": "EUR"}, None),
        ({"cost": 1e300, "cost_currency": "EUR"}, None),
        ({"cost": math.nan, "cost_currency": "EUR"}, None),
        ({"cost_currency": "EUR"}, None),
        (None, None),
    ],
)
def test_mistral_tells_what_a_job_costs(metadata: object, expected: str | None) -> None:
    """The cost is read to the cent with its currency, and kept out of the owner's notes."""
    api = MistralApi()
    api.jobs = [api.row(JOB, metadata=metadata)]
    job = only(api)
    assert job.cost == expected
    assert job.metadata == {}


@pytest.mark.parametrize("order", [1, -1])
def test_mistrals_newest_event_says_why(order: int) -> None:
    """The newest event gives the error, in whichever order events come."""
    api = MistralApi()
    events = [{"created_at": CREATED + n, "data": {"error": f"at {n}"}} for n in (1, 2, 3)]
    api.jobs = [api.row(JOB, status="FAILED", events=events[::order])]
    assert read(api.provider()).job.error == "at 3"


@pytest.mark.parametrize("parts", [{"events": []}, {"checkpoints": []}, {"events": None}])
def test_mistral_reply_without_all_its_parts_is_not_asked_for_again(
    parts: dict[str, object],
) -> None:
    """A reply without its empty list of checkpoints is complete, and not requested again."""
    row = MistralApi().row(JOB) | parts
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return sent(row)

    provider = over(answer, "mistral")
    assert read(provider, keep=True).checkpoints == ()
    assert len(asked) == 1


def test_mistral_keeps_checkpoints_and_events_beside_the_job() -> None:
    """Checkpoints and events are archived beside the job: they are parts of its reply."""
    api = MistralApi()
    events = [{"name": "status-updated", "created_at": CREATED}]
    api.jobs = [api.row(JOB, status="SUCCESS", events=events)]
    api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in (3, 2, 1)]
    provider = api.provider()
    documents = read(provider, job=only(api), keep=True).documents
    (job,) = lines_of(documents["job.json"])
    assert job == reply_of(provider.job(JOB))
    assert lines_of(documents["events.jsonl"]) == events
