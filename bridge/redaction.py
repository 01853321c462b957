"""Mask secrets in text."""

from __future__ import annotations

import base64
import bisect
import contextlib
import html
import re
from collections.abc import Iterable, Iterator

from bridge.text import one_line

MASK = "***"


_SHORTEST_SECRET = 6
"""Anything shorter is a placeholder; masking it would only mangle ordinary words."""


_USERINFO = re.compile(r"(?<=://)(?P<user>[^\s/@:]*):[^\s/@]+@")


_WEB_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+")
"""A JSON web token is always somebody's pass, and a new one every hour."""


_PASSWORD_PARAMETER = re.compile(r"(?<=[?&]password=)[^\s&'\"]+")


_ESCAPES = (
    re.compile(rb"\\(?:u(?P<unit>[0-9a-fA-F]{4})|(?P<itself>[\"\\/]))"),
    re.compile(rb"%(?P<byte>[0-9a-fA-F]{2})"),
    re.compile(rb"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);"),
)
"""How JSON, URLs and HTML write what they do not write plainly."""


class Redactor:
    """Replaces every known secret by ``***``, also where it is encoded; never shows what it knows.

    It may be written as JSON, URLs or HTML write it, and be a part of what is written in base64, as
    in the header of basic authentication.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        stripped = {secret.strip() for secret in secrets}
        known = {
            each
            for secret in stripped
            if len(secret) >= _SHORTEST_SECRET
            for each in _in_bytes(secret)
        }
        known |= {part for each in known for part in _in_base64(each)}
        # Longest first: a secret that contains another must not leave its tail behind.
        ordered = sorted(known, key=len, reverse=True)
        self._secrets = re.compile(b"|".join(map(re.escape, ordered))) if known else None

    def text(self, text: str) -> str:
        """``text`` with the secrets masked, every token, and every password in an address."""
        text = self.body(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")
        text = _WEB_TOKEN.sub(MASK, text)
        return _PASSWORD_PARAMETER.sub(MASK, _USERINFO.sub(rf"\g<user>:{MASK}@", text))

    def line(self, text: str, limit: int = 300) -> str:
        """``text`` on one line and masked, before a cut could leave half a secret."""
        return one_line(self.text(one_line(text, len(text) + 1)), limit)

    def body(self, body: bytes) -> bytes:
        """``body`` with the secrets masked."""
        if self._secrets is None:
            return body
        for escape in _ESCAPES:
            if escape.search(body):
                body = _masked(body, self._secrets, escape)
        return self._secrets.sub(MASK.encode(), body)

    def __repr__(self) -> str:
        return "Redactor(...)"


def _in_bytes(secret: str) -> Iterator[bytes]:
    yield secret.encode(errors="surrogatepass")
    # The environment's bytes that are no UTF-8 are lone surrogates in Python.
    with contextlib.suppress(UnicodeEncodeError):
        yield secret.encode(errors="surrogateescape")


def _in_base64(secret: bytes) -> Iterator[bytes]:
    """What shows of ``secret`` in base64: what stands before it aligns it in one of three ways."""
    for before, first in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(before) + secret
        whole = slice(first, len(padded) * 8 // 6)  # those that hold bits of no other character
        yield base64.b64encode(padded)[whole]
        yield base64.urlsafe_b64encode(padded)[whole]


def _understood(body: bytes, escape: re.Pattern[bytes]) -> tuple[bytes, list[tuple[int, int]]]:
    """``body`` without escapes, and places in that with the same places in ``body``."""
    parts: list[bytes] = []
    places, end, length = [(0, 0)], 0, 0
    for found in escape.finditer(body):
        before, meant = body[end : found.start()], _meant(found)
        parts += [before, meant]
        length += len(before)
        end = found.end()
        places += [(length, found.start()), (length + len(meant), end)]
        length += len(meant)
    return b"".join([*parts, body[end:]]), places


def _masked(body: bytes, secrets: re.Pattern[bytes], escape: re.Pattern[bytes]) -> bytes:
    """``body`` with what stands for a secret masked, once its escapes are understood."""
    plain, places = _understood(body, escape)

    def place(at: int) -> int:
        known, there = places[bisect.bisect_right(places, (at, len(body))) - 1]
        return there + at - known

    parts, end = [], 0
    for secret in secrets.finditer(plain):
        parts += [body[end : place(secret.start())], MASK.encode()]
        end = place(secret.end())
    return b"".join([*parts, body[end:]])


def _meant(escape: re.Match[bytes]) -> bytes:
    known = escape.groupdict()
    if code := known.get("byte"):
        return bytes.fromhex(code.decode())
    if code := known.get("unit"):
        return chr(int(code, 16)).encode(errors="surrogatepass")
    return known.get("itself") or html.unescape(escape[0].decode()).encode()
