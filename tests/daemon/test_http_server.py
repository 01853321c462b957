"""The daemon's HTTP server: its answers, its limits and its clients."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from http import HTTPStatus

import httpx
import pytest
from starlette.responses import PlainTextResponse

from bridge.daemon.http_server import MOST, application, listening
from bridge.daemon.metrics import Metrics
from bridge.daemon.status import DaemonStatus
from bridge.errors import ConfigError
from bridge.redaction import Redactor
from bridge.settings.daemon import Address

HERE = Address("127.0.0.1", 0)


@pytest.fixture
def at() -> Iterator[Address]:
    """Serve a daemon's pages, and return their address."""
    view = DaemonStatus(["openai"], Redactor(), lambda: 1_760_000_000.0).view
    with listening(HERE, application(view, Metrics(["openai"], view))) as address:
        yield address


def get(at: Address, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """Return the answer to a request."""
    with httpx.Client(trust_env=False) as client:
        return client.request(method, f"http://{at}{path}", headers=headers)


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/", 200, "text/html; charset=utf-8"),
        ("/?a=1", 200, "text/html; charset=utf-8"),
        ("/status.json", 200, "application/json"),
        ("/healthz", 200, "application/json"),
        ("/readyz", 503, "application/json"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/metrics/", 404, "text/plain; charset=utf-8"),
        ("/../etc/passwd", 404, "text/plain; charset=utf-8"),
    ],
)
def test_pages_are_answered(at: Address, path: str, status: int, kind: str) -> None:
    """Pages have their types, and headers that let a browser do nothing but show them."""
    reply = get(at, path)
    assert (reply.status_code, reply.headers["content-type"]) == (status, kind)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    always = {
        "cache-control": "no-store",
        "connection": "close",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "server": "ftbridge",
        "x-content-type-options": "nosniff",
    }
    assert always.items() <= dict(reply.headers).items()
    assert "access-control-allow-origin" not in reply.headers
    assert len(reply.content) == int(reply.headers["content-length"])


def test_the_page_is_json_for_those_who_ask(at: Address) -> None:
    """A client that accepts JSON gets the page as JSON."""
    reply = get(at, "/", accept="application/json")
    assert reply.json()["providers"]["openai"]["up"] is None


def test_head_has_no_body(at: Address) -> None:
    """HEAD has the same headers and no body, as the raw socket shows."""
    with socket.create_connection((at.host, at.port)) as connection:
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as stream:
            sent = stream.read()
    head, body = sent.split(b"\r\n\r\n", 1)
    assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 "))
    length = re.search(rb"(?i)content-length: ([0-9]+)", head)
    assert length
    assert int(length[1]) > 0
    assert body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_refused(at: Address, method: str) -> None:
    """Other methods are refused, because the pages can only be read."""
    reply = get(at, "/", method)
    assert reply.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert method not in reply.text


def test_rubbish_is_refused(at: Address) -> None:
    """A malformed request is refused and not repeated."""
    with socket.create_connection(at) as connection:
        connection.sendall(b"<script>alert(1)</script>\r\n\r\n")
        said = connection.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"script" not in said


WELL = PlainTextResponse("well\n")
"""Gives all requests the same answer."""


def is_cut_off(connection: socket.socket) -> bool:
    """Return whether a client that sends a byte from time to time is disconnected."""
    connection.settimeout(0.05)
    for _ in range(1000):
        try:
            return connection.recv(100) == b""
        except TimeoutError:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
        except OSError:
            return True
    return False


def test_clients_that_dawdle_are_hung_up_on() -> None:
    """A slow client is disconnected, however busy it looks, and others are served meanwhile."""
    with listening(HERE, WELL, longest=0.5) as at:
        dawdling = [socket.create_connection(at) for _ in range(MOST - 1)]
        for connection in dawdling:
            connection.sendall(b"GET /")
        assert get(at, "/").text == "well\n"
        assert all(map(is_cut_off, dawdling))
        assert get(at, "/").text == "well\n"
        for connection in dawdling:
            connection.close()


def test_too_many_at_once_are_refused() -> None:
    """Surplus connections are refused until one of the others has ended."""
    with listening(HERE, WELL, longest=600.0) as at:
        first, *others = [socket.create_connection(at) for _ in range(MOST)]
        with pytest.raises(httpx.TransportError):
            get(at, "/")
        first.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert first.makefile("rb").read().endswith(b"well\n")
        first.close()
        for connection in others:
            connection.close()


def test_it_ends_with_its_context() -> None:
    """Nobody is answered after the context, whose end waits for no hanging client."""
    with listening(HERE, WELL) as at:
        hanging = socket.create_connection(at)
        hanging.sendall(b"GET / HT")
        assert get(at, "/").text == "well\n"
    with pytest.raises(httpx.ConnectError):
        get(at, "/")
    hanging.settimeout(5)
    assert hanging.recv(100) == b"", "not hung up on"
    hanging.close()


def test_a_port_that_is_taken_is_reported() -> None:
    """A port in use is reported with the remedy."""
    with (
        listening(HERE, WELL) as at,
        pytest.raises(ConfigError, match=f"^listen: {at} cannot be used"),
        listening(at, WELL),
    ):
        pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
def test_ipv6_is_listened_on() -> None:
    """An IPv6 address is accepted in brackets."""
    with listening(Address("::1", 0), WELL) as at:
        assert str(at).startswith("[::1]:")
        assert get(at, "/").text == "well\n"
