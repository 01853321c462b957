"""Times as servers write them: seconds, milliseconds and finer, as numbers or text, or ISO 8601.

The unit of a number is unambiguous: only one of the common units makes it a time between 1973 and
2286.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BeforeValidator

from bridge.text import one_line

_UNITS: Final = (10**3, 1, 10**-3, 10**-6)
"""Factors from seconds, milliseconds, microseconds and nanoseconds to milliseconds."""
_EARLIEST: Final = 10**11
"""Earliest time in Unix milliseconds, in 1973; the same number of seconds is in the year 5138."""
_LATEST: Final = 10**13
_LONGEST: Final = 64
"""Longest text of a time in characters."""
_SEPARATORS: Final = re.compile(r"[\W_]+")
_ENDS: Final = frozenset(
    word + suffix
    for word in (
        *("finish", "finished", "complete", "completed", "completion", "end", "ended", "done"),
        *("succeeded", "failed", "cancelled", "canceled", "expired", "stop", "stopped", "aborted"),
        *("terminated", "closed"),
    )
    for suffix in ("at", "time", "date", "on", "timestamp")
)
"""Names of an end time, without separators."""


def moment(value: object) -> int | None:
    """Return a time as Unix milliseconds, in UTC unless it says otherwise.

    ``None`` means that nothing has happened yet, for which some servers write zero, an empty text,
    or the year 1.

    Raises:
        ValueError: it is not a time, or it is ambiguous.
    """
    match value:
        case None | "" | 0:
            return None
        case bool():
            raise ValueError("must be a time")
        case int() | float():
            return _of_number(value)
        case str() if len(value) <= _LONGEST:
            return _of_text(value.strip())
    raise ValueError("must be a time")


Moment = Annotated[int | None, BeforeValidator(moment)]
"""A time, in Unix milliseconds."""


def known_moment(value: object) -> int | None:
    """Return a time as ``moment`` does, but ``None`` for anything else."""
    try:
        return moment(value)
    except ValueError:
        return None


def end_of(reply: Mapping[str, object], skipped: list[str]) -> int | None:
    """Return an end time, under any of the names that servers use.

    Args:
        reply: the server's object.
        skipped: receives a sentence for each time that cannot be read.
    """
    for name, value in reply.items():
        if _SEPARATORS.sub("", name).casefold() in _ENDS:
            try:
                ended = moment(value)
            except ValueError as error:
                skipped.append(f"{one_line(name, 60)}: {one_line(str(error), 120)}")
            else:
                if ended is not None:
                    return ended
    return None


def _of_number(number: float) -> int | None:
    if number < 0:
        return None
    for factor in _UNITS:
        if _EARLIEST / factor <= number < _LATEST / factor:
            return int(number * factor) if factor >= 1 else int(number) // round(1 / factor)
    raise ValueError("is not a time in seconds, milliseconds or finer")


def _of_text(text: str) -> int | None:
    try:
        return _of_number(int(text) if text.isdecimal() else float(text))
    except OverflowError:
        raise ValueError("is not a time") from None
    except ValueError:
        if text.replace(".", "").isdecimal():
            raise
    time = datetime.fromisoformat(text.removesuffix(" UTC"))
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    milliseconds = int(time.timestamp() * 1000)
    return milliseconds if milliseconds > 0 else None
