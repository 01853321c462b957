"""Lists whose later pages are refused, or never end, as every provider reads them."""

from __future__ import annotations

import itertools
import tracemalloc

import httpx
import pytest

from tests.support.contract import every_kind
from tests.support.wire_server import over, sent
from tests.support.wires import WIRES

MOST = 60
"""Limit on requests for a list without an end."""


def is_later(kind: str, request: httpx.Request) -> bool:
    """Return whether a request is for a page behind the first one."""
    query = request.url.params
    if {"after", "pageToken", "nextToken"} & query.keys():
        return True
    first = "1" if kind == "prime" else "0"
    return bool(query.get("page", first) != first)


@every_kind
@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_cursor_that_is_refused_ends_the_list_with_a_sentence(kind: str, status: int) -> None:
    """The jobs of the first page are returned, and the last page tells what was refused."""
    api = WIRES[kind]()
    if api.page_size is None:
        return  # its list has one page
    api.jobs = [api.row(f"job-{n}") for n in range(250)]

    def answer(request: httpx.Request) -> httpx.Response:
        gone = {"error": {"message": "This cursor is no longer available"}}
        return httpx.Response(status, json=gone) if is_later(kind, request) else api(request)

    *found, last = over(answer, kind).pages()
    assert [page.cut for page in found] == [None] * len(found)
    assert sum(len(page.jobs) for page in found) == api.page_size
    assert last.cut is not None
    assert last.cut.is_lasting
    assert str(status) in last.cut.reason


@every_kind
def test_a_list_of_new_ids_at_each_call_ends(kind: str) -> None:
    """A server that invents new ids for its jobs does not make the bridge page for ever."""
    api = WIRES[kind]()
    if api.page_size is None:
        return  # its list has one page
    ids = itertools.count()
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        assert len(asked) < MOST, "the provider asks without end"
        rows: list[object] = [api.row(f"job-{next(ids)}") for _ in range(100)]
        page = api.list_of(rows, has_more=True)
        token = next((name for name in page if name in {"nextPageToken", "nextToken"}), None)
        return sent(page | {token: f"token-{len(asked)}"} if token else page)

    *found, last = over(answer, kind).pages()
    names = {job.id for page in found for job in page.jobs}
    assert set(api.ids([f"job-{n}" for n in range(100)])) <= names
    assert last.cut is not None
    assert last.cut.is_lasting
    assert "do not end" in last.cut.reason


def test_the_pages_of_a_long_list_are_not_kept() -> None:
    """Reading a list takes no more memory for each page that has been read."""
    api, numbers = WIRES["openai"](), itertools.count()

    def answer(_request: httpx.Request) -> httpx.Response:
        some = itertools.islice(numbers, 10)
        rows: list[object] = [api.row(f"job-{n}") | {"note": f"{n:40000}"} for n in some]
        return sent(api.list_of(rows, has_more=True))

    pages = over(answer, "openai").pages()
    sizes: list[int] = []
    tracemalloc.start()
    try:
        for _ in range(2):
            assert all(page.jobs for page in itertools.islice(pages, 3))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 300_000  # three pages have 1,200,000 characters
