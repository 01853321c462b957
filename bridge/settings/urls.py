"""Addresses in the configuration: their encryption, and the secrets in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

READABLE: Final = (
    "must begin with https://, because others on the network can read a key sent over http://;"
    " on a trusted network, set allow_http: true beside it"
)
_LONG: Final = 12
"""Length in characters from which a part of an address counts as a possible secret."""
_SECRET_NAME: Final = re.compile("pass|key|token|secret|^sig", re.IGNORECASE)


def is_readable_on_the_way(url: str) -> bool:
    """Return whether requests to ``url`` leave this machine unencrypted."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def secrets_of(url: str) -> Iterator[str]:
    """Yield the secrets in a URL: its password, else its user name, and keys in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    yield unquote(parts.password or parts.username or "")
    yield parts.password or parts.username or ""
    yield from secrets_of_query(parse_qsl(parts.query))


def secrets_of_query(parameters: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the values of the parameters that are keys according to their names."""
    yield from (value for name, value in parameters if _SECRET_NAME.search(name))


def secrets_of_secret(url: str) -> Iterator[str]:
    """Yield the possible secrets in a URL: everything after its host, in whole and in parts."""
    yield from secrets_of(url)
    yield url
    parts = urlsplit(url)
    behind = f"{parts.path}?{parts.query}".rstrip("?")
    values = (value for _, value in parse_qsl(parts.query))
    for part in (behind, parts.path, *parts.path.split("/"), *values):
        if len(part) >= _LONG:
            yield from (part, unquote(part))


def secrets_of_service(url: str) -> Iterator[str]:
    """Yield the possible secrets in an apprise URL, in which the host may be a token."""
    yield from secrets_of(url)
    yield url
    for part in re.split(r"[/:@?&=#]+", url.partition("://")[2]):
        if len(part) >= _LONG:
            yield from (part, unquote(part))


def parsed_url(text: str) -> str:
    """Return ``text`` if it parses as a URL. Raises: ValueError: it does not."""
    try:
        urlsplit(text)
    except ValueError:
        raise ValueError(
            "is not a valid URL; write brackets in a password as %5B and %5D"
        ) from None
    return text
