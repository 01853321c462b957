"""A proxy between a client and a server that breaks connections as networks do."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_NO_LINGER = struct.pack("ii", 1, 0)
_CHUNK = 64 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Behaviour of one connection."""

    answers: bool = True
    """Whether the server gets the request; if not, the connection is a black hole."""
    resets_after: int | None = None
    """Bytes of replies after which the connection is reset."""
    silent_after: int | None = None
    """Bytes of replies after which the connection stays open and silent."""
    drips: bytes | None = None
    """Bytes sent in place of a reply, followed by one byte after another."""
    latency: float = 0.0
    """Delay of each piece of a reply in seconds."""


class TcpProxy:
    """Forwards connections to ``url`` while it is entered.

    ``line`` says how the next connection behaves, by its number; ``passed`` is called after each
    piece of a reply, so that a test can turn its clock.
    """

    def __init__(
        self,
        url: str,
        line: Callable[[int], Line] = lambda _number: Line(),
        passed: Callable[[], None] = lambda: None,
    ) -> None:
        self.line = line
        self.connections = 0
        """Number of connections so far."""
        self._target = urlsplit(url)
        self._passed = passed
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Return the address that replaces the server's, with the same path."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}{self._target.path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread in accept() keeps a closed socket open.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Reset all connections, including those in black holes."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with self._lock:
                    self.connections += 1
                    number = self.connections
                    self._open.add(client)
                threading.Thread(
                    target=self._serve, args=(client, self.line(number)), daemon=True
                ).start()

    def _serve(self, client: socket.socket, line: Line) -> None:
        with client, contextlib.suppress(OSError):
            if line.drips is not None:
                client.recv(_CHUNK)
                client.sendall(line.drips)
                for _ in range(100_000):
                    client.sendall(b"a")
                    self._passed()
                return
            if not line.answers:
                _swallow(client)
                return
            port = self._target.port
            assert port is not None
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._forward(client, server, line)
        with self._lock:
            self._open.discard(client)

    def _forward(self, client: socket.socket, server: socket.socket, line: Line) -> None:
        sent = 0
        while True:
            # One thread for both directions: a reset waits for any thread that still reads.
            ready, _, _ = select.select([client, server], [], [])
            if client in ready:
                if not (content := client.recv(_CHUNK)):
                    return
                server.sendall(content)
            if server in ready:
                if not (content := server.recv(_CHUNK)):
                    return
                if line.latency:
                    threading.Event().wait(line.latency)
                limits = [
                    each for each in (line.resets_after, line.silent_after) if each is not None
                ]
                rest = content[: max(0, min(limits) - sent)] if limits else content
                client.sendall(rest)
                sent += len(rest)
                self._passed()
                if len(rest) < len(content):
                    if line.resets_after is None:
                        _swallow(client)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    return


def _swallow(client: socket.socket) -> None:
    """Read and stay silent until the other side gives up."""
    while client.recv(_CHUNK):
        pass
