"""The lists of an OpenAI-shaped server: their pages and their order.

Servers speak this API more or less: some ignore the cursor, some refuse it, some leave out
``has_more``, some write new ids at each call. A list ends where nothing new comes, and it is a bad
reply if the server says all the while that more follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from bridge.errors import BadReply
from bridge.http.client import ApiClient, JsonObject, segment
from bridge.providers.new_ids import NewIds, without_id
from bridge.providers.records import rows_of
from bridge.providers.times import known_moment

JOBS: Final = "/fine_tuning/jobs"
PAGE_SIZE: Final = 100
_MOST_PAGES: Final = 10_000
"""Pages of one list. No server has as many."""


def job_path(job_id: str) -> str:
    """Return where a job is."""
    return f"{JOBS}/{segment(job_id)}"


def first_page(http: ApiClient) -> JsonObject:
    """Return the beginning of the job list: without it the service is not there."""
    return http.get_object(JOBS, {"limit": 1}, is_entry=True)


def pages(http: ApiClient, path: str, first: JsonObject | None = None) -> Iterator[list[object]]:
    """Yield the pages of a list. The cursor is a row's id.

    Args:
        http: asks the API.
        path: where the list is.
        first: the first page, if it has been read.

    Raises:
        ProviderError: a page cannot be read, or the pages do not end.
    """
    query: dict[str, str | int] = {"limit": PAGE_SIZE}
    # A cursor that is refused says nothing about the service.
    reply: JsonObject | None = first or http.get_object(path, query, is_entry=path == JOBS)
    seen: set[object] = set()
    new_ids = NewIds(
        path, lambda: rows_of(http.get_object(path, {"limit": PAGE_SIZE}), "data", path)
    )
    for _ in range(_MOST_PAGES):
        if reply is None:
            return
        rows = rows_of(reply, "data", path)
        # Jobs may differ by their ids only; of a part, rows with new ids may be old. The hash is
        # enough: the content itself would be kept until the end of a long list.
        content = hash(tuple(_content(row, with_id=path == JOBS) for row in rows))
        is_new = content not in seen
        seen.add(content)
        if path == JOBS:
            new_ids.check(rows)
        if is_new:
            yield rows
        following = _following(path, reply, rows, seen, is_new=is_new)
        if following is None:
            return
        seen.add(following.cursor)
        query["after"] = following.cursor
        reply = (
            http.find_object(path, query, is_optional=True)
            if following.is_doubtful
            else http.get_object(path, query)
        )
    raise BadReply(f"The pages of {path} do not end")


class _Following(NamedTuple):
    """The page after another one."""

    cursor: str
    is_doubtful: bool
    """Whether the server may have sent all that it has."""


def _following(
    path: str, reply: JsonObject, rows: list[object], seen: set[object], *, is_new: bool
) -> _Following | None:
    """Return where the next page begins; ``None`` at the end of the list.

    Raises:
        BadReply: more follows, as the server says, but the page says nothing new.
    """
    more = reply.get("has_more")
    if not rows or more is False:
        return None
    # A server that says nothing of more has sent all that it has, unless it sent just as
    # much as it was asked for.
    has_all = more is None and len(rows) != PAGE_SIZE
    cursor = _cursor(rows)
    if is_new and cursor is not None and cursor not in seen:
        return _Following(cursor, has_all)
    if has_all:
        return None
    raise BadReply(f"The pages of {path} do not end: the server sent no new cursor")


def newest_first(found: Iterable[list[object]]) -> Iterator[list[object]]:
    """Yield the pages from the newest row back, whichever end the server begins at."""
    rest = iter(found)
    first = next(rest, [])
    if _ascends(first):
        yield from (rows[::-1] for rows in reversed([first, *rest]))
    else:
        yield first
        yield from rest


def _content(row: object, *, with_id: bool) -> object:
    """Return the part of a row that tells two rows apart."""
    own = row.get("id") if with_id and isinstance(row, Mapping) else None
    return without_id(row), own if isinstance(own, str) else None


def _ascends(rows: list[object]) -> bool:
    """Return whether the rows begin with the oldest."""
    times = [known_moment(row.get("created_at")) for row in rows if isinstance(row, Mapping)]
    known = [time for time in times if time is not None]
    return bool(known) and known[0] < known[-1]


def _cursor(rows: list[object]) -> str | None:
    """Return the id of the last row that has one."""
    for row in reversed(rows):
        identifier = row.get("id") if isinstance(row, dict) else None
        if isinstance(identifier, str) and identifier:
            return identifier
    return None
