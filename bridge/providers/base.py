"""The interface of a provider, and everything that a provider package may import.

A package with a provider imports no other module of the bridge. The names in ``__all__`` do not
change between minor versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol, runtime_checkable

from bridge.errors import BadReply
from bridge.http.client import ApiClient, segment
from bridge.model import (
    Checkpoint,
    CurvePoint,
    Job,
    JobStatus,
    LoggedSteps,
    Meaning,
    Page,
    Snapshot,
    numbers,
)
from bridge.providers.credentials import scalars
from bridge.providers.measurements import Metric, measurements
from bridge.providers.parts import CHECKPOINTS, JOB_LIST, ById, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import (
    Identifier,
    Listed,
    Record,
    Step,
    read_page,
    read_record,
    read_rows,
    reply_of,
)
from bridge.providers.statuses import Words, extended, status_of
from bridge.providers.times import Moment

__all__ = [
    "CHECKPOINTS",
    "JOB_LIST",
    "AnnouncesShutdowns",
    "ApiClient",
    "BadReply",
    "ById",
    "Checkpoint",
    "CurvePoint",
    "Identifier",
    "Job",
    "JobStatus",
    "Listed",
    "LoggedSteps",
    "Meaning",
    "Metric",
    "Moment",
    "Page",
    "Parts",
    "Provider",
    "Record",
    "Snapshot",
    "Step",
    "Words",
    "documents",
    "extended",
    "measurements",
    "numbers",
    "read_page",
    "read_record",
    "read_rows",
    "reply_of",
    "scalars",
    "segment",
    "shutdowns_of",
    "status_of",
]


class Provider(Protocol):
    """The interface to a hosted fine-tuning API."""

    base_url: ClassVar[str]
    """Address of the public service, which may contain environment variables: ``${NAME}``."""
    key_variable: ClassVar[str]
    """Environment variable with the user's key."""
    key_header: ClassVar[str | None]
    """Header for the bare key; ``None``: the key is sent as a bearer token."""
    header_variables: ClassVar[Mapping[str, str]]
    """Headers that the provider's SDK reads from the environment, with their variables."""
    statuses: Mapping[str, JobStatus]
    """The provider's words for a job's status; other words are looked up in
    ``providers.statuses``."""
    meanings: ClassVar[Mapping[str, Meaning]]
    """Meanings of the provider's metrics and params that other tools share."""

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
        **options: str,
    ) -> None:
        """Read through ``http``.

        Args:
            http: client of the API.
            curves: whether to read more than the checkpoints.
            statuses: configured words, which have precedence over the provider's.
            options: settings that are specific to the type.
        """

    def pages(self) -> Iterator[Page]:
        """Yield all jobs in the provider's order, page by page on demand.

        If a later page cannot be read, the last page says so (``Page.cut``).

        Raises:
            ProviderError: the first page could not be read, or the service is down.
        """

    def job(self, job_id: str) -> Job:
        """Return one job by the provider's id.

        Raises:
            ProviderError: it could not be read.
        """

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return a job with its unlogged data; ``Snapshot.missing`` names the unreadable parts.

        Args:
            job: the job from ``pages`` or ``job``, which is not requested again.
            logged: the logged steps, which need not be read again; empty: read everything.
            keep: whether to read all replies completely and put them into ``documents``.

        Raises:
            ProviderError: the service is down.
        """

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the content of a training or validation file in pieces as they arrive.

        Raises:
            ProviderError: there is none for us, or it breaks off in the middle.
        """


@runtime_checkable
class AnnouncesShutdowns(Protocol):
    """An optional interface of a provider: the days on which models are shut down."""

    def shutdowns(self) -> Mapping[str, int] | None:
        """Return the shutdown times of models by name, Unix milliseconds.

        Raises nothing: ``None`` means that the times cannot be read now.
        """


def shutdowns_of(provider: Provider) -> Mapping[str, int] | None:
    """Return a provider's shutdown times of models; empty if it has no such list."""
    return provider.shutdowns() if isinstance(provider, AnnouncesShutdowns) else {}
