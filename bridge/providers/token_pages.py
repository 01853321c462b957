"""Lists in pages that contain a token for the next page, as at Google and AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bridge.errors import BadReply
from bridge.http.client import JsonObject, Query
from bridge.providers.new_ids import NewIds
from bridge.providers.records import rows_of

_MOST_PAGES: Final = 1_000
"""Highest number of pages of a list, more than any account has."""
_IDS: Final = frozenset({"id", "name", "jobArn"})
"""Keys of a row's id."""


def token_pages(
    ask: Callable[[Query], JsonObject | None],
    path: str,
    key: str,
    query: Query,
    *,
    next_key: str = "nextPageToken",
    page_key: str = "pageToken",
) -> Iterator[list[object]]:
    """Yield the rows of each page, up to one without a token.

    Args:
        ask: Requests a page; returns ``None`` for a list that does not exist.
        path: The path of the list, for errors.
        key: The key of the rows in a reply.
        query: Parameters of each request.
        next_key: The key of the token in a reply.
        page_key: The parameter of the token in a request.

    Raises:
        ProviderError: A page could not be read.
    """

    def page(reply: JsonObject) -> list[object]:
        # Without rows, the reply is an empty object.
        return rows_of(reply, key, path, others={next_key}, may_be_empty=True)

    seen: set[str | int] = set()
    new_ids = NewIds(path, lambda: page(ask(first) or {}), names=_IDS)
    first = query
    for _ in range(_MOST_PAGES):
        reply = ask(query)
        if reply is None:
            return
        rows = page(reply)
        new_ids.check(rows)
        content = hash(repr(rows))
        if rows and content in seen:
            raise repeated(path)
        yield rows
        following = reply.get(next_key)
        if not following or not isinstance(following, str):
            return
        if following in seen:
            raise repeated(path)
        seen |= {content, following}
        query = {**query, page_key: following}
    raise BadReply(f"The pages of {path} do not end")


def repeated(path: str) -> BadReply:
    """Return the error for a list whose pages repeat."""
    return BadReply(f"The pages of {path} do not end: they repeat")
