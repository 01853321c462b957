"""``ftbridge`` in a process of its own, without the seconds that importing MLflow takes.

The processes are forks of one that has imported everything. Each can stop at what it writes to a
database and to its artifact store, both of which it opens itself.
"""

from __future__ import annotations

import inspect
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - imported once for all forks
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

import bridge.commands.backfill
import bridge.commands.run  # noqa: F401 - as above
from bridge.cli import main
from tests.support.processes import PATIENCE
from tests.support.write_proxy import Write

_CHANGES: Final = ("INSERT", "UPDATE", "DELETE")
_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a process gets a signal, and from whom: itself."""

    at: Write
    number: signal.Signals


class Forked:
    """``ftbridge`` in a process of its own, which ends with the context at the latest."""

    def __init__(self, *arguments: str | Path, output: Path, stop: Stop | None = None) -> None:
        self._output = output
        self._told, self._telling = _FORKS.Pipe(duplex=False)
        settings = ([*map(str, arguments)], str(output), stop, self._telling)
        self._process = _FORKS.Process(target=_run, args=settings)

    def __enter__(self) -> Self:
        self._process.start()
        self._telling.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()
        self._told.close()

    @property
    def said(self) -> str:
        """All output so far, both streams."""
        return self._output.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal; returns once it has been acted upon."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        assert self._told.poll(PATIENCE), self.said
        assert self._told.recv() == "stopping"

    def kill(self) -> None:
        """End it at once; returns when it has. May be called while another thread waits for it."""
        self._process.kill()
        assert multiprocessing.connection.wait([self._process.sentinel], PATIENCE)

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, self.said
        return self._process.exitcode

    def writes(self) -> list[Write]:
        """Wait for the end; returns all that was written."""
        found: list[Write] = []
        while True:
            try:
                told = self._told.recv()
            except EOFError:
                self.end()
                return found
            if isinstance(told, Write):
                found.append(told)


# In the process


def _run(arguments: list[str], output: str, stop: Stop | None, told: Connection) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    boundaries = _Boundaries(stop, told)
    event.listen(Engine, "before_cursor_execute", boundaries.executes)
    event.listen(Engine, "commit", boundaries.commits)
    event.listen(Session, "after_commit", boundaries.committed)
    sys.addaudithook(boundaries.audited)
    threading.Thread(target=_tell_when_stopping, args=(told,), daemon=True).start()
    sys.argv = ["ftbridge", *arguments]
    main()


def _stopping() -> threading.Event | None:
    """What the process's own handler of signals sets."""
    handler = signal.getsignal(signal.SIGTERM)
    if not inspect.isfunction(handler):
        return None
    found = inspect.getclosurevars(handler).nonlocals.get("stopping")
    return found if isinstance(found, threading.Event) else None


def _tell_when_stopping(told: Connection) -> None:
    while (stopping := _stopping()) is None:
        threading.Event().wait(0.01)
    stopping.wait()
    told.send("stopping")


class _Boundaries:
    """Counts what is written, and sends the signal. Thread-safe."""

    def __init__(self, stop: Stop | None, told: Connection) -> None:
        self._stop = stop
        self._told = told
        self._lock = threading.Lock()
        self._writes = 0
        self._under_way = threading.local()

    def executes(
        self, connection: DatabaseConnection, _cursor: object, statement: str, *_: object
    ) -> None:
        """A statement: whether its transaction writes."""
        if statement.lstrip()[:6].upper() in _CHANGES:
            connection.info["changes"] = True

    def commits(self, connection: DatabaseConnection) -> None:
        """Everything is sent to the database, but for the last word."""
        if connection.info.pop("changes", False):
            self._under_way.number = self._next()
            self._at(Write(self._under_way.number, is_done=False))

    def committed(self, _session: Session) -> None:
        """It is there."""
        number, self._under_way.number = getattr(self._under_way, "number", 0), 0
        if number:
            self._at(Write(number, is_done=True))

    def audited(self, what: str, details: tuple[Any, ...]) -> None:
        """A file that is about to be opened: whether it is an artifact to be written."""
        if what != "open" or not isinstance(details[0], str) or "/mlruns/" not in details[0]:
            return
        if isinstance(details[1], str) and details[1][:1] in "wax":
            self._at(Write(self._next(), is_done=False))

    def _next(self) -> int:
        with self._lock:
            self._writes += 1
            return self._writes

    def _at(self, write: Write) -> None:
        if self._stop is None:
            self._told.send(write)
        elif self._stop.at == write:
            os.kill(os.getpid(), self._stop.number)
            if stopping := _stopping():
                stopping.wait(PATIENCE)  # the main thread acts on it when it comes to it
