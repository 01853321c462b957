"""Reading what a provider sent: lenient with its parts, strict with its core.

A record is a pydantic model of one wire object. Unknown keys are ignored and missing ones are
``None``; a value of the wrong type is taken out and reported, and the rest of the record is kept.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.errors import BadReply
from bridge.untrusted import one_line

_MOST_REPAIRS: Final = 50
"""A record with more wrong values than this is not what it claims to be."""


class Record(BaseModel):
    """One wire object."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    wire_name: ClassVar[str] = "record"
    """What a sentence about it calls it."""


Number = Annotated[float, Field(strict=True)]
"""A JSON number: neither a boolean nor text that looks like one."""

Identifier = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An id: it names a run for good, so it is taken as it is or not at all."""

AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_rows(
    kind: type[AnyRecord], rows: Iterable[object]
) -> tuple[list[tuple[AnyRecord, tuple[str, ...]]], tuple[str, ...]]:
    """Each of ``rows`` as by ``read_record``, and a sentence for each that is not one."""
    records: list[tuple[AnyRecord, tuple[str, ...]]] = []
    unreadable: list[str] = []
    for row in rows:
        try:
            records.append(read_record(kind, row))
        except BadReply as error:
            unreadable.append(error.sentence)
    return records, tuple(unreadable)


def read_record(kind: type[AnyRecord], data: object) -> tuple[AnyRecord, tuple[str, ...]]:
    """``data`` as a record, and a sentence for each value that had to be left out.

    Raises:
        BadReply: not even the core can be read.
    """
    skipped: list[str] = []
    for _ in range(_MOST_REPAIRS):
        try:
            return kind.model_validate(data), tuple(skipped)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            path = problem["loc"]
            what = f"{_dotted(path)}: {one_line(problem['msg'], 120)}"
            if problem["type"] == "missing":
                path = path[:-1]
            if not path or not isinstance(data, dict):
                raise BadReply(f"A {kind.wire_name} cannot be read ({what.lstrip(': ')})") from None
            if not skipped:
                data = copy.deepcopy(data)
            _take_out(data, path)
            skipped.append(what)
    raise BadReply(f"A {kind.wire_name} has more than {_MOST_REPAIRS} values that cannot be read")


def _take_out(data: object, path: tuple[int | str, ...]) -> None:
    *parents, last = path
    for key in parents:
        data = data[key]  # type: ignore[index] # pydantic has just walked this path
    del data[last]  # type: ignore[attr-defined] # as above


def _dotted(path: tuple[int | str, ...]) -> str:
    return one_line(".".join(map(str, path)), 120)


def milliseconds(seconds: float | None) -> int | None:
    """Unix seconds as MLflow's milliseconds; ``None`` for what cannot be a time."""
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    return int(seconds * 1000)
