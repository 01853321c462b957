"""The lists of an OpenAI-shaped server: their pages and their order.

Servers implement this API to varying degrees: some ignore the cursor, some refuse it, some omit
``has_more``, some send new ids at each request. A list ends where nothing new comes; if the server
still claims that more follows, the reply is bad.
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
"""Highest number of pages of a list, more than any server has."""


def job_path(job_id: str) -> str:
    """Return the path of a job."""
    return f"{JOBS}/{segment(job_id)}"


def first_page(http: ApiClient) -> JsonObject:
    """Return the beginning of the job list, which every working service has."""
    return http.get_object(JOBS, {"limit": 1}, is_entry=True)


def pages(http: ApiClient, path: str, first: JsonObject | None = None) -> Iterator[list[object]]:
    """Yield the pages of a list. The cursor is a row's id.

    Args:
        http: client of the API.
        path: path of the list.
        first: the first page, if it has been read.

    Raises:
        ProviderError: a page cannot be read, or the pages do not end.
    """
    query: dict[str, str | int] = {"limit": PAGE_SIZE}
    # A refused cursor says nothing about the service.
    reply: JsonObject | None = first or http.get_object(path, query, is_entry=path == JOBS)
    seen: set[object] = set()
    new_ids = NewIds(
        path, lambda: rows_of(http.get_object(path, {"limit": PAGE_SIZE}), "data", path)
    )
    for _ in range(_MOST_PAGES):
        if reply is None:
            return
        rows = rows_of(reply, "data", path)
        if reply.get("has_more") is False and not seen:
            yield rows  # the only page, which need not be compared with others
            return
        # Jobs may differ only by their ids; rows of a part may be old ones with new ids. A hash
        # suffices, and keeps less of a long list.
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
    """The next page of a list."""

    cursor: str
    is_doubtful: bool
    """Whether the server may have sent everything."""


def _following(
    path: str, reply: JsonObject, rows: list[object], seen: set[object], *, is_new: bool
) -> _Following | None:
    """Return the cursor of the next page; ``None`` at the end of the list.

    Raises:
        BadReply: the server claims that more follows, but the page has nothing new.
    """
    more = reply.get("has_more")
    if not rows or more is False:
        return None
    # A server without has_more has sent everything, unless it sent exactly as much as requested.
    has_all = more is None and len(rows) != PAGE_SIZE
    cursor = _cursor(rows)
    if is_new and cursor is not None and cursor not in seen:
        return _Following(cursor, has_all)
    if has_all:
        return None
    raise BadReply(f"The pages of {path} do not end: the server sent no new cursor")


def newest_first(found: Iterable[list[object]]) -> Iterator[list[object]]:
    """Yield the pages from the newest row back, in whichever order the server sends them."""
    rest = iter(found)
    first = next(rest, [])
    if _ascends(first):
        yield from (rows[::-1] for rows in reversed([first, *rest]))
    else:
        yield first
        yield from rest


def _content(row: object, *, with_id: bool) -> object:
    """Return the part of a row that distinguishes two rows."""
    own = row.get("id") if with_id and isinstance(row, Mapping) else None
    return without_id(row), own if isinstance(own, str) else None


def _ascends(rows: list[object]) -> bool:
    """Return whether the oldest row is first."""
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
