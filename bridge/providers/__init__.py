"""Hosted fine-tuning APIs, one file per wire format.

A provider turns wire records into ``bridge.model`` values and does nothing else: retry, waiting
and errors belong to ``bridge.http``, decisions to ``bridge.plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Final, Protocol

from bridge.errors import ConfigError
from bridge.http import Http
from bridge.model import IsLogged, Job, JobStatus, Meaning, Page, Snapshot
from bridge.providers.azure import Azure
from bridge.providers.fireworks import Fireworks
from bridge.providers.mistral import Mistral
from bridge.providers.nebius import Nebius
from bridge.providers.openai import OpenAI
from bridge.providers.together import Together
from bridge.untrusted import one_line

ENTRY_POINTS: Final = "ftbridge.providers"
"""The group in which packages announce providers of their own, by type."""


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

    def shutdowns(self) -> Mapping[str, int]:
        """When it shuts models down, as far as it tells: Unix milliseconds by a model's name.

        Raises nothing: where it cannot be told it is empty, and asked for again on the next day.
        """

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a training or validation file, in pieces as they arrive.

        Raises:
            ProviderError: there is none for us, or it breaks off in the middle.
        """


class Types(Mapping[str, type[Provider]]):
    """Kinds of providers by name: the project's own, and those that installed packages bring.

    A package's is loaded when a configuration names it, and not before: it is not counted among
    the project's own.
    """

    def __init__(self, own: Mapping[str, type[Provider]]) -> None:
        self._own = own
        self._known = dict(own)

    def __getitem__(self, name: str) -> type[Provider]:
        """The kind of this name.

        Raises:
            KeyError: there is none.
            ConfigError: the package that brings it cannot be loaded.
        """
        if name not in self._known:
            for entry in entry_points(group=ENTRY_POINTS, name=name):
                self._known[name] = _loaded(entry)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


def _loaded(entry: EntryPoint) -> type[Provider]:
    try:
        kind: type[Provider] = entry.load()
    except Exception as error:  # a package may raise anything
        raise _refused(entry, one_line(repr(error), 200)) from error
    wanted = [name for name in (*Provider.__annotations__, *vars(Provider)) if name[0] != "_"]
    if missing := [name for name in wanted if not hasattr(kind, name)]:
        raise _refused(entry, f"it lacks {', '.join(missing)}")
    return kind


def _refused(entry: EntryPoint, why: str) -> ConfigError:
    what = f"the provider type {entry.name} cannot be loaded from {entry.value} ({why})"
    return ConfigError([f"{what}; mend or remove the package that brings it"])


TYPES: Final = Types(
    {
        "openai": OpenAI,
        "azure": Azure,
        "nebius": Nebius,
        "mistral": Mistral,
        "fireworks": Fireworks,
        "together": Together,
    }
)
"""Every provider, by the ``type`` that a configuration gives it."""

__all__ = ["ENTRY_POINTS", "TYPES", "Provider", "Types"]
