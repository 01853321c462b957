"""Files and streams."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import errors
from bridge.http import transports as transport
from bridge.http.client import connect, segment
from bridge.redaction import Redactor
from bridge.simulator import Reply, Simulator
from tests.support.scripted import (
    BASE_URL,
    Answer,
    Chunks,
    answer,
    local,
    script,
    shown,
    streaming,
)
from tests.support.world import KEY


@pytest.mark.parametrize("body", [b"", b"step,train_loss\n", b"\xff\x00", b"{}"])
def test_bytes_come_as_they_are(body: bytes) -> None:
    """A file comes as unchanged bytes."""
    scripted = script(Answer(200, body, {"content-type": "application/octet-stream"}))
    assert scripted.http().find_bytes("/files/a/content") == body


def test_bytes_that_are_gone_are_none() -> None:
    """A 404 for a file is an answer, not an error."""
    assert script(answer(404)).http().find_bytes("/files/a/content") is None


def test_bytes_of_a_service_that_has_ended_are_none() -> None:
    """A file of a service that has ended is missing, and the next list reports the end."""
    ended = {"error": {"message": "No more", "code": "training_not_available"}}
    assert script(answer(403, ended)).http().find_bytes("/files/a/content") is None


@pytest.mark.parametrize("body", [b'{"a": 1}\n{"a": 2}\n', b'{"a": ', b"[" * 60_000])
def test_bytes_need_not_be_the_json_that_their_label_claims(body: bytes) -> None:
    """A file of lines may be labelled as JSON, and is requested once."""
    scripted = script(Answer(200, body))
    assert scripted.http().find_bytes("/files/a/content") == body
    assert [request.headers["accept"] for request in scripted.requests] == ["*/*"]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, errors.Unauthorized), (500, errors.ServerFailed)]
)
def test_bytes_may_fail(status: int, kind: type[errors.ProviderError]) -> None:
    """A temporary failure of a file is not taken for a missing one."""
    with pytest.raises(kind):
        script(answer(status)).http().find_bytes("/files/a/content")


FILE = "/files/a/content"


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "gzip"])
def test_a_stream_is_the_file_in_small_pieces(headers: Mapping[str, str]) -> None:
    """A stream over a real socket gives the whole file in small pieces."""
    body = bytes(range(256)) * 2000
    sent = gzip.compress(body) if headers else body
    with Simulator(intercept=lambda _request: Reply(headers=headers, body=sent)) as simulator:
        http = local(simulator.openai_url)
        with http.stream(FILE) as pieces:
            read = list(pieces)
        http.close()
    assert b"".join(read) == body
    assert max(map(len, read)) <= 64 * 1024


def test_a_stream_is_read_no_further_than_it_is_wanted() -> None:
    """A reader that takes one piece leaves the rest unsent."""
    chunks = Chunks([b"x" * 2**20] * 1000)
    with streaming(200, chunks).stream(FILE) as pieces:
        assert next(pieces)
    assert chunks.taken == 1
    assert chunks.closed


def test_a_stream_may_be_longer_than_any_other_reply() -> None:
    """A stream has no limit, because its reader decides how much to take."""
    chunks = Chunks([b"x" * 2**20] * (transport.LARGEST_REPLY // 2**20 + 2))
    with streaming(200, chunks).stream(FILE) as pieces:
        assert sum(map(len, pieces)) == transport.LARGEST_REPLY + 2 * 2**20


def test_a_stream_is_asked_for_as_it_is() -> None:
    """A stream is requested uncompressed: the cut end of a compressed file goes unnoticed."""
    scripted = script(Answer(200, b"a file"))
    with scripted.http().stream(FILE) as pieces:
        assert list(pieces) == [b"a file"]
    assert scripted.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_stream_is_not_searched_for_secrets() -> None:
    """A stream is not searched for secrets: its digest must not depend on the reader."""
    body = f"x{KEY}x".encode()
    with script(Answer(200, body)).http().stream(FILE) as pieces:
        assert b"".join(pieces) == body


@pytest.mark.parametrize("first", [answer(500), answer(429), httpx.ReadError("gone")], ids=repr)
def test_a_stream_that_does_not_begin_is_asked_for_again(first: Answer | Exception) -> None:
    """A stream is retried until it begins."""
    scripted = script(first, first, Answer(200, b"a file"))
    with scripted.http().stream(FILE) as pieces:
        assert b"".join(pieces) == b"a file"
    assert len(scripted.requests) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, errors.Refused),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (410, errors.NotFound),
        (500, errors.ServerFailed),
    ],
)
def test_a_stream_fails_like_any_request(status: int, kind: type[errors.ProviderError]) -> None:
    """A stream's error has the server's words, without its secrets."""
    scripted = script(answer(status, {"error": {"message": f"no, {KEY}"}}))
    with (
        pytest.raises(kind) as caught,
        scripted.http(patience=1).stream(FILE),
    ):
        pytest.fail("there is nothing to read")
    said = "\n".join(shown(caught.value))
    assert KEY not in said
    assert "no, ***" in said


def test_of_a_long_error_only_the_beginning_is_streamed() -> None:
    """Only the beginning of a long error is read from a stream."""
    chunks = Chunks([b"x" * 16 * 1024] * 640)
    with pytest.raises(errors.Refused), streaming(400, chunks).stream(FILE):
        pytest.fail("there is nothing to read")
    assert (chunks.taken - 1) * 16 * 1024 <= transport.LARGEST_ERROR
    assert chunks.closed


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"a file" * 30_000, truncate_at=120_000),
        Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["cut", "no gzip"],
)
def test_a_stream_that_breaks_off_is_an_error(reply: Reply) -> None:
    """A stream that breaks off is an error, after its pieces have reached the reader."""
    with Simulator(intercept=lambda _request: reply) as simulator:
        http = local(simulator.openai_url)
        with (
            pytest.raises(
                errors.NoAnswer, match=r"in the middle of its answer to /files/a/content"
            ),
            http.stream(FILE) as pieces,
        ):
            for _ in pieces:
                pass
        http.close()
    assert len(simulator.requests) == 1


def test_an_error_of_a_streams_reader_is_the_readers() -> None:
    """An error of the reader is not the provider's failure, and closes the stream."""
    chunks = Chunks([b"x"] * 1000)
    with (
        pytest.raises(ValueError, match="invalid literal"),
        streaming(200, chunks).stream(FILE) as pieces,
    ):
        int(next(pieces))
    assert chunks.closed


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (BASE_URL, True),
        (f"{BASE_URL}/", True),
        ("https://Provider.Example/v1", True),
        ("https://provider.example", False),
        ("https://provider.example.org/v1", False),
        ("http://provider.example/v1", False),
        ("https://me:secret@provider.example/v1", False),
    ],
)
def test_a_client_knows_whose_api_it_reads(base: str, *, expected: bool) -> None:
    """A client recognizes the public service by its host, not by its format."""
    http = connect(base, headers={}, redactor=Redactor())
    assert http.is_at(BASE_URL) is expected
    http.close()


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_segment_is_one_segment(text: str) -> None:
    """Any text fills one segment of a path, and can be read back from it."""
    scripted = script(answer(200))
    scripted.http().get_object(f"/jobs/{segment(text)}/end")
    (request,) = scripted.requests
    start, middle, end = request.url.raw_path.decode().removeprefix("/v1/").split("/")
    assert (start, end) == ("jobs", "end")
    assert unquote(middle) == text
    assert middle not in {".", ".."}
