"""A request as the simulator sees it, and the reply to send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

JsonObject = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One HTTP reply, whole or broken on purpose."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncate_at: int | None = None
    """Number of bytes to send of the announced body before closing the connection."""
    reset: bool = False
    """Whether to send nothing and reset the connection."""


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(value: object, status: int = 200) -> Reply:
    """Return ``value`` as a JSON document."""
    return Reply(
        status=status,
        headers={"Content-Type": "application/json"},
        body=json.dumps(value).encode(),
    )
