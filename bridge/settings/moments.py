"""Times as people write them: a date, a time, how long ago, or ``yesterday``. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>min|mo|s|m|h|d|w|y)( ago)?")
_SECONDS: Final = {
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 7 * 86400.0,
    "mo": 30 * 86400.0,
    "y": 365 * 86400.0,
}
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}
EXPECTED: Final = (
    "write a date (2026-01-31), a time (2026-01-31T12:00:00Z), how long ago (12h, 30d, 2w), today"
    " or yesterday"
)
"""The accepted forms of a time."""


def moment(text: str, now: datetime) -> int:
    """Return the Unix milliseconds of a time.

    Args:
        text: the time; without a time zone it is UTC.
        now: the current time, with its time zone.

    Raises:
        ValueError: the text is not a time.
    """
    word = text.strip().lower()
    if word in _DAYS_AGO:
        day = now.astimezone(UTC) - timedelta(days=_DAYS_AGO[word])
        found = day.replace(hour=0, minute=0, second=0, microsecond=0)
    elif match := _AGO.fullmatch(word):
        try:
            found = now - timedelta(seconds=float(match["number"]) * _SECONDS[match["unit"]])
        except OverflowError:
            raise ValueError(EXPECTED) from None
    else:
        try:
            found = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(EXPECTED) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp() * 1000)
