"""The metrics of Prime Intellect's runs: one row per step, requested from a step on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from bridge.http.client import Query
from bridge.model import CurvePoint, Job
from bridge.providers.measurements import measurements
from bridge.providers.parts import METRICS, Parts
from bridge.providers.records import Record, Step, read_rows
from bridge.providers.times import known_moment

_STEP: Final = "step"
_TIMES: Final = ("timestamp", "_timestamp", "createdAt", "created_at")
"""Keys of the time in a row of metrics."""
_MAY_BE_CUT: Final = 10
"""Number of rows from which a reply may be cut off."""
_MOST_REQUESTS: Final = 500
"""Highest number of requests for the rows of one run, against servers that never end."""


class StepRecord(Record):
    """A row of metrics with all or some of the measurements of one step."""

    wire_name: ClassVar = "row of metrics"

    step: Step


@dataclass(frozen=True, slots=True)
class Measured:
    """The content of a row."""

    step: int
    at: int | None
    metrics: Mapping[str, float]
    infinite: tuple[str, ...]


class Metrics:
    """Reads the rows of runs; for an open run, its newest step and later ones."""

    def __init__(self, ask: Callable[[Parts, Job, str, Query], list[object]]) -> None:
        """Read rows.

        Args:
            ask: Requests the rows of a list below a run.
        """
        self._ask = ask
        # A cache for open runs. Each run is read by one thread at a time.
        self._rows: dict[str, list[object]] = {}
        """Rows by run id."""

    def read(self, job: Job, parts: Parts, *, reread: bool) -> list[object]:
        """Return the rows as they came; for an open run, the newest step is requested again."""
        rows = [(_step_of(row), row) for row in ([] if reread else self._rows.get(job.id, []))]
        steps = {step for step, _ in rows if step is not None}
        left = _MOST_REQUESTS
        todo: list[tuple[int | None, int | None]] = [(max(steps, default=None), None)]
        while todo:
            if not left:
                parts.lacks(METRICS, f"its rows do not end after {_MOST_REQUESTS:,} requests")
                break
            left -= 1
            least, most = todo.pop()
            bounds = {"min_step": least, "max_step": most}
            query = {name: step for name, step in bounds.items() if step is not None}
            found = [(_step_of(row), row) for row in self._ask(parts, job, METRICS, query)]
            given = {step for step, _ in found if step is not None}
            rows = [*(each for each in rows if each[0] not in given), *found]
            fresh = given - steps
            steps |= given
            if not fresh or len(found) < _MAY_BE_CUT:
                continue
            # A server may send only some of them, either the first or the last.
            if most is None or max(fresh) < most:
                todo.append((max(fresh) + 1, most))
            if min(fresh) > (1 if least is None else least + 1):
                todo.append((least, min(fresh) - 1))
        self._rows.pop(job.id, None)
        if not job.status.is_final and not parts.missing:
            self._rows[job.id] = [row for _, row in rows]
        return [row for _, row in rows]


def measured(rows: Iterable[object], skipped: list[str]) -> list[Measured]:
    """Return the content of the rows by ascending step."""
    found: list[Measured] = []
    unreadable: list[str] = []
    for row in rows:
        records, reasons = read_rows(StepRecord, [row])
        unreadable += reasons
        found += [_of_row(record, row) for record, _ in records if isinstance(row, dict)]
    broken = sorted({name for each in found for name in each.infinite})
    skipped += dict.fromkeys([*unreadable, *(f"{name} is not always finite" for name in broken)])
    return sorted(found, key=lambda each: each.step)


def _of_row(record: StepRecord, row: Mapping[str, object]) -> Measured:
    """Return the numbers of a row, nested ones under dotted names, and the row's time."""
    axes = {_STEP, *_TIMES}
    values = {name: value for name, value in row.items() if name not in axes}
    finite, infinite = measurements(values, "reinforcement")
    return Measured(record.step, _time_of(row), finite, tuple(infinite))


def _time_of(row: Mapping[str, object]) -> int | None:
    times = map(known_moment, map(row.get, _TIMES))
    return next((moment for moment in times if moment is not None), None)


def _step_of(row: object) -> int | None:
    """Return the step of a row of metrics; ``None`` if it has none."""
    records, _ = read_rows(StepRecord, [row])
    return next((record.step for record, _ in records), None)


def points(found: list[Measured]) -> tuple[CurvePoint, ...]:
    """Return the points of the curve."""
    return tuple(
        CurvePoint(name, each.step, value, each.at)
        for each in found
        for name, value in each.metrics.items()
    )
