"""The parts of a job, each read separately, so that an error costs only one part.

This is the one place where an error of the HTTP client becomes a ``MissingPart``. A provider reads
everything below its job list through ``Parts`` and holds no ``try``::

    parts = Parts(lambda: http.get_object(JOBS, {"limit": 1}))
    for rows in parts.pages("checkpoints", pages(http, path)):
        ...
    return Snapshot(job=job, missing=parts.missing)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from bridge import errors
from bridge.model import Job, MissingPart, Page

Value = TypeVar("Value")

CHECKPOINTS: Final = "checkpoints"
EVENTS: Final = "events"
METRICS: Final = "metrics"
DETAILS: Final = "details"
"""Keys that only a job's own reply contains."""
RESULT_FILE: Final = "result file"
METRICS_FILE: Final = "metrics file"
JOB_LIST: Final = "job list"

_PASSING: Final = (
    errors.ServerFailed,
    errors.NoAnswer,
    errors.Throttled,
    errors.QuotaExhausted,
    errors.Unreachable,
)
"""Temporary errors. All others are refusals or unreadable replies."""


class Parts:
    """The parts of one job, and those that could not be read. Not thread-safe."""

    def __init__(self, entry: Callable[[], object]) -> None:
        """Read the parts of one job.

        Args:
            entry: requests the beginning of the job list. If that fails too, the service as a whole
                refuses or is down, not a part.
        """
        self._entry = entry
        self._is_service_there = False
        self._found: dict[str, MissingPart] = {}

    @property
    def missing(self) -> tuple[MissingPart, ...]:
        """The parts that could not be read, each once."""
        return tuple(self._found.values())

    def is_awaited(self, *names: str) -> bool:
        """Return whether one of these parts may still be completed."""
        return any(name in self._found and not self._found[name].is_lasting for name in names)

    def pages(
        self, name: str, pages: Iterable[list[object]], *, needs_first: bool = False
    ) -> Iterator[list[object]]:
        """Yield the pages of a list as far as they can be read.

        Args:
            name: name of the part.
            pages: the pages; raises if one cannot be read.
            needs_first: whether to raise if the first page cannot be read.

        Raises:
            ProviderError: the service is down, or the first page is needed and cannot be read.
        """
        has_begun = False
        try:
            for rows in pages:
                yield rows
                has_begun = True
        except errors.ProviderError as error:
            if needs_first and not has_begun:
                raise
            self._failed(name, error)

    def one(self, name: str, read: Callable[[], Value]) -> Value | None:
        """Return the result of ``read``; ``None`` if the part cannot be read.

        Raises:
            ProviderError: the service is down.
        """
        try:
            return read()
        except errors.ProviderError as error:
            self._failed(name, error)
            return None

    def lacks(self, name: str, reason: str) -> None:
        """Record that a part is missing for good."""
        self._found.setdefault(name, MissingPart(name, reason, is_lasting=True))

    def _failed(self, name: str, error: errors.ProviderError) -> None:
        is_lasting = not isinstance(error, _PASSING)
        # A refusal may apply to everything, and a service that is down is down for all requests.
        if (is_lasting or isinstance(error, errors.ProviderDown)) and not self._is_service_there:
            self._entry()
            self._is_service_there = True
        self._found.setdefault(name, MissingPart(name, error.sentence, is_lasting=is_lasting))


class ById:
    """Reads jobs by id, from the list if the server has no address for each job."""

    def __init__(
        self, find: Callable[[str], Job | None], pages: Callable[[], Iterable[Page]]
    ) -> None:
        """Read jobs.

        Args:
            find: requests a job's address; returns ``None`` if nothing is there.
            pages: reads the job list.
        """
        self._find = find
        self._pages = pages
        self._has_addresses = False

    def __call__(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: the server has no such job.
            ProviderError: it could not be read.
        """
        job = self._find(job_id)
        if job is not None:
            self._has_addresses = True
        elif not self._has_addresses:
            # A job without a separate address may still be in the list.
            listed = (job for page in self._pages() for job in page.jobs if job.id == job_id)
            job = next(listed, None)
        if job is None:
            raise errors.NotFound(
                f"The provider has no job {job_id} (404)",
                "Check base_url, and whether the provider still has it",
            )
        return job
