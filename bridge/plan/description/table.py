"""The checkpoints of a job as a table of the most informative rows and columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bridge.model import Checkpoint
from bridge.plan.description.markdown import cell

_MOST_METRICS: Final = 3
"""Number of metric columns; one less if the table has the models' names, which are long."""
_VALIDATION: Final = re.compile("valid|eval")
"""Part of the names of validation metrics."""
_FIRST_METRICS: Final = ("loss", "reward", "accuracy")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows and columns to show."""

    rows: tuple[Checkpoint, ...]
    metrics: tuple[str, ...]
    """The columns, by the provider's names."""
    has_models: bool
    which: str
    """Description of the choice of rows."""

    def __bool__(self) -> bool:
        """Return whether the table shows more than steps."""
        return bool(self.metrics or self.has_models)


def table_of(
    checkpoints: Sequence[Checkpoint], best: str | None, most: int, measure: str = ""
) -> Table:
    """Return at most ``most`` rows: the newest, and the best if it is older.

    The first column is ``measure``, the metric that decides the best checkpoint. Rows are the
    checkpoints that can be called, or else the validated steps.
    """
    named = [row for row in checkpoints if row.model]
    validated = [row for row in checkpoints if any(map(_VALIDATION.search, row.metrics))]
    if named or not validated:
        has_others = 0 < len(named) < len(checkpoints)
        rows = named or checkpoints
        which = "the newest that can be called" if has_others else "the newest"
    else:
        rows, which = validated, "the newest with validation"
    newest, earlier = rows[-most:], rows[:-most]
    best_row = [row for row in earlier if best and row.model == best][-1:]
    shown = (*best_row, *newest[len(best_row) :])
    names = {name for row in shown for name in row.metrics if cell(name)}
    columns = sorted(names, key=lambda name: (name != measure, _rank(name)))
    has_models = any(row.model for row in shown)
    return Table(
        rows=shown,
        metrics=tuple(columns[: _MOST_METRICS - has_models]),
        has_models=has_models,
        which=f"{which} and the best" if best_row else which,
    )


def _rank(name: str) -> tuple[int, bool, str]:
    """Return a key that sorts losses first, validation losses before others."""
    places = [place for place, word in enumerate(_FIRST_METRICS) if word in name]
    return min(places, default=len(_FIRST_METRICS)), _VALIDATION.search(name) is None, name
