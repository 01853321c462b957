"""The lists below a job, refused or without an end at a later page, for every provider."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from bridge.http.client import Query
from bridge.model import Job, JobStatus, Snapshot
from bridge.providers.bedrock_curves import VALIDATION
from bridge.providers.bedrock_curves import rows as table
from bridge.providers.parts import Parts
from bridge.providers.prime_metrics import Metrics
from tests.support.scripted import Handler
from tests.support.wire_server import Api, over
from tests.support.wires import WIRES

MOST = 60
"""Limit on requests for a list without an end."""
CURSORS = {"after", "pageToken"}
OPENAI = ("azure", "bedrock-mantle", "nebius", "openai")
PAGED = [
    *((kind, part) for kind in OPENAI for part in ("/events", "/checkpoints")),
    ("fireworks", "/checkpoints"),
    ("vertex", "/runs"),
    ("vertex", "/timeSeries"),
]
"""Lists with cursors, by type and the end of their address."""
UNPAGED = {"acme", "bedrock", "mistral", "prime", "together"}
"""Types whose parts come whole; the lists of S3 are in ``tests/http/test_s3.py``."""

every_list = pytest.mark.parametrize(("kind", "part"), PAGED)


def finished(kind: str) -> Api:
    """Return an API whose only job has ended, with a measurement at each step."""
    api = WIRES[kind]()
    api.fill(20)
    (job,) = api.jobs
    assert isinstance(job, dict)
    api.jobs = [job | {api.status_key: api.succeeded}]
    return api


def whole(handler: Handler, kind: str) -> Snapshot:
    """Read the listed job completely."""
    provider = over(handler, kind)
    (job,) = (job for page in provider.pages() for job in page.jobs)
    return provider.read(job, logged={}, keep=True)


def continued(
    api: Api, part: str, change: Callable[[httpx.Request, dict[str, object]], httpx.Response | None]
) -> tuple[Handler, list[httpx.Request]]:
    """Return an API whose pages of one list all say that more follows, and the requests for it."""
    asked: list[httpx.Request] = []
    tokens = itertools.count()

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(part):
            return api(request)
        asked.append(request)
        assert len(asked) < MOST, "the provider asks without end"
        first = httpx.Request("GET", request.url.copy_with(params=first_query(request)))
        reply: dict[str, object] = json.loads(api(first).content)
        more = {"has_more": True} if "data" in reply else {"nextPageToken": f"t{next(tokens)}"}
        changed = change(request, reply)
        return changed or httpx.Response(200, json=reply | more)

    return answer, asked


def first_query(request: httpx.Request) -> dict[str, str]:
    """Return the query of a request without its cursor."""
    return {name: text for name, text in request.url.params.items() if name not in CURSORS}


def is_later(request: httpx.Request) -> bool:
    """Return whether a request is for a page behind the first one."""
    return bool(CURSORS & request.url.params.keys())


def is_part(found: Snapshot, *, lasting: bool) -> bool:
    """Return whether one part is missing, for good or for now."""
    return [each.is_lasting for each in found.missing] == [lasting]


def test_every_type_is_here() -> None:
    """Each type has its paged lists here, or none."""
    assert {kind for kind, _ in PAGED} | UNPAGED == set(WIRES)


@every_list
@pytest.mark.parametrize("status", [400, 404, 410, 422, 503])
def test_a_later_page_that_is_refused_costs_the_rest(kind: str, part: str, status: int) -> None:
    """The rows of the first page are kept, and the list is named as missing once."""

    def change(request: httpx.Request, _reply: dict[str, object]) -> httpx.Response | None:
        return httpx.Response(status, json={}) if is_later(request) else None

    api = finished(kind)
    answer, asked = continued(api, part, change)
    found = whole(answer, kind)
    expected = whole(api, kind)
    assert any(is_later(request) for request in asked)
    assert is_part(found, lasting=status != 503)
    assert found.job.status is JobStatus.SUCCEEDED
    assert len(found.checkpoints) == len(expected.checkpoints)
    assert {(p.name, p.step) for p in found.curve} == {(p.name, p.step) for p in expected.curve}


@every_list
def test_a_list_that_repeats_its_page_ends(kind: str, part: str) -> None:
    """A server that sends the same page for every cursor, with a new token, is abandoned."""
    api = finished(kind)
    answer, asked = continued(api, part, lambda _request, _reply: None)
    found = whole(answer, kind)
    assert len(asked) < 10
    assert is_part(found, lasting=True)
    assert {c.step for c in found.checkpoints} == {c.step for c in whole(api, kind).checkpoints}


@every_list
def test_a_list_of_new_ids_at_each_call_ends(kind: str, part: str) -> None:
    """A server that sends the same rows under new ids and tokens is abandoned."""
    ids = itertools.count()

    def change(_request: httpx.Request, reply: dict[str, object]) -> None:
        for row in rows_in(reply):
            row |= {name: f"{row[name]}-{next(ids)}" for name in ("id", "name") if name in row}

    api = finished(kind)
    answer, _ = continued(api, part, change)
    assert is_part(whole(answer, kind), lasting=True)


def rows_in(reply: dict[str, object]) -> Iterator[dict[str, object]]:
    """Yield the rows of every list in a reply."""
    for rows in reply.values():
        yield from (row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


# Files


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"data: [DONE]\n\n", b"", b'{"a": 1}'])
def test_a_file_of_bedrock_that_is_no_table_is_missing(body: bytes) -> None:
    """A web page, a stream or nothing in place of a table is named, and the job is recorded."""
    api = finished("bedrock")

    def answer(request: httpx.Request) -> httpx.Response:
        is_file = request.url.path.endswith("training_metrics.csv")
        return httpx.Response(200, content=body) if is_file else api(request)

    found = whole(answer, "bedrock")
    assert is_part(found, lasting=True)
    assert "step_number" in found.missing[0].reason
    assert found.job.status is JobStatus.SUCCEEDED
    assert "train_loss" not in {point.name for point in found.curve}


def test_a_column_of_validation_has_one_name_whatever_else_can_be_read() -> None:
    """A column without a validation prefix in a validation file gets one in any case."""
    training = b"step_number,training_loss,perplexity\n1,0.5,1.5\n"
    validation = b"step_number,validation_loss,perplexity,val_reward\n1,0.75,2.5,3\n"
    both = table({"a/training_metrics.csv": training, f"b/{VALIDATION}": validation}, [])
    only = table({f"b/{VALIDATION}": validation}, [])
    of_validation = {"validation_loss": 0.75, "validation_perplexity": 2.5, "val_reward": 3.0}
    assert [row.metrics for row in only] == [of_validation]
    assert [row.metrics for row in both] == [
        {"training_loss": 0.5, "perplexity": 1.5, **of_validation}
    ]


@pytest.mark.parametrize("is_new", [False, True])
def test_rows_of_prime_that_do_not_end_are_left(*, is_new: bool) -> None:
    """Prime's rows are requested from a step on: a server that always has more is abandoned."""
    asked: list[Query] = []

    def ask(_parts: Parts, _job: Job, _name: str, query: Query) -> list[object]:
        asked.append(query)
        first = int(query.get("min_step", 1)) if is_new else 1
        return [{"step": first + n, "loss": 0.5} for n in range(10)]

    parts = Parts(dict)
    job = Job(id="a", status=JobStatus.SUCCEEDED, provider_status="COMPLETED")
    found = Metrics(ask).read(job, parts, reread=False)
    assert len(found) == 10 * len(asked) if is_new else 10
    assert [part.is_lasting for part in parts.missing] == [True] * is_new
    assert len(asked) < 1000
