"""The configuration: a YAML file, the environment, or both.

All problems are reported at once, each with the key's path and a remedy. ``${VAR}`` and
``${VAR:-default}`` expand from the environment, where ``VAR_FILE`` may name a file instead.
Problems never contain values, because one may be a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bridge.errors import ConfigError
from bridge.settings import environment
from bridge.settings.environment import Environ
from bridge.settings.model import Settings
from bridge.settings.problems import add_problems
from bridge.settings.secret_files import KeyFiles
from bridge.settings.yaml_file import Entry, Yaml, read

DEFAULT_PATH: Final = Path("config/bridge.yaml")
PATH_VARIABLE: Final = "FTBRIDGE_CONFIG"
STARTER: Final = Path(__file__).with_name("starter.yaml")
"""The commented configuration that ``ftbridge init`` writes."""

_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}")


def load(
    path: Path | None,
    environ: Environ,
    *,
    mlflow: Mapping[str, str] | None = None,
    warn: Callable[[str], object] = lambda _what: None,
) -> Settings:
    """Return the settings from ``path``, else ``$FTBRIDGE_CONFIG``, else the default file.

    Args:
        path: the file.
        environ: the environment.
        mlflow: keys of its section that override those of the file.
        warn: called with a sentence for each setting that works but is unsafe.

    Raises:
        ConfigError: with every problem found.
    """
    named = path or (Path(environ[PATH_VARIABLE]) if environ.get(PATH_VARIABLE) else None)
    file = named or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    files = KeyFiles(environ)
    data = _with_defaults(_expanded_file(file, files) if file else {}, files)
    if mlflow and isinstance(data["mlflow"], dict):
        data["mlflow"] |= mlflow
    try:
        settings = Settings.model_validate(data, context=environ)
    except ValidationError as error:
        add_problems(files.problems, error, data)
    if files.problems:
        raise ConfigError(
            [f"{where}: {what}" if where else what for where, what in files.problems.items()],
            file=str(file) if file else "",
        )
    for warning in files.warnings:
        warn(warning)
    return settings


def _expanded_file(path: Path, files: KeyFiles) -> Entry:
    try:
        return _expanded(read(path), files, "", files.problems)
    except RecursionError:
        raise ConfigError([f"{path} contains an alias to itself; remove it"]) from None


def _expanded(entry: Entry, environ: Environ, where: str, problems: dict[str, str]) -> Entry:
    return {
        str(key): _expand(value, environ, f"{where}.{key}".lstrip("."), problems)
        for key, value in entry.items()
    }


def _expand(value: Yaml, environ: Environ, where: str, problems: dict[str, str]) -> Yaml:
    """Return ``value`` with every ``${VAR}`` in its strings replaced."""
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
    """Return ``data`` with the additions of the environment and the providers' types."""
    # A section without content counts as empty.
    data = {"mlflow": {}} | _without_nulls(data)
    if isinstance(data["mlflow"], dict):
        data["mlflow"] = _from_environment(files) | _without_nulls(data["mlflow"])
    if data.get("providers", {}) == {}:
        data["providers"] = [*environment.providers_in(files)]
        if not data["providers"]:
            known = ", ".join(environment.ways_in())
            files.problems["providers"] = (
                f"none configured; export a key ({known}),"
                f" or write a configuration with: ftbridge init {DEFAULT_PATH};"
                " or try it first: ftbridge demo"
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
    """Return a provider's entry with the defaults of its type and the key from its file."""
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
