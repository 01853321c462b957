"""Jobs in an executor, with an orderly end if all others would fail too."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Final

from bridge.errors import BridgeError, ClusterDown, ProviderDown, Stopped, TrackingDown, WorkerLost
from bridge.sync.job_sync import Task
from bridge.sync.outcome import Failed, Outcome
from bridge.text import one_line

_ENDS_ALL: Final = (ProviderDown, TrackingDown, ClusterDown, Stopped)
_FEW: Final = 20
"""Highest number of tasks that are finished before the next one is read, if reading delays them."""


class WorkerPool:
    """Runs tasks in an executor's threads or cluster."""

    def __init__(self, executor: Executor, work: Callable[[Task], Outcome]) -> None:
        self.unreached = 0
        """Number of known tasks that were not done when the work ended early."""
        self._executor = executor
        self._work = work
        self._pending: dict[Future[Outcome], Task] = {}
        self._finished: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        self._stop: Exception | None = None

    def outcomes(
        self, tasks: Iterable[Task | None], *, is_held_up: Callable[[], bool] = lambda: False
    ) -> Iterator[Outcome]:
        """Yield the outcome of each task as soon as it is done, while more tasks are read.

        Args:
            tasks: the tasks; ``None`` among them means that the next one may take a while.
            is_held_up: whether reading the next task delays the others.

        Raises:
            Exception: An error of ``tasks``, once the tasks before it are done; or a task's error
                that all others would meet, once those under way are finished.
        """
        try:
            for task in tasks:
                if task is not None:
                    future = self._executor.submit(self._work, task)
                    self._pending[future] = task
                    future.add_done_callback(self._finished.put)
                are_first = task is None and len(self._pending) <= _FEW and is_held_up()
                while not self._finished.empty() or (are_first and self._pending):
                    yield from self._next()
                if self._stop is not None:
                    break
        except Exception as error:  # noqa: BLE001 - raised again when the pending tasks are done
            self._stop = error
        if isinstance(self._stop, _ENDS_ALL):
            self._cancel()
        while self._pending:
            yield from self._next()
        if self._stop is not None:
            raise self._stop

    def _next(self) -> Iterator[Outcome]:
        """Yield the next outcome, if its task was not cancelled."""
        future = self._finished.get()
        task = self._pending.pop(future)
        if future.cancelled():
            self.unreached += 1
            return
        outcome = _outcome(future, task)
        if isinstance(outcome.error, _ENDS_ALL):
            self.unreached += 1
            if not isinstance(self._stop, _ENDS_ALL):
                self._stop = outcome.error
                self._cancel()
        else:
            yield outcome

    def _cancel(self) -> None:
        """Cancel tasks that have not begun; each leaves the set at its turn in the queue."""
        for future in tuple(self._pending):
            future.cancel()


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    """Return the outcome of a task, even if its worker died."""
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, BridgeError):
        said = one_line(f"{type(error).__name__}: {error}", 200)
        error = WorkerLost(f"Its worker did not finish ({said})", "The next pass repeats it")
    return Failed(provider=task.provider, job_id=task.job_id, error=error)
