"""The CSV that OpenAI-shaped servers write when a job has finished: one row per step.

The body is base64 since about 2024, and plain before. Values are rounded to five decimals, and rows
have no time, so each row is placed between the times that the provider gives.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from bridge.model import CurvePoint, Job
from bridge.providers.measurements import measurements
from bridge.providers.parts import RESULT_FILE, Parts
from bridge.providers.records import is_step
from bridge.providers.timeline import Timeline

_COLUMNS: Final[Mapping[str, str]] = {
    "train_accuracy": "train_mean_token_accuracy",
    "valid_accuracy": "valid_mean_token_accuracy",
    "validation_mean_token_accuracy": "valid_mean_token_accuracy",
    # The first API's.
    "training_loss": "train_loss",
    "training_token_accuracy": "train_mean_token_accuracy",
    "validation_loss": "valid_loss",
    "validation_token_accuracy": "valid_mean_token_accuracy",
}
"""Columns that have other names in events and checkpoints."""

_STEP: Final = "step"
_DELIMITERS: Final = ",;\t"
_LONGEST_HEADER: Final = 64 * 2**10
"""Longest header in bytes."""

Row = tuple[int, Mapping[str, float]]


class ResultFile:
    """The result file of one job, requested at most once and only on demand."""

    def __init__(
        self, job: Job, method: str, fetch: Callable[[str], bytes | None], parts: Parts
    ) -> None:
        self._id = job.result_files[0] if job.status.is_final and job.result_files else None
        self._method = method
        self._fetch = fetch
        self._parts = parts
        self._found: tuple[bytes, list[Row]] | None = None

    @property
    def exists(self) -> bool:
        """Whether there should be a file, which is written when the job has ended."""
        return self._id is not None

    @property
    def rows(self) -> list[Row]:
        """Rows of the file; none, with a sentence, if it is gone or unreadable."""
        return self._content[1]

    @property
    def document(self) -> dict[str, bytes]:
        """Content of the file, under a name that shows whether it is a valid table."""
        body, _ = self._content
        table = as_csv(body)
        if table is not None:
            return {"result-file.csv": table}
        return {"result-file": body} if body else {}

    @property
    def _content(self) -> tuple[bytes, list[Row]]:
        # Not a cached_property, which up to Python 3.11 would fetch the files of all jobs under one
        # lock.
        if self._found is None:
            body = b"" if self._id is None else self._read(self._id)
            found = rows(body, self._method)
            if found is None and self.exists and not self._parts.is_awaited(RESULT_FILE):
                self._parts.lacks(RESULT_FILE, f"result file {self._id} is gone or unreadable")
            self._found = body, found or []
        return self._found

    def _read(self, file_id: str) -> bytes:
        return self._parts.one(RESULT_FILE, lambda: self._fetch(file_id)) or b""


def rows(body: bytes, method: str = "") -> list[Row] | None:
    """Return the step and metrics of each row, ascending; ``None`` for any other file."""
    table = as_csv(body)
    if table is None:
        return _json_rows(body, method)
    text = _bare(table).decode("utf-8", "replace")
    found: dict[int, dict[str, float]] = {}
    table_of = csv.DictReader(io.StringIO(text), delimiter=_delimiter(text))
    try:
        names = [name.strip() for name in table_of.fieldnames or ()]
        table_of.fieldnames = [_STEP if name.casefold() == _STEP else name for name in names]
        for line in table_of:
            step = _number(line.get(_STEP))
            if step is not None and step.is_integer() and is_step(int(step)):
                metrics, _ = measurements(dict(_metrics(line)), method)
                found.setdefault(int(step), metrics)
    except csv.Error:
        return None
    return sorted(found.items())


def _json_rows(body: bytes, method: str) -> list[Row] | None:
    """Return the rows of a file with a JSON object on each line; ``None`` for any other file."""
    found: dict[int, dict[str, float]] = {}
    for line in filter(None, map(bytes.strip, body.removeprefix(codecs.BOM_UTF8).splitlines())):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return None
        step = row.get(_STEP) if isinstance(row, dict) else None
        if isinstance(step, bool) or not isinstance(step, int) or not is_step(step):
            return None
        cells = {name: cell for name, cell in row.items() if isinstance(cell, int | float)}
        named = {_COLUMNS.get(name, name): cell for name, cell in cells.items() if name != _STEP}
        metrics, _ = measurements(named, method)
        found.setdefault(step, metrics)
    return sorted(found.items()) or None


def as_csv(body: bytes) -> bytes | None:
    """Return the CSV in ``body``, decoded if necessary; ``None`` if there is none.

    It is recognized by its header, because a plain file may also be valid base64.
    """
    body = _as_utf8(body)
    if _has_header(body):
        return body
    try:
        decoded = _as_utf8(base64.b64decode(b"".join(body.split()), validate=True))
    except binascii.Error:
        return None
    return decoded if _has_header(decoded) else None


def _as_utf8(body: bytes) -> bytes:
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").encode()
    return body


def _has_header(body: bytes) -> bool:
    header = _bare(body).split(b"\n", 1)[0][:_LONGEST_HEADER].decode("utf-8", "replace")
    columns = [column.strip().strip('"').casefold() for column in header.split(_delimiter(header))]
    return len(columns) > 1 and _STEP in columns


def _delimiter(text: str) -> str:
    """Return the separator of the columns: the most frequent candidate in the header."""
    return max(_DELIMITERS, key=text.partition("\n")[0].count)


def _bare(table: bytes) -> bytes:
    """Return the table without a byte order mark, blanks or comments before its header."""
    table = table.removeprefix(codecs.BOM_UTF8).lstrip()
    while table.startswith(b"#"):
        table = table.partition(b"\n")[2].lstrip()
    return table


def _metrics(line: Mapping[str | None, object]) -> Iterator[tuple[str, float]]:
    for column, cell in line.items():
        value = _number(cell)
        if column and column != _STEP and value is not None:
            yield _COLUMNS.get(column, column), value


def _number(cell: object) -> float | None:
    """Return the finite number in a cell; ``None`` for empty cells and ``N/A``."""
    try:
        value = float(cell) if isinstance(cell, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def has_all_before(step: int | None, table: Sequence[Row]) -> bool:
    """Return whether the rows have every step before ``step``; ``None``: before their last one."""
    found = {row_step for row_step, _ in table}
    end = max(found, default=0) if step is None else step
    return bool(found) and all(each in found for each in range(1, end))


def points(table: Sequence[Row], timeline: Timeline) -> list[CurvePoint]:
    """Return the rows as points with times."""
    if table:
        timeline = timeline.ending_at(table[-1][0])
    return [
        CurvePoint(name, step, value, timeline.at(step))
        for step, metrics in table
        for name, value in metrics.items()
    ]
