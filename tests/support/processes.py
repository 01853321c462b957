"""The real command, in a process of its own or in this one, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from typer.testing import CliRunner, Result

from bridge.cli.app import app

PATIENCE: Final = 3600.0 if os.environ.get("SOAK") else 180.0
"""Seconds after which a process has failed, whatever the machine is busy with."""
_WIDE: Final = {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


def command(*arguments: str | Path) -> list[str]:
    """The command line of ``ftbridge`` with ``arguments``."""
    return [sys.executable, "-m", "bridge", *map(str, arguments)]


def run(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``ftbridge`` in a process of its own, run to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=os.environ | _WIDE | (env or {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def invoke(*arguments: str | Path) -> Result:
    """``ftbridge`` in this process: spares the seconds that importing MLflow takes."""
    return CliRunner().invoke(app, list(map(str, arguments)))


class Started:
    """A running ``ftbridge``; its output is collected while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Iterator[str]) -> None:
        self._lines.extend(stream)

    @property
    def said(self) -> str:
        """All output so far, both streams."""
        return "".join(tuple(self._lines))

    def count(self, words: str) -> int:
        """How many lines so far hold ``words``."""
        return sum(words in line for line in tuple(self._lines))

    def wait_for(self, words: str) -> None:
        """Return once a line holds ``words``."""
        wait_until(lambda: self.count(words) > 0, f"{words!r} in the output", self)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(timeout=PATIENCE)
        for reader in self._readers:
            reader.join(timeout=PATIENCE)
        return code


@contextlib.contextmanager
def started(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> Iterator[Started]:
    """``ftbridge`` in a process of its own, which ends with the context at the latest."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=os.environ | _WIDE | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Started(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate()  # so that it can end the processes that it has started
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
        process.kill()
        running.end()


def wait_until(
    is_so: Callable[[], object], what: str, process: Started | None = None, seconds: float = 120.0
) -> None:
    """Return as soon as ``is_so``; fail when that takes too long, or when ``process`` has ended."""
    deadline = time.monotonic() + seconds
    while not is_so():
        said = process.said[-3000:] if process else ""
        assert time.monotonic() < deadline, f"no {what} in {seconds} s\n{said}"
        if process and process.process.poll() is not None and not is_so():
            time.sleep(0.2)  # its last words are still being read
            assert is_so(), f"ended with {process.process.returncode} before {what}\n{process.said}"
        time.sleep(0.01)


def dump(database: Path) -> str:
    """The whole content of an sqlite file."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump())
