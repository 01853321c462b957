"""Retries: which failures of a GET are worth another attempt, and when it is made."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import httpx
import tenacity

from bridge.http.transports import Lasting

ATTEMPTS: Final = 8
"""Attempts of a request; if a fifth of all replies are broken, one request in 400,000 still
fails."""
CONNECT_ATTEMPTS: Final = 4
"""Attempts at connecting; a host that refuses connections is down."""
PAGE_ATTEMPTS: Final = 4
"""Attempts if a web page comes instead of JSON: a proxy's error page is temporary, a sign-in page
or a wrong address is not."""
LONGEST_RETRY_AFTER: Final = 60.0
"""Longest wait in seconds; a provider that asks for more is not asked again in this pass."""
LONGEST_REQUEST: Final = 90.0
"""Seconds after which a request gets no further attempt."""
PASSING: Final = frozenset({408, 425})
"""Statuses below 500 that mean a slow or unready server rather than a wrong request."""
RESULTS: Final = ("2xx", "3xx", "4xx", "429", "5xx", "no_answer")
"""The possible results of an attempt."""

_QUOTA_CODES: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
)

Tell = Callable[[str, int], object]
"""Receives the result of an attempt, one of ``RESULTS``, and its number, counted from 1."""
Retried = Callable[[str, float], object]
"""Receives the reason for another attempt, and the seconds until then."""


class Retrying(httpx.BaseTransport):
    """Sends a GET again while that may help, after the wait that the server asks for.

    Args:
        wire: The transport below.
        sleep: Waits for a number of seconds; raises ``Stopped`` to give up.
        attempts: Highest number of attempts for one request.
        clock: Monotonic seconds.
        tell: Receives the result of each attempt.
        retried: Receives the cause and the wait of each further attempt.
    """

    def __init__(
        self,
        wire: httpx.BaseTransport,
        *,
        sleep: Callable[[float], None],
        attempts: int = ATTEMPTS,
        clock: Callable[[], float] = time.monotonic,
        tell: Tell | None = None,
        retried: Retried | None = None,
    ) -> None:
        self._wire = wire
        self._attempts = attempts
        self._sleep = sleep
        self._clock = clock
        self._tell = tell or (lambda _result, _attempt: None)
        self._retried = retried or (lambda _cause, _seconds: None)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` until a reply is conclusive or the attempts are used up.

        Raises:
            httpx.RequestError: The last attempt's.
        """
        if request.method != "GET":
            return self._wire.handle_request(request)
        attempts = tenacity.Retrying(
            sleep=self._sleep,
            stop=partial(self._stop, self._clock()),
            wait=_wait,
            retry=tenacity.retry_if_result(partial(_may_improve, request, itertools.count(1)))
            | tenacity.retry_if_exception(_is_passing),
            before_sleep=self._before_sleep,
            retry_error_callback=_last_outcome,
        )
        return attempts(self._attempt, request, itertools.count(1))

    def _attempt(self, request: httpx.Request, numbers: Iterator[int]) -> httpx.Response:
        number = next(numbers)
        try:
            reply = self._wire.handle_request(request)
        except httpx.RequestError:
            self._tell("no_answer", number)
            raise
        self._tell(result_of(reply.status_code), number)
        return reply

    def _before_sleep(self, state: tenacity.RetryCallState) -> None:
        error = _error(state)
        cause = type(error).__name__ if error else f"status {_last_outcome(state).status_code}"
        self._retried(cause, state.upcoming_sleep)

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


def result_of(status: int) -> str:
    """Return the item of ``RESULTS`` for a reply's status."""
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return "429"
    word = f"{status // 100}xx"
    return word if word in RESULTS else "no_answer"


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _last_outcome(state: tenacity.RetryCallState) -> httpx.Response:
    assert state.outcome is not None  # noqa: S101 - tenacity calls back after an attempt
    response: httpx.Response = state.outcome.result()
    return response


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, httpx.RequestError) and not isinstance(
        error, Lasting | httpx.UnsupportedProtocol | httpx.LocalProtocolError
    )


def _may_improve(request: httpx.Request, pages: Iterator[int], response: httpx.Response) -> bool:
    if _wants_json(request) and _is_page(response):
        return next(pages) < PAGE_ATTEMPTS
    if response.headers.get("x-should-retry") == "false":
        return False
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return not is_quota(response)
    if response.status_code == httpx.codes.NOT_IMPLEMENTED:
        return False
    return response.status_code in {*PASSING, 409} or response.is_server_error


def _wants_json(request: httpx.Request) -> bool:
    return "json" in request.headers.get("accept", "")


def _is_page(response: httpx.Response) -> bool:
    """Return whether a successful reply is HTML or XML, whatever its content type."""
    return response.is_success and response.content.lstrip().startswith(b"<")


def is_quota(response: httpx.Response) -> bool:
    """Return whether a 429 means an exhausted quota, against which waiting does not help."""
    error = error_object(response)
    return not _QUOTA_CODES.isdisjoint(map(str, (error.get("code"), error.get("type"))))


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds that the server asks for, else 0.25 doubled up to 8, a quarter random."""
    asked = _asked_wait(state)
    if asked is not None:
        return asked
    backoff = min(8.0, 0.25 * 2.0 ** (state.attempt_number - 1))
    return backoff * random.uniform(0.75, 1.0)  # noqa: S311 - spreads load, protects nothing


def _asked_wait(state: tenacity.RetryCallState) -> float | None:
    if _error(state) is not None:
        return None
    headers = _last_outcome(state).headers
    # A date is by the server's clock, and this machine's clock may be wrong.
    sent_at = _moment(headers.get("date", ""))
    return retry_after(headers, now=time.time() if sent_at is None else sent_at)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the wait in seconds that a reply's headers ask for; ``None`` without one."""
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
    """Return the Unix seconds of an HTTP date."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def error_object(response: httpx.Response) -> dict[str, object]:
    """Return the part of an error's body that describes it, in any provider's form."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, dict):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, dict) else body
