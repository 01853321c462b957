"""A base class for APIs that list jobs in pages and have an address for each job.

The adapters of this package derive from ``JobApi``. Each implements its paging and the meaning of
its records; the rest is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import ClassVar

from bridge.http.client import ApiClient
from bridge.model import Job, JobStatus, MissingPart, Page, Snapshot
from bridge.providers.parts import ById, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import reply_of
from bridge.providers.statuses import extended


class JobApi(ABC):
    """The jobs of one provider, by page and by id."""

    base_url: ClassVar[str]
    key_header: ClassVar[str | None] = None
    header_variables: ClassVar[Mapping[str, str]] = {}
    statuses: Mapping[str, JobStatus]

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
    ) -> None:
        self.statuses = extended(self.statuses, statuses)
        self._http = http
        self._curves = curves
        self._is_public = http.is_at(self.base_url)
        self._by_id = ById(self._find, self.pages)

    def pages(self) -> Iterator[Page]:
        """Yield all jobs, newest first; the last page tells whether the list was cut."""
        parts = self._parts()
        yield from self._pages(parts)
        for cut in parts.missing:
            yield Page((), cut=cut)

    def job(self, job_id: str) -> Job:
        """Return a job from its own address."""
        return self._by_id(job_id)

    def _parts(self) -> Parts:
        return Parts(self._entry)

    @abstractmethod
    def _entry(self) -> object:
        """Request the beginning of the job list, which every working service has."""

    @abstractmethod
    def _pages(self, parts: Parts) -> Iterator[Page]:
        """Yield the pages of the job list as far as they can be read, newest job first."""

    @abstractmethod
    def _find(self, job_id: str) -> Job | None:
        """Return a job from its own address; ``None`` if nothing is there."""


def newest_first(
    lists: Iterator[list[object]], read: Callable[[Iterable[object]], Page]
) -> Iterator[Page]:
    """Yield the pages of a list that may not be in order."""
    for rows in lists:
        page = read(rows)
        times = [job.created_at for job in page.jobs if job.created_at is not None]
        if times != sorted(times, reverse=True):
            # A new job may be on any page.
            page = read(chain(rows, *lists))
        jobs = sorted(page.jobs, key=lambda job: -(job.created_at or 0))
        yield Page(tuple(jobs), page.unreadable)


def not_started(job: Job, *, keep: bool, missing: tuple[MissingPart, ...] = ()) -> Snapshot:
    """Return the snapshot of a job that has not started, and has no parts to read yet."""
    skipped = list(job.skipped)
    kept = documents(reply_of(job), skipped) if keep else {}
    return Snapshot(job=job, documents=kept, skipped=tuple(skipped), missing=missing)
