"""The duration of the program's start, beside that of its unavoidable imports.

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

_OPENED: Final = (
    "from mlflow import MlflowClient; MlflowClient('{uri}').search_experiments(max_results=1)"
)
_PAIRS: Final = (
    ("ftbridge --help", ("-m", "bridge", "--help"), "import typer", ("-c", "import typer")),
    ("ftbridge check", ("-m", "bridge", "check"), "MLflow opens the database", ("-c", _OPENED)),
)


def tables(repeats: int) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(title=f"Start: the processor's time, medians of {repeats}")
    for heading in ("", "ms", "beside", "ms", "ratio"):
        table.add_column(heading, justify="right" if heading in {"ms", "ratio"} else "left")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        # Nobody listens at the provider's address, so that only the start remains.
        environ = os.environ | {
            "MLFLOW_TRACKING_URI": uri,
            "OPENAI_API_KEY": "any-key",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        }
        _seconds(("-c", _OPENED.format(uri=uri)), environ, Path(folder))  # makes the database
        for name, own, beside, other in _PAIRS:
            commands = (own, tuple(part.format(uri=uri) for part in other))
            # In turn, so that a slow moment of the machine affects all of them.
            times = [
                [_seconds(command, environ, Path(folder)) * 1000 for command in commands]
                for _ in range(repeats)
            ]
            first, second = (statistics.median(found) for found in zip(*times, strict=True))
            table.add_row(name, f"{first:.0f}", beside, f"{second:.0f}", f"{first / second:.2f}")
    yield table


def _seconds(command: tuple[str, ...], environ: Mapping[str, str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *command],
        check=False,  # check reports that nobody answers
        env=dict(environ),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
