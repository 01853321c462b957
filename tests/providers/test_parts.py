"""The parts of a job, each read separately as far as the server allows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from bridge import errors
from bridge.model import JobStatus, MissingPart
from bridge.providers.parts import Parts
from tests.support.contract import JOB, by_id, every_kind, listed, openai_with_steps, points, read
from tests.support.scripted import Handler
from tests.support.wire_server import OpenAIApi, over, sent
from tests.support.wires import WIRES

GONE = errors.NotFound("nothing here")
BUSY = errors.ServerFailed("not now")
REVOKED = errors.Unauthorized("no such key")


def failing(error: errors.BridgeError) -> Callable[[], object]:
    """Return a request that fails."""

    def ask() -> object:
        raise error

    return ask


@pytest.mark.parametrize(
    ("error", "is_lasting"),
    [
        *((GONE, True), (errors.Forbidden("no"), True), (errors.Refused("no"), True)),
        *((errors.NotOffered("no"), True), (errors.BadReply("what"), True), (REVOKED, True)),
        *((BUSY, False), (errors.NoAnswer("silence"), False), (errors.Throttled("slow"), False)),
        *((errors.Unreachable("away"), False), (errors.QuotaExhausted("empty"), False)),
    ],
)
def test_a_part_that_fails_is_noted(error: errors.ProviderError, *, is_lasting: bool) -> None:
    """A failing part is noted with its reason, and with whether another attempt can succeed."""
    parts = Parts(dict)
    assert parts.one("events", failing(error)) is None
    assert parts.missing == (MissingPart("events", error.sentence, is_lasting=is_lasting),)
    assert parts.is_awaited("events") is not is_lasting


@pytest.mark.parametrize("error", [GONE, REVOKED, errors.Throttled("slow")])
def test_a_service_that_refuses_everything_is_not_a_part_s_fault(
    error: errors.ProviderError,
) -> None:
    """A refusal counts for the service only if its list is refused too, checked once per job."""
    parts = Parts(failing(REVOKED))
    with pytest.raises(errors.Unauthorized):
        parts.one("events", failing(error))
    asked: list[None] = []
    there = Parts(lambda: asked.append(None))
    for name in ("checkpoints", "events"):
        there.one(name, failing(error))
    assert len(asked) == 1


def test_what_is_read_of_a_list_before_it_fails_is_kept() -> None:
    """The rows before a failing page are kept; a required list without a first page fails."""

    def pages(number: int) -> Iterator[list[object]]:
        for n in range(number):
            yield [n]
        raise BUSY

    parts = Parts(dict)
    assert list(parts.pages("events", pages(2))) == [[0], [1]]
    assert list(parts.pages("job list", pages(1), needs_first=True)) == [[0]]
    assert [part.name for part in parts.missing] == ["events", "job list"]
    with pytest.raises(errors.ServerFailed):
        list(parts.pages("job list", pages(0), needs_first=True))


def test_a_defect_is_not_a_missing_part() -> None:
    """A defect or a request to stop is raised, and does not count as a missing part."""
    for error in (errors.Stopped("Asked to stop"), errors.BridgeError("a defect")):
        with pytest.raises(type(error)):
            Parts(dict).one("events", failing(error))


# Servers that speak variants of OpenAI's API


def in_front_of(
    api: OpenAIApi, change: Callable[[httpx.Request], httpx.Response | None]
) -> Handler:
    """Return a server that answers some requests differently."""
    return lambda request: change(request) or api(request)


def events_of(api: OpenAIApi, change: Callable[[httpx.Request, httpx.Response], object]) -> Handler:
    """Return a server that changes its pages of events."""

    def answer(request: httpx.Request) -> httpx.Response:
        reply = api(request)
        if not request.url.path.endswith("/events"):
            return reply
        changed = change(request, reply)
        return changed if isinstance(changed, httpx.Response) else sent(changed)

    return answer


DONE = {"status": "succeeded", "finished_at": 1_760_000_800, "validation_file": None}


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_cursor_that_is_refused_costs_the_rest(status: int) -> None:
    """A refused cursor costs the older events: the newest page is kept and the part is named."""
    api = openai_with_steps(350, **DONE)

    def change(request: httpx.Request, reply: httpx.Response) -> object:
        return httpx.Response(status, json={}) if "after" in request.url.params else reply

    snapshot = read(over(events_of(api, change), "openai"))
    assert set(points(snapshot.curve)) == set(range(259, 351))
    assert [(part.name, part.is_lasting) for part in snapshot.missing] == [("events", True)]


@pytest.mark.parametrize("more", [True, None])
def test_new_ids_at_each_call_do_not_go_on_for_ever(more: bool | None) -> None:  # noqa: FBT001 - a value of the reply
    """A server that invents new ids for the same rows does not keep the bridge paging for ever."""
    api = openai_with_steps(5, **DONE)
    ids = itertools.count()

    rows = api.events
    assert isinstance(rows, list)

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return api(request)
        new = [row | {"id": f"ftevent-{next(ids)}"} for row in rows]
        return sent({"object": "list", "data": new} | ({} if more is None else {"has_more": more}))

    snapshot = read(over(answer, "openai"))
    assert set(points(snapshot.curve)) == set(range(1, 6))
    assert [part.name for part in snapshot.missing] == (["events"] if more else [])
    assert next(ids) < 100


def test_a_short_list_without_has_more_whose_cursor_is_refused_is_whole() -> None:
    """A short list without ``has_more`` is whole, even if the server refuses its cursor."""
    api = openai_with_steps(5, **DONE)

    def change(request: httpx.Request, reply: httpx.Response) -> object:
        if "after" in request.url.params:
            return httpx.Response(400, json={"detail": "no such parameter"})
        return {"data": json.loads(reply.content)["data"]}

    snapshot = read(over(events_of(api, change), "openai"))
    assert set(points(snapshot.curve)) == set(range(1, 6))
    assert snapshot.missing == ()


@pytest.mark.parametrize(
    ("status", "is_lasting"), [(408, False), (425, False), (503, False), (409, True), (413, True)]
)
def test_a_server_that_is_not_ready_yet_costs_a_part_for_the_moment(
    status: int, *, is_lasting: bool
) -> None:
    """A request that is too early, or takes too long, leaves its part to the next pass."""
    api = openai_with_steps(5, **DONE)
    refused = events_of(api, lambda _request, _reply: httpx.Response(status, json={}))
    snapshot = read(over(refused, "openai"))
    assert [(part.name, part.is_lasting) for part in snapshot.missing] == [("events", is_lasting)]


@pytest.mark.parametrize("status", [400, 500])
def test_rounded_points_do_not_take_the_places_of_exact_ones_that_may_come(status: int) -> None:
    """Rounded points replace refused events, but not events that fail only for now."""
    api = openai_with_steps(20, **DONE, result_files=["file-r"])

    def change(_request: httpx.Request, _reply: httpx.Response) -> object:
        return httpx.Response(status, json={})

    snapshot = read(over(events_of(api, change), "openai"))
    expected = {n: n + 0.5 for n in range(1, 21)} if status == 400 else {}
    assert points(snapshot.curve) == expected


def test_the_list_is_enough() -> None:
    """A server that offers only a list gives jobs from its rows."""
    api = OpenAIApi()
    api.jobs = [api.row("other"), api.row(JOB, status="succeeded")]

    def answer(request: httpx.Request) -> httpx.Response:
        is_list = request.url.path.endswith("/fine_tuning/jobs")
        return api(request) if is_list else httpx.Response(404, json={"detail": "Not Found"})

    provider = over(answer, "openai")
    for job in (listed(provider)[1], provider.job(JOB)):
        snapshot = provider.read(job, logged={}, keep=True)
        assert snapshot.job.status is JobStatus.SUCCEEDED
        assert snapshot.job.params["n_epochs"] == 3
        assert {part.name for part in snapshot.missing} == {"checkpoints", "events"}
        assert set(snapshot.documents) == {"job.json"}
    with pytest.raises(errors.NotFound):
        provider.job("a-third")


@every_kind
def test_a_job_without_an_address_is_found_in_the_list(kind: str) -> None:
    """A job without an address is found in the list, unless other jobs have an address there."""
    api = WIRES[kind]()
    api.jobs = [api.row("other"), api.row(JOB)]

    def answer(request: httpx.Request) -> httpx.Response:
        is_hidden = request.url.path.endswith(f"/{JOB}")
        return httpx.Response(404, json={}) if is_hidden else api(request)

    provider = over(answer, kind)
    assert by_id(provider).id == f"{api.id_prefix}{JOB}"
    assert by_id(provider, "other").id == f"{api.id_prefix}other"
    with pytest.raises(errors.NotFound):
        by_id(provider)


@every_kind
@pytest.mark.parametrize("status", [429, 500])
def test_a_later_page_that_fails_for_the_moment_ends_the_list_for_now(
    kind: str, status: int
) -> None:
    """A later page that fails for now ends the list, and the pass learns that more follows."""
    api = WIRES[kind]()
    if api.page_size is None:
        return  # its list has one page
    api.jobs = [api.row(f"job-{n}") for n in range(250)]
    first = "1" if kind == "prime" else "0"

    def answer(request: httpx.Request) -> httpx.Response:
        query = request.url.params
        is_later = {"after", "pageToken", "nextToken"} & query.keys()
        is_later = is_later or query.get("page", first) != first
        return httpx.Response(status, json={}) if is_later else api(request)

    *found, last = over(answer, kind).pages()
    assert sum(len(page.jobs) for page in found) == api.page_size
    assert last.cut is not None
    assert not last.cut.is_lasting
