"""The end of a command that is asked to stop while it waits for a provider or MLflow."""

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
"""Seconds between two checks, because only a running main thread acts on a signal."""


def wait_for(work: Collection[Future[T]], stopping: threading.Event) -> bool:
    """Wait for ``work``, at most ``GRACE`` once ``stopping`` is set; return whether it is done.

    The next pass repeats work that is cut off.
    """
    waited = 0.0
    while futures.wait(work, timeout=_SLICE).not_done:
        if stopping.is_set():
            waited += _SLICE
        if waited >= GRACE:
            return False
    return True


def stopped_early() -> Stopped:
    """Return the error of a pass that was cut off."""
    return Stopped(f"Work in hand took longer than {GRACE:.0f} s after the request to stop")


def leave(code: int) -> NoReturn:
    """End the process even if some of its threads wait for an answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
