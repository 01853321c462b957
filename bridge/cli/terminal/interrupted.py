"""The end of a command that was asked to stop while a provider or MLflow leaves it waiting."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection
from concurrent import futures
from concurrent.futures import Future
from typing import Final, NoReturn, TypeVar

from bridge.daemon.signals import GRACE
from bridge.errors import Stopped

T = TypeVar("T")

_SLICE: Final = 0.2
"""Seconds. The main thread has to run now and then to act on a signal."""


def wait_for(work: Collection[Future[T]], stopping: threading.Event) -> bool:
    """Wait for ``work``, no longer than ``GRACE`` once ``stopping`` is set; return if it is done.

    Whatever is cut off, the next pass does again.
    """
    waited = 0.0
    while futures.wait(work, timeout=_SLICE).not_done:
        if stopping.is_set():
            waited += _SLICE
        if waited >= GRACE:
            return False
    return True


def stopped_early() -> Stopped:
    """Return why a pass that was cut off has no result."""
    return Stopped(f"Work in hand took longer than {GRACE:.0f} s after the request to stop")


def leave(code: int) -> NoReturn:
    """End the process although some of its threads wait for an answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
