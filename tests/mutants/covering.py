"""The tests that execute a line, and their durations, measured once for the present source."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from coverage import CoverageData

from tests.mutants.mutate import Mutant, uses

_TIMES: Final = "MUTANTS_TIMES"
_CHEAP: Final = 0.1
"""Seconds of a test that is cheap enough to run in any case."""


class Times:
    """A plugin that notes the seconds of each test that passes."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test."""
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write all of them: a test that fails without a mistake says nothing of one."""
        passed = {test: self._seconds[test] for test in self._seconds.keys() - self._failed}
        Path(os.environ[_TIMES]).write_text(json.dumps(passed))


def pytest_configure(config: pytest.Config) -> None:
    """Note times in the process that hears of all tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Times())


@dataclass(frozen=True, slots=True)
class Covering:
    """Lines and durations of tests, as measured in a run."""

    seconds: Mapping[str, float]
    """Seconds of each test that passed."""
    lines: Mapping[str, Mapping[int, set[str]]]
    """The tests of each line of each module."""

    def tests(self, mutant: Mutant, room: str, limit: float) -> list[str]:
        """Return the tests that may see a mutant, most likely first, as many as fit into a time.

        Those of its room come first, then the cheaper ones; of those that are not cheap one case of
        each function before any second.

        Args:
            mutant: where to look.
            room: the folder of the tests that are about its package.
            limit: seconds that they may take together; one is run however long it takes.
        """
        found = self._executing(mutant.path, mutant.lines)
        if mutant.names:
            for path in self.lines:
                source = Path(path).read_text()
                if path != mutant.path and any(name in source for name in mutant.names):
                    found |= self._executing(path, uses(ast.parse(source), mutant.names))
        found = found or self._executing(mutant.path, self.lines.get(mutant.path, {}))
        ranked = sorted(
            found & self.seconds.keys(),
            key=lambda test: (not test.startswith(room), self.seconds[test], test),
        )
        cases: dict[str, int] = {}
        turns: list[tuple[int, int, str]] = []
        for test in ranked:
            function = test.partition("[")[0]
            if self.seconds[test] > _CHEAP:
                cases[function] = cases.get(function, 0) + 1
            turns.append((cases.get(function, 0), len(turns), test))
        chosen: list[str] = []
        total = 0.0
        for _, _, test in sorted(turns):
            total += self.seconds[test]
            if chosen and total > limit:
                break
            chosen.append(test)
        return chosen

    def _executing(self, path: str, lines: Iterable[int]) -> set[str]:
        """Return the tests that execute one of these lines of a module."""
        of_module = self.lines.get(path, {})
        return set[str]().union(*(of_module.get(line, set()) for line in lines))


def measured(root: Path, rooms: Iterable[str], folder: Path) -> Covering:
    """Run the tests of some rooms with coverage; a room is run again once it or the source changes.

    Args:
        root: the repository.
        rooms: folders of tests, below it.
        folder: where to keep what was measured.
    """
    files = {
        room: folder / f"{room.replace('/', '-')}-{_digest(root, room)}.json" for room in rooms
    }
    stale = [room for room, file in sorted(files.items()) if not file.exists()]
    if stale:
        folder.mkdir(parents=True, exist_ok=True)
        _measure(root, {room: files[room] for room in stale})
    seconds: dict[str, float] = {}
    lines: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in files.values():
        for test, known in json.loads(file.read_text()).items():
            seconds[test] = known["seconds"]
            for path, executed in known["lines"].items():
                for line in executed:
                    lines[path][line].add(test)
    return Covering(seconds, lines)


def _measure(root: Path, files: Mapping[str, Path]) -> None:
    """Run the tests of rooms, and write of each what its tests executed."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        data, times = Path(folder) / "coverage", Path(folder) / "times.json"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"]
        command += ["-p", "tests.mutants.covering", "-p", "no:randomly"]
        command += ["--cov=bridge", "--cov-context=test", "--cov-report="]
        environ = os.environ | {"COVERAGE_FILE": str(data), _TIMES: str(times)}
        subprocess.run([*command, *files], cwd=root, env=environ, check=False)
        seconds: dict[str, float] = json.loads(times.read_text())
        executed = _executed(root, data)
    for room, file in files.items():
        for older in file.parent.glob(f"{file.stem.rpartition('-')[0]}-*.json"):
            older.unlink()
        known = {
            test: {"seconds": seconds[test], "lines": executed[test]}
            for test in sorted(seconds)
            if test.startswith(f"{room}/")
        }
        file.write_text(json.dumps(known))


def _executed(root: Path, data: Path) -> Mapping[str, Mapping[str, list[int]]]:
    """Return the modules of each test, with the lines that it executed."""
    found: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    known = CoverageData(str(data))
    known.read()
    for file in known.measured_files():
        path = str(Path(file).relative_to(root))
        for line, contexts in known.contexts_by_lineno(file).items():
            for test in {context.partition("|")[0] for context in contexts} - {""}:
                found[test][path].append(line)
    return found


def _digest(root: Path, room: str) -> str:
    """Name the source and a room as they are."""
    found = hashlib.sha256()
    for top in ("bridge", "tests/support", room):
        for path in sorted((root / top).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]
