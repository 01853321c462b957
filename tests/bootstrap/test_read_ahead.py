"""Lists that are read while MLflow is opened."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bridge.bootstrap.read_ahead import AHEAD, ReadAhead
from bridge.errors import ServerFailed
from bridge.model import Page
from tests.support.in_memory import ended_job

_LONG = 3 * AHEAD


class Source:
    """Reads the pages of a list."""

    def __init__(self, *, length: int = _LONG, error: Exception | None = None) -> None:
        self.read: list[int] = []
        self.is_ahead = threading.Event()
        self._length = length
        self._error = error

    def __call__(self) -> Iterator[Page]:
        """Yield the pages, and then raise the error."""
        for number in range(self._length):
            self.read.append(number)
            if number == min(AHEAD, self._length) - 1:
                self.is_ahead.set()
            yield Page((ended_job(f"ftjob-{number}"),))
        if self._error is not None:
            raise self._error


def ids(pages: Iterator[Page]) -> list[str]:
    """Return the ids of the jobs on some pages."""
    return [each.id for page in pages for each in page.jobs]


ALL = [f"ftjob-{number}" for number in range(_LONG)]


def test_pages_are_read_before_they_are_asked_for() -> None:
    """The first pages are read in advance, and every page once."""
    source = Source()
    with ReadAhead() as lists:
        pages = lists.of(source)
        assert source.is_ahead.wait(30)
        assert ids(pages()) == ALL
    assert source.read == [*range(_LONG)]


def test_a_second_reader_gets_the_list_as_it_is_then() -> None:
    """Pages that are read in advance serve only one reader, even one that stops in the middle."""
    source = Source()
    with ReadAhead() as lists:
        pages = lists.of(source)
        assert next(pages()).jobs[0].id == "ftjob-0"
        assert ids(pages()) == ALL
    assert source.read.count(0) == 2


def test_a_forgotten_list_is_read_from_its_beginning() -> None:
    """A pass that has waited for its turn does not use what was read before."""
    source = Source(length=1)
    with ReadAhead() as lists:
        pages = lists.of(source)
        assert source.is_ahead.wait(30)
        lists.forget()
        assert ids(pages()) == ["ftjob-0"]
    assert source.read == [0, 0]


def test_an_error_comes_where_the_list_has_it() -> None:
    """The pages before an error are returned, and the error is raised to the reader."""
    with ReadAhead() as lists:
        pages = lists.of(Source(length=2, error=ServerFailed("It failed")))()
        assert [next(pages).jobs[0].id, next(pages).jobs[0].id] == ALL[:2]
        with pytest.raises(ServerFailed, match="It failed"):
            next(pages)


def test_nothing_is_read_after_the_end() -> None:
    """A command that ends before its pass leaves no thread that continues to read."""
    source = Source()
    with ReadAhead() as lists:
        lists.of(source)
        assert source.is_ahead.wait(30)
    assert source.read == [*range(AHEAD)]


def test_a_reader_at_work_gets_the_whole_list() -> None:
    """A pass that still runs when the command ends loses no page of its list."""
    source = Source()
    with ReadAhead() as lists:
        pages = lists.of(source)()
        assert next(pages).jobs[0].id == ALL[0]
    assert ids(pages) == ALL[1:]
    assert source.read == [*range(_LONG)]
