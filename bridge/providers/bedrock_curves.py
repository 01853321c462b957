"""The CSV files with the metrics of Bedrock's jobs by step. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.providers.measurements import measurements
from bridge.providers.records import is_step
from bridge.text import one_line

STEP: Final = "step_number"
_SHARED: Final = frozenset({"epoch_number"})
"""Columns with the same meaning in every file."""
_OF_VALIDATION: Final = ("val", "eval")
"""Prefixes of validation metrics."""
VALIDATION: Final = "validation_metrics.csv"
SUFFIX: Final = "metrics.csv"
"""Ends of the files' names, in any folder."""


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of one step."""

    step: int
    metrics: Mapping[str, float]


def rows(files: Mapping[str, bytes], skipped: list[str]) -> list[Row]:
    """Return the rows of all files by ascending step, averaged over rows with one step.

    Args:
        files: contents by name.
        skipped: receives a sentence for each value that cannot be read.
    """
    found: dict[int, dict[str, float]] = {}
    names: set[str] = set()
    # Validation comes last: a column without a validation prefix, or one that training has too,
    # gets a name that differs from training's, whether or not the training file can be read.
    for name in sorted(files, key=lambda name: (name.endswith(VALIDATION), name)):
        measured = _by_step(name, files[name], skipped)
        own = {column for metrics in measured.values() for column in metrics}
        renamed = {
            column: f"validation_{column}"
            for column in own - _SHARED
            if name.endswith(VALIDATION)
            and (column in names or not column.lower().startswith(_OF_VALIDATION))
        }
        names |= own
        for step, metrics in measured.items():
            given = found.setdefault(step, {})
            for column, value in metrics.items():
                given.setdefault(renamed.get(column, column), value)
    return [Row(step, found[step]) for step in sorted(found)]


def has_steps(body: bytes) -> bool:
    """Return whether a file begins with column names that include the step's."""
    first, *_ = body.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)
    return STEP.encode() in [name.strip(b' \t\r"') for name in first.split(b",")]


def _by_step(name: str, body: bytes, skipped: list[str]) -> dict[int, dict[str, float]]:
    """Return the mean of each column at each step."""
    values: dict[int, dict[str, list[float]]] = {}
    unreadable = 0
    for line in _lines(body):
        step = _whole(line.get(STEP))
        if step is None:
            unreadable += 1
            continue
        cells = {column: _number(text) for column, text in line.items() if column != STEP}
        metrics, broken = measurements(cells)
        skipped += [f"step {step}: {column} is not a finite number" for column in broken]
        given = values.setdefault(step, {})
        for column, value in metrics.items():
            given.setdefault(column, []).append(value)
    if unreadable:
        skipped.append(f"{unreadable} lines of {one_line(name, 120)} have no step")
    return {
        step: {column: _mean(measured) for column, measured in given.items()}
        for step, given in values.items()
    }


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else sum(value / len(values) for value in values)


def _lines(body: bytes) -> Iterator[dict[str, object]]:
    """Yield the rows of a table up to the first malformed line."""
    table = csv.DictReader(io.StringIO(body.decode("utf-8-sig", "replace"), newline=""))
    try:
        for line in table:
            yield {str(name).strip(): text for name, text in line.items() if name}
    except csv.Error:
        yield {}


def _number(text: object) -> float | None:
    """Return the number in a cell; ``None`` for anything else, such as an empty cell."""
    try:
        return float(str(text).strip())
    except ValueError:
        return None


def _whole(text: object) -> int | None:
    """Return a step, which may be written as 3.0."""
    for read in (int, float):
        try:
            value = read(str(text).strip())
        except (ValueError, OverflowError):
            continue
        if float(value).is_integer() if isinstance(value, float) else True:
            step = int(value)
            return step if is_step(step) else None
    return None
