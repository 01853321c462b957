"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bridge.settings.moments import moment

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (" 2026-01-31T12:00:00Z ", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (
            "2026-01-31T12:00:00+02:00",
            datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))),
        ),
        ("20260131", datetime(2026, 1, 31, tzinfo=UTC)),
        ("30d", NOW - timedelta(days=30)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2 w ago", NOW - timedelta(weeks=2)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("90m", NOW - timedelta(minutes=90)),
        ("90min", NOW - timedelta(minutes=90)),
        ("1mo", NOW - timedelta(days=30)),
        ("1y", NOW - timedelta(days=365)),
        ("today", datetime(2026, 3, 10, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 3, 9, tzinfo=UTC)),
    ],
)
def test_a_moment_is_understood(text: str, expected: datetime) -> None:
    """Dates, times, durations and days are understood, in UTC if they have no zone."""
    assert moment(text, NOW) == int(expected.timestamp() * 1000)


@pytest.mark.parametrize(
    "text", ["", "30", "soon", "2 fortnights", "-1d", "9" * 400 + "y", "31.1."]
)
def test_what_is_no_moment_is_answered_with_what_is(text: str) -> None:
    """Any other text is refused with the units and an example of each form."""
    with pytest.raises(ValueError, match=r"how long ago \(12h, 30d, 2w\), today or yesterday"):
        moment(text, NOW)
