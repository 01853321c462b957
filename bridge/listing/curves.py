"""Small drawings of curves: blocks on one line, an SVG line, and a chart of dots. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

Curve = Sequence[tuple[int, float]]
"""Values by ascending step."""

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_NARROWEST: Final = 28
"""Smallest width of a chart in characters, with the first and last step below it."""
_AXIS: Final = 9
"""Width of the numbers beside a chart in characters."""


def sparkline(values: Sequence[float], width: int = 12) -> str:
    """Return a curve as a line of blocks; empty without two finite values."""
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(height * top)] for height in _heights(values, width))


def polyline(values: Sequence[float], width: int, height: int) -> str:
    """Return the points of an SVG line in a box; empty without two finite values."""
    heights = _heights(values, width)
    return " ".join(
        f"{place * width / (len(heights) - 1):.4g},{(1 - up) * height:.4g}"
        for place, up in enumerate(heights)
    )


def _heights(values: Sequence[float], most: int) -> list[float]:
    """Return at most ``most`` heights from 0 to 1; none without two finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2 or most < 1:  # noqa: PLR2004 - one value does not make a curve
        return []
    if len(finite) > most:
        finite = [
            _mean(finite[place * len(finite) // most : (place + 1) * len(finite) // most])
            for place in range(most)
        ]
    low, high = min(finite), max(finite)
    # In halves, because the difference of two huge numbers would be infinite.
    span = high / 2 - low / 2 or 1.0
    return [(value / 2 - low / 2) / span for value in finite]


def chart(curves: Mapping[str, Curve], *, width: int, height: int) -> list[str]:
    """Return the lines of a chart, each curve drawn with its own character.

    Args:
        curves: curves by character; later ones are drawn over earlier ones.
        width: characters of a line, including the numbers.
        height: lines, not including the steps below.
    """
    points = [
        (step, value) for curve in curves.values() for step, value in curve if math.isfinite(value)
    ]
    columns = width - _AXIS - 2
    if not points or columns < _NARROWEST or height < 2:  # noqa: PLR2004 - two corners make a chart
        return []
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    low, high = min(value for _, value in points), max(value for _, value in points)
    grid = [[" "] * columns for _ in range(height)]
    for mark, curve in curves.items():
        for step, value in curve:
            if math.isfinite(value):
                column = round((step - first) / ((last - first) or 1) * (columns - 1))
                row = round((high / 2 - value / 2) / ((high / 2 - low / 2) or 1.0) * (height - 1))
                grid[row][column] = mark
    labels = {0: high, height // 2: high / 2 + low / 2, height - 1: low}
    lines = [
        f"{_label(labels[row]) if row in labels else '':>{_AXIS}} ┤{''.join(cells)}".rstrip()
        for row, cells in enumerate(grid)
    ]
    right = f"{last:,}" if last != first else ""
    steps = f"{first:,}".ljust(columns - len(right)) + right
    return [*lines, " " * (_AXIS + 2) + steps[:columns]]


def _label(value: float) -> str:
    """Return a number with as many digits as fit beside the axis."""
    texts = (f"{value:.{digits}g}" for digits in (4, 3, 2, 1))
    return next((text for text in texts if len(text) <= _AXIS), "")


def _mean(values: Sequence[float]) -> float:
    mean = sum(value / len(values) for value in values)
    # By rounding, the sum for the largest floating-point numbers is infinite.
    return min(max(mean, min(values)), max(values))
