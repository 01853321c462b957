"""An undisturbed backfill, for comparison with others."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bridge.simulator import Simulator
from tests.support.forked import Forked
from tests.support.whole import JOBS, everything, write_config
from tests.support.write_proxy import Write

TRIAL = "trial"
"""The part of every name in these databases."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """Rows and ordered writes of an uninterrupted backfill."""

    whole: dict[str, dict[str, object]]
    writes: dict[Write, str]

    def before(self, what: str) -> Write:
        """Return the first write to a table, or of a file."""
        return next(write for write, name in self.writes.items() if what in name)


def store(folder: Path, empty_database: Path, provider: Simulator) -> tuple[str, Path]:
    """Return an empty database and a configuration for it."""
    folder.mkdir(exist_ok=True)
    shutil.copy(empty_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    # With one provider the writes have an order.
    return uri, write_config(folder, provider, uri, TRIAL, kinds=("openai",))


def undisturbed_backfill(folder: Path, empty_database: Path) -> Undisturbed:
    """Make a backfill in a separate process, and return what it has written."""
    with Simulator(jobs=JOBS) as provider:
        uri, config = store(folder, empty_database, provider)
        with Forked("backfill", "--config", config, output=folder / "said") as process:
            writes = process.writes()
            assert process.end() == 0, process.said
        return Undisturbed(everything(uri, TRIAL), writes)
