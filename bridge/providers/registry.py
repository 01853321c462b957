"""The provider types: the project's own, and those of installed packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from bridge.errors import ConfigError
from bridge.providers.azure import Azure
from bridge.providers.base import Provider
from bridge.providers.bedrock import Bedrock
from bridge.providers.bedrock_mantle import BedrockMantle
from bridge.providers.fireworks import Fireworks
from bridge.providers.mistral import Mistral
from bridge.providers.nebius import Nebius
from bridge.providers.openai import OpenAI
from bridge.providers.prime import Prime
from bridge.providers.together import Together
from bridge.providers.vertex import Vertex
from bridge.text import one_line

ENTRY_POINTS: Final = "ftbridge.providers"
"""Entry point group in which packages register providers, by type."""


class Types(Mapping[str, type[Provider]]):
    """Classes of providers by type: the project's own, and those of installed packages.

    A package's class is loaded only when a configuration names it, so iteration does not include
    it.
    """

    def __init__(self, own: Mapping[str, type[Provider]]) -> None:
        self._own = own
        self._known = dict(own)

    def __getitem__(self, name: str) -> type[Provider]:
        """Return the class of a type.

        Raises:
            KeyError: the type is unknown.
            ConfigError: the package with the type cannot be loaded.
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
    return ConfigError([f"{what}; repair or remove the package that brings it"])


TYPES: Final = Types(
    {
        "openai": OpenAI,
        "azure": Azure,
        "nebius": Nebius,
        "mistral": Mistral,
        "fireworks": Fireworks,
        "bedrock": Bedrock,
        "bedrock-mantle": BedrockMantle,
        "together": Together,
        "vertex": Vertex,
        "prime": Prime,
    }
)
"""All providers by their ``type`` in a configuration."""

__all__ = ["ENTRY_POINTS", "TYPES", "Provider", "Types"]
