"""Additional processes for a long backfill, because MLflow's client keeps a whole core busy.

A thread sends its job to another process over a line, and waits for the outcome; if no line is
free, it does the job itself. So this process works too, processes that start late cost no time, and
one that dies costs only the jobs that it had in hand, which the next pass repeats.

Each process does several jobs at a time, because a job mostly waits for replies.
``concurrent.futures.ProcessPoolExecutor`` would do one, and leave orphans if this one is killed.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final, ParamSpec, TypeVar, cast

from bridge.bootstrap.worker import serve
from bridge.errors import WorkerLost
from bridge.settings.model import Settings
from bridge.settings.poll import AUTO, PROCESSES

P = ParamSpec("P")
T = TypeVar("T")

_MOST: Final = 3
"""Number of processes, including this one. An sqlite file has one writer at a time; a server has
fifteen database connections, of which each process may take up to eight."""
_ENOUGH: Final = 60
"""Number of jobs from which another process saves time: its start takes as long as about 24
jobs."""
_SLICE: Final = 0.2
"""Seconds between two checks whether to stop."""
_END: Final = 5.0
"""Timeout for the end of a process in seconds."""


def further_processes(settings: Settings) -> int:
    """Return the number of processes that a backfill may start in addition to its own."""
    if ":memory:" in settings.mlflow.tracking_uri:
        return 0  # each would have another database
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    wanted = {AUTO: min(cores, _MOST) - 1, PROCESSES: max(min(cores, _MOST) - 1, 1)}
    return wanted.get(settings.poll.executor, 0)


@contextlib.contextmanager
def beside(
    settings: Settings, stopping: threading.Event, *, verbose: bool = False
) -> Iterator[Callable[[], Executor] | None]:
    """Yield a factory of executors that use additional processes; ``None`` if there are none.

    Args:
        settings: the configuration.
        stopping: keeps the processes from beginning another job.
        verbose: whether they log retries.
    """
    number = further_processes(settings)
    if not number:
        yield None
        return
    processes = Processes(settings, stopping, number=number, verbose=verbose)
    try:
        yield processes.executor
    finally:
        processes.close()


class Processes:
    """Additional processes, which start once there is enough to do. Thread-safe."""

    def __init__(
        self, settings: Settings, stopping: threading.Event, *, number: int, verbose: bool
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._verbose = verbose
        self._number = number
        self._enough = 1 if settings.poll.executor == PROCESSES else _ENOUGH
        self._lock = threading.Lock()
        self._expected = 0
        self._started: list[tuple[SpawnProcess, Connection]] = []
        """The processes, each with the connection that stops it."""
        self._starting: list[Connection] = []
        """Lines of processes that are still starting."""
        self._free: deque[Connection] = deque()

    def executor(self) -> Executor:
        """Return an executor whose threads share the processes with other executors."""
        return _Threads(self._settings.poll.workers, self)

    def expect(self) -> None:
        """Count one more job to do."""
        with self._lock:
            self._expected += 1
            if self._expected >= self._enough and not self._started:
                self._start()

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work in another process if one is free, else in this one.

        Raises:
            WorkerLost: the other process died.
        """
        while (line := self._line()) is not None:
            try:
                line.send(args[0])
            except OSError:  # it died earlier: the work has not begun
                line.close()
                continue
            return cast("T", self._answer(line))
        return work(*args, **kwargs)

    def close(self) -> None:
        """End the processes."""
        for _, control in self._started:
            control.close()
        for process, _ in self._started:
            process.join(_END)
            if process.is_alive():
                process.kill()
                process.join()

    def _start(self) -> None:
        """Start the processes. Each offers its lines once it has opened MLflow."""
        threads = self._settings.poll.workers * len(self._settings.providers)
        lines = math.ceil(threads / (self._number + 1))
        # A terminal's Ctrl-C during the start would end them with a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            for _ in range(self._number):
                self._starting += self._start_one(lines)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _start_one(self, lines: int) -> list[Connection]:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(1 + lines)]
        (ours, control), *others = pairs
        process = context.Process(
            target=serve,
            args=(self._settings,),
            kwargs={
                "verbose": self._verbose,
                "control": control,
                "lines": [each for _, each in others],
            },
            daemon=True,
        )
        process.start()
        for _, each in pairs:
            each.close()  # otherwise its end would go unnoticed
        self._started.append((process, ours))
        return [line for line, _ in others]

    def _line(self) -> Connection | None:
        with self._lock:
            for line in cast("list[Connection]", wait(self._starting, timeout=0)):
                self._starting.remove(line)
                with contextlib.suppress(EOFError, OSError):
                    line.recv()
                    self._free.append(line)
            return self._free.popleft() if self._free else None

    def _answer(self, line: Connection) -> object:
        try:
            while not line.poll(_SLICE):
                if self._stopping.is_set():
                    self._stop()
            found: object = line.recv()
        except (EOFError, OSError):
            line.close()
            raise WorkerLost(
                "The process that synced the job ended", "The next pass tries again"
            ) from None
        with self._lock:
            self._free.append(line)
        return found

    def _stop(self) -> None:
        """Keep the processes from beginning another job."""
        for _, control in self._started:
            with contextlib.suppress(OSError):
                control.send(None)


class _Threads(ThreadPoolExecutor):
    """Threads that hand their work to processes."""

    def __init__(self, workers: int, processes: Processes) -> None:
        super().__init__(workers)
        self._processes = processes

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit work, to be done in this process or another."""
        self._processes.expect()
        return super().submit(partial(self._processes.call, fn, *args, **kwargs))
