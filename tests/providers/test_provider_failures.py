"""What every provider makes of failing, broken and growing replies, whatever its wire format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from bridge import errors
from bridge.model import Snapshot
from bridge.providers.base import Provider
from tests.support.wire_server import S3_HOST, Api, over
from tests.support.wires import WIRES
from tests.support.world import KEY

every_kind = pytest.mark.parametrize("kind", sorted(WIRES))

Handler = Callable[[httpx.Request], httpx.Response]
STATUSES = [400, 401, 403, 404, 405, 410, 422, 429, 500, 503]


def finished(kind: str, steps: int = 30) -> Api:
    """An API whose only job has ended, with something measured at each step."""
    api = WIRES[kind]()
    api.fill(steps)
    (job,) = api.jobs
    assert isinstance(job, dict)
    api.jobs = [job | {api.status_key: api.succeeded}]
    return api


def whole(provider: Provider) -> Snapshot:
    """The job as it is listed, read to the end of everything."""
    (job,) = (job for page in provider.pages() for job in page.jobs)
    return provider.read(job, is_logged=lambda _name, _step: False, keep=True)


def address_of(request: httpx.Request) -> str:
    """Where a request goes; with a signature in it, to the host of a file."""
    return str(request.url)


def below_the_list(kind: str) -> list[str]:
    """Every address that is asked for after the list of jobs."""
    asked: list[str] = []
    api = finished(kind)

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(address_of(request))
        return api(request)

    provider = over(httpx.MockTransport(note), kind)
    (job,) = (job for page in provider.pages() for job in page.jobs)
    asked.clear()
    provider.read(job, is_logged=lambda _name, _step: False, keep=True)
    assert asked
    return asked


def is_hint(address: str) -> bool:
    """Whether it is no loss to go without: the dates of models."""
    return address.endswith("/models")


def at(kind: str, address: str, fault: Handler, *, times: int = 10**6) -> Provider:
    """A provider whose replies at one address are ``fault``'s, the first times it is asked for."""
    api = finished(kind)
    left = [times]

    def answer(request: httpx.Request) -> httpx.Response:
        if address_of(request) != address or left[0] == 0:
            return api(request)
        left[0] -= 1
        return fault(request)

    return over(httpx.MockTransport(answer), kind)


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
    """Of the service as a whole: nothing is recorded, and nothing is taken for an empty list."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, json={}))
    with pytest.raises(errors.ProviderError) as caught:
        list(over(transport, kind).pages())
    assert type(caught.value) is error
    assert str(status) in caught.value.sentence


def outcome(provider: Provider) -> tuple[Snapshot | None, errors.ProviderError | None]:
    """What comes of a job: one of the two."""
    try:
        return whole(provider), None
    except errors.ProviderError as error:
        return None, error


@every_kind
@pytest.mark.parametrize("status", STATUSES)
def test_what_fails_below_the_list_fails_the_job_or_is_told(kind: str, status: int) -> None:
    """One job's trouble is never the service's end, and what may pass is waited for."""
    for address in below_the_list(kind):
        found, error = outcome(at(kind, address, lambda _request: httpx.Response(status, json={})))
        if is_hint(address):
            assert found == whole(finished(kind).provider())
        elif found is not None:
            assert status not in {429, 500, 503}, address
            assert found.skipped, address
        else:
            assert str(status) in str(error), address
            assert isinstance(error, errors.ProviderDown) <= (status in {401, 429}), address
            assert not isinstance(error, errors.Withdrawn), address


# Slow and truncated bodies


class Broken(httpx.SyncByteStream):
    """The beginning of a body, and then none of the rest."""

    def __init__(self, body: bytes, error: type[httpx.RequestError]) -> None:
        self._body = body
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        """Half of the body."""
        yield self._body[: len(self._body) // 2]
        raise self._error("no more comes")


def breaking(kind: str, error: type[httpx.RequestError] | None) -> Handler:
    """Replies that break off; without an error they seem to be complete."""
    api = finished(kind)

    def answer(request: httpx.Request) -> httpx.Response:
        reply = api(request)
        if error is None:
            headers = {"Content-Type": "application/json"}
            return httpx.Response(200, headers=headers, content=reply.content[:-3])
        return httpx.Response(200, headers=reply.headers, stream=Broken(reply.content, error))

    return answer


BREAKS = [httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError, None]


@every_kind
@pytest.mark.parametrize("error", BREAKS)
def test_a_body_that_breaks_off_once_makes_no_difference(
    kind: str, error: type[httpx.RequestError] | None
) -> None:
    """It is asked for again: too slow, cut off, or JSON without its end."""
    expected = whole(finished(kind).provider())
    for address in below_the_list(kind):
        if error is not None or not {"Signature", S3_HOST} & {*re.split(r"[?/=]", address)}:
            found = whole(at(kind, address, breaking(kind, error), times=1))
            assert found == expected, address
            assert found.documents == expected.documents


@every_kind
@pytest.mark.parametrize("error", BREAKS[:-1])
def test_a_body_that_always_breaks_off_is_no_body(
    kind: str, error: type[httpx.RequestError]
) -> None:
    """The job is left for the next pass, not recorded with half of what it has."""
    for address in below_the_list(kind):
        if not is_hint(address):
            with pytest.raises(errors.NoAnswer):
                whole(at(kind, address, breaking(kind, error)))


# The key


def told(error: BaseException | None) -> Iterator[str]:
    """All that an error and those behind it say."""
    while error is not None:
        yield from (str(error), repr(error), getattr(error, "remedy", ""))
        error = error.__cause__ or error.__context__


@every_kind
@pytest.mark.parametrize("status", [200, *STATUSES])
def test_no_message_and_no_value_shows_the_key(kind: str, status: int) -> None:
    """Also where the service sends it back: in an error, a header, or a job."""
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

        found, error = outcome(over(httpx.MockTransport(answer), kind, key=KEY))
        said += told(error)
        if found is not None:
            said += [repr(found), repr(found.job.raw), repr(found.documents)]
    assert any("***" in text for text in said)
    assert [text for text in said if KEY in text] == []


# Jobs that grow


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_many_looks_find_what_one_does(kind: str, *, curves: bool) -> None:
    """A job that is followed from its first step on has at each look the points of one alone."""
    api = WIRES[kind]()
    followed = over(httpx.MockTransport(api), kind, curves=curves)
    found: dict[tuple[str, int], float] = {}

    def look(steps: int) -> None:
        found.update(new_points(followed, found))
        alone = new_points(over(httpx.MockTransport(api), kind, curves=curves), {})
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
    """What a look finds that is not logged, by name and step."""
    (job,) = (job for page in provider.pages() for job in page.jobs)
    before = frozenset(logged)
    snapshot = provider.read(job, is_logged=lambda name, step: (name, step) in before)
    points = {(p.name, p.step): p.value for p in snapshot.curve}
    for checkpoint in snapshot.checkpoints:
        points |= {(name, checkpoint.step): value for name, value in checkpoint.metrics.items()}
    return {at: value for at, value in points.items() if at not in before}
