"""What the bridge asks of a provider, and all that a provider may import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

from bridge.http.client import ApiClient
from bridge.model import IsLogged, Job, JobStatus, Meaning, Page, Snapshot


class Provider(Protocol):
    """What the bridge asks of a hosted fine-tuning API."""

    base_url: ClassVar[str]
    """Where the public service is. Variables of the environment may be part of it: ``${NAME}``."""
    key_variable: ClassVar[str]
    """The environment variable in which its users keep their key."""
    key_header: ClassVar[str | None]
    """The header that takes the bare key; ``None``: it is a bearer token as usual."""
    header_variables: ClassVar[Mapping[str, str]]
    """Headers that its own SDK takes from the environment, with the variables' names."""
    statuses: ClassVar[Mapping[str, JobStatus]]
    """The provider's words for a job's status; any other counts as ``UNKNOWN``."""
    meanings: ClassVar[Mapping[str, Meaning]]
    """What its metrics measure and its params set, where other tools have the same."""

    def __init__(self, http: ApiClient, *, curves: bool, **options: str) -> None:
        """Read through ``http``; ``curves`` asks for more than the checkpoints.

        ``options`` are what the configuration says for its type alone: none for most.
        """

    def pages(self) -> Iterator[Page]:
        """All jobs, a page at a time as they are asked for, in the provider's order.

        Raises:
            ProviderError: a page could not be read.
        """

    def job(self, job_id: str) -> Job:
        """One job by the provider's id.

        Raises:
            ProviderError: it could not be read.
        """

    def read(self, job: Job, *, is_logged: IsLogged, keep: bool = False) -> Snapshot:
        """A job with all that is not logged yet.

        Args:
            job: as ``pages`` or ``job`` has just given it: it is not asked for again.
            is_logged: what need not be read again.
            keep: read the replies to their end, logged or not, and put them into ``documents``.

        Raises:
            ProviderError: the job could not be read.
        """

    def shutdowns(self) -> Mapping[str, int]:
        """When it shuts models down, as far as it tells: Unix milliseconds by a model's name.

        Raises nothing: where it cannot be told it is empty, and asked for again on the next day.
        """

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a training or validation file, in pieces as they arrive.

        Raises:
            ProviderError: there is none for us, or it breaks off in the middle.
        """
