"""Layers around the wire: a whole reply, a pace, then patience.

Any ``httpx.BaseTransport`` fits below them, a test's as well as the network.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import httpx
import tenacity

from bridge.redaction import Redactor

ATTEMPTS: Final = 8
"""With a fifth of all replies broken, one request in 400,000 still fails."""
CONNECT_ATTEMPTS: Final = 4
"""A host that refuses connections is down: no need to ask eight times."""
LONGEST_RETRY_AFTER: Final = 60.0
"""Seconds. A provider that asks for more is left alone until the next pass."""
LONGEST_REQUEST: Final = 90.0
"""Seconds after which a request gets no further attempt."""
LARGEST_REPLY: Final = 64 * 2**20
"""Bytes. The result file of a 100,000-step job has about 5 MB."""
LARGEST_ERROR: Final = 64 * 2**10
"""Bytes read of an error's body; its first sentence is all that is shown."""

_PACKED: Final = frozenset({"gzip", "deflate"})
"""Encodings that make a body at most a thousand times smaller."""
_PACKED_TIGHTER: Final = frozenset({"br", "zstd"})
_QUOTA_CODES: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
)


class Buffered(httpx.BaseTransport):
    """Reads each reply to its end, so that a broken one fails here, where it can be retried.

    Where a request has the extension ``is_stream``, a reply that is no error is passed on unread.
    """

    def __init__(self, wire: httpx.BaseTransport, redactor: Redactor) -> None:
        self._wire = wire
        self._redactor = redactor

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; the reply's body is in memory, but for a stream's.

        Raises:
            httpx.RequestError: no reply, or only part of one.
        """
        try:
            return self._read(request)
        except httpx.RequestError as error:
            # An error of the protocol quotes what was sent.
            said = self._redactor.line(str(error))
            raise type(error)(said, request=request) from None

    def _read(self, request: httpx.Request) -> httpx.Response:
        reply = self._wire.handle_request(request)
        try:
            _check_encoding(reply, request)
        except httpx.DecodingError:
            reply.close()
            raise
        if reply.is_success and request.extensions.get("is_stream"):
            return reply
        try:
            body = self._redactor.body(_bounded(reply, request))
        finally:
            reply.close()
        headers = [
            (name, self._redactor.text(value))
            for name, value in reply.headers.multi_items()
            # The body is decoded by now, and its length may have changed.
            if name.lower() not in {"content-encoding", "content-length", "transfer-encoding"}
        ]
        whole = httpx.Response(reply.status_code, headers=headers, content=body, request=request)
        is_json = request.extensions.get("is_json") and "json" in whole.headers.get(
            "content-type", ""
        )
        if whole.is_success and is_json:
            whole.extensions["json"] = _decoded(body, request)
        return whole

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


def _check_encoding(reply: httpx.Response, request: httpx.Request) -> None:
    """Refuse what nobody asked for: of a body that is packed twice one chunk can be gigabytes."""
    encodings = [
        each.strip().lower() for each in reply.headers.get("content-encoding", "").split(",")
    ]
    packed = [each for each in encodings if each in _PACKED | _PACKED_TIGHTER]
    if len(packed) > 1 or not _PACKED.issuperset(packed):
        raise TooLarge(f"a reply packed as {', '.join(packed)[:80]}", request=request)


def _bounded(reply: httpx.Response, request: httpx.Request) -> bytes:
    """The body; of an error no more than its beginning."""
    limit = LARGEST_REPLY if reply.is_success else LARGEST_ERROR
    body = bytearray()
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) > limit:
            if reply.is_success:
                raise TooLarge(f"more than {limit} bytes", request=request)
            break
    return bytes(body[:limit])


class TooLarge(httpx.DecodingError):
    """A reply that is, or may unpack to, more than all reason; the next would be no smaller."""


Tell = Callable[[str, int], object]
"""Is told how an attempt ended, one of ``RESULTS``, and which of its request's it was, from 1."""


class Metered(httpx.BaseTransport):
    """Tells of every attempt, whatever becomes of it."""

    def __init__(self, wire: httpx.BaseTransport, tell: Tell) -> None:
        self._wire = wire
        self._tell = tell

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``.

        Raises:
            httpx.RequestError: no reply that is of use.
        """
        attempt = request.extensions["attempt"] = request.extensions.get("attempt", 0) + 1
        result = "no_answer"
        try:
            reply = self._wire.handle_request(request)
            result = result_of(reply.status_code)
        finally:
            self._tell(result, attempt)
        return reply

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


RESULTS: Final = ("2xx", "3xx", "4xx", "429", "5xx", "no_answer")
"""All that an attempt can end with."""


def result_of(status: int) -> str:
    """One of few words for a reply's status."""
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return "429"
    word = f"{status // 100}xx"
    return word if word in RESULTS else "no_answer"


def _decoded(body: bytes, request: httpx.Request) -> object:
    try:
        return json.loads(body)
    except RecursionError:
        raise httpx.DecodingError("JSON that is nested too deep", request=request) from None
    except ValueError as error:
        raise httpx.DecodingError("incomplete JSON", request=request) from error


class Retrying(httpx.BaseTransport):
    """Sends a GET again while that may help, and as late as the server asks."""

    def __init__(
        self,
        wire: httpx.BaseTransport,
        *,
        sleep: Callable[[float], None],
        attempts: int = ATTEMPTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._attempts = attempts
        self._sleep = sleep
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` until a reply is worth keeping or patience ends.

        Raises:
            httpx.RequestError: the last attempt's.
        """
        if request.method != "GET":
            return self._wire.handle_request(request)
        attempts = tenacity.Retrying(
            sleep=self._sleep,
            stop=partial(self._stop, self._clock()),
            wait=_wait,
            retry=tenacity.retry_if_result(_may_improve) | tenacity.retry_if_exception(_is_passing),
            retry_error_callback=_last_outcome,
        )
        return attempts(self._wire.handle_request, request)

    def _stop(self, begun: float, state: tenacity.RetryCallState) -> bool:
        connecting = isinstance(_error(state), httpx.ConnectError | httpx.ConnectTimeout)
        attempts = min(CONNECT_ATTEMPTS, self._attempts) if connecting else self._attempts
        return (
            state.attempt_number >= attempts
            or self._clock() - begun >= LONGEST_REQUEST
            or (_asked_wait(state) or 0.0) > LONGEST_RETRY_AFTER
        )

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


class RateLimited(httpx.BaseTransport):
    """Lets requests begin at even distances, from however many threads they come."""

    def __init__(
        self,
        wire: httpx.BaseTransport,
        *,
        per_second: float,
        sleep: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._distance = 1.0 / per_second
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` when it is its turn.

        Raises:
            httpx.RequestError: no reply, or only part of one.
        """
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._distance
        if turn > now:
            self._sleep(turn - now)
        return self._wire.handle_request(request)

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _last_outcome(state: tenacity.RetryCallState) -> httpx.Response:
    assert state.outcome is not None  # noqa: S101 - tenacity calls back after an attempt
    response: httpx.Response = state.outcome.result()
    return response


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, httpx.RequestError) and not isinstance(
        error, TooLarge | httpx.UnsupportedProtocol | httpx.LocalProtocolError
    )


def _may_improve(response: httpx.Response) -> bool:
    if response.headers.get("x-should-retry") == "false":
        return False
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return not is_quota(response)
    if response.status_code == httpx.codes.NOT_IMPLEMENTED:
        return False
    return response.status_code in {408, 409} or response.is_server_error


def is_quota(response: httpx.Response) -> bool:
    """Whether a 429 means an empty account, which no waiting fills."""
    error = error_object(response)
    return not _QUOTA_CODES.isdisjoint(map(str, (error.get("code"), error.get("type"))))


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds: what the server asks for, else 0.25 doubling to 8, the last quarter random."""
    asked = _asked_wait(state)
    if asked is not None:
        return asked
    backoff = min(8.0, 0.25 * 2.0 ** (state.attempt_number - 1))
    return backoff * random.uniform(0.75, 1.0)  # noqa: S311 - spreads load, guards nothing


def _asked_wait(state: tenacity.RetryCallState) -> float | None:
    if state.outcome is None or state.outcome.failed:
        return None
    headers = state.outcome.result().headers
    # A date is one of the server's clock, and this machine's may be off.
    sent_at = _moment(headers.get("date", ""))
    return retry_after(headers, now=time.time() if sent_at is None else sent_at)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that a reply's headers ask to wait; ``None`` where they ask nothing sensible."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            return max(0.0, float(value) * scale)
        except ValueError:
            pass
        moment = _moment(value)
        if moment is not None:
            return max(0.0, moment - now)
    return None


def _moment(value: str) -> float | None:
    """The Unix seconds of an HTTP date."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def error_object(response: httpx.Response) -> dict[str, object]:
    """The part of an error's body that describes it, in any provider's form."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, dict):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, dict) else body
