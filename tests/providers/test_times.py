"""Times in every unit and spelling that servers use."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.times import end_of, known_moment, moment

AT: int = 1_760_000_000_123
"""Expected time in Unix milliseconds."""
SECONDS: int = 1_760_000_000_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_760_000_000, SECONDS),
        (1_760_000_000.123, AT),
        (1_760_000_000_123, AT),
        (1.760000000123e12, AT),
        (1_760_000_000_123_456, AT),
        (1_760_000_000_123_456_789, AT),
        ("1760000000", SECONDS),
        (" 1760000000.5 ", SECONDS + 500),
        ("1760000000123", AT),
        ("1760000000123456789", AT),
        ("2025-10-09T08:53:20Z", SECONDS),
        ("2025-10-09T08:53:20.123Z", AT),
        ("2025-10-09T08:53:20.123456789Z", AT),
        ("2025-10-09T10:53:20.123+02:00", AT),
        ("2025-10-09 08:53:20", SECONDS),
        ("2025-10-09 08:53:20.123 UTC", AT),
        ("2025-10-09T08:53:20", SECONDS),
        ("2025-10-09", 1_759_968_000_000),
        (347_155_200, 347_155_200_000),
    ],
)
def test_a_time_is_read_as_what_it_must_be(value: object, expected: int) -> None:
    """A time is read from seconds, milliseconds or finer units, and from ISO 8601."""
    assert moment(value) == known_moment(value) == expected


@pytest.mark.parametrize("value", [None, "", 0, 0.0, -5, "0001-01-01T00:00:00Z", -62_135_596_800])
def test_some_times_say_that_nothing_has_happened(value: object) -> None:
    """Zero, an empty text and the year 1 mean that nothing has happened."""
    assert moment(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *(5, 1e5, 33_300_000_000, 10**20, 10**400, 1e306, math.nan, math.inf, True),
        *("soon", "yesterday", "nan", "1e400", "20", "9" * 5000, "33300000000", [], {}),
    ],
)
def test_a_doubtful_time_is_not_guessed(value: object) -> None:
    """A number between two units is not guessed, nor is any other text."""
    with pytest.raises(ValueError, match=r"time|isoformat|range|format"):
        moment(value)
    assert known_moment(value) is None


@pytest.mark.parametrize(
    "name",
    [
        *("finished_at", "completed_at", "ended_at", "completedAt", "completionTime", "endTime"),
        *("finish_time", "Completed-On", "end_date", "terminated_at", "failedAt", "stop_time"),
    ],
)
def test_the_end_has_many_names(name: str) -> None:
    """The first of several fields with a value is the end, and a doubtful one is reported."""
    skipped: list[str] = []
    reply = {"estimated_finish": 1, "finished": None, "ended_time": "soon", "done_at": 0, name: AT}
    assert end_of(reply, skipped) == AT
    assert len(skipped) == 1
    assert skipped[0].startswith("ended_time: ")
    assert end_of({"estimated_finish": AT, "updated_at": AT, "send_at": AT}, skipped) is None


@given(st.integers(10**8, 10**10 - 1), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_every_unit_gives_the_same_moment(seconds: int, unit: int) -> None:
    """Every unit gives the same moment: from 1973 to 2286 there is one reading."""
    assert moment(seconds * unit) == seconds * 1000
    assert moment(str(seconds * unit)) == seconds * 1000


@given(st.none() | st.floats() | st.integers() | st.text())
def test_nothing_breaks_the_reader(value: object) -> None:
    """Any value gives a time or none."""
    found = known_moment(value)
    assert found is None or 0 < found < 2**53
