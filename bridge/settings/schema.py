"""The JSON Schema of the configuration file, for editors and other checks.

It allows for the steps of ``bridge.settings.load``: keys that the environment may provide are not
required, ``${VAR}`` may replace any value, and a key without a value counts as missing. Only
``bridge.settings.load`` checks keys against each other.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final

from bridge.plan.presets import AUTO, PRESETS
from bridge.providers.registry import ENTRY_POINTS, TYPES
from bridge.settings.model import Settings

Node = dict[str, Any]

_VARIABLE: Final[Node] = {"type": "string", "pattern": r"\$\{[A-Za-z_]\w*(:-[^}]*)?\}"}
_NOTHING: Final[Node] = {"type": "null"}
_ABOUT: Final = ("title", "description", "default")
_NULLABLE: Final = ("MlflowSettings", "ProviderSettings")
"""Sections whose keys may have no value."""


def schema() -> Node:
    """Return the schema (draft 2020-12); installed packages' types are named without loading."""
    drawn = Settings.model_json_schema()
    parts = drawn["$defs"]
    provider = parts["ProviderSettings"]
    plugins = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
    provider["properties"]["type"]["enum"] = [*TYPES, *sorted(plugins - {*TYPES})]
    provider["required"] = ["name"]
    names, _ = parts["MlflowSettings"]["properties"]["metric_names"]["anyOf"]
    names["enum"] = [AUTO, *PRESETS]
    for part in parts.values():
        part["properties"] = {
            key: _with_variables(node, is_nullable=part["title"] in _NULLABLE)
            for key, node in part["properties"].items()
        }
    drawn["properties"] = {
        key: _with_variables(node, is_nullable=True) for key, node in drawn["properties"].items()
    }
    del drawn["required"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **drawn,
        "title": "ftbridge's configuration",
    }


def _with_variables(node: Node, *, is_nullable: bool) -> Node:
    """Return the schema of a value, which also allows ``${VAR}``, and null if it is optional."""
    about = {name: node[name] for name in _ABOUT if name in node}
    forms = node.get("anyOf") or [{k: v for k, v in node.items() if k not in _ABOUT}]
    if any(map(_is_strict, forms)) and not any(map(_is_text, forms)):
        forms = [*forms, _VARIABLE]
    if is_nullable and _NOTHING not in forms:
        forms = [*forms, _NOTHING]
    return about | ({"anyOf": forms} if len(forms) > 1 else forms[0])


def _is_text(form: Node) -> bool:
    return form.get("type") == "string" and form.keys().isdisjoint({"pattern", "enum"})


def _is_strict(form: Node) -> bool:
    return form.get("type", "object") not in ("array", "object", "null") and not _is_text(form)
