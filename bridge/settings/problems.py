"""The problems of a configuration as sentences, each with a remedy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bridge.providers.registry import TYPES
from bridge.settings import environment
from bridge.settings.daemon import HeartbeatSettings, NotifySettings
from bridge.settings.mlflow import MlflowSettings, RouteSettings
from bridge.settings.model import Settings
from bridge.settings.poll import PollSettings
from bridge.settings.provider import ProviderSettings
from bridge.settings.section import Section
from bridge.settings.yaml_file import Entry, Yaml


def add_problems(problems: dict[str, str], error: ValidationError, data: Entry) -> None:
    """Add what is wrong, by key, except for consequences of problems that are listed already."""
    for details in error.errors(include_url=False, include_input=False):
        where = _path(details["loc"])
        if not _follows_from(where, details["type"], problems):
            problems.setdefault(where, _sentence(details, data))


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")


def _follows_from(where: str, kind: str, problems: Mapping[str, str]) -> bool:
    """Return whether a problem is only the consequence of one that is already listed."""
    if where == "providers":
        return any(known.startswith("providers[") for known in problems)
    parent, _, key = where.rpartition(".")
    if kind != "missing" or key not in {"base_url", "type", "api_key"}:
        return False
    causes = ("type", "name", "api_key_file", *(("region",) if key == "base_url" else ()))
    return any(f"{parent}.{cause}" in problems for cause in causes)


def _sentence(details: ErrorDetails, data: Entry) -> str:
    """Return what is wrong at one place, with a remedy."""
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
        case "float_parsing" | "float_type" if _is_duration(location[-1]):
            return "must be a duration such as 60s, 5m or 1h"
        case _:
            return str(details["msg"]).removeprefix("Value error, ").replace("Input", "it", 1)


def _is_duration(key: int | str) -> bool:
    return str(key).endswith("interval") or key == "stalled_after"


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
