"""Text that others wrote: bounded, stripped of control characters, secrets taken out."""

from __future__ import annotations

import re
from collections.abc import Sized

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""C0 and C1 controls (terminal escapes too), bidirectional overrides, and what has no width: texts
that look alike are alike. Not tab and newline."""


def clean(text: str, limit: int) -> str:
    """``text`` without control characters and lone surrogates, at most ``limit`` characters."""
    printable = _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def one_line(text: str, limit: int = 300) -> str:
    """``text`` cleaned and folded onto one line, fit for a message."""
    return clean(" ".join(text.split()), limit)


def number_of(number: int, noun: str) -> str:
    """Return a number with its noun, as in ``1 job``, ``3 jobs`` and ``0 jobs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def counted(things: Sized, noun: str) -> str:
    """Return how many there are, as in ``1 tag`` and ``3 tags``; empty where there are none."""
    return number_of(len(things), noun) if len(things) else ""
