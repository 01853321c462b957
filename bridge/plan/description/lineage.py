"""The sentences that link a run with the runs it came from and led to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge.plan.description.markdown import code, listed

_MOST_CHILDREN: Final = 5
_RUN_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
_NAME: Final = re.compile(r"[\w.:@+-]+(/[\w.:@+-]+)*", re.ASCII)
"""A run's name that needs no escapes inside a link."""
_LONGEST_NAME: Final = 80
_LINK: Final = re.compile(r"\[`([^`\n]*)`\]\(#/runs/([\w-]+)\)")
_SENTENCES: Final = re.compile(r" {2}\nFine-tuned (from|further in) \[(?:run )?`[^\n]*")
"""The line of a lineage. Untrusted text never begins a line, and so never matches."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Ids of the runs whose models a run trained further, and of those that trained its models."""

    parent: str | None = None
    children: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of the runs by id, if known."""


def with_lineage(text: str, lineage: Lineage) -> str:
    """Return the description ``text`` with another lineage and otherwise unchanged."""
    # Below the first line, because links in the lower half of a folded description cannot be
    # clicked.
    state, gap, rest = _SENTENCES.sub("", text).partition("\n\n")
    parents = _run_links([lineage.parent] if lineage.parent else [], lineage.names)
    children = _run_links(lineage.children, lineage.names)
    sentences = [
        *([f"Fine-tuned from {parents}."] if parents else []),
        *([f"Fine-tuned further in {children}."] if children else []),
    ]
    line = f"  \n{' '.join(sentences)}" if sentences else ""
    return state + line + gap + rest


def names_in(text: str) -> dict[str, str]:
    """Return the names of the runs that a description links, by their ids."""
    lines = "".join(found.group() for found in _SENTENCES.finditer(text))
    return {run_id: name for name, run_id in _LINK.findall(lines)}


def _run_links(run_ids: Sequence[str], names: Mapping[str, str]) -> str:
    """Return links that work on every page of MLflow."""
    known = [run_id for run_id in run_ids if _RUN_ID.fullmatch(run_id)]
    return listed(
        [f"[{_label(each, names.get(each, ''))}](#/runs/{each})" for each in known], _MOST_CHILDREN
    )


def _label(run_id: str, name: str) -> str:
    is_plain = len(name) <= _LONGEST_NAME and _NAME.fullmatch(name)
    return code(name) if is_plain else f"run {code(run_id[:8])}"
