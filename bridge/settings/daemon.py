"""What can be configured of a daemon's own address, and of those that it calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, SecretStr, ValidationInfo, field_validator

from bridge.settings.section import Section
from bridge.settings.urls import READABLE, is_readable_on_the_way, secrets_of_secret

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[A-Za-z0-9](?:[\w.-]*\w)?)):(?P<port>\d{1,5})"
)
_HIGHEST_PORT: Final = 65535


class Address(NamedTuple):
    """Where to listen. Port 0: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(text: object) -> object:
    found = _ADDRESS.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None or int(found["port"]) > _HIGHEST_PORT:
        raise ValueError('must be HOST:PORT, such as 127.0.0.1:9187 or "[::1]:9187"')
    return Address(found["six"] or found["host"], int(found["port"]))


Listen = Annotated[Address, BeforeValidator(_address, json_schema_input_type=str)]


def _checked(url: SecretStr, info: ValidationInfo) -> SecretStr:
    text = url.get_secret_value().strip()
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_address = is_address and (parts.port is None or parts.port > 0)
    except ValueError:
        is_address = False
    if not is_address or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be an address that begins with https:// or http://")
    if not info.data.get("allow_http") and is_readable_on_the_way(text):
        raise ValueError(READABLE)
    return SecretStr(text)


class HeartbeatSettings(Section):
    """Who waits for a sign of life; written as its address alone, as a rule."""

    allow_http: bool = False
    """Whether it may be unencrypted though it is not on this machine."""
    url: SecretStr
    """Is asked after good passes, once a minute at most."""

    _encrypted = field_validator("url")(_checked)


def _with_url(written: object) -> object:
    return {"url": written} if isinstance(written, str) else written


Heartbeat = Annotated[
    HeartbeatSettings,
    BeforeValidator(_with_url, json_schema_input_type=str | HeartbeatSettings),
]

Event = Literal["succeeded", "failed", "cancelled", "outage", "recovered"]


class NotifySettings(Section):
    """Who wants to know what happens."""

    allow_http: bool = False
    """Whether webhook may be unencrypted though it is not on this machine."""
    webhook: SecretStr
    """Is sent what Slack and others like it show."""
    on: tuple[Event, ...] = ("failed",)
    """Of what."""

    _encrypted = field_validator("webhook")(_checked)


def secrets_of_calls(
    heartbeat: HeartbeatSettings | None, notify: NotifySettings | None
) -> Iterator[str]:
    """What must not be shown of the addresses that are called."""
    for url in (heartbeat and heartbeat.url, notify and notify.webhook):
        if url:
            yield from secrets_of_secret(url.get_secret_value())
