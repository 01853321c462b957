"""Make passes on a schedule until a signal.

Each provider has its own interval job, which never overlaps itself. A late pass is made once: it is
neither dropped nor repeated. Providers without open jobs are polled less often, and those that have
ended their service less and less often, finally once a day. The log has a line when a trouble
begins, and one when it ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import structlog
from apscheduler.events import EVENT_SCHEDULER_STARTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.interval import IntervalTrigger

from bridge.daemon.log_events import PassLog
from bridge.daemon.signals import GRACE
from bridge.errors import Stopped, Withdrawn
from bridge.sync.events import Event, Handler, NextPass, PassBegan, PassEnded
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Report

log = structlog.get_logger()

_SLICE: Final = 0.2
"""Longest wait in seconds before the next check for a signal."""
_SET_BACK: Final = 1.0
"""Largest step of the clock in seconds that does not reschedule the passes."""
_STEPS: Final = (300.0, 3_600.0, 21_600.0, 86_400.0)
"""Intervals in seconds while a service seems to have ended."""
_FAREWELLS: Final = 3
"""Number of successive passes that must find the service withdrawn; one may be a proxy's fault."""


def wait(stopping: threading.Event) -> None:
    """Wait for ``stopping``, in slices.

    A signal may be delivered to any thread, but only the main thread acts on it, and only while it
    runs: during an unlimited wait it could go unnoticed.
    """
    while not stopping.wait(_SLICE):
        pass


def run(
    syncs: Sequence[ProviderSync],
    *,
    paces: Mapping[str, Pace],
    stopping: threading.Event,
    leave: Callable[[int], None] = os._exit,
    patience: Callable[[], float] = lambda: GRACE,
    handlers: Sequence[Handler] = (),
    beat: Callable[[bool], None] = lambda _is_alive: None,
    wall: Callable[[], float] = time.time,
    elapsed: Callable[[], float] = time.monotonic,
) -> None:
    """Make passes, over each provider at its own pace, until ``stopping`` is set.

    Args:
        syncs: one for each provider.
        paces: interval of each provider, by name.
        stopping: ends the passes when it is set.
        leave: ends the process if work in hand is not finished within ``patience``.
        patience: returns the seconds that work in hand may still take; called repeatedly.
        handlers: receive the events of every pass, after the log.
        beat: called several times a second in this thread, with whether the scheduler is alive.
        wall: this machine's clock, which may be set.
        elapsed: monotonic seconds.
    """
    pool = ThreadPoolExecutor(len(syncs))
    scheduler = BlockingScheduler(executors={"default": pool}, timezone=UTC)
    handle = _to_each((PassLog(), *handlers))
    _schedule(scheduler, syncs, paces, handle, elapsed)
    scheduling = _started(scheduler)
    ahead = wall() - elapsed()
    while not stopping.wait(_SLICE):
        beat(scheduling.is_alive())
        before, ahead = ahead, wall() - elapsed()
        if ahead < before - _SET_BACK:
            # The scheduler waits for a time of day, which a clock set back has moved further away.
            for sync in syncs:
                scheduler.modify_job(sync.name, next_run_time=datetime.now(UTC))
    # The service manager learns of the end even if no work is in hand, which would be waited for.
    beat(True)  # noqa: FBT003 - its only argument
    _finish(scheduler, pool, patience=patience, beat=beat, leave=leave)


def _schedule(
    scheduler: BlockingScheduler,
    syncs: Sequence[ProviderSync],
    paces: Mapping[str, Pace],
    handle: Handler,
    elapsed: Callable[[], float],
) -> None:
    """Schedule each provider's first pass now, and the others at its pace."""
    for sync in syncs:
        scheduler.add_job(
            _pass,
            id=sync.name,
            trigger=_every(paces[sync.name].seconds),
            args=[sync, handle, paces[sync.name], scheduler, elapsed],
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )


def _finish(
    scheduler: BlockingScheduler,
    pool: ThreadPoolExecutor,
    *,
    patience: Callable[[], float],
    beat: Callable[[bool], None],
    leave: Callable[[int], None],
) -> None:
    """Begin no more passes, and wait for those under way; ``leave`` if they take too long."""
    log.info("stopping", reason="finishing what is under way")
    # wait=True would hold a lock that a pass under way may need.
    scheduler.shutdown(wait=False)
    if not _is_finished(pool, patience, beat):
        log.warning("stopped early", reason=f"work in hand took longer than {GRACE:.0f} s")
        sys.stderr.flush()
        leave(0)
    log.info("stopped")


def _started(scheduler: BlockingScheduler) -> threading.Thread:
    """Start a scheduler; return its thread when the scheduler can be shut down."""
    is_started = threading.Event()
    scheduler.add_listener(lambda _: is_started.set(), EVENT_SCHEDULER_STARTED)
    thread = threading.Thread(target=scheduler.start, name="scheduler", daemon=True)
    thread.start()
    is_started.wait()
    return thread


def _is_finished(
    pool: ThreadPoolExecutor, patience: Callable[[], float], beat: Callable[[bool], None]
) -> bool:
    """Wait for work in hand; return whether it has ended."""
    finished = threading.Thread(target=pool.shutdown, daemon=True)
    finished.start()
    waited = 0.0
    while finished.is_alive() and waited < patience():
        finished.join(_SLICE)
        waited += _SLICE
        beat(True)  # noqa: FBT003 - its only argument
    return not finished.is_alive()


def _to_each(handlers: Sequence[Handler]) -> Handler:
    def handle(event: Event) -> None:
        for handler in handlers:
            handler(event)

    return handle


def _every(seconds: float) -> IntervalTrigger:
    return IntervalTrigger(seconds=seconds, jitter=seconds / 10, timezone=UTC)


def _pass(
    sync: ProviderSync,
    handle: Handler,
    pace: Pace,
    scheduler: BlockingScheduler,
    elapsed: Callable[[], float],
) -> None:
    handle(PassBegan(sync.name))
    begun = elapsed()
    report = sync.run(handler=handle)
    handle(PassEnded(report, elapsed() - begun))
    if pace.changes(report):
        log.info("pace changed", provider=sync.name, seconds=pace.seconds)
        with suppress(JobLookupError):  # the scheduler has been shut down
            scheduler.reschedule_job(sync.name, trigger=_every(pace.seconds))
    job = scheduler.get_job(sync.name)
    if job is not None:
        handle(NextPass(sync.name, job.next_run_time.timestamp()))


class Pace:
    """The time from one pass over a provider to the next.

    This is ``interval`` while jobs are open or after a pass that ended early, and ``idle`` (by
    default the same) while no job is open. A service that seems to have ended is polled less and
    less often, because a proxy that has lost its route gives the same answer for some minutes. One
    pass that succeeds resets this.
    """

    def __init__(
        self, interval: float, idle: float | None = None, steps: Sequence[float] = _STEPS
    ) -> None:
        self._interval = interval
        self._idle = interval if idle is None else idle
        self._steps = steps
        self._is_idle = False
        self._farewells = 0

    @property
    def seconds(self) -> float:
        """Seconds from one pass to the next."""
        if self._farewells >= _FAREWELLS:
            step = min(self._farewells - _FAREWELLS, len(self._steps) - 1)
            return max(self._steps[step], self._interval)
        return self._idle if self._is_idle else self._interval

    def changes(self, report: Report) -> bool:
        """Account for a pass, and return whether the pace changes."""
        before = self.seconds
        if isinstance(report.stopped, Stopped):
            return False
        if isinstance(report.stopped, Withdrawn):
            self._farewells += 1
        elif report.stopped is None or self._farewells < _FAREWELLS:
            self._farewells = 0
        self._is_idle = report.stopped is None and not report.open
        return self.seconds != before
