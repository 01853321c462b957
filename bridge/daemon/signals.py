"""Turn signals into events that the daemon waits for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

GRACE: Final = 5.0
"""Seconds that work in hand may take after a signal. The next start repeats work that is cut off,
so that nothing is lost."""


@contextmanager
def stop_on_signals(
    stopping: threading.Event, *others: threading.Event, at_once: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Set the events on SIGINT and SIGTERM; a second signal ends the process after ``at_once``."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            at_once()
            os._exit(128 + number)
        for event in (stopping, *others):
            event.set()

    before = {which: signal.signal(which, on_signal) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


@contextmanager
def reload_on_hangup(reloading: threading.Event) -> Iterator[None]:
    """Set ``reloading`` on SIGHUP, unless the process has lost its own terminal.

    In that case SIGHUP ends the process, as it does by default.
    """
    before = signal.getsignal(signal.SIGHUP)
    ends_with_terminal = _has_terminal() and before is not signal.SIG_IGN  # nohup ignores SIGHUP

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if ends_with_terminal and not _has_terminal():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        reloading.set()

    signal.signal(signal.SIGHUP, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
