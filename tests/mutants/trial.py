"""Runs tests against mutants, each in a fork of a process that has imported everything else.

Reads a request a line from stdin and answers each with a line. It runs in a copy of the
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Literal

Verdict = Literal["killed", "survived", "not run"]

_IMPORTED: Final = (
    *("apscheduler.schedulers.background", "httpx", "hypothesis", "jsonschema", "mlflow", "numpy"),
    *("mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store"),
    *("prometheus_client", "pydantic", "pytest", "rich.console", "structlog", "tenacity"),
    *("typer.testing", "yaml"),
)
"""What tests import, but for the bridge."""
_NOT_FOUND: Final = frozenset({4, 5})
"""pytest's exit codes where it has no such test."""
_BROKEN: Final = 3
"""The exit code of a mutant that cannot be imported."""
_LEFT_OUT: Final = (".git", ".venv", ".mutants", ".mypy_cache", ".ruff_cache", "*.egg-info")


@dataclass(frozen=True, slots=True)
class Request:
    """One mutant and its tests."""

    path: str
    source: str
    tests: list[str]
    seconds: float
    """After which it hangs, and is taken for killed."""


class Trials:
    """A process that makes one trial after the other, while it is entered."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def make(self, request: Request) -> Verdict:
        """Return what became of a mutant."""
        assert self._process.stdin
        assert self._process.stdout
        fields = {name: getattr(request, name) for name in Request.__slots__}
        self._process.stdin.write(json.dumps(fields) + "\n")
        self._process.stdin.flush()
        verdict: Verdict = json.loads(self._process.stdout.readline())
        return verdict


@contextlib.contextmanager
def trials(root: Path) -> Iterator[Trials]:
    """A process for trials, in a copy of the repository."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        place = Path(folder) / "copy"
        shutil.copytree(root, place, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.trial"],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(place)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Trials(process)
        finally:
            process.kill()
            process.wait()


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
            print(json.dumps(_verdict(request)), flush=True)  # noqa: T201 - the answer
        finally:
            path.write_text(whole)


def _verdict(request: Request) -> Verdict:
    process = multiprocessing.get_context("fork").Process(target=_try, args=(request,))
    process.start()
    process.join(request.seconds)
    if process.exitcode is None:
        _end(process)
        return "killed"
    _end(process)  # what its tests have left
    if process.exitcode in _NOT_FOUND:
        return "not run"
    return "killed" if process.exitcode else "survived"


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
    os._exit(_run(request.tests))


def _run(tests: Sequence[str]) -> int:
    import pytest  # noqa: PLC0415 - after the source has been written

    return int(pytest.main(["-x", "-q", "-p", "no:randomly", "-p", "no:xdist", *tests]))


if __name__ == "__main__":
    _main()
