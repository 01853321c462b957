"""Runs tests against mutants, each in a fork of a process that has imported everything else.

Reads a request from each line of stdin and answers it with a line. It runs in a copy of the
repository, which is all that its tests see.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import pytest

Verdict = Literal["killed", "hung", "survived", "not run", "no module"]

_IMPORTED: Final = (
    *("apscheduler.schedulers.background", "httpx", "hypothesis", "jsonschema", "mlflow", "numpy"),
    *("mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store"),
    *("prometheus_client", "pydantic", "pytest", "rich.console", "structlog", "tenacity"),
    *("typer.testing", "yaml"),
)
"""Modules that tests import, except the bridge."""
_BROKEN: Final = 101
"""The exit code of a mutant that cannot be imported."""
_PASSED: Final = 102
"""The exit code if all tests pass; a mistake may end the process with any other, such as 0."""
_VERDICTS: Final[dict[int | None, Verdict]] = {
    _PASSED: "survived",
    4: "not run",  # pytest has no such test
    5: "not run",
    _BROKEN: "no module",
    None: "hung",
}
_FAILED: Final = Path(".mutants-failed")
"""Failing tests, one per line."""
_LEFT_OUT: Final = (".git", ".venv", ".mutants", ".mypy_cache", ".ruff_cache", "*.egg-info")


@dataclass(frozen=True, slots=True)
class Request:
    """One mutant and its tests."""

    path: str
    source: str
    tests: list[str]
    seconds: float
    """Seconds after which it hangs."""
    is_first_enough: bool = True
    """Whether to stop at the first test that fails."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of a mutant."""

    verdict: Verdict
    failed: tuple[str, ...] = ()
    """Tests that noticed it."""


class Trials:
    """A process that makes one trial after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def make(self, request: Request) -> Outcome:
        """Return what became of a mutant."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(request)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Outcome(answer["verdict"], tuple(answer["failed"]))


@contextlib.contextmanager
def trials(root: Path, number: int) -> Iterator[list[Trials]]:
    """Start processes for trials, each in a copy of the repository."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, contextlib.ExitStack() as ends:
        found = []
        for each in range(number):
            place = Path(folder) / str(each)
            shutil.copytree(root, place, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.mutants.trial"],
                cwd=place,
                env=os.environ | {"PYTHONPATH": str(place)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            ends.callback(process.wait)
            ends.callback(process.kill)
            found.append(Trials(process))
        yield found


# In the process


def _main() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = Request(**json.loads(line))
        path = Path(request.path)
        whole = path.read_text()
        path.write_text(request.source)
        try:
            print(json.dumps(asdict(_outcome(request))), flush=True)  # noqa: T201 - the answer
        finally:
            path.write_text(whole)


def _outcome(request: Request) -> Outcome:
    _FAILED.write_text("")
    process = multiprocessing.get_context("fork").Process(target=_try, args=(request,))
    process.start()
    process.join(request.seconds)
    code = process.exitcode
    _end(process)  # and what its tests have left
    return Outcome(_VERDICTS.get(code, "killed"), tuple(_FAILED.read_text().splitlines()))


def _end(process: BaseProcess) -> None:
    """End the trial and all that it has started."""
    assert process.pid
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _try(request: Request) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    # A mutant may be of the same second and length as the source: no compiled file is believed.
    sys.dont_write_bytecode = True
    for compiled in Path(request.path).parent.glob(f"__pycache__/{Path(request.path).stem}.*"):
        compiled.unlink()
    try:
        importlib.import_module(request.path.removesuffix(".py").replace("/", "."))
    except BaseException:  # noqa: BLE001 - whatever it is, nobody would overlook it
        os._exit(_BROKEN)
    os._exit(_run(request))


class _Failed:
    """A plugin that notes the tests that fail."""

    def __init__(self) -> None:
        self.is_broken = False
        """Whether a module of tests cannot be imported, although it could without the mistake."""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that a module cannot be imported."""
        self.is_broken |= report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test."""
        if report.failed:
            with _FAILED.open("a") as file:
                file.write(f"{report.nodeid}\n")


def _run(request: Request) -> int:
    import pytest  # noqa: PLC0415 - after the source has been written

    options = ["-q", "-p", "no:randomly", "-p", "no:xdist"]
    if request.is_first_enough:
        options.append("-x")
    failed = _Failed()
    code = pytest.main([*options, *request.tests], plugins=[failed])
    if failed.is_broken:
        return pytest.ExitCode.TESTS_FAILED
    return int(code) or _PASSED


if __name__ == "__main__":
    _main()
