"""The lists of an OpenAI-shaped server: their pages, their order, and those that it has not.

Not every server that speaks OpenAI's API has all that lies below a job. To take a list for missing
that is out of order for a moment would lose a job's checkpoints for good, because a finished run is
not read again. So ``JobLists`` believes it of a list only if

- the server is not the public service, which has them all,
- this process has not read one such list of any job,
- the job itself is still there, and
- up to two more jobs that have ended, those that succeeded first, have none either.

What jobs that succeeded have not counts for all jobs, and is said once; what others have not
counts for their like. A job that has not ended is read without it, and asked for it again. Nothing
is remembered beyond the process.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from bridge.errors import BadReply
from bridge.http.client import ApiClient, JsonObject, segment
from bridge.model import Job, JobStatus

JOBS: Final = "/fine_tuning/jobs"
PAGE_SIZE: Final = 100
_WITNESSES: Final = 2
"""Other jobs that have to lack a list before the server is said to."""


def job_path(job_id: str) -> str:
    """Where a job is."""
    return f"{JOBS}/{segment(job_id)}"


def pages(http: ApiClient, path: str, first: JsonObject | None = None) -> Iterator[list[object]]:
    """The pages of a list, of which ``first`` may have been read. The cursor is a row's id."""
    after: str | None = None
    seen: set[str] = set()
    while True:
        query: dict[str, str | int] = {"limit": PAGE_SIZE}
        if after is not None:
            query["after"] = after
        # A cursor that is refused says nothing of the service.
        is_entry = path == JOBS and after is None
        reply = http.get_object(path, query, is_entry=is_entry) if first is None else first
        first = None
        if "data" not in reply:
            raise BadReply(f"The reply to {path} has no list", "Check base_url")
        rows = reply["data"] or []
        if not isinstance(rows, list):
            raise BadReply(f"The list in the reply to {path} is no list", "Check base_url")
        yield rows
        more = reply.get("has_more")
        if not rows or more is False:
            return
        after = _cursor(rows)
        if after is not None and after not in seen:
            seen.add(after)
        elif more:
            raise BadReply(f"The pages of {path} do not end: there is no new cursor to go on")
        else:
            return


def newest_first(found: Iterable[list[object]]) -> Iterator[list[object]]:
    """The pages from the newest row back, whichever end the server begins at."""
    rest = iter(found)
    first = next(rest, [])
    if _ascends(first):
        yield from (rows[::-1] for rows in reversed([first, *rest]))
    else:
        yield first
        yield from rest


class JobLists:
    """The lists below jobs. Thread-safe."""

    def __init__(self, http: ApiClient, *, is_whole: bool) -> None:
        self._http = http
        self._is_whole = is_whole
        """Whether the server is known to have them all."""
        self._lock = threading.Lock()
        self._there: set[str] = set()
        self._missing: set[str] = set()
        self._missing_of_failed: set[str] = set()
        """Of jobs that ended otherwise: what succeeds may still have them."""
        self._news: list[str] = []

    def pages(self, job: Job, name: str, jobs: Iterable[Job]) -> Iterator[list[object]]:
        """The pages of a list below a job; none where there is none to be had.

        Args:
            job: the job, which has started.
            name: the list's.
            jobs: all jobs, read only where it is not known whether the server has such lists.

        Raises:
            ProviderError: it cannot be read, though the server has such lists.
        """
        path = f"{job_path(job.id)}/{name}"
        if self._lacks(job, name):
            return
        first: JsonObject | None = None
        if not self._is_whole and name not in self._there:
            first = self._http.find_object(path, {"limit": PAGE_SIZE})
            if first is None:
                self._believe_missing(job, name, jobs)
                return
            self._there.add(name)
        yield from pages(self._http, path, first)

    def news(self) -> list[str]:
        """A sentence for each list that the server has turned out not to have, once."""
        with self._lock:
            told, self._news = self._news, []
        return told

    def _believe_missing(self, job: Job, name: str, jobs: Iterable[Job]) -> None:
        """Take a list for missing, or fail.

        Raises:
            ProviderError: the job itself is gone, or other jobs have such a list.
        """
        self._http.get_object(job_path(job.id))
        if not job.status.is_final:
            return  # It is read again: nothing is lost.
        with self._lock:
            if self._lacks(job, name):
                return
            witnesses = [] if name in self._there else _witnesses(job, jobs)
            if name in self._there or any(self._has(each, name) for each in witnesses):
                raise BadReply(
                    f"The server has no {name} of {job.id}, but of other jobs",
                    "The next pass asks again",
                )
            if any(each.status is JobStatus.SUCCEEDED for each in (job, *witnesses)):
                self._missing.add(name)
                self._news.append(f"the server has no {name} of any job: all else is recorded")
            else:
                self._missing_of_failed.add(name)

    def _lacks(self, job: Job, name: str) -> bool:
        has_failed = job.status in {JobStatus.FAILED, JobStatus.CANCELLED}
        return name in self._missing or (has_failed and name in self._missing_of_failed)

    def _has(self, job: Job, name: str) -> bool:
        found = self._http.find_object(f"{job_path(job.id)}/{name}", {"limit": 1}) is not None
        if found:
            self._there.add(name)
        return found


def _witnesses(job: Job, jobs: Iterable[Job]) -> list[Job]:
    """Other jobs that have ended, those that succeeded first."""
    ended = [each for each in jobs if each.status.is_final and each.id != job.id]
    succeeded = (each for each in ended if each.status is JobStatus.SUCCEEDED)
    others = (each for each in ended if each.status is not JobStatus.SUCCEEDED)
    return list(itertools.islice(itertools.chain(succeeded, others), _WITNESSES))


def _ascends(rows: list[object]) -> bool:
    """Whether the rows begin with the oldest."""
    times = [row.get("created_at") for row in rows if isinstance(row, Mapping)]
    known = [time for time in times if isinstance(time, int | float) and time > 1]
    return bool(known) and known[0] < known[-1]


def _cursor(rows: list[object]) -> str | None:
    """The id of the last row that has one."""
    for row in reversed(rows):
        identifier = row.get("id") if isinstance(row, dict) else None
        if isinstance(identifier, str) and identifier:
            return identifier
    return None
