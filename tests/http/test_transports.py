"""The layers around the wire: exact limits of time, pace and size, and refusals."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx
import pytest

from bridge.http import transports
from bridge.http.signed_urls import PublicHostsOnly, addresses_of
from bridge.http.transports import Buffered, RateLimited, Streamed, Timed, TooLarge
from bridge.redaction import Redactor
from tests.support.scripted import Chunks
from tests.support.world import Clock

URL = "https://api.example/v1"


def slow(clock: Clock, size: int, *seconds: float) -> Iterator[bytes]:
    """Yield chunks of a size, each after some seconds."""
    for each in seconds:
        clock.now += each
        yield b"x" * size


def read(stream: httpx.SyncByteStream, clock: Clock) -> bytes:
    """Return a stream as it comes through the deadline."""
    wire = httpx.MockTransport(lambda _request: httpx.Response(200, stream=stream))
    with httpx.Client(transport=Timed(wire, clock)) as client:
        return client.get(URL).content


def test_the_bounds_are_what_the_documents_say() -> None:
    """The limits are as documented, in seconds and in bytes."""
    timeout = transports.TIMEOUT
    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (10, 20, 20, 20)
    assert (transports.LONGEST_REPLY, transports.SLOWEST) == (90, 256 * 1024)
    assert (transports.LARGEST_REPLY, transports.LARGEST_ERROR) == (64 * 2**20, 64 * 2**10)
    assert transports.PIECE == 64 * 2**10


@pytest.mark.parametrize(
    ("size", "seconds", "is_in_time"),
    [
        (0, [90.0], True),
        (0, [90.5], False),
        (0, [30.0, 30.0, 30.0], True),
        (0, [30.0, 30.0, 30.5], False),
        (256 * 1024, [91.0], True),
        (256 * 1024, [91.5], False),
        (256 * 1024, [45.0, 47.0], True),
        (256 * 1024, [45.0, 47.5], False),
    ],
)
def test_a_reply_has_90_seconds_and_more_for_what_it_brings(
    size: int, seconds: list[float], *, is_in_time: bool
) -> None:
    """A reply has 90 seconds, and one more for each quarter of a megabyte."""
    clock = Clock(100.0)
    stream = Chunks(slow(clock, size, *seconds))
    if is_in_time:
        assert len(read(stream, clock)) == size * len(seconds)
    else:
        with pytest.raises(httpx.ReadTimeout, match="too slowly"):
            read(stream, clock)
    assert stream.closed


def test_the_wait_for_a_reply_counts_too() -> None:
    """The deadline begins with the request, not with the first byte."""
    clock = Clock(100.0)

    def late(_request: httpx.Request) -> httpx.Response:
        clock.now += 60
        return httpx.Response(200, stream=Chunks(slow(clock, 0, 31.0)))

    with (
        httpx.Client(transport=Timed(httpx.MockTransport(late), clock)) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(URL)


def test_requests_keep_their_distance() -> None:
    """Requests keep their distance, and a late one does not advance the next."""
    clock, waits = Clock(100.0), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.now += seconds

    wire = httpx.MockTransport(lambda _request: httpx.Response(200))
    limited = RateLimited(wire, per_second=2.0, sleep=sleep, clock=clock)
    with httpx.Client(transport=limited) as client:
        client.get(URL)
        assert waits == []
        client.get(URL)
        clock.now += 0.25
        client.get(URL)
        clock.now += 10
        client.get(URL)
        client.get(URL)
    assert waits == [0.5, 0.25, 0.5]


def buffered(
    body: bytes,
    status: int = 200,
    accept: str = "application/json",
    label: str = "application/json",
    **headers: str,
) -> httpx.Response:
    """Return a reply that is read whole."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def reply(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": label} | named, content=body)

    layer = Buffered(httpx.MockTransport(reply), Redactor(["made-up-key-0123"]))
    with httpx.Client(transport=layer) as client:
        return client.get(URL, headers={"accept": accept})


@pytest.mark.parametrize(
    ("body", "said"), [(b'{"a": ', "incomplete JSON"), (b"[" * 60_000, "nested too deep")]
)
def test_json_that_is_none_says_why(body: bytes, said: str) -> None:
    """A reply that is broken JSON differs from one that will never be JSON."""
    with pytest.raises(httpx.DecodingError, match=said):
        buffered(body)


@pytest.mark.parametrize(
    ("status", "accept", "label"),
    [
        (400, "application/json", "application/json"),
        (200, "*/*", "application/json"),
        (200, "application/json", "text/html"),
        (200, "application/json", ""),
    ],
)
def test_other_bytes_need_not_be_json(status: int, accept: str, label: str) -> None:
    """Errors, files and replies without a JSON label need not be JSON."""
    assert buffered(b'{"a": ', status, accept, label).content == b'{"a": '


@pytest.mark.parametrize(
    ("status", "size", "expected"),
    [
        (400, transports.LARGEST_ERROR, transports.LARGEST_ERROR),
        (400, transports.LARGEST_ERROR + 1, transports.LARGEST_ERROR),
        (200, transports.LARGEST_ERROR + 1, transports.LARGEST_ERROR + 1),
        (200, transports.LARGEST_REPLY, transports.LARGEST_REPLY),
        (200, transports.LARGEST_REPLY + 1, None),
    ],
)
def test_a_reply_is_bounded(status: int, size: int, expected: int | None) -> None:
    """An error beyond the limit is cut, and any other reply is refused."""
    if expected is None:
        with pytest.raises(TooLarge, match=f"more than {transports.LARGEST_REPLY} bytes"):
            buffered(b"x" * size, status, "*/*")
    else:
        assert len(buffered(b"x" * size, status, "*/*").content) == expected


@pytest.mark.parametrize(
    ("encoding", "refused"),
    [
        ("gzip, gzip", "gzip, gzip"),
        ("gzip, deflate", "gzip, deflate"),
        ("br", "br"),
        ("ZSTD", "zstd"),
        ("identity, br", "br"),
    ],
)
def test_a_packing_that_nobody_asked_for_is_refused(encoding: str, refused: str) -> None:
    """An unrequested encoding is refused, because one chunk can decode to gigabytes."""
    with pytest.raises(TooLarge, match=f"packed as {refused}"):
        buffered(b"", content_encoding=encoding)


def test_a_reply_that_was_packed_is_plain_afterwards() -> None:
    """A decoded reply has headers without the encoding, and the others without secrets."""
    reply = buffered(
        gzip.compress(b'{"a": 1}'),
        content_encoding=" GZIP ",
        transfer_encoding="chunked",
        x_request_id="of made-up-key-0123",
        x_other="1",
    )
    assert reply.json() == {"a": 1}
    assert reply.headers["x-other"] == "1"
    assert "made-up-key" not in reply.headers["x-request-id"]
    assert reply.headers["content-length"] == "8"
    assert {"content-encoding", "transfer-encoding"}.isdisjoint(reply.headers)


def test_layers_close_what_is_below_them() -> None:
    """Each layer closes those below it, down to the network."""
    closed = []

    class Wire(httpx.BaseTransport):
        def close(self) -> None:
            closed.append(1)

    public = PublicHostsOnly(Wire(), addresses_of, is_proxy=False)
    layers = Timed(RateLimited(Buffered(public, Redactor()), per_second=1, sleep=print))
    httpx.Client(transport=layers).close()
    assert closed == [1]


def test_a_stream_is_passed_on_unread() -> None:
    """A stream is passed on unread, except for an error, which is read to its limit."""
    for status, is_read in ((200, False), (500, True)):
        stream = Chunks([b"x" * 1024] * 2)
        wire = httpx.MockTransport(lambda _, s=status, b=stream: httpx.Response(s, stream=b))
        layer = Streamed(wire, Redactor())
        found = layer.handle_request(httpx.Request("GET", URL))
        assert stream.closed is is_read
        assert found.status_code == status


def test_an_error_of_the_protocol_shows_no_secret() -> None:
    """An error of the protocol keeps its type, and its quotation is masked."""

    def fails(_request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError("Illegal header value made-up-key-0123")

    layer = Buffered(httpx.MockTransport(fails), Redactor(["made-up-key-0123"]))
    with pytest.raises(httpx.LocalProtocolError) as caught:
        layer.handle_request(httpx.Request("GET", URL))
    assert "Illegal header value" in str(caught.value)
    assert "made-up" not in str(caught.value)
