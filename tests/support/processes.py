"""The real command, in a separate process or in this one, with its output."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from coverage import Coverage
from typer.main import get_command
from typer.testing import CliRunner, Result

from bridge.cli.app import app, main

PATIENCE: Final = 3600.0 if os.environ.get("SOAK") else 180.0
"""Seconds after which a process counts as failed, however busy the machine is."""
_WIDE: Final = {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


FORKS: Final = multiprocessing.get_context("forkserver")
"""Fork server with everything imported, because importing MLflow takes seconds.

Further modules are those that MLflow and its libraries import when they first need them.
"""
FORKS.set_forkserver_preload(
    [
        *("alembic.command", "httpcore", "sqlalchemy.dialects.sqlite"),
        *("mlflow.store.workspace_aware_mixin", "mlflow.utils.search_logged_model_utils"),
        *("bridge.cli.check", "bridge.cli.doctor", "bridge.cli.status"),
        *("tests.support.first_start", "tests.support.forked"),
    ]
)


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of ``ftbridge`` with ``arguments``, for a new interpreter."""
    return [sys.executable, "-m", "bridge", *map(str, arguments)]


def run(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    fresh: bool = False,
    largest_file: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``ftbridge`` in a separate process to its end; see ``started``."""
    with started(*arguments, cwd=cwd, env=env, fresh=fresh, largest_file=largest_file) as process:
        code = process.end()
        return subprocess.CompletedProcess(arguments, code, *process.streams)


_COMMANDS: Final = get_command(app)
"""Commands, made once; ``CliRunner.invoke`` makes all of them for each call."""


def invoke(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Result:
    """Run ``ftbridge`` in this process, which spares the seconds of importing MLflow."""
    runner, code = CliRunner(), 0
    failure: BaseException | None = None
    with runner.isolation(env=env) as streams:
        try:
            _COMMANDS.main(list(map(str, arguments)), prog_name="ftbridge")
        except SystemExit as left:
            code, failure = int(left.code or 0), left if left.code else None
        except Exception as error:  # noqa: BLE001 - the test decides about it
            code, failure = 1, error
        sys.stdout.flush()
        sys.stderr.flush()
        stdout, stderr, output = (stream.getvalue() for stream in streams)
    return Result(runner, stdout, stderr, output, None, code, failure)


class Started:
    """A running ``ftbridge``, which writes its output to two files."""

    def __init__(self, process: BaseProcess, stdout: Path, stderr: Path) -> None:
        self._process = process
        self._files = stdout, stderr
        self._last: tuple[str, str] | None = None
        for file in self._files:
            file.touch()

    @property
    def streams(self) -> tuple[str, str]:
        """Return stdout and stderr so far, also after the context has ended."""
        if self._last is None:
            stdout, stderr = (file.read_text() for file in self._files)
            return stdout, stderr
        return self._last

    def keep_output(self) -> None:
        """Keep the output, because its files are deleted."""
        self._last = self.streams

    @property
    def said(self) -> str:
        """Return all output so far, both streams."""
        return "".join(self.streams)

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, once the process has ended."""
        return self._process.exitcode

    def count(self, words: str) -> int:
        """Return how many lines so far contain ``words``."""
        return sum(words in line for line in self.said.splitlines())

    def wait_for(self, words: str) -> None:
        """Return once a line contains ``words``."""
        wait_until(lambda: self.count(words) > 0, f"{words!r} in the output", self)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.exit_code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, and return when it has ended. Another thread may be waiting for it."""
        self._process.kill()
        assert multiprocessing.connection.wait([self._process.sentinel], PATIENCE)

    def end(self) -> int:
        """Wait for the end, and return the exit code."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, self.said
        return self._process.exitcode


@contextlib.contextmanager
def started(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    fresh: bool = False,
    is_parent: bool = False,
    largest_file: int | None = None,
) -> Iterator[Started]:
    """Start ``ftbridge`` in a separate process, which ends with the context at the latest.

    It is a fork of a process that has imported everything, and gets killed. With ``fresh`` it is a
    new interpreter, as its user starts it. With either ``fresh`` or ``is_parent`` it may end the
    processes that it has started itself. Its disk is full when a file has ``largest_file`` bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "stdout", Path(folder) / "stderr"
        surroundings = {**os.environ, **_WIDE, **(env or {})}
        process = FORKS.Process(
            target=_become,
            args=([*map(str, arguments)], files, cwd or Path.cwd(), surroundings),
            kwargs={"largest_file": largest_file, "fresh": fresh},
        )
        running = Started(process, *files)
        process.start()
        try:
            yield running
        finally:
            if fresh or is_parent:
                running.send(signal.SIGTERM)
                process.join(60)
            running.kill()
            running.end()
            running.keep_output()


def _become(
    arguments: list[str],
    files: tuple[Path, Path],
    cwd: Path,
    env: dict[str, str],
    *,
    largest_file: int | None,
    fresh: bool,
) -> None:
    """Become ``ftbridge``, with the imports already done or, if ``fresh``, a new interpreter."""
    os.chdir(cwd)
    write_to(*files)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if fresh:
        os.execve(sys.executable, command(*arguments), env)  # noqa: S606 - the bridge itself
    os.environ.clear()
    os.environ.update(env)
    if encoding := env.get("PYTHONIOENCODING"):  # an interpreter reads it when it starts
        for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
            assert isinstance(stream, io.TextIOWrapper)
            stream.reconfigure(encoding=encoding, errors=errors)
    if measuring := Coverage.current():
        # The code that it executes counts as executed by the test that started it: see
        # tests/mutants.
        measuring.switch_context(env.get("PYTEST_CURRENT_TEST", "").partition(" (")[0])
    sys.argv = ["ftbridge", *arguments]
    main()


def write_to(stdout: Path, stderr: Path) -> None:
    """Append both streams of this process to files, line by line."""
    for stream, path in ((sys.stdout, stdout), (sys.stderr, stderr)):
        assert isinstance(stream, io.TextIOWrapper)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream.fileno())
        os.close(file)
        stream.reconfigure(line_buffering=True)


def wait_until(
    is_so: Callable[[], object],
    what: str = "change",
    process: Started | None = None,
    seconds: float = 120.0,
) -> None:
    """Return as soon as ``is_so``; fail when that takes too long, or when ``process`` has ended.

    A question to MLflow takes from what it waits for, so four fifths of the time pass without one.
    """
    deadline = time.monotonic() + seconds
    while asked := time.monotonic():
        if is_so():
            return
        assert asked < deadline, (
            f"no {what} in {seconds} s\n{process.said[-3000:] if process else ''}"
        )
        if process and process.exit_code is not None:
            assert is_so(), f"ended with {process.exit_code} before {what}\n{process.said}"
            return
        time.sleep(max(0.01, 4 * (time.monotonic() - asked)))


def copy_database(source: Path, target: Path) -> None:
    """Copy an sqlite database including its write-ahead log."""
    with (
        contextlib.closing(sqlite3.connect(source)) as one,
        contextlib.closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)


def dump(database: Path) -> str:
    """Return the whole content of an sqlite file."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump())
