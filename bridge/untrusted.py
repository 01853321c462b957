"""Text that others wrote: bounded, stripped of control characters, secrets taken out."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Sequence

MASK = "***"
_SHORTEST_SECRET = 6
"""Anything shorter is a placeholder; masking it would only mangle ordinary words."""

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""C0 and C1 controls (terminal escapes too), bidirectional overrides, and what has no width: texts
that look alike are alike. Not tab and newline."""

_USERINFO = re.compile(r"(?<=://)(?P<user>[^\s/@:]*):[^\s/@]+@")
_WEB_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+")
"""A JSON web token is always somebody's pass, and a new one every hour."""
_PASSWORD_PARAMETER = re.compile(r"(?<=[?&]password=)[^\s&'\"]+")

_ESCAPE = re.compile(r"\\[u/\"\\]|%[0-9A-Fa-f]{2}|&[#a-z]")
"""How JSON, URLs and HTML begin what they do not write plainly."""
_ESCAPE_IN_BYTES = re.compile(_ESCAPE.pattern.encode())


def clean(text: str, limit: int) -> str:
    """``text`` without control characters and lone surrogates, at most ``limit`` characters."""
    printable = _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def one_line(text: str, limit: int = 300) -> str:
    """``text`` cleaned and folded onto one line, fit for a message."""
    return clean(" ".join(text.split()), limit)


class Redactor:
    """Replaces every known secret by ``***``, also where it is encoded; never shows what it knows.

    Each of its characters may be written as JSON, URLs and HTML write it, and it may be a part of
    what is written in base64, as in the header of basic authentication.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        stripped = {secret.strip() for secret in secrets}
        known = {each for each in stripped if len(each) >= _SHORTEST_SECRET}
        known |= {part for each in known for part in _in_base64(each)}
        # Longest first: a secret that contains another must not leave its tail behind.
        ordered = sorted(known, key=len, reverse=True)
        self._text = [re.compile(pattern) for pattern in _patterns(ordered)]
        self._bytes = [re.compile(_encoded(pattern)) for pattern in _patterns(ordered)]

    def text(self, text: str) -> str:
        """``text`` with the secrets masked, every token, and every password in an address."""
        pattern = self._text[_ESCAPE.search(text) is not None]
        text = pattern.sub(MASK, text)
        text = _WEB_TOKEN.sub(MASK, text)
        return _PASSWORD_PARAMETER.sub(MASK, _USERINFO.sub(rf"\g<user>:{MASK}@", text))

    def line(self, text: str, limit: int = 300) -> str:
        """``text`` on one line and masked, before a cut could leave half a secret."""
        return one_line(self.text(one_line(text, len(text) + 1)), limit)

    def body(self, body: bytes) -> bytes:
        """``body`` with the secrets masked."""
        pattern = self._bytes[_ESCAPE_IN_BYTES.search(body) is not None]
        return pattern.sub(MASK.encode(), body)

    def __repr__(self) -> str:
        return "Redactor(...)"


def _encoded(text: str) -> bytes:
    # The environment's bytes that are no UTF-8 are lone surrogates in Python.
    return text.encode(errors="surrogateescape")


def _patterns(texts: Sequence[str]) -> tuple[str, str]:
    """For the texts as they are, and for any writing of them: that takes ten times as long."""
    writings = ("|".join(map(write, texts)) for write in (re.escape, _in_any_writing))
    plain, any_writing = (pattern or "(?!)" for pattern in writings)
    return plain, any_writing


def _in_any_writing(secret: str) -> str:
    return "".join(f"(?:{'|'.join(_writings(character))})" for character in secret)


def _writings(character: str) -> Iterator[str]:
    """Patterns of one character: as JSON, URLs and HTML escape it, then plain."""
    if character in '"\\/':
        yield re.escape(f"\\{character}")
    utf16 = character.encode("utf-16-be", "surrogatepass").hex()
    yield "".join(rf"\\u{_hex(utf16[n : n + 4])}" for n in range(0, len(utf16), 4))
    yield "".join(f"%{_hex(f'{byte:02x}')}" for byte in _encoded(character))
    yield f"&#0*{ord(character)};"
    yield f"&#[xX]0*{_hex(f'{ord(character):x}')};"
    if (entity := html.escape(character)) != character:
        yield entity
    yield re.escape(character)


def _hex(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)


def _in_base64(secret: str) -> Iterator[str]:
    """What shows of ``secret`` in base64: what stands before it aligns it in one of three ways."""
    for before, first in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(before) + _encoded(secret)
        whole = slice(first, len(padded) * 8 // 6)  # those that hold bits of no other character
        yield base64.b64encode(padded).decode()[whole]
        yield base64.urlsafe_b64encode(padded).decode()[whole]
