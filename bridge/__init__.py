"""Hosted fine-tuning jobs as MLflow runs.

The flow, and the folders that show it::

    provider API --HTTP--> Snapshot --make_plan(snapshot, recorded)--> Plan --apply--> MLflow
                                            ^                                           |
                                            +----------------- recorded ----------------+

The layers, from the modules that everything imports to the commands that users call::

    core < http < providers
    core < plan < tracking
    providers, tracking < sync < doctor < settings < bootstrap < listing < daemon < cli
    bootstrap < notebook, the functions that ``import bridge`` offers
    core < simulator, which only cli starts

A module imports its own package and the layers below it, never a layer above, and never in a
circle. ``core`` is the modules beside the packages. ``sync`` makes one pass over one provider,
``daemon`` repeats it, ``cli`` starts either; ``listing`` is what both show of the jobs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.notebook import (
        BridgeError,
        Failure,
        Logged,
        backfill,
        follow,
        log_job,
        metadata,
    )

__version__ = "0.2.0"

__all__ = [
    "BridgeError",
    "Failure",
    "Logged",
    "__version__",
    "backfill",
    "follow",
    "log_job",
    "metadata",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a type checker reads the imports above
    """Import a function for notebooks on first use, because it imports MLflow, which is slow."""
    if name in __all__:
        return getattr(import_module("bridge.notebook"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
