"""The providers' lists, read in the background while MLflow is imported and opened."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

from bridge.model import Page

AHEAD: Final = 8
"""Pages that are read before they are asked for."""


class Lister(Protocol):
    """Something that reads a provider's list, such as ``ProviderSync``."""

    pages: Callable[[], Iterator[Page]]


@contextlib.contextmanager
def reading_ahead(listers: Sequence[Lister]) -> Iterator[Callable[[], None]]:
    """Read the lists of providers for those who will ask for them.

    Yields a function that forgets what was read, for a pass that does not begin soon.
    """
    lists = [_List(each.pages) for each in listers]
    for lister, ahead in zip(listers, lists, strict=True):
        lister.pages = ahead.pages

    def forget() -> None:
        for ahead in lists:
            ahead.forget()

    try:
        yield forget
    finally:
        forget()


class _List:
    """A list whose pages a thread reads, one after the other, before they are asked for."""

    def __init__(self, read: Callable[[], Iterator[Page]]) -> None:
        self._read = read
        self._source = read()
        self._thread = ThreadPoolExecutor(1)
        self._coming = deque(self._next() for _ in range(AHEAD))

    def pages(self) -> Iterator[Page]:
        """Yield the pages from the first on; raise what reading one has raised."""
        coming, self._coming = self._coming, deque()
        if not coming:
            yield from self._read()
        while coming and (page := coming.popleft().result()) is not None:
            coming.append(self._next())
            yield page

    def forget(self) -> None:
        """Read no further; the list is read from its beginning when it is asked for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._coming.clear()

    def _next(self) -> Future[Page | None]:
        return self._thread.submit(next, self._source, None)
