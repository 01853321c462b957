"""Curves in a terminal."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.listing.curves import chart, sparkline


def test_a_line_falls_where_the_values_do() -> None:
    """A line falls where the values do: the highest block is the highest value."""
    assert sparkline([7, 6, 5, 4, 3, 2, 1, 0]) == "█▇▆▅▄▃▂▁"
    assert sparkline([1, 1, 1]) == "▁▁▁"
    assert sparkline([*range(100)], width=4) == "▁▃▆█"


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, 2.0], [math.inf]])
def test_no_line_without_two_values(values: list[float]) -> None:
    """A single point gives no curve."""
    assert sparkline(values) == ""


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)), st.integers(1, 30))
@example([sys.float_info.max] * 3, 1)
@example([-sys.float_info.max] * 4 + [sys.float_info.max] * 3, 2)
def test_a_line_is_never_wider_than_asked_for(values: list[float], width: int) -> None:
    """A line is never wider than requested, whatever a provider measures."""
    assert len(sparkline(values, width)) <= max(width, 0)


def test_a_chart_has_its_numbers_at_the_edges() -> None:
    """A chart has steps below, values at the left, and a mark for each curve."""
    lines = chart({"·": [(1, 4.0), (2, 2.0), (3, 1.0)], "●": [(3, 3.0)]}, width=39, height=4)
    assert lines == [
        "        4 ┤·",
        "          ┤                           ●",
        "      2.5 ┤              ·",
        "        1 ┤                           ·",
        "           1                          3",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.floats(width=32))),
    st.integers(0, 120),
    st.integers(0, 20),
)
def test_a_chart_fits(curve: list[tuple[int, float]], width: int, height: int) -> None:
    """A chart fits the given size, or is left out."""
    lines = chart({"·": curve}, width=width, height=height)
    assert not lines or len(lines) == height + 1
    assert all(len(line) <= width for line in lines)
