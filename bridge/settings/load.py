"""The configuration: a YAML file, the environment, or both.

All problems are found in one go, each with the key's path and the way out. ``${VAR}`` and
``${VAR:-default}`` expand from the environment, where ``VAR_FILE`` may name a file instead. Values
never appear in a problem: one may be a key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Hashable, Mapping
from datetime import date
from pathlib import Path
from typing import Final, TypeAlias

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bridge.errors import ConfigError
from bridge.providers.registry import TYPES
from bridge.settings import environment
from bridge.settings.daemon import HeartbeatSettings, NotifySettings
from bridge.settings.environment import Environ
from bridge.settings.mlflow import MlflowSettings, RouteSettings
from bridge.settings.model import Settings
from bridge.settings.poll import PollSettings
from bridge.settings.provider import ProviderSettings
from bridge.settings.secret_files import KeyFiles
from bridge.settings.section import Section

DEFAULT_PATH: Final = Path("config/bridge.yaml")
PATH_VARIABLE: Final = "FTBRIDGE_CONFIG"
STARTER: Final = Path(__file__).with_name("starter.yaml")
"""The commented configuration that ``ftbridge init`` writes."""

Yaml: TypeAlias = "bool | int | float | str | bytes | date | list[Yaml] | Entry | None"
"""A value in a configuration file."""
Entry: TypeAlias = "dict[str, Yaml]"
"""A mapping in a configuration file, whose keys are text whatever they look like."""

_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}")


def load(
    path: Path | None,
    environ: Environ,
    *,
    mlflow: Mapping[str, str] | None = None,
    warn: Callable[[str], object] = lambda _what: None,
) -> Settings:
    """The settings from ``path``, else ``$FTBRIDGE_CONFIG``, else the default file if it exists.

    Args:
        path: the file.
        environ: the environment.
        mlflow: keys of its section that count more than those of the file.
        warn: called with a sentence for each setting that works but is unsafe.

    Raises:
        ConfigError: with every problem found.
    """
    named = path or (Path(environ[PATH_VARIABLE]) if environ.get(PATH_VARIABLE) else None)
    file = named or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    data = _read(file) if file else {}
    files = KeyFiles(environ)
    problems = files.problems
    try:
        data = _expanded(data, files, "", problems)
    except RecursionError:
        raise ConfigError([f"{named} contains an alias to itself; remove it"]) from None
    data = _with_defaults(data, files)
    if mlflow and isinstance(data["mlflow"], dict):
        data["mlflow"] |= mlflow
    try:
        settings = Settings.model_validate(data, context=environ)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            where = _path(details["loc"])
            if not _follows_from(where, details["type"], problems):
                problems.setdefault(where, _sentence(details, data))
    if problems:
        raise ConfigError(
            [f"{where}: {what}" if where else what for where, what in problems.items()],
            file=str(file) if file else "",
        )
    for warning in files.warnings:
        warn(warning)
    return settings


class _Loader(yaml.SafeLoader):
    """YAML as everybody writes it, except that a duplicate key is an error, not a loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Yaml]:  # noqa: FBT001, FBT002 - PyYAML's signature
        # Before those are added that are merged (<<): one that stands here as well comes first.
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if doubled := {key for key in keys if keys.count(key) > 1 and key != "<<"}:
            raise ConfigError(
                [f"{key}: duplicate key; merge the two sections" for key in sorted(doubled)]
            )
        mapping: dict[Hashable, Yaml] = super().construct_mapping(node, deep=deep)
        return mapping


_BOOLEAN: Final = "tag:yaml.org,2002:bool"
# YAML 1.1 takes `on` for a boolean, but it is a key of `notify`; both words stay text.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != _BOOLEAN]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("(?i:yes|no|true|false)$"), list("yYnNtTfF"))


def _read(path: Path) -> Entry:
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except OSError as error:
        raise ConfigError(
            [f"{path} cannot be read ({error.strerror}); write one with: ftbridge init {path}"]
        ) from None
    # A broken date or number comes as whatever Python's own parsers raise.
    except (
        yaml.YAMLError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        # PyYAML's own words may quote a value.
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


def _expanded(entry: Entry, environ: Environ, where: str, problems: dict[str, str]) -> Entry:
    return {
        str(key): _expand(value, environ, f"{where}.{key}".lstrip("."), problems)
        for key, value in entry.items()
    }


def _expand(value: Yaml, environ: Environ, where: str, problems: dict[str, str]) -> Yaml:
    """Return ``value`` with every ``${VAR}`` in its texts replaced."""
    if isinstance(value, dict):
        return _expanded(value, environ, where, problems)
    if isinstance(value, list):
        return [_expand(v, environ, f"{where}[{i}]", problems) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        found = environ.get(match["name"], match["default"])
        if found is None or (not found and match["default"] is None):
            problem = (
                f"the environment variable {match['name']} is not set;"
                f" export it, or write ${{{match['name']}:-default}}"
            )
            problems[where] = "; ".join(filter(None, (problems.get(where), problem)))
            return match[0]
        return found

    return _VARIABLE.sub(replace, value)


def _with_defaults(data: Entry, files: KeyFiles) -> Entry:
    """Return ``data`` with what the environment and the kind of provider add."""
    # A section that is written without content holds nothing.
    data = {"mlflow": {}} | _without_nulls(data)
    if isinstance(data["mlflow"], dict):
        data["mlflow"] = _from_environment(files) | _without_nulls(data["mlflow"])
    if data.get("providers", {}) == {}:
        data["providers"] = [*environment.providers_in(files)]
        if not data["providers"]:
            known = ", ".join(environment.ways_in())
            files.problems["providers"] = (
                f"none configured; export a key ({known}),"
                f" or write a configuration with: ftbridge init {DEFAULT_PATH}"
            )
    if isinstance(data["providers"], list):
        data["providers"] = [
            _completed(item, files, f"providers[{number}]")
            for number, item in enumerate(data["providers"])
        ]
    return data


def _from_environment(environ: Environ) -> Entry:
    variables = {
        "tracking_uri": "MLFLOW_TRACKING_URI",
        "experiment": "MLFLOW_EXPERIMENT_NAME",
        "metric_names": "FTBRIDGE_METRIC_NAMES",
    }
    return {key: environ[name] for key, name in variables.items() if environ.get(name)}


def _completed(item: Yaml, files: KeyFiles, where: str) -> Yaml:
    """Return a provider's entry with what its type implies, and with the key of its file."""
    if not isinstance(item, dict):
        return item
    item = _without_nulls(item)
    where = f"{where}.api_key_file"
    if "api_key" in item and "api_key_file" in item:
        files.problems[where] = "conflicts with api_key; remove one of the two"
    elif isinstance(path := item.get("api_key_file"), str):
        item["api_key"] = files.read(path, where)
    if not _VARIABLE.search(str(item.get("name", ""))):
        item.setdefault("type", item.get("name"))
    return environment.completed(item, files)


def _without_nulls(section: Entry) -> Entry:
    return {key: value for key, value in section.items() if value is not None}


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")


def _follows_from(where: str, kind: str, problems: Mapping[str, str]) -> bool:
    """Whether a problem is only the consequence of one that is already listed."""
    if where == "providers":
        return any(known.startswith("providers[") for known in problems)
    parent, _, key = where.rpartition(".")
    if kind != "missing" or key not in {"base_url", "type", "api_key"}:
        return False
    causes = ("type", "name", "api_key_file", *(("region",) if key == "base_url" else ()))
    return any(f"{parent}.{cause}" in problems for cause in causes)


def _sentence(details: ErrorDetails, data: Entry) -> str:
    """Return what is wrong at one place, and what to write instead."""
    location = details["loc"]
    match details["type"]:
        case "extra_forbidden":
            known = _keys_at(location[:-1])
            close = difflib.get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"use one of: {', '.join(known)}"
            return f"unknown key; {hint}"
        case "missing" if location[-1] == "api_key":
            return _missing_key(_entry_at(data, location[:-1]))
        case "missing" if location[-1] == "base_url":
            kind = TYPES[str(_entry_at(data, location[:-1])["type"])]
            variables = environment.address_variables(kind)
            example = "region: us-west-2" if "AWS_REGION" in variables else None
            written = example or f"base_url: {kind.base_url}"
            return f"missing; export {' and '.join(variables)}, or write {written}"
        case "missing":
            return "missing"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "model_type":
            return "must be a mapping"
        case "string_pattern_mismatch" if location[-1] == "base_url":
            return "must be an address that begins with https:// or http://"
        case "string_pattern_mismatch":
            return "must begin with a letter or digit; letters, digits, '-', '_' and '.' may follow"
        case "float_parsing" | "float_type" if str(location[-1]).endswith("interval"):
            return "must be a duration such as 60s, 5m or 1h"
        case _:
            return str(details["msg"]).removeprefix("Value error, ").replace("Input", "it", 1)


def _missing_key(provider: Entry) -> str:
    kind = TYPES.get(str(provider.get("type")))
    is_azure = provider.get("type") == "azure"
    is_token = is_azure and provider.get("auth") == "token"
    variable = environment.TOKEN_VARIABLE if is_token else kind.key_variable if kind else "KEY"
    sentence = f"missing; export {variable} or {variable}_FILE, or write api_key: ${{{variable}}}"
    other = {"azure": "entra", "bedrock": "aws", "bedrock-mantle": "aws", "vertex": "google"}.get(
        str(provider.get("type"))
    )
    return f"{sentence}, or auth: {other}" if other else sentence


def _entry_at(data: Entry, location: tuple[int | str, ...]) -> Entry:
    value: Yaml = data
    for part in location:
        if isinstance(value, list):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value[str(part)]
    return value if isinstance(value, dict) else {}


_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "": Settings,
    "mlflow": MlflowSettings,
    "mlflow.routes": RouteSettings,
    "poll": PollSettings,
    "heartbeat": HeartbeatSettings,
    "notify": NotifySettings,
    "providers": ProviderSettings,
}


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    path = ".".join(part for part in location if isinstance(part, str))
    fields = _SECTIONS[path].model_fields
    return [field.alias or name for name, field in fields.items()]
