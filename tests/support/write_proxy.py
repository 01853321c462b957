"""A proxy between the bridge and an MLflow server that counts writes."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Self
from urllib.parse import urlsplit

from tests.support.http_server import send_json, serving
from tests.support.processes import PATIENCE

_OF_ONE_HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length", "host"})


@dataclass(frozen=True, slots=True)
class Write:
    """A request that changes something, before or after the server handles it."""

    number: int
    """Number of the write, 1 for the first."""
    is_done: bool
    """Whether the server has carried it out; its reply is yet to be sent."""


class WriteProxy:
    """Forwards every request to an MLflow server within the context.

    ``hook`` is called before and after each write. If it returns true, no reply is sent, and before
    the write nothing is forwarded either.
    """

    def __init__(self, server: str) -> None:
        self.hook: Callable[[Write], bool] | None = None
        self.writes: list[str] = []
        """Method and path of each write so far."""
        self.lacks: tuple[str, ...] = ()
        """Parts of paths that get the reply of a server without that feature."""
        self.cannot_search: bytes | None = None
        """Word in a search that gets the reply of a server that does not know it."""
        self.lacked: list[str] = []
        """Requests that matched these."""
        self._server = urlsplit(server)
        self._lock = threading.Lock()
        self._running = contextlib.ExitStack()
        self.url = ""
        """Tracking URI."""

    def __enter__(self) -> Self:
        # By HTTP/1.0: a write without a reply ends its connection.
        self.url = self._running.enter_context(serving(self.handle, "HTTP/1.0"))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Forward a request, and return the reply."""
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        path = urlsplit(request.path).path
        if any(part in path for part in self.lacks):
            with self._lock:
                self.lacked.append(path)
            send_json(request, 404, b"")
            return
        if self.cannot_search and path.endswith("/search") and self.cannot_search in body:
            with self._lock:
                self.lacked.append(path)
            said = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid clause"}'
            send_json(request, 400, said)
            return
        number = 0
        if request.command != "GET" and not path.endswith("/search"):
            with self._lock:
                self.writes.append(f"{request.command} {path}")
                number = len(self.writes)
        if self._ends_here(number, is_done=False):
            return
        reply, content = self._forward(request, body)
        if self._ends_here(number, is_done=True):
            return
        request.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in _OF_ONE_HOP:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _ends_here(self, number: int, *, is_done: bool) -> bool:
        return bool(number and self.hook and self.hook(Write(number, is_done)))

    def _forward(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _OF_ONE_HOP}
        connection = http.client.HTTPConnection(
            self._server.hostname or "", self._server.port, timeout=PATIENCE
        )
        try:
            connection.request(request.command, request.path, body or None, headers)
            reply = connection.getresponse()
            return reply, reply.read()
        finally:
            connection.close()
