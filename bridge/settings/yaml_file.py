"""The content of a configuration file, before variables and defaults."""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import date
from pathlib import Path
from typing import Final, TypeAlias

import yaml

from bridge.errors import ConfigError

Yaml: TypeAlias = "bool | int | float | str | bytes | date | list[Yaml] | Entry | None"
"""A value in a configuration file."""
Entry: TypeAlias = "dict[str, Yaml]"
"""A mapping in a configuration file, whose keys are always text."""


class _Loader(yaml.SafeLoader):
    """Standard YAML, except that a duplicate key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Yaml]:  # noqa: FBT001, FBT002 - PyYAML's signature
        # Checked before merged keys (<<) are added, which these override.
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if doubled := {key for key in keys if keys.count(key) > 1 and key != "<<"}:
            raise ConfigError(
                [f"{key}: duplicate key; merge the two sections" for key in sorted(doubled)]
            )
        mapping: dict[Hashable, Yaml] = super().construct_mapping(node, deep=deep)
        return mapping


_BOOLEAN: Final = "tag:yaml.org,2002:bool"
# YAML 1.1 reads `on` as a boolean, but it is a key of `notify`; both words remain text.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != _BOOLEAN]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("(?i:yes|no|true|false)$"), list("yYnNtTfF"))


def read(path: Path) -> Entry:
    """Return a file's content.

    Raises:
        ConfigError: the file cannot be read or is not a YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except OSError as error:
        raise ConfigError(
            [f"{path} cannot be read ({error.strerror}); write one with: ftbridge init {path}"]
        ) from None
    # An invalid date or number raises whatever Python's own parsers raise.
    except (
        yaml.YAMLError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        # PyYAML's own message may quote a value.
        mark = getattr(error, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        raise ConfigError(
            [f"{path} is not valid YAML{where}; check quotes and indentation there"]
        ) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            [f"{path} must be a mapping with keys such as mlflow:, poll: and providers:"]
        )
    return data
