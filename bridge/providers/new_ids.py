"""Servers that send the same jobs under new ids at each call, which would make a list endless."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bridge.errors import BadReply


class NewIds:
    """Recognizes a job list whose later pages are its first one under new ids."""

    def __init__(self, path: str, first: Callable[[], Sequence[object]]) -> None:
        """Compare the pages of a list.

        Args:
            path: where the list is, for errors.
            first: requests the rows of the first page again.
        """
        self._path = path
        self._first = first
        self._ids: frozenset[object] = frozenset()
        self._content: list[object] | None = None

    def check(self, rows: Sequence[object]) -> None:
        """Compare a page with the first one.

        Raises:
            BadReply: the server has new ids at each call.
            ProviderError: the first page cannot be read again.
        """
        content = [without_id(row) for row in rows]
        if self._content is None:
            self._ids, self._content = _ids(rows), content
        elif self._ids and content == self._content:
            # Jobs may differ by their ids only. Those that keep them are there again.
            if not self._ids & _ids(self._first()):
                raise BadReply(f"The pages of {self._path} do not end: ids are new at each call")
            self._ids = frozenset()


def without_id(row: object) -> object:
    """Return the plain values of a row, and those one level below, except for its id."""
    if not isinstance(row, Mapping):
        return repr(type(row))
    inner = (value.items() for value in row.values() if isinstance(value, Mapping))
    items = [*row.items(), *(item for items in inner for item in items)]
    return frozenset(
        (name, repr(value) if isinstance(value, float) else value)
        for name, value in items
        if isinstance(value, str | int | float | None) and name != "id"
    )


def _ids(rows: Sequence[object]) -> frozenset[object]:
    ids = (row.get("id") for row in rows if isinstance(row, Mapping))
    return frozenset(each for each in ids if isinstance(each, str))
