"""Lists that come in pages, each naming the next one by a token, as Google and AWS have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bridge.errors import BadReply
from bridge.http.client import JsonObject, Query
from bridge.providers.records import rows_of


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
    seen: set[str] = set()
    while (reply := ask(query)) is not None:
        # An object without anything is what no rows are written as.
        yield rows_of(reply, key, path, others={next_key}, may_be_empty=True)
        following = reply.get(next_key)
        if not following or not isinstance(following, str):
            return
        if following in seen:
            raise repeated(path)
        seen.add(following)
        query = {**query, page_key: following}


def repeated(path: str) -> BadReply:
    """Return the error for a list whose pages come again."""
    return BadReply(f"The pages of {path} do not end: they repeat")
