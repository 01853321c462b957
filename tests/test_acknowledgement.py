"""How replies of a tracking server are taken: at once, and those of no other server."""

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
from bridge.tracking import Tracking

QUICK = getattr(socket, "TCP_QUICKACK", None)
pytestmark = pytest.mark.skipif(QUICK is None, reason="this system has no TCP_QUICKACK")


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


def test_replies_of_the_tracking_server_alone_are_acknowledged_at_once() -> None:
    """Each of them: the system forgets it when the next request is sent."""
    with served() as mine, served() as other:
        with pytest.raises(TrackingDown):
            Tracking(mine).ping()  # it is no MLflow, but it was asked
        assert options(mine, times=3) == [(socket.IPPROTO_TCP, QUICK, 1)] * 3
        assert options(other, times=3) == []
