"""Servers that give the same jobs new ids at each request, which would make a list endless."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bridge.errors import BadReply


class NewIds:
    """Detects a job list whose later pages repeat its first page under new ids."""

    def __init__(
        self,
        path: str,
        first: Callable[[], Sequence[object]],
        names: frozenset[str] = frozenset({"id"}),
    ) -> None:
        """Compare the pages of a list.

        Args:
            path: path of the list, for errors.
            first: requests the rows of the first page again.
            names: keys of a row's id.
        """
        self._names = names
        self._path = path
        self._first = first
        self._ids: frozenset[object] = frozenset()
        self._content: list[object] | None = None

    def check(self, rows: Sequence[object]) -> None:
        """Compare a page with the first one.

        Raises:
            BadReply: the server sends new ids at each request.
            ProviderError: the first page cannot be read again.
        """
        content = [without_id(row, self._names) for row in rows]
        if self._content is None:
            self._ids, self._content = self._ids_of(rows), content
        elif self._ids and content == self._content:
            # Jobs may differ only by their ids. Real ones keep them, and are found again.
            if not self._ids & self._ids_of(self._first()):
                raise BadReply(f"The pages of {self._path} do not end: ids are new in each reply")
            self._ids = frozenset()

    def _ids_of(self, rows: Sequence[object]) -> frozenset[object]:
        found = (row.get(name) for row in rows if isinstance(row, Mapping) for name in self._names)
        return frozenset(each for each in found if isinstance(each, str))


def without_id(row: object, names: frozenset[str] = frozenset({"id"})) -> object:
    """Return the plain values of a row and of the level below, except for its id."""
    if not isinstance(row, Mapping):
        return repr(type(row))
    inner = (value.items() for value in row.values() if isinstance(value, Mapping))
    items = [*row.items(), *(item for items in inner for item in items)]
    return frozenset(
        (name, repr(value) if isinstance(value, float) else value)
        for name, value in items
        if isinstance(value, str | int | float | None) and name not in names
    )
