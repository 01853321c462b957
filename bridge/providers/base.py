"""The interface of a provider, and everything that a package with a provider may import.

A package that brings a provider imports this module and no other of the bridge: ``__all__`` is what
stays as it is from one minor version to the next.
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
    """Where the public service is. Variables of the environment may be part of it: ``${NAME}``."""
    key_variable: ClassVar[str]
    """The environment variable in which its users keep their key."""
    key_header: ClassVar[str | None]
    """The header that takes the bare key; ``None``: it is a bearer token as usual."""
    header_variables: ClassVar[Mapping[str, str]]
    """Headers that its own SDK takes from the environment, with the variables' names."""
    statuses: Mapping[str, JobStatus]
    """The provider's words for a job's status. Others are looked up in ``providers.statuses``."""
    meanings: ClassVar[Mapping[str, Meaning]]
    """The meanings of its metrics and params, where other tools have the same."""

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
            http: asks the API.
            curves: whether more than the checkpoints is wanted.
            statuses: words of a configuration, which come before the provider's.
            options: settings of its type in the configuration: none for most.
        """

    def pages(self) -> Iterator[Page]:
        """Yield all jobs, a page at a time as they are asked for, in the provider's order.

        Where a later page cannot be read, the last one that is given says so (``Page.cut``).

        Raises:
            ProviderError: not even the first page could be read, or the service is down.
        """

    def job(self, job_id: str) -> Job:
        """Return one job by the provider's id.

        Raises:
            ProviderError: it could not be read.
        """

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return a job with all that is not logged yet; ``Snapshot.missing`` names the unreadable.

        Args:
            job: as ``pages`` or ``job`` has just given it: it is not asked for again.
            logged: what need not be read again; empty: read everything.
            keep: read the replies to their end, logged or not, and put them into ``documents``.

        Raises:
            ProviderError: the service is down.
        """

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Return the content of a training or validation file, in pieces as they arrive.

        Raises:
            ProviderError: there is none for us, or it breaks off in the middle.
        """


@runtime_checkable
class AnnouncesShutdowns(Protocol):
    """An optional ability of a provider: the days on which models are shut down."""

    def shutdowns(self) -> Mapping[str, int] | None:
        """Return when it shuts models down: Unix milliseconds by a model's name.

        Raises nothing: ``None`` says that it cannot be read now.
        """


def shutdowns_of(provider: Provider) -> Mapping[str, int] | None:
    """Return when a provider shuts models down; empty where it never says so."""
    return provider.shutdowns() if isinstance(provider, AnnouncesShutdowns) else {}
