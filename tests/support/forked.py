"""``ftbridge`` in a separate process that skips the seconds of importing MLflow.

The processes are forks of one that has imported everything. Each can stop at a write to its
database or its artifact store, which it opens itself.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import re
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

import bridge.cli.backfill
import bridge.daemon.service  # noqa: F401 - as above
import tests.support.databases  # noqa: F401 - it spares the forks waiting for the disk
from bridge.cli.app import main
from tests.support.processes import FORKS, PATIENCE, Started, write_to
from tests.support.write_proxy import Write

gc.freeze()  # forks share what is imported until they look there for garbage

_CHANGE: Final = re.compile(r"\s*(INSERT|UPDATE|DELETE)\s+(?:INTO\s+|FROM\s+)?(\w+)")


@dataclass(frozen=True, slots=True)
class Stop:
    """The point at which a process sends itself a signal."""

    at: Write
    number: signal.Signals


@dataclass(frozen=True, slots=True)
class _Told:
    write: Write
    what: str


class Forked(Started):
    """``ftbridge`` in a separate process, which ends with the context at the latest."""

    def __init__(self, *arguments: str | Path, output: Path, stop: Stop | None = None) -> None:
        self._writes: dict[Write, str] = {}
        self._reported, self._telling = FORKS.Pipe(duplex=False)
        files = output, output.with_suffix(".err")
        settings = ([*map(str, arguments)], files, stop, self._telling)
        super().__init__(FORKS.Process(target=_run, args=settings), *files)

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
        self._reported.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, and return once the process has acted on it."""
        self.send(number)
        while self._recv() != "stopping":
            pass

    def wait_for_write(self, write: Write) -> None:
        """Return once the process writes something."""
        while write not in self._writes:
            reported = self._recv()
            if isinstance(reported, _Told):
                self._writes[reported.write] = reported.what

    def _recv(self) -> object:
        assert self._reported.poll(PATIENCE), self.said
        return self._reported.recv()

    def writes(self) -> dict[Write, str]:
        """Wait for the end, and return all writes in order: tables, or files."""
        with contextlib.suppress(EOFError):
            while True:
                reported = self._recv()
                if isinstance(reported, _Told):
                    self._writes[reported.write] = reported.what
        return self._writes


# In the process


def _run(
    arguments: list[str], files: tuple[Path, Path], stop: Stop | None, reported: Connection
) -> None:
    write_to(*files)
    boundaries = _Boundaries(stop, reported)
    event.listen(Engine, "before_cursor_execute", boundaries.executes)
    event.listen(Engine, "commit", boundaries.commits)
    event.listen(Session, "after_commit", boundaries.committed)
    sys.addaudithook(boundaries.audited)
    threading.Thread(target=boundaries.tell_when_stopping, daemon=True).start()
    sys.argv = ["ftbridge", *arguments]
    main()


def _stopping() -> threading.Event | None:
    """Return the signal handlers that the process installs."""
    handler = signal.getsignal(signal.SIGTERM)
    if not inspect.isfunction(handler):
        return None
    found = inspect.getclosurevars(handler).nonlocals.get("stopping")
    return found if isinstance(found, threading.Event) else None


class _Boundaries:
    """Counts the writes, and sends the signal. Thread-safe."""

    def __init__(self, stop: Stop | None, reported: Connection) -> None:
        self._stop = stop
        self._reported = reported
        self._lock = threading.Lock()
        self._writes = 0
        self._under_way = threading.local()

    def tell_when_stopping(self) -> None:
        """Wait until the process acts on a signal."""
        while (stopping := _stopping()) is None:
            threading.Event().wait(0.01)
        stopping.wait()
        with self._lock:
            self._reported.send("stopping")

    def executes(
        self, connection: DatabaseConnection, _cursor: object, statement: str, *_: object
    ) -> None:
        """Note a statement, and whether its transaction writes."""
        if found := _CHANGE.match(statement):
            connection.info.setdefault("changes", {})[f"{found[1]} {found[2]}"] = None

    def commits(self, connection: DatabaseConnection) -> None:
        """Act just before the commit: every statement is sent."""
        if changes := connection.info.pop("changes", None):
            self._under_way.write = self._next(), ", ".join(changes)
            self._at(*self._under_way.write, is_done=False)

    def committed(self, _session: Session) -> None:
        """Act just after the commit."""
        write, self._under_way.write = getattr(self._under_way, "write", None), None
        if write:
            self._at(*write, is_done=True)

    def audited(self, what: str, details: tuple[Any, ...]) -> None:
        """Note a file that is about to be opened, if it is an artifact to be written."""
        if what != "open" or not isinstance(details[0], str) or "/mlruns/" not in details[0]:
            return
        if isinstance(details[1], str) and details[1][:1] in "wax":
            self._at(self._next(), Path(details[0]).name, is_done=False)

    def _next(self) -> int:
        with self._lock:
            self._writes += 1
            return self._writes

    def _at(self, number: int, what: str, *, is_done: bool) -> None:
        write = Write(number, is_done)
        if self._stop is None:
            with self._lock:
                self._reported.send(_Told(write, what))
        elif self._stop.at == write:
            os.kill(os.getpid(), self._stop.number)
            if stopping := _stopping():
                stopping.wait(PATIENCE)  # the main thread acts on it when it gets there
