"""The providers' lists, read in the background while MLflow is imported and opened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from bridge.model import Page

AHEAD: Final = 8
"""Pages that are read before they are asked for."""

Pages = Callable[[], Iterator[Page]]
"""Reads a list from its beginning."""


class ReadAhead:
    """Reads lists within its context for those who will ask for them."""

    def __init__(self) -> None:
        self._lists: list[_List] = []

    def of(self, pages: Pages) -> Pages:
        """Begin to read a list, and return what its reader calls instead of ``pages``."""
        self._lists.append(_List(pages))
        return self._lists[-1].pages

    def forget(self) -> None:
        """Forget what nobody has asked for yet: a pass that begins later reads the lists then."""
        for each in self._lists:
            each.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.forget()


class _List:
    """A list whose pages a thread reads, one after the other, before they are asked for."""

    def __init__(self, read: Pages) -> None:
        self._read = read
        self._source = read()
        self._thread = ThreadPoolExecutor(1)
        self._coming = deque(self._next() for _ in range(AHEAD))

    def pages(self) -> Iterator[Page]:
        """Yield the pages from the first on; raise what reading one has raised."""
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
        """Read no further, unless the pages are asked for already."""
        if self._coming:
            self._coming.clear()
            self._end()

    def _end(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> Future[Page | None]:
        return self._thread.submit(next, self._source, None)
