"""Hosted fine-tuning APIs, one file per wire format.

A provider turns wire records into ``bridge.model`` values and does nothing else: retry, waiting
and errors belong to ``bridge.http``, decisions to ``bridge.plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Protocol

from bridge.http import Http
from bridge.model import IsLogged, Job, JobStatus, Meaning, Page, Snapshot
from bridge.providers.mistral import Mistral
from bridge.providers.openai import OpenAI


class Provider(Protocol):
    """What the bridge asks of a hosted fine-tuning API."""

    base_url: ClassVar[str]
    """Where the public service is."""
    key_variable: ClassVar[str]
    """The environment variable in which its users keep their key."""
    header_variables: ClassVar[Mapping[str, str]]
    """Headers that its own SDK takes from the environment, with the variables' names."""
    statuses: ClassVar[Mapping[str, JobStatus]]
    """The provider's words for a job's status; any other counts as ``UNKNOWN``."""
    meanings: ClassVar[Mapping[str, Meaning]]
    """What the provider's metrics measure, where they are what other tools measure too."""

    def __init__(self, http: Http, *, curves: bool) -> None:
        """Read through ``http``; ``curves`` asks for more than the checkpoints."""

    def pages(self) -> Iterator[Page]:
        """All jobs, a page at a time as they are asked for, in the provider's order.

        Raises:
            ProviderError: a page could not be read.
        """

    def read(self, job_id: str, *, listed: Job | None, is_logged: IsLogged) -> Snapshot:
        """One job with all that is not logged yet.

        Args:
            job_id: the provider's id.
            listed: the job as this pass has listed it; saves a request.
            is_logged: what need not be read again.

        Raises:
            ProviderError: the job could not be read.
        """


TYPES: Mapping[str, type[Provider]] = {"openai": OpenAI, "mistral": Mistral}
"""Every provider, by the ``type`` that a configuration gives it."""

__all__ = ["TYPES", "Provider"]
