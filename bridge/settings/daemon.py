"""Configure the address that a daemon listens on, and those that it calls."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bridge.settings.poll import Seconds
from bridge.settings.section import Section
from bridge.settings.urls import (
    READABLE,
    is_readable_on_the_way,
    secrets_of_secret,
    secrets_of_service,
)

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[A-Za-z0-9](?:[\w.-]*\w)?)):(?P<port>\d{1,5})"
)
_HIGHEST_PORT: Final = 65535


class Address(NamedTuple):
    """Address to listen on; port 0 is any free one."""

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
    """Service that expects signs of life; a plain string is short for its url."""

    allow_http: bool = False
    """Whether url may use http:// for another machine."""
    url: SecretStr
    """URL to request after successful passes, at most once a minute."""

    _encrypted = field_validator("url")(_checked)


def _with_url(written: object) -> object:
    return {"url": written} if isinstance(written, str) else written


Heartbeat = Annotated[
    HeartbeatSettings,
    BeforeValidator(_with_url, json_schema_input_type=str | HeartbeatSettings),
]

Event = Literal["succeeded", "failed", "cancelled", "outage", "recovered", "stalled", "shutdown"]


def _known_to_apprise(url: SecretStr) -> SecretStr:
    text = url.get_secret_value().strip()
    try:
        from apprise import Apprise, LogCapture  # noqa: PLC0415 - an optional package, and slow to import
    except ImportError:
        raise ValueError(
            "needs apprise; pip install 'mlflow-finetune-bridge[notify]', or write a webhook"
        ) from None
    # Its log of a refused address may show parts of the address.
    with LogCapture(level=logging.CRITICAL):  # type: ignore[no-untyped-call] # as apprise has it
        service = Apprise.instantiate(text)
    if service is None:
        raise ValueError(
            "must be an apprise address, such as"
            " mailto://USER:PASSWORD@HOST?to=ADDRESS or slack://TOKEN_A/TOKEN_B/TOKEN_C"
        )
    return SecretStr(text)


class NotifySettings(Section):
    """Receiver of notifications; a plain string is short for its webhook or url."""

    allow_http: bool = False
    """Whether webhook may use http:// for another machine."""
    webhook: SecretStr | None = None
    """URL that accepts Slack-compatible JSON."""
    url: SecretStr | None = None
    """apprise address of a service: mail, Slack, Teams, PagerDuty. Extra [notify]."""
    on: tuple[Event, ...] = ("failed", "stalled", "shutdown")
    """Events that trigger a message."""
    stalled_after: Seconds | None = None
    """Time without anything new after which a running job counts as stalled. Default: never."""

    @field_validator("webhook")
    @classmethod
    def _encrypted(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return _checked(url, info) if url else None

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr | None) -> SecretStr | None:
        return _known_to_apprise(url) if url else None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        # The daemon's page and the list of jobs show what is stalled without a receiver too.
        if not self.webhook and not self.url and self.stalled_after is None:
            raise ValueError("needs a receiver; write webhook or url")
        return self


def _as_notify(written: object) -> object:
    if not isinstance(written, str):
        return written
    return {"webhook" if written.strip().startswith(("http:", "https:")) else "url": written}


Notify = Annotated[
    NotifySettings, BeforeValidator(_as_notify, json_schema_input_type=str | NotifySettings)
]


def secrets_of_calls(
    heartbeat: HeartbeatSettings | None, notify: NotifySettings | None
) -> Iterator[str]:
    """Yield the parts of called addresses that must not be shown."""
    for url in (heartbeat and heartbeat.url, notify and notify.webhook):
        if url:
            yield from secrets_of_secret(url.get_secret_value())
    if notify and notify.url:
        yield from secrets_of_service(notify.url.get_secret_value())
