"""The providers' lists, read in the background while MLflow is imported and opened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Self

from bridge.model import Page

AHEAD: Final = 8
"""Number of pages that are read in advance."""

Pages = Callable[[], Iterator[Page]]
"""Function that reads a list from its beginning."""


class ReadAhead:
    """Lists that are read in advance, within its context."""

    def __init__(self) -> None:
        self._lists: list[_List] = []

    def of(self, pages: Pages) -> Pages:
        """Begin to read a list, and return the function to call instead of ``pages``."""
        self._lists.append(_List(pages))
        return self._lists[-1].pages

    def forget(self) -> None:
        """Discard the pages of lists that no pass has requested yet."""
        for each in self._lists:
            each.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.forget()


class _List:
    """A list whose pages a thread reads in advance, one after the other."""

    def __init__(self, read: Pages) -> None:
        self._read = read
        self._source = read()
        self._thread = ThreadPoolExecutor(1)
        self._coming = deque(self._next() for _ in range(AHEAD))

    def pages(self) -> Iterator[Page]:
        """Yield the pages from the first on; raise the error that ended the reading."""
        coming, self._coming = self._coming, deque()
        if not coming:
            yield from self._read()
            return
        try:
            while (page := coming.popleft().result()) is not None:
                coming.append(self._next())
                yield page
        finally:
            self._end()

    def forget(self) -> None:
        """Stop reading, unless the pages are already requested."""
        if self._coming:
            self._coming.clear()
            self._end()

    def _end(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> Future[Page | None]:
        return self._thread.submit(next, self._source, None)
