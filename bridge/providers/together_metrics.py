"""The metrics of Together's jobs by step; a checkpoint gets those of its step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from bridge.model import Checkpoint, CurvePoint
from bridge.providers.measurements import Metric, measurements
from bridge.providers.records import Record, Step, read_rows
from bridge.providers.times import Moment

_STEP: Final = "train/global_step"
"""Keys of the step in rows of training and of evaluation."""
_TIME: Final = "timestamp"
_AXIS: Final = re.compile(r"(.*[/_])?(step|epoch|timestamp)")
"""Numbers that locate a row rather than measure the training."""


class MetricsRecord(Record):
    """A row of metrics, divided into its axes and its values."""

    wire_name: ClassVar = "row of metrics"

    step: Step
    timestamp: Moment = None
    metrics: dict[str, Metric]


@dataclass(slots=True)
class Measured:
    """The metrics of one step."""

    at: int | None = None
    """Time of the measurement, Unix milliseconds."""
    values: dict[str, float] = field(default_factory=dict)


def measured(rows: Iterable[object], method: str, skipped: list[str]) -> dict[int, Measured]:
    """Return the metrics by step, from rows of training and evaluation, with the first row's time.

    A loss may be negative if ``method`` is preference training. ``skipped`` receives a sentence for
    each value that is left out.
    """
    found: dict[int, Measured] = {}
    records, unreadable = read_rows(MetricsRecord, map(_parted, rows))
    skipped += unreadable
    for record, problems in records:
        finite, broken = measurements(record.metrics, method)
        skipped += [f"step {record.step}: {problem}" for problem in problems]
        skipped += [f"step {record.step}: {name} is not a finite number" for name in broken]
        place = found.setdefault(record.step, Measured(record.timestamp))
        place.values |= finite
    return found


def _parted(row: object) -> object:
    if not isinstance(row, dict):
        return row
    values = {name: value for name, value in row.items() if not _AXIS.fullmatch(name)}
    return {"step": row.get(_STEP), "timestamp": row.get(_TIME), "metrics": values}


def with_metrics(checkpoint: Checkpoint, at_step: Measured | None) -> Checkpoint:
    """Return the checkpoint with the metrics and the time of its step."""
    if at_step is None:
        return checkpoint
    moment = at_step.at or checkpoint.created_at
    return replace(checkpoint, created_at=moment, metrics=at_step.values)


def points(found: Mapping[int, Measured], *, beside: AbstractSet[int]) -> Iterator[CurvePoint]:
    """Yield the points of the curve, without the steps ``beside`` that have a checkpoint."""
    for step in sorted(found.keys() - beside):
        for name, value in found[step].values.items():
            yield CurvePoint(name, step, value, found[step].at)
