"""Failing, broken and growing replies, as every provider handles them in any wire format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import httpx
import pytest

from bridge import errors
from bridge.http.retries import ATTEMPTS
from bridge.model import JobStatus, Snapshot
from bridge.providers.base import Provider
from bridge.providers.records import reply_of
from tests.support.contract import logged_at, points_of
from tests.support.scripted import Chunks, Handler, answer
from tests.support.wire_server import S3_HOST, Api, over, sent
from tests.support.wires import WIRES
from tests.support.world import KEY

every_kind = pytest.mark.parametrize("kind", sorted(WIRES))

STATUSES = [400, 401, 403, 404, 405, 410, 422, 429, 500, 503]


def finished(kind: str, steps: int = 30) -> Api:
    """Return an API whose only job has ended, with a measurement at each step."""
    api = WIRES[kind]()
    api.fill(steps)
    (job,) = api.jobs
    assert isinstance(job, dict)
    api.jobs = [job | {api.status_key: api.succeeded}]
    return api


def whole(provider: Provider) -> Snapshot:
    """Read the listed job completely."""
    (job,) = (job for page in provider.pages() for job in page.jobs)
    return provider.read(job, logged={}, keep=True)


def address_of(request: httpx.Request) -> str:
    """Return the address of a request, or the host of a file if it has a signature."""
    return str(request.url)


@cache
def complete(kind: str) -> Snapshot:
    """Return the job as it is read where nothing fails."""
    return whole(finished(kind).provider())


@cache
def below_the_list(kind: str) -> tuple[str, ...]:
    """Return every address that is requested after the list of jobs."""
    asked: list[str] = []
    api = finished(kind)

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(address_of(request))
        return api(request)

    provider = over(note, kind)
    (job,) = (job for page in provider.pages() for job in page.jobs)
    asked.clear()
    provider.read(job, logged={}, keep=True)
    assert asked
    return tuple(asked)


def is_hint(address: str) -> bool:
    """Return whether an address is optional: dates of models, and bills."""
    return address.endswith("/models") or "/billing/" in address


def at(kind: str, address: str, fault: Handler, *, times: int = 10**6) -> Provider:
    """Return a provider whose first replies at one address are those of ``fault``."""
    api = finished(kind)
    left = [times]

    def answer(request: httpx.Request) -> httpx.Response:
        if address_of(request) != address or left[0] == 0:
            return api(request)
        left[0] -= 1
        return fault(request)

    return over(answer, kind)


# Statuses

LISTED: list[tuple[int, type[errors.ProviderError]]] = [
    (400, errors.Refused),
    (401, errors.Unauthorized),
    (403, errors.Forbidden),
    (404, errors.NoService),
    (405, errors.NotOffered),
    (410, errors.Withdrawn),
    (422, errors.Refused),
    (429, errors.Throttled),
    (500, errors.ServerFailed),
    (503, errors.ServerFailed),
]


@every_kind
@pytest.mark.parametrize(("status", "error"), LISTED)
def test_a_list_that_fails_says_why(
    kind: str, status: int, error: type[errors.ProviderError]
) -> None:
    """A list that fails records nothing, says why, and does not count as empty."""
    with pytest.raises(errors.ProviderError) as caught:
        list(over(answer(status), kind).pages())
    assert type(caught.value) is error
    assert str(status) in caught.value.sentence


def outcome(provider: Provider) -> tuple[Snapshot | None, errors.ProviderError | None]:
    """Return the snapshot of the job, or the error that it raises."""
    try:
        return whole(provider), None
    except errors.ProviderError as error:
        return None, error


def parts_of(kind: str) -> list[str]:
    """Return every address below the list that something depends on."""
    return [address for address in below_the_list(kind) if not is_hint(address)]


@every_kind
@pytest.mark.parametrize("status", STATUSES)
def test_a_part_that_fails_costs_that_part(kind: str, status: int) -> None:
    """A failing part is named, with whether it may pass, and the rest is recorded."""
    expected = complete(kind)
    for address in parts_of(kind):
        found = whole(at(kind, address, lambda _request: httpx.Response(status, json={})))
        assert found.job.id == expected.job.id
        assert found.job.status is JobStatus.SUCCEEDED
        assert found.job.params.items() <= expected.job.params.items()
        (part, *others) = found.missing
        assert not others, address
        assert part.is_lasting == (status not in {429, 500, 503}), address
        # The time of a step can come from another part.
        assert {p[:3] for p in points_of(found)} <= {p[:3] for p in points_of(expected)}
        assert part.name.isprintable()
        assert part.reason


@every_kind
@pytest.mark.parametrize("status", STATUSES)
def test_what_fails_everywhere_is_no_part_s_fault(kind: str, status: int) -> None:
    """A revoked key or an ended service, met in mid-pass, does not count as a missing part."""
    api = finished(kind)
    is_over = [False]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={}) if is_over[0] else api(request)

    provider = over(answer, kind)
    (job,) = (job for page in provider.pages() for job in page.jobs)
    is_over[0] = True
    if status in {500, 503}:
        snapshot = provider.read(job, logged={}, keep=True)
        assert snapshot.missing
        assert not any(part.is_lasting for part in snapshot.missing)
    else:
        with pytest.raises(errors.ProviderError, match=str(status)):
            provider.read(job, logged={}, keep=True)


OTHER_REPLIES = {
    "a stream": httpx.Response(
        200, headers={"Content-Type": "text/event-stream"}, content=b"data: [DONE]\n\n"
    ),
    "a web page": httpx.Response(
        200, headers={"Content-Type": "text/html"}, content=b"<html>Sign in</html>"
    ),
    "a list": sent([1, 2]),
    "no list": sent({"detail": "see elsewhere", "data": 7, "items": 7, "metrics": 7}),
    "nothing": httpx.Response(204),
}


@every_kind
@pytest.mark.parametrize("reply", OTHER_REPLIES.values(), ids=OTHER_REPLIES)
def test_a_part_that_is_something_else_is_missing(kind: str, reply: httpx.Response) -> None:
    """A part that is a stream, a web page or other JSON is named, and the rest is recorded."""
    expected = complete(kind)
    for address in parts_of(kind):
        if any(mark in address for mark in ("Signature", S3_HOST)) or address.endswith("a-job"):
            continue  # any content makes a file; a job may lack anything
        found = whole(at(kind, address, lambda _request: reply))
        assert [part.is_lasting for part in found.missing] == [True], address
        assert found.job.status is expected.job.status


@every_kind
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_part_that_answers_again_is_whole(kind: str, status: int) -> None:
    """A part that answers again is complete in the next pass."""
    expected = complete(kind)
    for address in parts_of(kind):
        provider = at(
            kind, address, lambda _request: httpx.Response(status, json={}), times=ATTEMPTS
        )
        first, second = whole(provider), whole(provider)
        assert [part.is_lasting for part in first.missing] == [False], address
        assert second == expected


# Slow and truncated bodies


def breaking(kind: str, error: type[httpx.RequestError] | None) -> Handler:
    """Return replies that break off, some of which seem complete without an error."""
    api = finished(kind)

    def answer(request: httpx.Request) -> httpx.Response:
        reply = api(request)
        if error is None:
            headers = {"Content-Type": "application/json"}
            return httpx.Response(200, headers=headers, content=reply.content[:-3])
        half = Chunks([reply.content[: len(reply.content) // 2]], error("no more comes"))
        return httpx.Response(200, headers=reply.headers, stream=half)

    return answer


BREAKS = [httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError, None]


@every_kind
@pytest.mark.parametrize("error", BREAKS)
def test_a_body_that_breaks_off_once_makes_no_difference(
    kind: str, error: type[httpx.RequestError] | None
) -> None:
    """A body that is too slow, cut off or unfinished JSON is requested again."""
    expected = complete(kind)
    for address in below_the_list(kind):
        if error is not None or not {"Signature", S3_HOST} & {*re.split(r"[?/=]", address)}:
            found = whole(at(kind, address, breaking(kind, error), times=1))
            assert found == expected, address
            assert found.documents == expected.documents


@every_kind
@pytest.mark.parametrize("error", BREAKS[:-1])
def test_a_body_that_always_breaks_off_is_waited_for(
    kind: str, error: type[httpx.RequestError]
) -> None:
    """A part whose body always breaks off is left to the next pass."""
    for address in parts_of(kind):
        found = whole(at(kind, address, breaking(kind, error)))
        assert [part.is_lasting for part in found.missing] == [False], address


# The key


def reported(error: BaseException | None) -> Iterator[str]:
    """Return every text of an error and of its causes."""
    while error is not None:
        yield from (str(error), repr(error), getattr(error, "remedy", ""))
        error = error.__cause__ or error.__context__


@every_kind
@pytest.mark.parametrize("status", [200, *STATUSES])
def test_no_message_and_no_value_shows_the_key(kind: str, status: int) -> None:
    """No message and no value shows the key, even if the service sends it back."""
    api = finished(kind)
    said: list[str] = []
    for address in [None, *below_the_list(kind)]:

        def answer(request: httpx.Request, failing: str | None = address) -> httpx.Response:
            headers = {"X-Request-Id": KEY, "Content-Type": "application/json"}
            if status != 200 and failing in {None, address_of(request)}:
                body = {"error": {"message": f"bad key {KEY}", "code": KEY}, "detail": KEY}
                return httpx.Response(status, headers=headers, json=body)
            content = api(request).content.replace(b"a-suffix", KEY.encode())
            return httpx.Response(200, headers=headers, content=content)

        found, error = outcome(over(answer, kind, key=KEY))
        said += reported(error)
        if found is not None:
            said += [repr(found), repr(reply_of(found.job)), repr(found.documents)]
    assert any("***" in text for text in said)
    assert [text for text in said if KEY in text] == []


# Jobs that grow


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_many_looks_find_what_one_does(kind: str, *, curves: bool) -> None:
    """A job that is followed has at each pass the points of a single read."""
    api = WIRES[kind]()
    followed = over(api, kind, curves=curves)
    found: dict[tuple[str, int], float] = {}

    def look(steps: int) -> None:
        found.update(new_points(followed, found))
        alone = new_points(over(api, kind, curves=curves), {})
        assert alone.items() <= found.items()
        assert not curves or found == alone
        assert not curves or len({step for _, step in alone}) == steps

    for steps in (3, 4, 40, 41, 180, 250):
        api.fill(steps)
        look(steps)
    api.jobs = finished(kind).jobs
    look(250)


def new_points(
    provider: Provider, logged: dict[tuple[str, int], float]
) -> dict[tuple[str, int], float]:
    """Return the points of a read that are not logged, by name and step."""
    (job,) = (job for page in provider.pages() for job in page.jobs)
    snapshot = provider.read(job, logged=logged_at(logged))
    points = {(p.name, p.step): p.value for p in snapshot.curve}
    for checkpoint in snapshot.checkpoints:
        points |= {(name, checkpoint.step): value for name, value in checkpoint.metrics.items()}
    return {at: value for at, value in points.items() if at not in logged}
