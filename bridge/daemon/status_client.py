"""Ask a running daemon for its status. Any other answer means that no daemon runs."""

from __future__ import annotations

from typing import Final

import httpx
from pydantic import BaseModel

from bridge.settings.daemon import Address

_TIMEOUT: Final = 2.0
"""Timeout in seconds."""
_MOST: Final = 2**20
"""Largest answer in bytes."""
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
_Json = dict[str, object]


class Pass(BaseModel):
    """A pass; times are Unix seconds."""

    ended: float | None = None


class Provider(BaseModel):
    """The status of a provider."""

    up: bool | None
    last_pass: Pass
    next_pass: float | None
    stopped: str | None
    failures: tuple[str, ...]
    failing_jobs: int
    lag_seconds: float | None


class Daemon(BaseModel):
    """The status of a daemon."""

    now: float
    providers: dict[str, Provider]


def ask(listen: Address, wire: httpx.BaseTransport | None = None) -> tuple[Daemon, _Json] | None:
    """Return the status of the daemon at an address, parsed and as JSON; ``None`` without one."""
    at = Address(_EVERYWHERE.get(listen.host, listen.host), listen.port)
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, trust_env=False, transport=wire) as client,
            client.stream("GET", f"http://{at}/status.json") as reply,
        ):
            body = b""
            for piece in reply.iter_bytes(2**16):
                body += piece
                if len(body) > _MOST:
                    return None
            document = httpx.Response(200, content=body).json()
            return Daemon.model_validate(document), document
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError):
        return None
