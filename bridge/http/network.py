"""The network below every request: a reply has a deadline, however slowly its bytes come.

httpx limits the wait for each byte alone: a server that sent one every few seconds would hold a
pass for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpcore
import httpx

LONGEST_REPLY: Final = 90.0
"""Seconds for a reply, counted from its request."""
SLOWEST: Final = 256 * 2**10
"""Bytes that a large reply brings for each second that it takes beyond those."""

Clock = Callable[[], float]
"""Seconds that only go forward."""


class Network(httpx.HTTPTransport):
    """httpx's own, but for the deadline."""

    def __init__(
        self,
        *,
        proxy: str | None = None,
        connections: int | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        super().__init__(limits=limits, proxy=proxy)
        # Its pool takes a backend, but httpx has no parameter to pass one on.
        self._pool._network_backend = _Backend(clock)  # noqa: SLF001 - the only way in


class _Backend(httpcore.SyncBackend):
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = super().connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._clock)


class _Stream(httpcore.NetworkStream):
    """One connection: a request is written, then its reply is read."""

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._asked_at = clock()
        self._received = 0

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)
        self._asked_at, self._received = self._clock(), 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        allowed = LONGEST_REPLY + self._received / SLOWEST
        left = self._asked_at + allowed - self._clock()
        if left <= 0:
            raise httpcore.ReadTimeout("the reply trickles in too slowly")
        content = self._stream.read(max_bytes, left if timeout is None else min(timeout, left))
        self._received += len(content)
        return content

    def start_tls(self, *args: Any, **more: Any) -> httpcore.NetworkStream:  # noqa: ANN401 - as its own
        return _Stream(self._stream.start_tls(*args, **more), self._clock)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as its own
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()
