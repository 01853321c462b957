"""The public surface for packages that bring a provider: exactly one module."""

from __future__ import annotations

import ast
from pathlib import Path

from bridge.providers import base

PLUGIN = Path(__file__).parents[1] / "plugin" / "acme_ftbridge.py"
FOR_OTHERS = {"AnnouncesShutdowns", "Provider", "shutdowns_of"}
"""The interface itself, which a class can implement without naming it."""


def imported() -> dict[str, set[str]]:
    """Return the bridge's modules that the sample imports, with the names."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(PLUGIN.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bridge"):
            found.setdefault(node.module or "", set()).update(each.name for each in node.names)
    return found


def test_the_sample_imports_one_module_of_the_bridge() -> None:
    """The sample provider imports only this one module of the bridge."""
    assert imported().keys() == {"bridge.providers.base"}


def test_everything_that_is_offered_is_there_and_of_use() -> None:
    """Every name in ``__all__`` exists once, and the sample provider needs it."""
    offered = set(base.__all__)
    assert len(offered) == len(base.__all__)
    assert all(hasattr(base, name) for name in offered)
    assert offered - FOR_OTHERS == imported()["bridge.providers.base"]


def test_nothing_public_is_left_out() -> None:
    """Every public definition of the module is in ``__all__``."""
    defined = {name for name, value in vars(base).items() if _is_own(name, value)}
    assert defined <= set(base.__all__)


def _is_own(name: str, value: object) -> bool:
    return not name.startswith("_") and getattr(value, "__module__", "") == base.__name__
