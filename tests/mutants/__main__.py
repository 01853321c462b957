"""``make mutants``: make small mistakes in the core, and see whether a test fails for each.

    python -m tests.mutants [--seed 1] [--minutes 25] [--each 100] [plan sync ...]

The mutants are drawn with a seed, so that two runs try the same ones. Each is tried with the tests
that execute its line, as many as take 20 seconds. Those in ``equivalent.yaml`` do the same as the
source, or differ in what nobody can observe; they count neither way.
"""

from __future__ import annotations

import argparse
import itertools
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from tests.mutants.covering import Covering, measured
from tests.mutants.mutate import Mutant, mutants_of
from tests.mutants.trial import Request, trials

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = {
    "plan": ("core", "plan", "doctor"),
    "sync": ("sync", "tracking"),
    "http": ("core", "http", "providers"),
    "tracking": ("sync", "tracking"),
    "daemon": ("bootstrap", "daemon"),
}
"""The packages, and the folders of tests that are tried on each."""
LIMIT: Final = 20.0
"""Seconds that the tests of one mutant may take."""
PROCESSES: Final = 2


class Tried(NamedTuple):
    """A mutant, and what became of it."""

    package: str
    mutant: Mutant
    verdict: str


def drawn(package: str, seed: int, number: int) -> list[Mutant]:
    """Return some mutants of a package, always the same for a seed."""
    every = [
        mutant
        for path in sorted((ROOT / "bridge" / package).glob("*.py"))
        for mutant in mutants_of(str(path.relative_to(ROOT)), path.read_text())
    ]
    dice = random.Random(f"{seed} {package}")  # noqa: S311 - a draw, no secret
    dice.shuffle(every)
    return every[:number]


def equivalents() -> set[tuple[str, ...]]:
    """Return the mutants that do not count: module, line, text before and text after."""
    listed = yaml.safe_load((Path(__file__).parent / "equivalent.yaml").read_text()) or []
    return {(each["path"], each["line"], each["before"], each["after"]) for each in listed}


def place_of(mutant: Mutant) -> tuple[str, ...]:
    """Return what a mutant is listed by."""
    line = (ROOT / mutant.path).read_text().splitlines()[mutant.line - 1].strip()
    return mutant.path, line, mutant.before, mutant.after


def tried(
    wanted: Iterator[tuple[str, Mutant]], covering: Covering, deadline: float
) -> Iterator[Tried]:
    """Try one mutant after the other until the time is over, several at once."""
    lock = threading.Lock()
    done: queue.SimpleQueue[Tried | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            with trials(ROOT) as process:
                while time.monotonic() < deadline:
                    with lock:
                        package, mutant = next(wanted, (None, None))
                    if package is None or mutant is None:
                        break
                    tests = covering.tests(mutant, f"tests/{package}/", LIMIT)
                    verdict = "not executed"
                    if tests:
                        spent = sum(covering.seconds[test] for test in tests)
                        request = Request(mutant.path, mutant.source, tests, 60 + 5 * spent)
                        verdict = process.make(request)
                    done.put(Tried(package, mutant, verdict))
        finally:
            done.put(None)

    workers = [threading.Thread(target=work) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for _ in workers:
        yield from iter(done.get, None)


def report(results: list[Tried], drawn_in_all: int) -> None:
    """Print the score of each package, and what survived."""
    unseen = equivalents()
    by_package: dict[str, Counter[str]] = {}
    left = []
    for package, mutant, verdict in results:
        is_equivalent = place_of(mutant) in unseen
        word = "equivalent" if is_equivalent and verdict != "killed" else verdict
        by_package.setdefault(package, Counter())[word] += 1
        if word not in {"killed", "equivalent"}:
            left.append(f"{word:13} {mutant}")
    print("\n".join(sorted(left)))  # noqa: T201 - the report
    columns = ("killed", "survived", "not executed", "not run", "equivalent")
    print(f"{'package':10}" + "".join(f"{name:>14}" for name in columns) + "   score")  # noqa: T201 - a command speaks on stdout
    total: Counter[str] = Counter()
    for package, found in sorted(by_package.items()):
        print(_row(package, found, columns))  # noqa: T201 - the report
        total += found
    print(_row("all", total, columns))  # noqa: T201 - the report
    print(f"{len(results)} of {drawn_in_all} drawn mutants were tried")  # noqa: T201 - the report


def _row(name: str, found: Counter[str], columns: tuple[str, ...]) -> str:
    counted = found.total() - found["equivalent"]
    cells = "".join(f"{found[column]:14}" for column in columns)
    return f"{name:10}{cells}   {found['killed'] / max(counted, 1):.0%}"


def main() -> None:
    """Draw, try and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("packages", nargs="*", default=[*ROOMS])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--each", type=int, default=100, help="mutants of a package at most")
    chosen = parser.parse_args()
    deadline = time.monotonic() + 60 * chosen.minutes
    rooms = {f"tests/{room}" for package in chosen.packages for room in ROOMS[package]}
    covering = measured(ROOT, rooms, ROOT / ".mutants")
    lots = {name: drawn(name, chosen.seed, chosen.each) for name in chosen.packages}
    turns = itertools.zip_longest(*([(name, each) for each in lot] for name, lot in lots.items()))
    wanted = (each for turn in turns for each in turn if each is not None)
    results = list(tried(wanted, covering, deadline))
    report(results, sum(map(len, lots.values())))


if __name__ == "__main__":
    main()
