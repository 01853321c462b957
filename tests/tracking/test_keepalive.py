"""How replies of a tracking server are taken: at once, not for ever, and of no other server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3
from urllib3.connection import HTTPConnection

from bridge.errors import TrackingDown
from bridge.http.network import SLOWEST
from bridge.simulator import Reply, Simulator
from bridge.tracking import Tracking
from tests.support.tcp_proxy import Line, TcpProxy
from tests.support.world import Clock

QUICK = getattr(socket, "TCP_QUICKACK", None)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS = {
    "head": HEAD + b"X-Drip: ",
    "body": HEAD + b"Content-Length: 1000000\r\n\r\n",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n",
    "error": b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n",
}
NOWHERE = "http://127.0.0.1:9"


class Empty(BaseHTTPRequestHandler):
    """Has nothing to say."""

    protocol_version = "HTTP/1.1"

    def _nothing(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _nothing  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parameter
        """Say nothing."""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Watched:
    """A socket that notes what is said before each reading."""

    def __init__(self, inner: socket.socket) -> None:
        self.options: list[tuple[int, ...]] = []
        self._inner = inner

    def setsockopt(self, *option: int) -> None:
        """Note it."""
        self.options.append(option)
        self._inner.setsockopt(*option)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def options(url: str, *, times: int) -> list[tuple[int, ...]]:
    """What is said to the socket of a kept connection while it is asked so many times."""
    pool = urllib3.PoolManager().connection_from_url(url)
    connection = pool.ConnectionCls(pool.host, pool.port)
    assert isinstance(connection, HTTPConnection)
    connection.connect()
    connection.sock = watched = Watched(connection.sock)
    for _ in range(times):
        connection.request("GET", "/")
        connection.getresponse().read()
    connection.close()
    return watched.options


@pytest.mark.skipif(QUICK is None, reason="this system has no TCP_QUICKACK")
def test_replies_of_the_tracking_server_alone_are_acknowledged_at_once() -> None:
    """Each of them: the system forgets it when the next request is sent."""
    with served() as mine, served() as other:
        with pytest.raises(TrackingDown):
            Tracking(mine).ping()  # it is no MLflow, but it was asked
        assert options(mine, times=3) == [(socket.IPPROTO_TCP, QUICK, 1)] * 3
        assert options(other, times=3) == []


@pytest.mark.parametrize("begin", DRIPS.values(), ids=DRIPS)
def test_a_reply_that_drips_in_is_given_up(
    begin: bytes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte every nineteen seconds never times out by itself; after its deadline it is an end."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    bytes_sent: list[None] = []

    def tick() -> None:
        bytes_sent.append(None)
        clock.now += 19

    with (
        TcpProxy(NOWHERE, lambda _: Line(drips=begin), tick) as proxy,
        pytest.raises(TrackingDown, match="timed out"),
    ):
        Tracking(proxy.url, clock=clock).ping()
    assert bytes_sent


def test_a_long_reply_has_the_time_that_it_needs(clock: Clock) -> None:
    """What comes at a fair rate is read to its end, however long that takes."""
    size = 8 * 2**20
    body = b'{"experiments": []' + b" " * size + b"}"

    def tick() -> None:
        clock.now += 64 * 2**10 / SLOWEST  # each piece has no more than that

    with (
        Simulator(intercept=lambda _: Reply(body=body)) as simulator,
        TcpProxy(simulator.url, passed=tick) as proxy,
    ):
        before = clock.now
        Tracking(proxy.url, clock=clock).ping()
        assert clock.now - before >= size / SLOWEST


def test_what_others_are_asked_has_no_deadline(clock: Clock) -> None:
    """A script's own requests to another address are as they were."""
    with served() as mine, pytest.raises(TrackingDown):
        Tracking(mine, clock=clock).ping()
    reply = DRIPS["body"].replace(b"1000000", b"50")

    def tick() -> None:
        clock.now += 19

    with TcpProxy(NOWHERE, lambda _: Line(drips=reply), tick) as proxy:
        assert urllib3.request("GET", proxy.url, retries=False).data == b"a" * 50
