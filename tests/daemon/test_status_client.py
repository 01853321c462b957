"""Asking a daemon for its status: any other answer means that none is there."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from bridge.daemon.status import DaemonStatus
from bridge.daemon.status_client import ask
from bridge.daemon.status_page import document
from bridge.redaction import Redactor
from bridge.settings.daemon import Address
from tests.support.world import NOW

HERE = Address("127.0.0.1", 9187)
MOST = 2**20


def document_of() -> dict[str, object]:
    """Return the status of a daemon that has made no pass yet."""
    return document(DaemonStatus(["openai"], Redactor(), lambda: NOW).view())


def answered(
    reply: Callable[[httpx.Request], httpx.Response], at: Address = HERE
) -> tuple[str, bool]:
    """Return the requested address, and whether a daemon answers there."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return reply(request)

    found = ask(at, httpx.MockTransport(answer))
    return asked[0], found is not None


def test_a_daemon_says_how_it_is() -> None:
    """A daemon's answer is read for the command, and passed on unchanged for programs."""
    sent = document_of()
    found = ask(HERE, httpx.MockTransport(lambda _: httpx.Response(200, json=sent)))
    assert found is not None
    daemon, as_sent = found
    assert as_sent == sent
    assert daemon.now == NOW
    assert daemon.providers.keys() == {"openai"}
    assert daemon.providers["openai"].last_pass.ended is None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9187/status.json"),
        ("0.0.0.0", "http://127.0.0.1:9187/status.json"),  # noqa: S104 - nothing is bound
        ("::", "http://[::1]:9187/status.json"),
        ("::1", "http://[::1]:9187/status.json"),
        ("daemon.example", "http://daemon.example:9187/status.json"),
    ],
)
def test_who_listens_everywhere_is_asked_here(host: str, url: str) -> None:
    """A daemon that listens on the wildcard address is asked on this machine."""
    reply = httpx.Response(200, json=document_of())
    assert answered(lambda _: reply, Address(host, 9187)) == (url, True)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"now": 1}', b"[" * 60_000, b"\xff"],
)
def test_another_program_is_no_daemon(body: bytes) -> None:
    """Any other answer at the port means that no daemon runs."""
    assert not answered(lambda _: httpx.Response(200, content=body))[1]


@pytest.mark.parametrize(("size", "is_read"), [(MOST, True), (MOST + 1, False)])
def test_an_answer_is_bounded(size: int, *, is_read: bool) -> None:
    """An answer is read up to a megabyte."""
    text = json.dumps(document_of())
    body = text + " " * (size - len(text))
    assert answered(lambda _: httpx.Response(200, text=body))[1] is is_read


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ReadTimeout("x")])
def test_silence_is_no_daemon(error: Exception) -> None:
    """A port without an answer means that no daemon runs."""

    def fails(_request: httpx.Request) -> httpx.Response:
        raise error

    assert not answered(fails)[1]


def test_an_address_that_is_none_has_no_daemon() -> None:
    """An impossible address gets no request."""
    assert ask(Address("\0", 9187)) is None
