"""The replies as they came, and files: the content of the archive."""

from __future__ import annotations

import math
from dataclasses import replace
from urllib.parse import unquote

import httpx
import pytest

from bridge import errors
from bridge.model import JobStatus
from bridge.providers.raw_replies import documents
from bridge.providers.registry import TYPES
from tests.support.contract import (
    JOB,
    ODD_IDS,
    addresses,
    by_id,
    every_kind,
    lines_of,
    logged_at,
    measured,
    nested,
    only,
    points_of,
    read,
)
from tests.support.wire_server import (
    BASE_URL,
    CREATED,
    OpenAIApi,
)
from tests.support.wires import WIRES


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_no_documents_are_kept_unasked(kind: str, *, curves: bool) -> None:
    """Documents are kept only on request, because they cost memory."""
    api = WIRES[kind]()
    api.fill(3)
    assert read(api.provider(curves=curves)).documents == {}


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_kept_documents_are_the_replies(kind: str, *, curves: bool) -> None:
    """Kept documents have all rows of all pages in the provider's order, one per line."""
    api = WIRES[kind]()
    api.fill(350)
    events = [{"name": "status-updated", "created_at": CREATED + n} for n in range(3)]
    if isinstance(api, OpenAIApi):
        assert isinstance(api.events, list)
        events = api.events
    else:
        api.jobs = [api.row(JOB, events=events)]
    documents = read(api.provider(curves=curves), keep=True).documents
    assert set(documents) == {"job.json"} | api.lists | api.more_documents
    assert api.keeps(documents[api.measured_document])
    if "events.jsonl" in api.lists:
        assert lines_of(documents["events.jsonl"]) == events
    (row,) = api.jobs
    assert isinstance(row, dict)
    (kept,) = lines_of(documents["job.json"])
    assert isinstance(kept, dict)
    assert row.items() <= kept.items()
    assert documents["job.json"].startswith(b'{\n  "')
    assert all(b'": ' not in documents[name] for name in api.lists)


@every_kind
def test_keeping_documents_changes_nothing_else(kind: str) -> None:
    """Keeping documents leaves points, checkpoints and sentences as they are."""
    api = WIRES[kind]()
    api.fill(350)
    plain, kept = read(api.provider()), read(api.provider(), keep=True)
    assert replace(kept, documents={}) == plain


@every_kind
def test_documents_are_complete_whatever_is_logged(kind: str) -> None:
    """A job that was followed to its end has all of its replies, not only the last few."""
    api = WIRES[kind]()
    api.fill(350)
    provider = api.provider()
    fresh = read(provider, keep=True)
    everything = logged_at((name, step) for step, name, *_ in points_of(fresh))
    assert provider.read(by_id(provider), logged=everything, keep=True) == fresh


@every_kind
def test_an_empty_list_is_no_document(kind: str) -> None:
    """An empty list gives no document, and the job itself always gives one."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    assert set(read(api.provider(), keep=True).documents) == {"job.json"}


@every_kind
def test_of_a_job_that_waits_its_own_reply_is_kept(kind: str) -> None:
    """A job that waits has its own reply kept, without a request."""
    api = WIRES[kind]()
    waiting = next(w for w, s in TYPES[kind].statuses.items() if s is JobStatus.QUEUED)
    api.jobs = [api.row(JOB, **{api.status_key: waiting}, suffix="größe")]
    job = only(api)
    before = len(api.requests)
    documents = read(api.provider(), job=job, keep=True).documents
    assert len(api.requests) == before + (not api.trusts_list)
    assert set(documents) == {"job.json"}
    assert lines_of(documents["job.json"]) == api.jobs
    assert "größe".encode() in documents["job.json"]


@every_kind
def test_any_text_and_number_is_kept_as_it_is(kind: str) -> None:
    """Any text and number is kept as it came, and a row stays one line of JSON."""
    api = WIRES[kind]()
    odd = {"text": "a\r\n\u2028\x85\x00 \ud800 日本 \u202e", "huge": 10**400, "inf": math.inf}
    api.jobs = [api.row(JOB, odd=odd)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5) | odd, 7, "x", None]
    documents = read(api.provider(), keep=True).documents
    assert api.keeps(documents[api.measured_document])
    (job,) = lines_of(documents["job.json"])
    assert isinstance(job, dict)
    assert job["odd"] == odd
    sent = api.sent_checkpoints()
    assert isinstance(sent, list)
    assert documents[api.measured_document].count(b"\n") == len(sent) or kind == "bedrock"


@every_kind
@pytest.mark.parametrize("depth", [100, 400, 900])
def test_deeply_nested_values_are_kept_or_named(kind: str, depth: int) -> None:
    """Deeply nested values are kept or named, and the other documents are kept."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, news=nested(depth))]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    snapshot = read(api.provider(), keep=True)
    assert len(measured(api, snapshot)) == 1
    assert api.measured_document in snapshot.documents
    assert len(snapshot.skipped) == ("job.json" not in snapshot.documents)


def test_what_is_nested_too_deep_to_be_kept_is_named() -> None:
    """A document that is nested too deep to be written is named, and the others are kept."""
    skipped: list[str] = []
    kept = documents({"id": "a"}, skipped, events=[{"id": 1}, nested(10**5)], checkpoints=[1, 2])
    assert set(kept) == {"job.json", "checkpoints.jsonl"}
    assert skipped == ["events.jsonl cannot be kept: it is nested too deep"]


with_files = pytest.mark.parametrize(
    "kind", [kind for kind, api in sorted(WIRES.items()) if api.file_address and kind != "bedrock"]
)
"""Providers that serve files at their own address; Bedrock's are in S3."""


@with_files
def test_a_file_is_streamed(kind: str) -> None:
    """A training file is streamed as it was uploaded, on demand."""
    api = WIRES[kind]()
    api.files = {"file-t": b'{"messages": []}\n' * 9999}
    file = api.provider().file("file-t")
    assert api.requests == []
    with file as pieces:
        assert b"".join(pieces) == api.files["file-t"]
    assert api.file_address
    assert addresses(api) == [BASE_URL + api.file_address.format("file-t")]


@with_files
def test_a_file_that_is_gone_is_not_found(kind: str) -> None:
    """A deleted file is not found: providers forget files before jobs."""
    with pytest.raises(errors.NotFound), WIRES[kind]().provider().file("file-t"):
        pytest.fail("there is nothing to read")


@with_files
@pytest.mark.parametrize("file_id", ODD_IDS)
def test_an_odd_file_id_is_one_segment_of_the_path(kind: str, file_id: str) -> None:
    """An odd file id fills one segment of the path below the files."""
    api = WIRES[kind]()
    api.files = {file_id: b"a"}
    with api.provider().file(file_id) as pieces:
        assert b"".join(pieces) == b"a"
    (request,) = api.requests
    raw = request.url.raw_path.decode().removeprefix(httpx.URL(BASE_URL).path)
    assert api.file_address
    before, after = api.file_address.split("{}")
    assert raw.startswith(before)
    assert raw.endswith(after)
    segment = raw.removeprefix(before).removesuffix(after)
    assert "/" not in segment
    assert segment not in {".", ".."}
    assert unquote(segment) == file_id


@every_kind
def test_files_of_a_job_are_reported(kind: str) -> None:
    """The training and validation files of a job are listed by the provider's ids."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    job = only(api)
    training, validation = api.given_files
    assert job.training_files == (training,)
    assert job.validation_files == ((validation,) if validation else ())
    if validation is None:
        return
    api.jobs = [
        {name: _without(value, validation) for name, value in row.items()} for row in [api.row(JOB)]
    ]
    assert only(api).validation_files == ()


def _without(value: object, file_id: str) -> object:
    """Return a value of a row that does not name a file."""
    if value == {"validators": [{"s3Uri": file_id}]}:
        return None
    if isinstance(value, dict):
        return {name: _without(inner, file_id) for name, inner in value.items()}
    return None if value in (file_id, [file_id]) else value
