"""Untrusted text as code spans, in which nothing is markup or a link."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import Final

from bridge.credential_forms import masked
from bridge.text import one_line

_LONGEST: Final = 150
"""Longest model name, and default limit of other text, in characters."""
_MOST: Final = 10**15
"""Largest credible number or time; others may have thousands of digits."""
_WITHIN_TAG: Final = re.compile(r"(?<=<)(?=[a-zA-Z/!?])|(?<=\\)(?=<)")
"""Positions at which an HTML tag, or an escaped one, can be split."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def code(text: str | None, limit: int = _LONGEST) -> str:
    """Return ``text`` on one line as a code span; empty if it has no visible characters."""
    shown = one_line(masked(text or ""), limit).strip()
    if not shown:
        return ""
    # MLflow's Markdown parser recognizes HTML tags before code.
    shown = _WITHIN_TAG.sub("\N{ZERO WIDTH SPACE}", shown)
    inside = {len(run) for run in re.findall("`+", shown)}
    fence = "`" * next(length for length in count(1) if length not in inside)
    pad = " " if "`" in {shown[0], shown[-1]} else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def cell(text: str | None) -> str:
    """Return ``text`` as a code span in a table."""
    # A bar ends a cell even in code, and parsers disagree on its escape.
    return code((text or "").replace("|", "\N{BROKEN BAR}"))


def listed(parts: Sequence[str], most: int) -> str:
    """Return the first nonempty parts, and the number of those beyond ``most``."""
    parts = [part for part in parts if part]
    more = f" and {number(len(parts) - most)} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def number(value: int | None) -> str:
    """Return a number with separators; empty if it is unknown or not credible."""
    return f"{value:,}" if value is not None and 0 <= value < _MOST else ""


def duration(start: int | None, end: int | None) -> str:
    """Return the time between two moments in its two largest units; empty if unknown."""
    if start is None or end is None or not 0 <= end - start < _MOST:
        return ""
    rest = (end - start) // 1000
    parts: list[str] = []
    for seconds, unit in _UNITS:
        units, rest = divmod(rest, seconds)
        if units or parts:
            parts.append(f"{units} {unit}" if units else "")
    return " ".join(filter(None, parts[:2])) or "less than 1 s"
