"""Acknowledges a tracking server's replies as they arrive.

``mlflow server`` with several workers, its default, sends a reply in two pieces and the second only
once the first is acknowledged (Nagle's algorithm). A client that has nothing to send delays its
acknowledgement for forty milliseconds, which each request would then take at least. Linux lets a
client do without the delay, but only until it sends again: so it is said before each reply is read.
"""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import urlsplit

_OPTION: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Of Linux alone."""
_PORTS: Final = {"http": 80, "https": 443}
_servers: Final[set[tuple[str, int]]] = set()
"""Host and port of those whose replies are acknowledged at once."""


def acknowledge_at_once(uri: str) -> None:
    """Do so from now on with what this process asks the server at ``uri``, and no other."""
    parts = urlsplit(uri)
    if _OPTION is None or parts.scheme not in _PORTS or parts.hostname is None:
        return
    if not _servers:
        _take_part()
    _servers.add((parts.hostname, parts.port or _PORTS[parts.scheme]))


def _take_part() -> None:
    """Let urllib3, which MLflow's client is built on, make connections that know of it."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.response import HTTPResponse

    class Prompt(HTTPConnection):
        def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3's own
            if _OPTION is not None and (self.host, self.port) in _servers:
                self.sock.setsockopt(socket.IPPROTO_TCP, _OPTION, 1)
            return super().getresponse()

    class PromptOverTls(Prompt, HTTPSConnection):
        pass

    HTTPConnectionPool.ConnectionCls = Prompt
    HTTPSConnectionPool.ConnectionCls = PromptOverTls
