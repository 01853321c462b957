"""How long the program takes to say how it is used, beside importing its command line's library."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from rich.table import Table

_COMMANDS: Final = {
    "ftbridge --help": ("-m", "bridge", "--help"),
    "import typer": ("-c", "import typer"),
}


def tables(repeats: int) -> Iterator[Table]:
    """Measure; the table comes at the end."""
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(repeats):
        for name, arguments in _COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - begin) * 1000)
    table = Table(title=f"Start: medians of {repeats}")
    for heading in ("", "ms", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        table.add_row(name, f"{median:.0f}", f"{median / medians['import typer']:.2f}")
    yield table
