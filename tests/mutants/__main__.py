"""``make mutants``: make small mistakes in the core, and see whether a test fails for each.

    python -m tests.mutants [--seed 1] [--minutes 20] [--each 80] [plan sync ...]

The mutants are drawn with a seed: two runs try the same ones, whatever else changes in a module.
Each is tried with the tests that execute its line, as many as take 20 seconds. The score is the
share of those that a test notices, by a failure or by hanging. Not counted: mutants that cannot be
imported, and those in ``equivalent.yaml``, which make no observable difference. The
tests that noticed anything are run once more without a mistake: one that fails there too proves
nothing, and its mutants are tried without it.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import yaml

from tests.mutants.covering import Covering, measured
from tests.mutants.mutate import Mutant, mutants_of
from tests.mutants.trial import Outcome, Request, Trials, trials

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = {
    "plan": ("core", "plan"),
    "sync": ("sync", "tracking"),
    "http": ("core", "http"),
    "tracking": ("sync", "tracking"),
    "daemon": ("daemon",),
}
"""The packages, and the folders of tests that are tried on each."""
LIMIT: Final = 20.0
"""Seconds that the tests of one mutant may take."""
PROCESSES: Final = 2
KILLED: Final = ("killed", "hung")
SURVIVED: Final = ("survived", "not executed", "not run")
UNCOUNTED: Final = ("no module", "equivalent")


@dataclass(frozen=True, slots=True)
class Tried:
    """A mutant, and what became of it."""

    package: str
    mutant: Mutant
    outcome: str
    failed: tuple[str, ...] = ()


def drawn(package: str, seed: int, number: int) -> list[Mutant]:
    """Return some mutants of a package, always the same for a seed."""
    every = [
        mutant
        for path in sorted((ROOT / "bridge" / package).rglob("*.py"))
        for mutant in mutants_of(str(path.relative_to(ROOT)), path.read_text())
    ]
    return sorted(every, key=lambda mutant: _lot(seed, mutant))[:number]


def _lot(seed: int, mutant: Mutant) -> bytes:
    """Return what decides, by the mutant itself and not by what else there is."""
    return hashlib.sha256("\n".join([str(seed), *place_of(mutant)]).encode()).digest()


def equivalents() -> set[tuple[str, ...]]:
    """Return the mutants that do not count: module, line, text before and text after."""
    listed = yaml.safe_load((Path(__file__).parent / "equivalent.yaml").read_text()) or []
    return {(each["path"], each["line"], each["before"], each["after"]) for each in listed}


def place_of(mutant: Mutant) -> tuple[str, ...]:
    """Return what a mutant is listed by."""
    return mutant.path, mutant.text, mutant.before, mutant.after


def tried(
    wanted: Iterable[tuple[str, Mutant]],
    covering: Covering,
    deadline: float,
    processes: list[Trials],
) -> Iterator[Tried]:
    """Try one mutant after the other until the time is over, several at once."""
    lock = threading.Lock()
    done: queue.SimpleQueue[Tried | None] = queue.SimpleQueue()
    left = iter(wanted)

    def work(process: Trials) -> None:
        try:
            while time.monotonic() < deadline:
                with lock:
                    package, mutant = next(left, (None, None))
                if package is None or mutant is None:
                    break
                done.put(_one(package, mutant, covering, process))
        finally:
            done.put(None)

    workers = [threading.Thread(target=work, args=(process,)) for process in processes]
    for worker in workers:
        worker.start()
    for _ in workers:
        yield from iter(done.get, None)


def _one(package: str, mutant: Mutant, covering: Covering, process: Trials) -> Tried:
    tests = covering.tests(mutant, f"tests/{package}/", LIMIT)
    if not tests:
        return Tried(package, mutant, "not executed")
    seconds = sum(covering.seconds[test] for test in tests)
    request = Request(mutant.path, mutant.source, tests, _patience(seconds))
    found = process.make(request)
    if found.verdict == "not run":  # the mistake is in the name of a case too
        functions = dict.fromkeys(test.partition("[")[0] for test in tests)
        found = process.make(replace(request, tests=[*functions]))
    return Tried(package, mutant, found.verdict, found.failed)


def _patience(seconds: float) -> float:
    """Return when tests that take so long hang, on a machine that has other things to do."""
    return 60 + 5 * seconds


def unfit(results: Iterable[Tried], covering: Covering, process: Trials) -> set[str]:
    """Return the tests that fail without a mistake too."""
    tests = sorted({test for each in results for test in each.failed})
    if not tests:
        return set()
    path = "bridge/__init__.py"
    seconds = sum(covering.seconds[test] for test in tests)
    source = (ROOT / path).read_text()
    request = Request(path, source, tests, _patience(seconds), is_first_enough=False)
    found: Outcome = process.make(request)
    return set(found.failed)


def results_of(
    wanted: Iterable[tuple[str, Mutant]], covering: Covering, deadline: float
) -> list[Tried]:
    """Try mutants, and once more those that were noticed by what is not fit for it."""
    with trials(ROOT, PROCESSES) as processes:
        results = list(tried(wanted, covering, deadline, processes))
        if not (wrong := unfit(results, covering, processes[0])):
            return results
        print("Fail without a mistake too:", *sorted(wrong), sep="\n  ")  # noqa: T201 - the report
        fit = {test: spent for test, spent in covering.seconds.items() if test not in wrong}
        again = [(each.package, each.mutant) for each in results if wrong & {*each.failed}]
        kept = [each for each in results if not wrong & {*each.failed}]
        return [*kept, *tried(again, replace(covering, seconds=fit), float("inf"), processes)]


def report(results: list[Tried], drawn_in_all: int) -> None:
    """Print the score of each package, and what survived."""
    unseen = equivalents()
    by_package: dict[str, Counter[str]] = {}
    left = []
    for each in results:
        is_equivalent = each.outcome in SURVIVED and place_of(each.mutant) in unseen
        word = "equivalent" if is_equivalent else each.outcome
        by_package.setdefault(each.package, Counter())[word] += 1
        if word in SURVIVED:
            left.append(f"{word:13} {each.mutant}")
    print("\n".join(sorted(left)))  # noqa: T201 - the report
    columns = (*KILLED, *SURVIVED, *UNCOUNTED)
    print(f"{'package':10}" + "".join(f"{name:>13}" for name in columns) + "  score")  # noqa: T201 - a command speaks on stdout
    total: Counter[str] = Counter()
    for package, found in sorted(by_package.items()):
        print(_row(package, found, columns))  # noqa: T201 - the report
        total += found
    print(_row("all", total, columns))  # noqa: T201 - the report
    print(f"{len(results)} of {drawn_in_all} drawn mutants were tried")  # noqa: T201 - the report


def _row(name: str, found: Counter[str], columns: Iterable[str]) -> str:
    killed = sum(found[word] for word in KILLED)
    counted = killed + sum(found[word] for word in SURVIVED)
    cells = "".join(f"{found[column]:13}" for column in columns)
    return f"{name:10}{cells}  {killed / max(counted, 1):.0%}"


def main() -> None:
    """Draw, try and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("packages", nargs="*", default=[*ROOMS])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--each", type=int, default=80, help="mutants of a package at most")
    chosen = parser.parse_args()
    rooms = {f"tests/{room}" for package in chosen.packages for room in ROOMS[package]}
    covering = measured(ROOT, rooms, ROOT / ".mutants")
    deadline = time.monotonic() + 60 * chosen.minutes
    lots = {name: drawn(name, chosen.seed, chosen.each) for name in chosen.packages}
    turns = itertools.zip_longest(*([(name, each) for each in lot] for name, lot in lots.items()))
    wanted = (each for turn in turns for each in turn if each is not None)
    report(results_of(wanted, covering, deadline), sum(map(len, lots.values())))


if __name__ == "__main__":
    main()
