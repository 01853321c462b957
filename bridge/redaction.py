"""Mask secrets in text."""

from __future__ import annotations

import base64
import contextlib
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from bridge.text import one_line

MASK: Final = "***"

_SHORTEST_SECRET: Final = 6
"""Length of the shortest secret in characters. Anything shorter is a placeholder, and masking it
would only garble ordinary words."""
_USERINFO: Final = re.compile(r"(?<=://)(?P<user>[^\s/@:]*):[^\s/@]+@")
_WEB_TOKEN: Final = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+")
"""JSON web tokens, which are always credentials and change every hour."""
_PASSWORD_PARAMETER: Final = re.compile(r"(?<=[?&]password=)[^\s&'\"]+")
_JSON_ESCAPE: Final = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/]))')


class Redactor:
    """Replaces every known secret with ``***``, and never shows the secrets it knows.

    A secret is also found if it is escaped for URLs, HTML or JSON, or if it is part of base64 text
    such as the header of basic authentication.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._configured = frozenset(secrets)
        self._learned: dict[str, str] = {}
        self._known = _pattern(self._configured)

    def learn(self, kind: str, secret: str) -> None:
        """Mask ``secret`` from now on, in place of the last one of its kind.

        Credentials that are renewed while a process runs do not appear in the configuration.
        """
        if self._learned.get(kind) != secret:
            self._learned = {**self._learned, kind: secret}
            self._known = _pattern({*self._configured, *self._learned.values()})

    def known(self, text: str) -> str:
        """Return ``text`` with the known secrets masked.

        If escapes hide a secret, the text is returned without those escapes.
        """
        known = self._known
        if known is None:
            return text
        text = known.sub(MASK, text)
        for sign, unescaped in _ESCAPES.items():
            if sign in text and known.search(plain := unescaped(text)):
                text = known.sub(MASK, plain)
        return text

    def text(self, text: str) -> str:
        """Return ``text`` with known secrets, web tokens and passwords in addresses masked."""
        text = _WEB_TOKEN.sub(MASK, self.known(text))
        return _PASSWORD_PARAMETER.sub(MASK, _USERINFO.sub(rf"\g<user>:{MASK}@", text))

    def line(self, text: str, limit: int = 300) -> str:
        """Return ``text`` on one line, masked before the cut so that no half secret is left."""
        return one_line(self.text(one_line(text, len(text) + 1)), limit)

    def document(self, value: object) -> object:
        """Return decoded JSON with the known secrets masked in its keys and strings.

        Raises:
            RecursionError: It is nested too deeply.
        """
        if isinstance(value, str):
            return self.known(value)
        if isinstance(value, list):
            return [self.document(each) for each in value]
        if isinstance(value, dict):
            return {self.known(key): self.document(each) for key, each in value.items()}
        return value

    def __repr__(self) -> str:
        return "Redactor(...)"


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that matches each of ``secrets``, also inside base64."""
    stripped = {secret.strip() for secret in secrets}
    known = {secret for secret in stripped if len(secret) >= _SHORTEST_SECRET}
    known |= {part for secret in known for raw in _in_bytes(secret) for part in _in_base64(raw)}
    # Longest first: a secret that contains another must not leave its tail behind.
    ordered = sorted(known, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if known else None


def _in_bytes(secret: str) -> Iterator[bytes]:
    yield secret.encode(errors="surrogatepass")
    # In Python, bytes of the environment that are not UTF-8 are lone surrogates.
    with contextlib.suppress(UnicodeEncodeError):
        yield secret.encode(errors="surrogateescape")


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield the characters of ``secret`` in base64 for each of the three possible alignments."""
    for before, first in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(before) + secret
        # Only characters that encode no bits of the neighbours.
        whole = slice(first, len(padded) * 8 // 6)
        yield base64.b64encode(padded).decode()[whole]
        yield base64.urlsafe_b64encode(padded).decode()[whole]


def _without_percents(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _without_backslashes(text: str) -> str:
    return _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)


_ESCAPES: Final[Mapping[str, Callable[[str], str]]] = {
    "\\": _without_backslashes,
    "%": _without_percents,
    "&": html.unescape,
}
"""Functions that undo an escape, by the character that begins it."""
