"""Turns of backfills: on one machine, one at a time writes to an MLflow.

Two at once would produce the same runs, but each would do all the work, and half of the runs would
be deleted again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_AGAIN: Final = 0.5
"""Seconds between two attempts."""


@contextlib.contextmanager
def turn(
    uri: str, *, waiting: Callable[[], object], pause: Callable[[float], bool]
) -> Iterator[None]:
    """Hold the turn of a tracking store; it ends with the context, or with the process.

    Args:
        uri: the store's address.
        waiting: called once if another process has the turn.
        pause: waits for a number of seconds; returns whether to stop waiting and go ahead.
    """
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"ftbridge-{os.getuid()}-{name}.lock"
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("ab"))
        except OSError:
            # Without a folder for locks no process waits; the result is the same.
            yield
            return
        if not _is_taken(file.fileno()):
            waiting()
            while not _is_taken(file.fileno()) and not pause(_AGAIN):
                pass
        yield


def _is_taken(descriptor: int) -> bool:
    """Return whether this process has the turn now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
