"""Untrusted text, shortened and stripped of control characters."""

from __future__ import annotations

import re
from collections.abc import Sized

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""C0 and C1 controls (including terminal escapes) except tab and newline, bidirectional overrides,
and characters without width, so that texts that look the same are the same."""


def clean(text: str, limit: int) -> str:
    """Return ``text`` without control characters, in at most ``limit`` characters."""
    printable = _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def one_line(text: str, limit: int = 300) -> str:
    """Return ``text`` cleaned and folded onto one line, fit for a message."""
    return clean(" ".join(text.split()), limit)


def number_of(number: int, noun: str) -> str:
    """Return a number with its noun, as in ``1 job``, ``3 jobs`` and ``0 jobs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def counted(things: Sized, noun: str) -> str:
    """Return the number of items with a noun, as in ``3 tags``; empty for no items."""
    return number_of(len(things), noun) if len(things) else ""
