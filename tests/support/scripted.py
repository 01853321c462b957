"""A transport that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from bridge import errors
from bridge.http import retries
from bridge.http.client import ApiClient, connect
from bridge.redaction import Redactor
from tests.support.world import KEY, NoSleep

BASE_URL = "https://provider.example/v1"


PATH = "/fine_tuning/jobs"


JSON = {"content-type": "application/json"}


PASSING = [408, 409, 425, 429, 500, 502, 503, 504]


MOST_REQUESTS = 300
"""Limit on requests, above any test's need: paging that never ends fails instead of hanging."""


LASTING = [300, 302, 400, 401, 403, 404, 405, 410, 413, 422, 501]


Handler = Callable[[httpx.Request], httpx.Response]


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply of a script."""

    status: int = 200
    content: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        """Return a response that has not been read yet."""
        return httpx.Response(self.status, headers=self.headers, content=self.content)


def answer(status: int, body: object = None, **headers: str) -> Answer:
    """Return a reply with a JSON body; underscores in the names of headers become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({} if body is None else body).encode(), JSON | named)


@dataclass
class Script:
    """Gives its answers in order, and repeats the last one."""

    answers: Sequence[Handler | Exception]
    most: int = MOST_REQUESTS
    """Limit on requests."""
    requests: list[httpx.Request] = field(default_factory=list)
    sleep: NoSleep = field(default_factory=NoSleep)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests.append(request)
        assert len(self.requests) <= self.most, "the requests do not end"
        given_answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(given_answer, Exception):
            raise given_answer
        return given_answer(request)

    def http(self, patience: int = retries.ATTEMPTS, tell: retries.Tell | None = None) -> ApiClient:
        """Return a client whose network is this script."""
        return connect(
            BASE_URL,
            headers={"Authorization": f"Bearer {KEY}"},
            redactor=Redactor([KEY]),
            sleep=self.sleep,
            patience=patience,
            transport=httpx.MockTransport(self),
            tell=tell,
        )


def script(*answers: Handler | Exception, most: int = MOST_REQUESTS) -> Script:
    """Return a script of these answers, or of a function that answers every request."""
    return Script(answers, most)


def failure(scripted: Script) -> errors.ProviderError:
    """Return the error that a request ends with."""
    with pytest.raises(errors.ProviderError) as caught:
        scripted.http().get_object(PATH)
    return caught.value


def local(url: str, key: str = KEY, *, sleep: NoSleep | None = None) -> ApiClient:
    """Return a client over a real socket."""
    return connect(
        url,
        headers={"Authorization": f"Bearer {key}"},
        redactor=Redactor([key]),
        sleep=sleep or NoSleep(),
    )


def shown(error: BaseException | None) -> Iterator[str]:
    """Return every text that a traceback or a report can show of an error."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args))
        if isinstance(error, errors.BridgeError):
            yield from (error.sentence, error.remedy)
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context


@dataclass
class Chunks(httpx.SyncByteStream):
    """A body in chunks, which can end with an error; counts those that are read."""

    chunks: Iterable[bytes]
    error: Exception | None = None
    taken: int = 0
    closed: bool = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunk after chunk."""
        for chunk in self.chunks:
            self.taken += 1
            yield chunk
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Note that the reader has closed the stream."""
        self.closed = True


def streaming(status: int, chunks: Chunks) -> ApiClient:
    """Return a client of a server that sends ``chunks``."""

    def stream(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=JSON, stream=chunks)

    return connect(
        BASE_URL,
        headers={},
        redactor=Redactor(),
        sleep=NoSleep(),
        transport=httpx.MockTransport(stream),
    )


CLASSES: list[tuple[int, type[errors.ProviderError]]] = [
    (301, errors.Refused),
    (400, errors.Refused),
    (401, errors.Unauthorized),
    (403, errors.Forbidden),
    (404, errors.NotFound),
    (405, errors.NotOffered),
    (408, errors.ServerFailed),
    (409, errors.Refused),
    (410, errors.NotFound),
    (418, errors.Refused),
    (422, errors.Refused),
    (425, errors.ServerFailed),
    (429, errors.Throttled),
    (500, errors.ServerFailed),
    (501, errors.NotOffered),
    (502, errors.ServerFailed),
    (503, errors.ServerFailed),
    (599, errors.ServerFailed),
]
