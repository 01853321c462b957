"""A page of a job list, whatever the provider calls its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bridge.model import Job, Page
from bridge.wire import AnyRecord, read_rows


def read_page(
    kind: type[AnyRecord],
    rows: Iterable[object],
    make_job: Callable[[AnyRecord, tuple[str, ...], object], Job],
) -> Page:
    """Each row as a job, made of its record, what is wrong with it, and the row as it came."""
    jobs: list[Job] = []
    reasons: list[str] = []
    for row in rows:
        records, unreadable = read_rows(kind, [row])
        jobs += [make_job(record, problems, row) for record, problems in records]
        reasons += unreadable
    return Page(tuple(jobs), tuple(reasons))
