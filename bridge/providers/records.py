"""Parsing of a provider's replies: lenient with the parts, strict with the core.

A record is a pydantic model of one wire object. Unknown keys are ignored and missing ones are
``None``; a value of the wrong type is removed and reported, and the rest of the record is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from bridge.errors import BadReply
from bridge.model import Job
from bridge.model import Page as JobPage
from bridge.text import clean, one_line

_LONGEST_ID: Final = 250

Path = tuple[int | str, ...]


class Record(BaseModel):
    """One wire object."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    wire_name: ClassVar[str] = "record"
    """Name of the object in sentences."""


Number = Annotated[float, Field(strict=True)]
"""A JSON number, not a boolean or text that looks like a number."""


def _taken_as_it_is(text: str) -> str:
    if not text or clean(text, _LONGEST_ID) != text or "\n" in text or "\t" in text:
        raise ValueError(f"must be 1 to {_LONGEST_ID} printable characters")
    return text


Identifier = Annotated[str, AfterValidator(_taken_as_it_is)]
"""An id, which names a run for good and is therefore accepted unchanged or not at all."""

Step = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A step that MLflow can store in 64 bits."""


def is_step(number: int) -> bool:
    """Return whether MLflow can store ``number`` as a step."""
    return -(2**63) <= number < 2**63


AnyRecord = TypeVar("AnyRecord", bound=Record)


def rows_of(
    reply: Mapping[str, object],
    key: str,
    path: str,
    *,
    others: AbstractSet[str] = frozenset(),
    may_be_empty: bool = False,
) -> list[object]:
    """Return the rows in the reply to ``path``.

    Args:
        reply: The object that contains the rows.
        key: The key of the rows.
        path: The path of the request, for the error.
        others: Keys that show that this is the list even without rows.
        may_be_empty: Whether an empty object counts as a list without rows.

    Raises:
        BadReply: The reply has no list.
    """
    rows = reply.get(key) or []
    is_list = not reply.keys().isdisjoint({key, *others}) or (may_be_empty and not reply)
    if not isinstance(rows, list) or not is_list:
        raise BadReply(f"The reply to {path} has no list", "Check base_url")
    return rows


def read_rows(
    kind: type[AnyRecord], rows: Iterable[object]
) -> tuple[list[tuple[AnyRecord, tuple[str, ...]]], tuple[str, ...]]:
    """Return each of ``rows`` as a record, and a sentence for each that is not one."""
    records: list[tuple[AnyRecord, tuple[str, ...]]] = []
    unreadable: list[str] = []
    for row in rows:
        try:
            records.append(read_record(kind, row))
        except BadReply as error:
            unreadable.append(error.sentence)
    return records, tuple(unreadable)


def read_record(kind: type[AnyRecord], data: object) -> tuple[AnyRecord, tuple[str, ...]]:
    """Return ``data`` as a record, and a sentence for each value that was left out.

    Raises:
        BadReply: not even the core can be read.
    """
    skipped: list[str] = []
    while True:
        try:
            return kind.model_validate(data), tuple(skipped)
        except RecursionError:
            raise BadReply(f"A {kind.wire_name} cannot be read (nested too deep)") from None
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
        wrong: set[Path] = set()
        for problem in problems:
            path = problem["loc"]
            what = f"{_dotted(path)}: {one_line(problem['msg'], 120)}".removeprefix(": ")
            if problem["type"] == "missing":
                path = path[:-1]
            path = _found(data, path)
            if not path or not isinstance(data, dict):
                raise BadReply(f"A {kind.wire_name} cannot be read ({what})")
            wrong.add(path)
            skipped.append(what)
        # From the back, so that the positions of earlier values do not change.
        for path in sorted(wrong, reverse=True):
            data = _without(data, path)


def _found(data: Any, path: Path) -> Path:  # noqa: ANN401 - any JSON
    """Return ``path`` as far as it exists, because pydantic respells names that are not Unicode."""
    for depth, part in enumerate(path):
        try:
            data = data[part]
        except (KeyError, TypeError):
            return path[:depth]
    return path


def _without(data: Any, path: Path) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy of ``data`` without the value at ``path``; only its parents are copied."""
    first, *rest = path
    copied = data.copy()
    if rest:
        copied[first] = _without(copied[first], tuple(rest))
    else:
        del copied[first]
    return copied


def _dotted(path: Path) -> str:
    return one_line(".".join(map(str, path)), 120)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listed(Job):
    """A job with its reply, from which its provider continues."""

    reply: Mapping[str, object] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        """Compare as jobs, because different replies may have the same meaning."""
        return isinstance(other, Job) and all(
            getattr(self, each.name) == getattr(other, each.name) for each in fields(Job)
        )

    __hash__ = None  # type: ignore[assignment] # as for every job, whose params are a mapping


def reply_of(job: Job) -> Mapping[str, object]:
    """Return the reply that a job was made of; empty if it was made otherwise."""
    return job.reply if isinstance(job, Listed) else {}


def only(name: str | None) -> tuple[str, ...]:
    """Return a tuple with a name, or an empty one without a name."""
    return (name,) if name else ()


def read_page(
    kind: type[AnyRecord],
    rows: Iterable[object],
    make_job: Callable[[AnyRecord, tuple[str, ...], object], Job],
) -> JobPage:
    """Return each row as a job, made of its record, its problems and the row itself."""
    jobs: list[Job] = []
    reasons: list[str] = []
    for row in rows:
        records, unreadable = read_rows(kind, [row])
        jobs += [make_job(record, problems, row) for record, problems in records]
        reasons += unreadable
    return JobPage(tuple(jobs), tuple(reasons))
