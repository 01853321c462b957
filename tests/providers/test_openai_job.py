"""A job in OpenAI's format."""

from __future__ import annotations

import base64
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.contract import (
    DONE,
    JOB,
    STARTED,
    lines_of,
    listed,
    only,
    openai_with_steps,
    points,
    read,
    reported,
    up_to,
)
from tests.support.wire_server import (
    CREATED,
    OpenAIApi,
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"hyperparameters": {"n_epochs": "auto", "batch_size": -1}}, {}),
        (
            {"hyperparameters": {"n_epochs": 3, "batch_size": 1.5}},
            {"n_epochs": 3, "batch_size": 1.5},
        ),
        ({"hyperparameters": None}, {}),
        ({"hyperparameters": {"n_epochs": None, "x": {}, "y": []}}, {}),
        ({"seed": 7}, {"seed": 7}),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n": "auto"}}}},
            {"method": "dpo", "beta": 0.1},
        ),
        ({"method": {"type": "dpo"}}, {"method": "dpo"}),
        ({"method": {"type": "dpo", "dpo": None}}, {"method": "dpo"}),
        ({"method": {"type": ["dpo"], "dpo": {"hyperparameters": {"beta": 1}}}}, {}),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": ["beta"]}}}, {"method": "dpo"}),
        (
            {
                "hyperparameters": {"n_epochs": 3},
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": "auto"}},
                },
            },
            {"n_epochs": 3, "method": "supervised"},
        ),
    ],
)
def test_openai_params_are_the_hyperparameters_that_are_resolved(
    fields: dict[str, object], expected: dict[str, object]
) -> None:
    """Params are the resolved hyperparameters: ``auto``, -1 and nulls are left out."""
    api = OpenAIApi()
    api.jobs = [{"id": JOB, **fields}]
    assert only(api).params == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, None),
        ({}, None),
        ({"code": None, "message": None, "param": None}, None),
        ({"code": "", "message": ""}, None),
        ({"code": "bad_file", "message": "No.", "param": "training_file"}, "bad_file: No."),
        ({"message": "No."}, "No."),
        ({"code": "bad_file", "message": None}, "bad_file"),
        ({"code": 5, "message": "No."}, "No."),
    ],
)
def test_openai_error_is_one_only_if_it_says_something(error: object, expected: str | None) -> None:
    """An error object full of nulls, as healthy jobs have, counts as no error."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, error=error)]
    assert only(api).error == expected


def test_openai_suffix_has_two_names() -> None:
    """The suffix is read under its older and its newer name."""
    api = OpenAIApi()
    api.jobs = [{"id": "old", "suffix": "a"}, {"id": "new", "user_provided_suffix": "b"}]
    assert [job.suffix for job in listed(api.provider())] == ["a", "b"]


@pytest.mark.parametrize("message", [STARTED, "Job started."])
def test_openai_training_begins_when_an_event_says_so(message: str) -> None:
    """Training starts at the first event that says so, because the job has no field for it."""
    api = openai_with_steps(5)
    assert isinstance(api.events, list)
    api.events += [reported(api, message, 60, 91), reported(api, message, 30, 90)]
    snapshot = read(api.provider())
    assert snapshot.job.started_at == (CREATED + 30) * 1000
    assert replace(snapshot.job, started_at=None, total_steps=None) == only(api)


@pytest.mark.parametrize(
    "event",
    [
        {"message": "Fine-tuning job started soon"},
        {"message": 7},
        {"message": STARTED, "created_at": "noon"},
        {"message": STARTED, "created_at": None},
    ],
)
def test_openai_start_that_no_event_tells_is_unknown(event: dict[str, object]) -> None:
    """Without such an event the start is unknown, and nothing is reported."""
    api = openai_with_steps(5)
    assert isinstance(api.events, list)
    api.events.append(api.message(90) | event)
    snapshot = read(api.provider())
    assert snapshot.job.started_at is None
    assert snapshot.skipped == ()


def test_openai_start_is_unknown_until_its_event_is_read() -> None:
    """The start is unknown until its event is read, which the newest events may not include."""
    api = openai_with_steps(350)
    assert isinstance(api.events, list)
    api.events.append(reported(api, STARTED, 30))
    provider = api.provider()
    job = provider.job(JOB)
    late = provider.read(job, logged=up_to(340))
    assert late.job.started_at is None
    assert read(api.provider(curves=False), job=job).job.started_at is None
    for curves in (True, False):
        kept = read(api.provider(curves=curves), job=job, keep=True)
        assert kept.job.started_at == (CREATED + 30) * 1000


@pytest.mark.parametrize("keep", [False, True])
def test_openai_events_tell_how_many_steps_there_will_be(*, keep: bool) -> None:
    """The total number of steps is the highest that any event gives, while the job trains."""
    api = openai_with_steps(2)
    assert read(api.provider(), keep=keep).job.total_steps == 1000
    for totals in ((1000, 1200), (1200, 1000)):
        api.events = [api.event(n, total_steps=total) for n, total in enumerate(totals)]
        assert read(api.provider(), keep=keep).job.total_steps == 1200


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (7, 7),
        (7.0, 7),
        (7.5, None),
        (0, None),
        (-7, None),
        (None, None),
        ("7", None),
        (True, None),
        (math.nan, None),
        (2**63, None),
        (10**400, None),
        ([7], None),
    ],
)
def test_openai_total_that_is_no_number_of_steps_is_unknown(
    total: object, expected: int | None
) -> None:
    """An impossible total leaves the number of steps unknown, and the curve is read."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(3, total_steps=total, train_loss=0.5)]
    snapshot = read(api.provider())
    assert snapshot.job.total_steps == expected
    assert points(snapshot.curve) == {3: 0.5}


@pytest.mark.parametrize(
    ("status", "expected"), [("succeeded", 240), ("failed", None), ("running", None)]
)
def test_openai_highest_step_of_a_success_is_its_last(status: str, expected: int | None) -> None:
    """Without a total the highest step of a successful job is its last."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, status=status)]
    api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in (240, 160, 80)]
    for curves in (True, False):
        assert read(api.provider(curves=curves)).job.total_steps == expected


def test_openai_result_file_tells_how_many_steps_there_were() -> None:
    """The result file gives the number of steps once events and checkpoints are gone."""
    api = openai_with_steps(350, **DONE)
    api.events = []
    assert read(api.provider()).job.total_steps == 350


def test_openai_result_file_is_kept_decoded() -> None:
    """The result file is archived decoded, after a single request."""
    for steps, validation in ((350, None), (350, "file-v"), (50, None)):
        for curves in (True, False):
            api = openai_with_steps(steps, **DONE | {"validation_file": validation})
            assert api.result is not None
            snapshot = read(api.provider(curves=curves), keep=True)
            assert snapshot.documents["result-file.csv"] == base64.b64decode(api.result)
            assert len(lines_of(snapshot.documents["events.jsonl"])) == steps + 9
            assert len(api.asked("/content")) == 1
            assert bool(snapshot.curve) == curves
            assert snapshot.skipped == ()


@given(
    steps=st.sampled_from([0, 1, 20, 99, 100, 101, 230]),
    gone=st.sampled_from([0, 1, 2, 15, 95, 150]),
    rows=st.sampled_from([0, 1, 90, 230]),
    fields=st.fixed_dictionaries(
        {
            "validation_file": st.sampled_from([None, "file-v"]),
            "status": st.sampled_from(["succeeded", "cancelled", "running"]),
            "result_files": st.sampled_from([[], ["file-r"]]),
        }
    ),
)
def test_openai_keeping_replies_does_not_change_where_points_come_from(
    steps: int, gone: int, rows: int, fields: dict[str, object]
) -> None:
    """Keeping the replies reads all events, and leaves the source of each point unchanged."""
    api = openai_with_steps(steps, **DONE | fields)
    assert isinstance(api.events, list)
    api.events = [
        event
        for event in api.events
        if event["data"] is None or event["data"].get("step", 999) > gone
    ]
    api.result = "\n".join(["step,train_loss", *(f"{n},0.5" for n in range(1, rows + 1))]).encode()
    plain, kept = read(api.provider()), read(api.provider(), keep=True)
    assert kept.curve == plain.curve
    assert kept.checkpoints == plain.checkpoints
    assert set(plain.skipped) <= set(kept.skipped)
    assert len(lines_of(kept.documents["events.jsonl"])) == len(api.events)
    assert len(api.asked("/content")) <= 2


@pytest.mark.parametrize("status", ["running", "paused"])
def test_openai_result_file_of_a_job_that_goes_on_is_not_kept(status: str) -> None:
    """The result file of a job that continues is not archived, because it can change."""
    api = openai_with_steps(20, **DONE | {"status": status})
    documents = read(api.provider(), keep=True).documents
    assert set(documents) == {"job.json", "events.jsonl"}
    assert not api.asked("/content")


@pytest.mark.parametrize("curves", [True, False])
@pytest.mark.parametrize("steps", [20, 350])
@pytest.mark.parametrize("body", [None, b"", b"PK\x03\x04\xff"])
def test_openai_result_file_that_cannot_be_kept_is_named(
    body: bytes | None, steps: int, *, curves: bool
) -> None:
    """A result file that cannot be archived is named once, and no document is a table."""
    api = openai_with_steps(steps, **DONE)
    api.result = body
    snapshot = read(api.provider(curves=curves), keep=True)
    assert [part.reason for part in snapshot.missing] == [
        "result file file-r is gone or unreadable"
    ]
    assert snapshot.documents.get("result-file") == (body or None)
    assert "result-file.csv" not in snapshot.documents
    assert len(api.asked("/content")) == 1


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"team": "a", "mlflow.experiment": "b"}, {"team": "a", "mlflow.experiment": "b"}),
        ({"a": 1, "b": None, "c": ["d"], "e": "f"}, {"e": "f"}),
        ({"a\nb": "c\x00\u202ed"}, {"a b": "cd"}),
    ],
)
def test_openai_metadata_is_what_its_owner_noted(
    metadata: object, expected: dict[str, str]
) -> None:
    """The owner's metadata is text under text, and anything else is ignored."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, metadata=metadata)]
    job = only(api)
    assert job.metadata == expected
    assert job.skipped == ()


def test_openai_metadata_is_bounded() -> None:
    """The metadata is bounded by the limits that OpenAI documents."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, metadata={f"{n}{'k' * 999}": "v" * 9999 for n in range(99)})]
    found = only(api).metadata
    assert len(found) == 16
    assert max(map(len, found)) == 64
    assert {len(value) for value in found.values()} == {512}


@pytest.mark.parametrize(
    "files",
    ["file-a", ["file-a"], {"id": "file-a"}, [{"id": "file-a"}], [{"file_id": "file-a"}, None]],
)
def test_openai_files_may_be_ids_or_objects(files: object) -> None:
    """Files are read from ids and objects, single or in a list, in each of the three places."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, training_file=files, validation_file=files, result_files=files)]
    job = only(api)
    found = (job.training_files, job.validation_files, job.result_files)
    assert found == (("file-a",),) * 3
    assert job.skipped == ()
