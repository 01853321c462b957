"""The sentences that link a run with the runs before and after it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bridge.plan.description.markdown import code, listed

_MOST_CHILDREN: Final = 5
_RUN_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
_SENTENCES: Final = re.compile(r" {2}\nFine-tuned (from|further in) \[run [^\n]*")
"""The line of a lineage. Text of others is in the middle of a line."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The runs before and after a run, by MLflow's ids: each trained the other's model further."""

    parent: str | None = None
    children: tuple[str, ...] = ()


def with_lineage(text: str, lineage: Lineage) -> str:
    """Return the description ``text`` with another lineage, and otherwise as it is."""
    # Below the first line: MLflow folds a description, and a fold's lower half takes no clicks.
    state, gap, rest = _SENTENCES.sub("", text).partition("\n\n")
    parents = _run_links([lineage.parent] if lineage.parent else [])
    children = _run_links(lineage.children)
    sentences = [
        *([f"Fine-tuned from {parents}."] if parents else []),
        *([f"Fine-tuned further in {children}."] if children else []),
    ]
    line = f"  \n{' '.join(sentences)}" if sentences else ""
    return state + line + gap + rest


def _run_links(run_ids: Sequence[str]) -> str:
    """Return links that work on every page of MLflow."""
    known = [run_id for run_id in run_ids if _RUN_ID.fullmatch(run_id)]
    return listed([f"[run {code(each[:8])}](#/runs/{each})" for each in known], _MOST_CHILDREN)
