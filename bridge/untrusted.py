"""Text that others wrote: bounded, stripped of control characters, secrets taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"
_SHORTEST_SECRET = 6
"""Anything shorter is a placeholder; masking it would only mangle ordinary words."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""C0 and C1 controls (terminal escapes too) and bidirectional overrides; not tab and newline."""


_USERINFO = re.compile(r"(?<=://)(?P<user>[^\s/@:]*):[^\s/@]+@")
_WEB_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+")
"""A JSON web token is always somebody's pass, and a new one every hour."""
_PASSWORD_PARAMETER = re.compile(r"(?<=[?&]password=)[^\s&'\"]+")


def clean(text: str, limit: int) -> str:
    """``text`` without control characters and lone surrogates, at most ``limit`` characters."""
    printable = _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def one_line(text: str, limit: int = 300) -> str:
    """``text`` cleaned and folded onto one line, fit for a message."""
    return clean(" ".join(text.split()), limit)


class Redactor:
    """Replaces every known secret by ``***``; never shows what it knows."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: a secret that contains another must not leave its tail behind.
        stripped = {secret.strip() for secret in secrets}
        known = sorted((s for s in stripped if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, known))) if known else None
        self._bytes = (
            re.compile(b"|".join(re.escape(s.encode(errors="surrogateescape")) for s in known))
            if known
            else None
        )

    def text(self, text: str) -> str:
        """``text`` with the secrets masked, every token, and every password in an address."""
        text = self._text.sub(MASK, text) if self._text else text
        text = _WEB_TOKEN.sub(MASK, text)
        return _PASSWORD_PARAMETER.sub(MASK, _USERINFO.sub(rf"\g<user>:{MASK}@", text))

    def body(self, body: bytes) -> bytes:
        """``body`` with the secrets masked."""
        return self._bytes.sub(MASK.encode(), body) if self._bytes else body

    def __repr__(self) -> str:
        return "Redactor(...)"
