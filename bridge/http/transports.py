"""Layers around the wire: a deadline for each reply, a rate limit, a masked body.

Any ``httpx.BaseTransport`` fits below them, the network as well as a test's.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from bridge.redaction import Redactor

TIMEOUT: Final = httpx.Timeout(20.0, connect=10.0)
"""Timeout in seconds for a connection, and for each chunk of a reply."""
LONGEST_REPLY: Final = 90.0
"""Timeout in seconds for a whole reply, counted from its request."""
SLOWEST: Final = 256 * 2**10
"""Slowest accepted rate of a reply that takes longer, in bytes per second."""
LARGEST_REPLY: Final = 64 * 2**20
"""Largest body in bytes; the result file of a job with 100,000 steps has about 5 MB."""
LARGEST_ERROR: Final = 64 * 2**10
"""Bytes that are read of an error's body, of which only the first sentence is shown."""
PIECE: Final = 64 * 2**10
"""Size of a stream's chunks in bytes."""

_PACKED: Final = frozenset({"gzip", "deflate"})
"""Encodings that shrink a body at most a thousandfold."""
_PACKED_TIGHTER: Final = frozenset({"br", "zstd"})

Clock = Callable[[], float]
"""Returns monotonic seconds."""


class Lasting(httpx.RequestError):
    """A failure that further attempts would not change."""


class TooLarge(Lasting):
    """The reply is, or may unpack to, more than the limit."""


class Timed(httpx.BaseTransport):
    """Cuts off replies that arrive too slowly.

    httpx limits only the wait for each chunk, so a server that sends a byte every few seconds would
    block a pass for ever.
    """

    def __init__(self, wire: httpx.BaseTransport, clock: Clock = time.monotonic) -> None:
        self._wire = wire
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; the reply's stream checks the clock at each chunk.

        Raises:
            httpx.RequestError: No reply, or only part of one.
        """
        begun = self._clock()
        reply = self._wire.handle_request(request)
        assert isinstance(reply.stream, httpx.SyncByteStream)  # noqa: S101 - for the type checker
        reply.stream = _TimedStream(reply.stream, request, begun, self._clock)
        return reply

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


class _TimedStream(httpx.SyncByteStream):
    def __init__(
        self, stream: httpx.SyncByteStream, request: httpx.Request, begun: float, clock: Clock
    ) -> None:
        self._stream = stream
        self._request = request
        self._begun = begun
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for chunk in self._stream:
            received += len(chunk)
            if self._clock() - self._begun > LONGEST_REPLY + received / SLOWEST:
                raise httpx.ReadTimeout("the reply arrived too slowly", request=self._request)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class RateLimited(httpx.BaseTransport):
    """Spaces the requests of all threads evenly."""

    def __init__(
        self,
        wire: httpx.BaseTransport,
        *,
        per_second: float,
        sleep: Callable[[float], None],
        clock: Clock = time.monotonic,
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
            httpx.RequestError: No reply, or only part of one.
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


class Buffered(httpx.BaseTransport):
    """Reads each reply completely and masks its secrets.

    A reply that breaks off fails here, below the retries. So does incomplete JSON, if the request
    accepts JSON and the reply claims to be JSON.
    """

    def __init__(self, wire: httpx.BaseTransport, redactor: Redactor) -> None:
        self._wire = wire
        self._redactor = redactor

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` and read the reply.

        Raises:
            httpx.RequestError: No reply, or only part of one.
        """
        try:
            reply = self._wire.handle_request(request)
            try:
                _check_encoding(reply, request)
                whole = self._read(reply, request)
            except BaseException:
                reply.close()
                raise
        except httpx.RequestError as error:
            # A protocol error quotes the reply's bytes.
            said = self._redactor.line(str(error))
            raise type(error)(said, request=request) from None
        return whole

    def _read(self, reply: httpx.Response, request: httpx.Request) -> httpx.Response:
        body = self._masked(_bounded(reply, request), reply, request)
        reply.close()
        headers = [
            (name, self._redactor.text(value))
            for name, value in reply.headers.multi_items()
            # The body is decoded by now, and its length may have changed.
            if name.lower() not in {"content-encoding", "content-length", "transfer-encoding"}
        ]
        return httpx.Response(reply.status_code, headers=headers, content=body, request=request)

    def _masked(self, body: bytes, reply: httpx.Response, request: httpx.Request) -> bytes:
        is_json = True
        try:
            json.loads(body, object_hook=_nothing)
        except (ValueError, RecursionError) as error:
            if reply.is_success and _is_json(request.headers, "accept") and _is_json(reply.headers):
                deep = isinstance(error, RecursionError)
                said = "JSON that is nested too deep" if deep else "incomplete JSON"
                raise httpx.DecodingError(said, request=request) from None
            is_json = False
        # Bytes that are not UTF-8 are preserved.
        text = body.decode(errors="surrogateescape")
        masked = self._redactor.known(text)
        if masked == text:
            return body
        if is_json:
            with contextlib.suppress(RecursionError):
                return json.dumps(self._redactor.document(json.loads(body))).encode()
        return masked.encode(errors="surrogateescape")

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


class Streamed(Buffered):
    """Forwards a reply unread, unless it is an error."""

    def _read(self, reply: httpx.Response, request: httpx.Request) -> httpx.Response:
        return reply if reply.is_success else super()._read(reply, request)


def _is_json(headers: httpx.Headers, name: str = "content-type") -> bool:
    return "json" in headers.get(name, "")


def _check_encoding(reply: httpx.Response, request: httpx.Request) -> None:
    """Refuse an encoding that was not requested, because a doubly packed chunk can be gigabytes."""
    encodings = [
        each.strip().lower() for each in reply.headers.get("content-encoding", "").split(",")
    ]
    packed = [each for each in encodings if each in _PACKED | _PACKED_TIGHTER]
    if len(packed) > 1 or not _PACKED.issuperset(packed):
        raise TooLarge(f"a reply packed as {', '.join(packed)[:80]}", request=request)


def _bounded(reply: httpx.Response, request: httpx.Request) -> bytes:
    """Return the body, or only its beginning for an error."""
    limit = LARGEST_REPLY if reply.is_success else LARGEST_ERROR
    body = bytearray()
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) > limit:
            if reply.is_success:
                raise TooLarge(f"more than {limit} bytes", request=request)
            break
    del body[limit:]
    return bytes(body)


def _nothing(_object: object) -> None:
    """Keep nothing of a JSON object, because a parsed list takes ten times its length."""
