"""Which tests execute a line, and how long each takes: measured once for the present source."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from coverage import CoverageData

from tests.mutants.mutate import Mutant

_TIMES: Final = "MUTANTS_TIMES"


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
    """What a run of the tests has shown."""

    seconds: dict[str, float]
    """Of each test that passed."""
    lines: dict[str, dict[int, set[str]]]
    """The tests of each line of each module."""

    def tests(self, mutant: Mutant, room: str, limit: float) -> list[str]:
        """Return the tests that may see a mutant, most likely first, as many as fit into a time.

        Those of its room come first, then the cheaper ones; one case of each function before any
        second.

        Args:
            mutant: where to look.
            room: the folder of the tests that are about its package.
            limit: seconds that they may take together; one is run however long it takes.
        """
        of_module = self.lines.get(mutant.path, {})
        places = mutant.lines if mutant.is_local else of_module
        found = set().union(*(of_module.get(line, set()) for line in places))
        ranked = sorted(
            found & self.seconds.keys(),
            key=lambda test: (not test.startswith(room), self.seconds[test], test),
        )
        cases: dict[str, int] = {}
        turns: list[tuple[int, int, str]] = []
        for test in ranked:
            function = test.partition("[")[0]
            cases[function] = cases.get(function, 0) + 1
            turns.append((cases[function], len(turns), test))
        chosen: list[str] = []
        total = 0.0
        for _, _, test in sorted(turns):
            total += self.seconds[test]
            if chosen and total > limit:
                break
            chosen.append(test)
        return chosen


def measured(root: Path, rooms: Iterable[str], folder: Path) -> Covering:
    """Run the tests of some rooms with coverage; what is known of the same source is reused."""
    rooms = sorted(set(rooms))
    folder = folder / _digest(root, rooms)
    folder.mkdir(parents=True, exist_ok=True)
    data, times = folder / "coverage", folder / "times.json"
    if not (data.exists() and times.exists()):
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"]
        command += ["-p", "tests.mutants.covering", "-p", "no:randomly"]
        command += ["--cov=bridge", "--cov-context=test", "--cov-report="]
        environ = os.environ | {"COVERAGE_FILE": str(data), _TIMES: str(times)}
        subprocess.run([*command, *rooms], cwd=root, env=environ, check=False)
    known = CoverageData(str(data))
    known.read()
    return Covering(
        seconds=json.loads(times.read_text()),
        lines={
            str(Path(file).relative_to(root)): {
                line: {context.partition("|")[0] for context in contexts if context}
                for line, contexts in known.contexts_by_lineno(file).items()
            }
            for file in known.measured_files()
        },
    )


def _digest(root: Path, rooms: list[str]) -> str:
    """A name for the source and the tests as they are."""
    found = hashlib.sha256(" ".join(rooms).encode())
    for top in ("bridge", "tests"):
        for path in sorted((root / top).rglob("*.py")):
            if "mutants" not in path.parts:
                found.update(path.read_bytes())
    return found.hexdigest()[:16]
