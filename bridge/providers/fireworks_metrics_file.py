"""A file with the metrics of each step, in one of two common formats.

JSON lines: one or more objects for each step, with the metrics beside the step or under ``data``.
Or CSV: a header with a column for the step. Other content is not interpreted.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from bridge.providers.measurements import measurements
from bridge.providers.records import is_step
from bridge.providers.times import known_moment

_STEP: Final = ("step", "global_step")
"""Names of the step, possibly with a prefix as in ``train/step``; the first in a row counts."""
_AXES: Final = frozenset({*_STEP, "epoch", "timestamp", "total_steps", "max_steps"})
"""Numbers that locate a row rather than measure the training, with or without a prefix."""
_TIME: Final = "timestamp"


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of one step, and their time in Unix milliseconds if the row has one."""

    step: int
    metrics: Mapping[str, float]
    at: int | None


def form(body: bytes) -> Literal["jsonl", "csv"] | None:
    """Return the format, judged by the first line."""
    first = body.removeprefix(codecs.BOM_UTF8).lstrip().split(b"\n", 1)[0]
    if _has_step(_loaded(first)):
        return "jsonl"
    try:
        columns = _table(first).fieldnames or ()
    except csv.Error:
        return None
    return "csv" if _step_name(columns) is not None else None


def rows(body: bytes, skipped: list[str], method: str | None = None) -> list[Row]:
    """Return the rows by ascending step, then in the file's order; none of an unknown format.

    ``skipped`` receives a sentence for each value that cannot be read.
    """
    kind = form(body)
    lines = list(_json_lines(body) if kind == "jsonl" else _csv_lines(body) if kind else ())
    found = [_row(line, method, skipped) for line in lines]
    unreadable = found.count(None)
    if unreadable:
        skipped.append(f"{unreadable} of {len(found)} lines of its metrics file cannot be read")
    return sorted((row for row in found if row is not None), key=lambda row: row.step)


def _json_lines(body: bytes) -> Iterator[object]:
    return (_loaded(line) for line in body.split(b"\n") if line.strip())


def _loaded(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _csv_lines(body: bytes) -> Iterator[object]:
    """Yield the rows of a table as objects, up to the first malformed line."""
    try:
        for line in _table(body.lstrip()):
            yield {name: _cell(text) for name, text in line.items() if name}
    except csv.Error:
        yield None


def _table(body: bytes) -> csv.DictReader[str]:
    return csv.DictReader(io.StringIO(body.decode("utf-8-sig", "replace"), newline=""))


def _cell(text: str) -> object:
    """Return the number in a cell, else its text."""
    for read in (int, float):
        try:
            return read(text)
        except (TypeError, ValueError):  # too few cells in this line, or not a number of this kind
            continue
    return text


def _has_step(line: object) -> bool:
    return isinstance(line, Mapping) and _step_name(line) is not None


def _step_name(names: Iterable[str]) -> str | None:
    for wanted in _STEP:
        for name in names:
            if _bare(name) == wanted:
                return name
    return None


def _bare(name: str) -> str:
    return name.rpartition("/")[2]


def _row(line: object, method: str | None, skipped: list[str]) -> Row | None:
    if not isinstance(line, Mapping):
        return None
    name = _step_name(line)
    step = _whole(line[name]) if name is not None else None
    if step is None:
        return None
    inner = line.get("data")
    measured = inner if isinstance(inner, Mapping) else line
    values = {name: value for name, value in measured.items() if _bare(name) not in _AXES}
    metrics, broken = measurements(values, method)
    skipped += [f"step {step}: {name} is not a finite number" for name in broken]
    return Row(step, metrics, known_moment(line.get(_TIME)))


def _whole(value: object) -> int | None:
    """Return a step, which may be written as 3.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if is_step(value) else None
