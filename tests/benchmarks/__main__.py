"""Measurements on the present machine: ``make bench``.

Usage: ``python -m tests.benchmarks [PART ...] [--jobs N] [--rounds N] [--full]``
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

# MLflow reads these when it is imported.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from tests.benchmarks import (
    active,
    cluster,
    features,
    first_curve,
    history,
    requests,
    shares,
    speed,
    start,
    whole,
)
from tests.benchmarks.stores import STORES


def _speed(wanted: argparse.Namespace) -> Iterator[Table]:
    jobs = wanted.jobs or (300 if wanted.full else 30)
    stores = wanted.store or [*STORES]
    size = speed.Size(
        jobs=jobs,
        rounds=wanted.rounds or 3,
        stores=stores,
        workers=wanted.workers,
        latencies=wanted.latency or speed.LATENCIES,
        is_short=not (wanted.full or wanted.latency),
    )
    return speed.tables(size, _say)


def _whole(wanted: argparse.Namespace) -> Iterator[Table]:
    return whole.tables(wanted.jobs or 150, wanted.rounds or 5, _say)


def _requests(_wanted: argparse.Namespace) -> Iterator[Table]:
    return requests.tables()


def _history(wanted: argparse.Namespace) -> Iterator[Table]:
    sizes = [100, 1000, 20_000, *([100_000] if wanted.full else [])]
    return history.tables(sizes, _say)


def _active(wanted: argparse.Namespace) -> Iterator[Table]:
    return active.tables(1000 if wanted.full else 100, wanted.rounds or 3, _say)


def _start(_wanted: argparse.Namespace) -> Iterator[Table]:
    return start.tables(5)


def _first_curve(_wanted: argparse.Namespace) -> Iterator[Table]:
    return first_curve.tables(_say)


def _features(wanted: argparse.Namespace) -> Iterator[Table]:
    return features.tables(wanted.rounds or 3)


def _shares(wanted: argparse.Namespace) -> Iterator[Table]:
    return shares.tables(wanted.jobs or 40, 10_000, _say)


def _dask(wanted: argparse.Namespace) -> Iterator[Table]:
    return cluster.tables(wanted.jobs or (300 if wanted.full else 60), wanted.rounds or 3, _say)


_PARTS: Final[dict[str, Callable[[argparse.Namespace], Iterator[Table]]]] = {
    "whole": _whole,
    "speed": _speed,
    "requests": _requests,
    "history": _history,
    "active": _active,
    "start": _start,
    "first-curve": _first_curve,
    "features": _features,
    "shares": _shares,
    "dask": _dask,
}


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def _duration(minutes: Mapping[str, float]) -> Table:
    """Return the table of what the measurements themselves took."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    table = Table(title=f"Minutes that this took; {os.cpu_count()} cores, load {load}")
    for heading in ("part", "minutes"):
        table.add_column(heading, justify="right" if heading == "minutes" else "left")
    for part, taken in {**minutes, "all": sum(minutes.values())}.items():
        table.add_row(part, f"{taken:.1f}")
    return table


def main() -> None:
    """Make the requested measurements, and print a table of each."""
    parser = argparse.ArgumentParser(description="What things cost, measured here.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(_PARTS)}; default: all")
    parser.add_argument("--full", action="store_true", help="sizes that take an hour")
    parser.add_argument("--jobs", type=int, help="jobs of the speed, shares and dask tables")
    parser.add_argument("--rounds", type=int, help="medians are of so many; default: 3, whole 5")
    parser.add_argument("--workers", type=int, default=16, help="of the bridge in the speed table")
    parser.add_argument("--latency", type=int, action="append", help="ms; default: 0 and 150")
    parser.add_argument("--store", action="append", choices=[*STORES], help="default: all")
    wanted = parser.parse_args()
    console = Console(width=150)
    if unknown := {*wanted.parts} - {*_PARTS}:
        parser.error(f"no such part: {', '.join(unknown)}")
    minutes: dict[str, float] = {}
    for part in wanted.parts or _PARTS:
        begin = time.perf_counter()
        for table in _PARTS[part](wanted):
            console.print(table)
        minutes[part] = (time.perf_counter() - begin) / 60
    console.print(_duration(minutes))


if __name__ == "__main__":
    main()
