"""The metrics of Vertex AI's tuning jobs: time series in a TensorBoard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import ClassVar, Final, TypeGuard

from pydantic import Field

from bridge.errors import BadReply
from bridge.http.client import ApiClient, JsonObject, Query, segment
from bridge.model import CurvePoint, JobStatus
from bridge.providers.measurements import measurements
from bridge.providers.parts import METRICS, Parts
from bridge.providers.records import Identifier, Record, Step, read_rows
from bridge.providers.times import Moment
from bridge.providers.token_pages import token_pages

_PAGE_SIZE: Final = 1000
"""Largest page that a TensorBoard returns."""
_EVERY_POINT: Final = -1
_SERIES: Final = "tensorboardTimeSeries"
_NAME: Final = re.compile(r"projects/[^/]+/locations/[^/]+/[^?#]+")
_NONE: Final = ""
"""Value for an experiment without a TensorBoard."""
_WORDS: Final = ("NaN", "Infinity", "-Infinity")
"""Texts for numbers that JSON lacks, as protocol buffers write them."""


class SeriesRecord(Record):
    """A metric's time series in a TensorBoard, and its length."""

    wire_name: ClassVar = "time series"

    name: Identifier
    display_name: str = Field(alias="displayName")
    value_type: str | None = Field(None, alias="valueType")
    updated_at: object = Field(None, alias="updateTime")
    extent: dict[str, object] | None = Field(None, alias="metadata")

    @property
    def metric(self) -> str:
        """Name of the metric, without the leading slash, which MLflow does not accept."""
        return self.display_name.lstrip("/")

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers rather than images or tensors."""
        return self.value_type in {None, "SCALAR"}

    @property
    def state(self) -> object:
        """Values that change when the series grows; ``None`` if it lacks them."""
        return (self.extent, self.updated_at) if self.extent or self.updated_at else None


class ValueRecord(Record):
    """One value of a time series."""

    wire_name: ClassVar = "value"

    step: Step
    at: Moment = Field(None, alias="wallTime")
    scalar: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A metric and its time series."""

    record: SeriesRecord
    row: JsonObject
    values: list[object]

    def document(self) -> JsonObject:
        """Return the provider's reply about the series."""
        return self.row | {"values": self.values}

    def points(self, skipped: list[str]) -> Iterator[CurvePoint]:
        """Yield the numbers of the series.

        In protocol buffers an absent field is zero, be it a step or the value of a scalar.
        """
        metric = self.record.metric
        records, unreadable = read_rows(ValueRecord, map(_with_step, self.values))
        odd = [problem for _, problems in records for problem in problems]
        skipped += [f"{metric}: {sentence}" for sentence in dict.fromkeys([*unreadable, *odd])]
        infinite = 0
        for record, _ in records:
            if record.scalar is None:
                continue
            value = record.scalar.get("value", 0.0)
            finite, broken = measurements({metric: float(value) if _is_word(value) else value})
            infinite += len(broken)
            for number in finite.values():
                yield CurvePoint(metric, record.step, number, record.at)
        if infinite:
            skipped.append(
                f"{metric}: {infinite} of its values {'is' if infinite == 1 else 'are'} not finite"
            )


class Curves:
    """Reads the series of jobs; those of an open job are read again only if they have grown."""

    def __init__(self, http: ApiClient) -> None:
        self._http = http
        # Caches for open jobs. Each job is read by one thread at a time.
        self._boards: dict[str, str] = {}
        """TensorBoards by experiment."""
        self._last: dict[str, dict[str, Series]] = {}
        """Last readings of the series, by experiment and name."""

    def read(
        self, experiment: str, parts: Parts, *, reread: bool, status: JobStatus
    ) -> list[Series]:
        """Return the series of the job with this experiment.

        Args:
            experiment: name of the experiment, from the job.
            parts: receives what cannot be read; until a job has ended, it may not exist yet.
            reread: whether to read all of them again.
            status: status of the job.

        Raises:
            ProviderError: the service is down.
        """
        known = {} if reread else self._last.get(experiment, {})
        is_optional = not status.is_final
        board = self._boards.get(experiment) or parts.one(
            METRICS, lambda: self._board(experiment, status)
        )
        if board == _NONE and status.is_final:
            parts.lacks(METRICS, "its TensorBoard is gone, or may not be read")
        found: dict[str, Series] = {}
        listed = self._listed(board, experiment, parts, is_optional=is_optional) if board else ()
        for record, row in listed:
            last = known.get(record.name)
            is_same = last and record.state and last.record.state == record.state
            if last and is_same:
                values = last.values
            else:
                ask = partial(self._values, record.name, is_optional=is_optional)
                values = parts.one(METRICS, ask) or []
            found[record.name] = Series(record, row, values)
        self._boards.pop(experiment, None)
        self._last.pop(experiment, None)
        if board and is_optional and not parts.missing:
            self._boards[experiment] = board
            self._last[experiment] = found
        return list(found.values())

    def _board(self, experiment: str, status: JobStatus) -> str | None:
        """Return the TensorBoard of an experiment, which may have none.

        ``None`` without an experiment, which is created when training begins: a job that failed or
        was cancelled may have ended earlier.
        """
        path = _path(experiment)
        if status is JobStatus.SUCCEEDED:
            context: JsonObject | None = self._http.get_object(path)
        else:
            context = self._http.find_object(path, is_optional=not status.is_final)
        metadata = (context or {}).get("metadata")
        board = metadata.get("backing_tensorboard_resource") if isinstance(metadata, dict) else None
        return board if is_name(board) else None if context is None else _NONE

    def _listed(
        self, board: str, experiment: str, parts: Parts, *, is_optional: bool
    ) -> Iterator[tuple[SeriesRecord, JsonObject]]:
        """Yield the metrics in a TensorBoard with their lengths."""
        runs = f"{_path(board)}/experiments/{segment(experiment.rpartition('/')[2])}/runs"
        rows_of = partial(self._rows, parts, is_optional=is_optional)
        for run in rows_of(runs, "tensorboardRuns"):
            name = run.get("name") if isinstance(run, dict) else None
            for row in rows_of(f"{_path(name)}/timeSeries", _SERIES) if is_name(name) else ():
                # The values of an unreadable series are not missed.
                for record, _ in read_rows(SeriesRecord, [row])[0]:
                    if record.is_numeric and record.metric and is_name(record.name):
                        yield record, row if isinstance(row, dict) else {}

    def _values(self, name: str, *, is_optional: bool) -> list[object]:
        """Return all points of a time series, of which the default reply is a random sample."""
        query = {"maxDataPoints": _EVERY_POINT}
        reply = self._object(f"{_path(name)}:read", query, is_optional=is_optional)
        if reply and "timeSeriesData" not in reply:
            raise BadReply(f"The reply to {_path(name)}:read has no time series", "Check base_url")
        data = reply.get("timeSeriesData")
        values = data.get("values") if isinstance(data, dict) else None
        return values if isinstance(values, list) else []

    def _rows(self, parts: Parts, path: str, key: str, *, is_optional: bool) -> Iterator[object]:
        query = {"pageSize": _PAGE_SIZE}
        ask = partial(self._object, path, is_optional=is_optional)
        pages = token_pages(ask, path, key, query)
        return chain.from_iterable(parts.pages(METRICS, pages))

    def _object(self, path: str, query: Query | None = None, *, is_optional: bool) -> JsonObject:
        """Return a reply; an empty one if an optional request is refused."""
        if is_optional:
            return self._http.find_object(path, query, is_optional=True) or {}
        return self._http.get_object(path, query)


def is_name(value: object) -> TypeGuard[str]:
    """Return whether this is a resource name of Google Cloud, fit for a path."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _path(name: str) -> str:
    return f"/v1/{'/'.join(map(segment, name.split('/')))}"


def _with_step(value: object) -> object:
    return {"step": 0, **value} if isinstance(value, dict) else value


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value in _WORDS
