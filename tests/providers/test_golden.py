"""Recorded replies of the real providers, and the jobs that they become."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.http.client import connect
from bridge.http.s3 import Buckets
from bridge.http.signed_urls import SignedUrlFetcher
from bridge.model import Page, Snapshot
from bridge.providers.base import Provider
from bridge.providers.bedrock import Bedrock
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from tests.support.scripted import Answer, script
from tests.support.wires import WIRES

Json = dict[str, Any]

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("*/*/expected.json"))
READS = [case for case in CASES if (case / "job.json").exists()]
LISTS = [case for case in CASES if (case / "list.json").exists()]
KEPT = [case for case in READS if "documents" in json.loads((case / "expected.json").read_text())]
POLLS = [case for case in CASES if (case / "polls.json").exists()]

PUBLIC_ADDRESS = "1.1.1.1"
"""Host of signed URLs."""
FOREIGN = "key-of-a-third-party"
"""Stands for credentials of other services."""
POLLED = "a-job-that-was-polled"
NO_MORE = httpx.Response(200, json={"object": "list", "data": [], "has_more": False})
"""Ends a case at the events beyond the recorded pages."""
GONE = httpx.Response(
    404, json={"error": {"message": "No such File object", "type": "", "code": ""}}
)


def named(case: Path) -> str:
    """Return a case, by provider and folder."""
    return f"{case.parent.name}/{case.name}"


def load(path: Path) -> Json:
    """Return a JSON file that holds an object."""
    document: Json = json.loads(path.read_text())
    return document


def load_all(path: Path) -> list[Json]:
    """Return a JSON file that holds a list of objects."""
    documents: list[Json] = json.loads(path.read_text())
    return documents


def base_url_of(case: Path) -> str:
    """Return the public service's address, or an example where each user has a separate one."""
    url = TYPES[case.parent.name].base_url
    return "https://provider.example/v1" if url.startswith("$") or "REGION" in url else url


def provider(case: Path, transport: httpx.MockTransport) -> Provider:
    """Return the provider of the case, over recorded replies."""
    kind = TYPES[case.parent.name]
    files = SignedUrlFetcher(
        Redactor(),
        api=base_url_of(case),
        transport=transport,
        resolve=lambda _host, _port: [PUBLIC_ADDRESS],
    )
    http = connect(
        base_url_of(case),
        headers={},
        redactor=Redactor(),
        transport=transport,
        signed=files,
        sleep=lambda _seconds: None,
    )
    if kind is Bedrock:
        buckets = Buckets(
            partial(connect, headers={}, redactor=Redactor(), transport=transport),
            region="us-east-1",
            url=f"{base_url_of(case)}/s3",
        )
        return Bedrock(http, curves=True, buckets=buckets)
    return kind(http, curves=True, statuses=None, **WIRES[case.parent.name].options)


def read(source: Provider, job_id: str, *, keep: bool = False) -> Snapshot:
    """Read one job completely, found by its id."""
    return source.read(source.job(job_id), logged={}, keep=keep)


def job_id_of(case: Path) -> str:
    """Return the bridge's id of the case's job."""
    return str(load(case / "expected.json")["job"]["id"])


def as_kept(job: Json) -> Json:
    """Return a reply as the archive holds it: credentials masked, training data left out."""
    return {
        name: "***" if name.endswith("SignedUrl") and value else _without_examples(value)
        for name, value in job.items()
    }


def _without_examples(value: object) -> object:
    if isinstance(value, list):
        return [_without_examples(each) for each in value]
    if not isinstance(value, dict):
        return "***" if value == FOREIGN else value
    return {
        name: _without_examples(inner)
        for name, inner in value.items()
        if name != "userDatasetExamples"
    }


def replies(case: Path) -> dict[str, bytes]:
    """Return the case's replies by address below the base URL, and by cursor where there is one."""
    addresses = case / "addresses.json"
    known = load(addresses) if addresses.exists() else openai_addresses(case)
    return {address: (case / str(name)).read_bytes() for address, name in known.items()}


def openai_addresses(case: Path) -> dict[str, str]:
    """Return the case's replies by OpenAI's addresses, with the names of their files."""
    jobs = "/fine_tuning/jobs"
    found = {jobs: "list.json"}
    if (case / "job.json").exists():
        job = load(case / "job.json")
        path = f"{jobs}/{job['id']}"
        found |= {path: "job.json"}
        found |= {f"{path}/{part}": f"{part}.json" for part in ("checkpoints", "events")}
        if (case / "events_2.json").exists():
            cursor = load(case / "events.json")["data"][-1]["id"]
            found[f"{path}/events?after={cursor}"] = "events_2.json"
        for file in job.get("result_files", ()):
            form = "b64" if (case / "result.b64").exists() else "csv"
            found[f"/files/{file}/content"] = f"result.{form}"
    return {address: name for address, name in found.items() if (case / name).exists()}


def asked_for(request: httpx.Request, base_url: str, known: Iterable[str]) -> str:
    """Return the key of a request, with the part of its query that tells the replies apart."""
    reported = {name for address in known for name in httpx.URL(address).params} | {"after"}
    path = request.url.path.removeprefix(httpx.URL(base_url).path.rstrip("/"))
    query = [f"{name}={value}" for name, value in request.url.params.items() if name in reported]
    return "?".join([path, *query])


def serving(case: Path) -> httpx.MockTransport:
    """Return a provider that answers with the case's replies and with nothing else."""
    known = replies(case)
    failures = load(case / "failures.json") if (case / "failures.json").exists() else {}

    def answer(request: httpx.Request) -> httpx.Response:
        address = asked_for(request, base_url_of(case), known)
        path = address.partition("?")[0]
        if failure := failures.get(path):
            headers = {"Content-Type": failure["type"]}
            return httpx.Response(failure["status"], headers=headers, text=failure["text"])
        body = known.get(address)
        if body is None and path.endswith("/events"):
            return NO_MORE
        if body is None:
            gone = path.startswith(("/files/", "/models", "/bucket/"))
            assert gone, f"{request.url} was never recorded"
            return GONE
        kind = "application/octet-stream" if "/files/" in path else "application/json"
        return httpx.Response(200, headers={"Content-Type": kind}, content=body)

    return httpx.MockTransport(script(answer))


def always(reply: Json) -> httpx.MockTransport:
    """Return a provider with one answer to everything."""
    return httpx.MockTransport(script(Answer(content=json.dumps(reply).encode())))


def plain(value: Snapshot | Page) -> Json:
    """Return a value of the model as JSON would carry it, without the provider's replies."""
    document = asdict(value)
    for job in document.get("jobs", [document.get("job")]):
        job.pop("reply", None)
        del job["model_shutdown"]  # checked elsewhere
        for name in ("wandb_run", "evaluation"):
            if not job[name]:  # few jobs have either
                del job[name]
    document.pop("documents", None)
    for name in ("is_whole", "missing", "cut"):
        if not document.get(name):
            document.pop(name, None)
    as_json: Json = json.loads(json.dumps(document))
    return as_json


def compare(snapshot: Snapshot, expected: Json) -> None:
    """Check a snapshot against the expected one, or a long curve against a sample of it."""
    found = plain(snapshot)
    for part, wanted in zip(found.get("missing", ()), expected.get("missing", ()), strict=False):
        if "reason" not in wanted:
            assert part.pop("reason")  # its words are the client's
    expected = {name: value for name, value in expected.items() if name not in {"documents", "run"}}
    if "curve_sample" in expected:
        curve = found.pop("curve")
        assert len(curve) == expected["curve_length"]
        assert [point for point in expected["curve_sample"] if point not in curve] == []
        expected = {
            name: value for name, value in expected.items() if not name.startswith("curve_")
        }
    assert found == expected


@pytest.mark.parametrize("case", READS, ids=named)
def test_a_recorded_job_is_read_as_its_expectation_says(case: Path) -> None:
    """A recorded job is read as expected: every field, every checkpoint and every point."""
    job_id = job_id_of(case)
    snapshot = read(provider(case, serving(case)), job_id)
    compare(snapshot, load(case / "expected.json"))
    assert snapshot.documents == {}


@pytest.mark.parametrize("case", READS, ids=named)
def test_a_recorded_job_is_read_alike_if_its_replies_are_kept(case: Path) -> None:
    """Keeping the replies changes nothing else of a recorded job, and includes its own reply."""
    job_id = job_id_of(case)
    snapshot = read(provider(case, serving(case)), job_id, keep=True)
    compare(snapshot, load(case / "expected.json"))
    assert json.loads(snapshot.documents["job.json"]) == as_kept(load(case / "job.json"))


@pytest.mark.parametrize("case", KEPT, ids=named)
def test_the_replies_about_a_recorded_job_are_kept_as_they_came(case: Path) -> None:
    """The kept replies are exactly the expected documents, by name, size and digest."""
    job_id = job_id_of(case)
    documents = read(provider(case, serving(case)), job_id, keep=True).documents
    assert {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in documents.items()
    } == load(case / "expected.json")["documents"]


@pytest.mark.parametrize("case", LISTS, ids=named)
def test_a_recorded_list_is_read_as_its_expectation_says(case: Path) -> None:
    """A recorded list gives each job without the fields that only its own reply has."""
    pages = [plain(page) for page in provider(case, serving(case)).pages()]
    assert pages == [load(case / "expected.json")]


@pytest.mark.parametrize("case", POLLS, ids=named)
def test_successive_polls_show_the_job_grow(case: Path) -> None:
    """Successive polls of one job are read as expected, and never lose a checkpoint."""
    steps: set[int] = set()
    polls = load_all(case / "polls.json")
    expected = load_all(case / "expected.json")
    for poll, wanted in zip(polls, expected, strict=True):
        snapshot = read(provider(case, always({"id": POLLED, **poll})), POLLED)
        compare(snapshot, wanted)
        assert steps <= {checkpoint.step for checkpoint in snapshot.checkpoints}
        steps = {checkpoint.step for checkpoint in snapshot.checkpoints}
    assert len(polls) == 8
    assert steps == {12, 24, 36, 48, 60}


@pytest.mark.parametrize("form", ["base64", "plain"])
def test_the_form_of_a_result_file_makes_no_difference(form: str) -> None:
    """A result file gives the same curve in base64 as in plain CSV, after the exact events."""
    case = GOLDEN / "openai" / f"succeeded_{form}_result_file"
    other = GOLDEN / "openai" / "succeeded_with_validation"
    job_id = load(case / "job.json")["id"]
    with_file, without = (
        read(provider(path, serving(path)), job_id).curve for path in (case, other)
    )
    assert with_file[: len(without)] == without
    assert {point.step for point in with_file[len(without) :]} == set(range(1, 42))


def test_every_folder_is_a_case() -> None:
    """Every folder is a case, with an expectation and something to read."""
    assert sorted(path for path in GOLDEN.glob("*/*") if path.is_dir()) == CASES
    assert {case.parent.name for case in CASES} == set(WIRES)
    assert sorted(READS + LISTS + POLLS) == CASES
    assert {case.parent.name for case in KEPT} == set(WIRES)
