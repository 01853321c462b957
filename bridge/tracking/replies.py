"""How this process takes the replies of a tracking server: at once, and not for ever.

**At once.** ``mlflow server`` with several workers, its default, sends a reply in two pieces and
the second only once the first is acknowledged (Nagle's algorithm). A client that has nothing to
send delays its acknowledgement for forty milliseconds, which each request would then take at least.
Linux lets a client do without the delay, but only until it sends again: so it is said before each
reply is read.

**Not for ever.** MLflow's client limits the wait for each byte alone: a server that sent one every
few seconds would hold a pass without end. The deadline is that of ``bridge.http.network``, counted
from the first byte: how long a server may think is for MLFLOW_HTTP_REQUEST_TIMEOUT to say.
"""

from __future__ import annotations

import io
import socket
import time
from functools import partial
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from bridge.http.network import LONGEST_REPLY, SLOWEST, Clock

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_OPTION: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Of Linux alone."""
_PORTS: Final = {"http": 80, "https": 443}
_servers: Final[dict[tuple[str, int], Clock]] = {}
"""By host and port of those whose replies are taken so the clock of their deadlines."""


def take_promptly(uri: str, clock: Clock = time.monotonic) -> None:
    """Do so from now on with what this process asks the server at ``uri``, and no other.

    A server that is asked through an HTTP proxy is not known by its address and gets no deadline.
    """
    parts = urlsplit(uri)
    if parts.scheme not in _PORTS or parts.hostname is None:
        return
    if not _servers:
        _take_part()
    _servers[parts.hostname, parts.port or _PORTS[parts.scheme]] = clock


def _take_part() -> None:
    """Let urllib3, which MLflow's client is built on, make connections that know of it."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.response import HTTPResponse as Reply

    class Prompt(HTTPConnection):
        def getresponse(self) -> Reply:  # type: ignore[override] # as urllib3's own
            if clock := _servers.get((self.host, self.port)):
                if _OPTION is not None:
                    self.sock.setsockopt(socket.IPPROTO_TCP, _OPTION, 1)
                self.response_class = partial(_Reply, clock)  # type: ignore[assignment] # makes one
            return super().getresponse()

    class PromptOverTls(Prompt, HTTPSConnection):
        pass

    HTTPConnectionPool.ConnectionCls = Prompt
    HTTPSConnectionPool.ConnectionCls = PromptOverTls


class _Reply(HTTPResponse):
    """The standard library's own, but for the deadline."""

    def __init__(self, clock: Clock, sock: socket.socket, method: str | None = None) -> None:
        super().__init__(sock, method=method)
        unbuffered = sock.makefile("rb", buffering=0)
        self.fp.close()
        self.fp = io.BufferedReader(_Limited(unbuffered, clock))


class _Limited(io.RawIOBase):
    """What comes from a socket, as long as it comes fast enough."""

    def __init__(self, inner: io.RawIOBase, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._begun: float | None = None
        self._received = 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._inner.fileno()

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if self._begun is not None:
            taken = self._clock() - self._begun
            if taken >= LONGEST_REPLY + self._received / SLOWEST:
                raise TimeoutError("the reply trickles in too slowly")
        size = self._inner.readinto(buffer)
        if self._begun is None:
            self._begun = self._clock()
        self._received += size or 0
        return size

    def close(self) -> None:
        self._inner.close()
        super().close()
