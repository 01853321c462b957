"""Lists that come in pages, each naming the next one by a token, as Google and AWS have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bridge.errors import BadReply
from bridge.http.client import JsonObject, Query
from bridge.providers.new_ids import NewIds
from bridge.providers.records import rows_of

_MOST_PAGES: Final = 1_000
"""Pages of one list. No account has as many."""
_IDS: Final = frozenset({"id", "name", "jobArn"})
"""Keys whose value is a row's id."""


def token_pages(
    ask: Callable[[Query], JsonObject | None],
    path: str,
    key: str,
    query: Query,
    *,
    next_key: str = "nextPageToken",
    page_key: str = "pageToken",
) -> Iterator[list[object]]:
    """Yield the rows of each page, down to one without a token.

    Args:
        ask: Requests a page; returns ``None`` for a list that does not exist.
        path: Where the list is, for errors.
        key: The name of the rows in a reply.
        query: Parameters of each request.
        next_key: The name of the token in a reply.
        page_key: The name of the token in a request.

    Raises:
        ProviderError: A page could not be read.
    """

    def page(reply: JsonObject) -> list[object]:
        # An object without anything is what no rows are written as.
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
    """Return the error for a list whose pages come again."""
    return BadReply(f"The pages of {path} do not end: they repeat")
