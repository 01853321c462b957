"""Hosted fine-tuning APIs, one file per wire format.

A provider turns wire records into ``bridge.model`` values and does nothing else: retry, waiting
and errors belong to ``bridge.http``, decisions to ``bridge.plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

from bridge.http import Http
from bridge.model import IsLogged, Job, JobStatus, Meaning, Page, Snapshot
from bridge.providers.azure import Azure
from bridge.providers.fireworks import Fireworks
from bridge.providers.mistral import Mistral
from bridge.providers.nebius import Nebius
from bridge.providers.openai import OpenAI
from bridge.providers.together import Together


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

    def __init__(self, http: Http, *, curves: bool) -> None:
        """Read through ``http``; ``curves`` asks for more than the checkpoints."""

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

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a training or validation file, in pieces as they arrive.

        Raises:
            ProviderError: there is none for us, or it breaks off in the middle.
        """


TYPES: Mapping[str, type[Provider]] = {
    "openai": OpenAI,
    "azure": Azure,
    "nebius": Nebius,
    "mistral": Mistral,
    "fireworks": Fireworks,
    "together": Together,
}
"""Every provider, by the ``type`` that a configuration gives it."""

__all__ = ["TYPES", "Provider"]
