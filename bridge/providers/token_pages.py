"""Lists that come in pages, each naming the next one by a token, as Google's APIs have them."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.errors import BadReply
from bridge.http.client import ApiClient, JsonObject, Query


def token_pages(
    http: ApiClient, path: str, key: str, query: Query, *, is_optional: bool = False
) -> Iterator[list[object]]:
    """The rows of each page, down to one without a token.

    Args:
        http: what is asked.
        path: below the base URL.
        key: what the reply calls its rows.
        query: sent with each request.
        is_optional: whether the list may be missing or refused: then there are no pages.

    Raises:
        ProviderError: a page could not be read.
    """
    seen: set[str] = set()
    while True:
        reply = (
            http.find_object(path, query, is_optional=True)
            if is_optional
            else http.get_object(path, query, is_entry=not seen)
        )
        if reply is None:
            return
        yield _rows(reply, path, key)
        token = reply.get("nextPageToken")
        if not token or not isinstance(token, str):
            return
        if token in seen:
            raise BadReply(f"The pages of {path} do not end: they repeat")
        seen.add(token)
        query = {**query, "pageToken": token}


def _rows(reply: JsonObject, path: str, key: str) -> list[object]:
    """The rows in a reply. An object without anything is what no rows are written as."""
    rows = reply.get(key) or []
    if not isinstance(rows, list) or (reply and not {key, "nextPageToken"} & reply.keys()):
        raise BadReply(f"The reply to {path} has no list", "Check base_url")
    return rows
