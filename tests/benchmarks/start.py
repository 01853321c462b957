"""The duration of the program's start, beside that of its unavoidable imports and readings.

Processor time is measured, because a command without a server to talk to also waits.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.benchmarks.provider import APART, Provider, finished
from tests.support.history import multiply

_KNOWN: Final = 460
"""Settled jobs that commands with a history find in MLflow."""
_OPENED: Final = (
    "from mlflow import MlflowClient;"
    " client = MlflowClient('{uri}'); found = client.search_experiments()"
)
_READ: Final = (
    f"{_OPENED}; client.search_runs([each.experiment_id for each in found],"
    " 'tags.fine_tuning_provider = \"openai\"', max_results=1000)"
)
_PAIRS: Final = (
    ("ftbridge --help", ("-m", "bridge", "--help"), "import typer", ("-c", "import typer")),
    ("ftbridge check", ("-m", "bridge", "check"), "MLflow opens the database", ("-c", _OPENED)),
)
_PAIRS_WITH_HISTORY: Final = tuple(
    (
        f"ftbridge {command}, {_KNOWN} jobs known",
        ("-m", "bridge", command),
        "MLflow opens the database, and reads their runs once",
        ("-c", _READ),
    )
    for command in ("backfill", "status")
)


def tables(repeats: int) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(title=f"Start: the processor's time, medians of {repeats}")
    for heading in ("", "ms", "beside", "ms", "ratio"):
        table.add_column(heading, justify="right" if heading in {"ms", "ratio"} else "left")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Provider(jobs=_KNOWN) as provider:
        folder = Path(name)
        uri = f"sqlite:///{folder}/mlflow.db"
        environ = os.environ | {
            "MLFLOW_TRACKING_URI": uri,
            "OPENAI_API_KEY": "any-key",
            "OPENAI_BASE_URL": provider.openai_url,
        }
        first, *others = (finished(number, "openai").id for number in range(_KNOWN))
        _seconds(("-m", "bridge", "backfill", first), environ, folder)
        multiply(folder / "mlflow.db", first, others, apart=int(APART * 1000))
        # Nobody listens at the provider's address, so that only the start remains.
        silent = environ | {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
        for pairs, variables in ((_PAIRS, silent), (_PAIRS_WITH_HISTORY, environ)):
            for what, own, beside, other in pairs:
                commands = (own, tuple(part.format(uri=uri) for part in other))
                # In turn, so that a slow moment of the machine affects all of them.
                times = [
                    [_seconds(command, variables, folder) * 1000 for command in commands]
                    for _ in range(repeats)
                ]
                mine, theirs = (statistics.median(found) for found in zip(*times, strict=True))
                ratio = f"{mine / theirs:.2f}"
                table.add_row(what, f"{mine:.0f}", beside, f"{theirs:.0f}", ratio)
    yield table


def _seconds(command: tuple[str, ...], environ: Mapping[str, str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *command],
        check="check" not in command,  # it reports that nobody answers
        env=dict(environ),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
