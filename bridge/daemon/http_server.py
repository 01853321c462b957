"""The daemon's own small HTTP server. Answers GET and HEAD from memory, and nobody for long.

Whoever can reach it can read it; it says what is in logs too. One thread for each of a few
connections, one request for each, and an end to those that dawdle.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from bridge.errors import ConfigError
from bridge.settings.daemon import Address

LONGEST: Final = 10.0
"""Seconds for a request and its answer."""
MOST: Final = 32
"""Connections at once; more are hung up on."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    body: bytes
    kind: str
    """Its media type."""
    status: HTTPStatus = HTTPStatus.OK
    policy: str = "default-src 'none'; frame-ancestors 'none'"
    """What a browser may do with it."""

    @classmethod
    def json(cls, document: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Answer:
        """A JSON document."""
        body = json.dumps(document, indent=2).encode() + b"\n"
        return cls(body, "application/json", status)


Answering = Callable[[str, str], Answer | None]
"""What there is at a path for what a client accepts; ``None``: nothing."""


@contextlib.contextmanager
def listening(
    address: Address, answering: Answering, *, longest: float = LONGEST
) -> Iterator[Address]:
    """Answer until the end of the context; yields the address with the port that it got.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        server = _Server(address, answering, longest)
    except OSError as error:
        raise ConfigError(
            [f"listen: {address} cannot be listened on ({error.strerror}); choose another"]
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="listener", daemon=True)
    thread.start()
    try:
        yield Address(address.host, server.port)
    finally:
        server.shutdown()
        server.server_close()
        server.hang_up(0.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False
    request_queue_size = MOST

    def __init__(self, address: Address, answering: Answering, longest: float) -> None:
        self.answering = answering
        self._longest = longest
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        self.address_family, *_, where = found[0]
        super().__init__((str(where[0]), int(where[1])), _Handler)

    @property
    def port(self) -> int:
        """The one that it got."""
        return int(self.socket.getsockname()[1])

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of this machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "", self.port

    def verify_request(self, request: Any, client_address: object) -> bool:  # noqa: ANN401 - the base class's type is wider
        """Take a connection unless there are too many."""
        del client_address
        with self._lock:
            if len(self._open) >= MOST:
                return False
            self._open[request] = time.monotonic()
            return True

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as above
        """Forget a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Hang up on those that dawdle; called twice a second."""
        self.hang_up(self._longest)

    def hang_up(self, after: float) -> None:
        """End connections that are older than so many seconds."""
        now = time.monotonic()
        with self._lock:
            late = [each for each, since in self._open.items() if now - since >= after]
        for connection in late:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up, nor of what they send."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.0"  # one request for each connection
    timeout = LONGEST

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        accept = self.headers.get("Accept", "")
        answer = self.server.answering(path, accept)
        self._send(
            answer or Answer(b"There is nothing here.\n", "text/plain", HTTPStatus.NOT_FOUND)
        )

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks up

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.body)),
            "Content-Security-Policy": answer.policy,
            **_HEADERS,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no GET, in the words of the standard alone."""
        del message, explain
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._send(Answer(f"{status.phrase}\n".encode(), "text/plain", status))

    def version_string(self) -> str:
        """Who answers."""
        return "ftbridge"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what is asked is no event."""
