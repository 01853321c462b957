"""A small HTTP server for prepared replies, which can also break the transport on purpose."""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from bridge.simulator.messages import Reply, Request

HOST = "127.0.0.1"
"""The address to listen on, which only this machine can reach."""
_NO_LINGER = struct.pack("ii", 1, 0)


class HttpServer(ThreadingHTTPServer):
    """Passes every request to ``answer``; each connection has its own thread."""

    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's lookup of this machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = HOST
        self.server_port = int(self.socket.getsockname()[1])

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Report an error, unless the client hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def opened(self, connection: socket.socket) -> None:
        """Remember ``connection`` until it is closed."""
        with self._open_lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget ``connection``."""
        with self._open_lock:
            self._open.discard(connection)

    def stop(self) -> None:
        """Stop, and hang up on the connections that clients keep alive."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    protocol_version = "HTTP/1.1"
    server_version = "ftbridge-simulator"
    sys_version = ""
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def _reply(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        url = urlsplit(self.path)
        reply = self.server.answer(
            Request(
                method=self.command,
                path=unquote(url.path),
                query=dict(parse_qsl(url.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
            )
        )
        if reply.reset:
            self._reset()
        else:
            # In one write, because a header sent separately would wait for its acknowledgement.
            self.wfile.write(_head(reply) + reply.body[: reply.truncate_at])
            self.close_connection = self.close_connection or reply.truncate_at is not None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _reply  # noqa: N815 - the names that http.server looks up

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        # Both must be closed for the socket to close, and it must close before the base class can
        # end the connection in the orderly way.
        self.rfile.close()
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing, because the terminal is the caller's."""


def _head(reply: Reply) -> bytes:
    headers = {
        "Server": _Handler.server_version,
        "Date": formatdate(usegmt=True),
        "Content-Length": str(len(reply.body)),
        **reply.headers,
    }
    lines = [f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
