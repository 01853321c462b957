"""What systemd is told of the daemon where it has started it: sd_notify(3), in a few lines.

Nothing of it is ever a reason to fail, and elsewhere nothing is told to anybody.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from bridge.redaction import Redactor
from bridge.sync.events import Event, JobDone, JobsChosen, PassBegan, PassEnded
from bridge.sync.report import Report

LONGEST_SILENCE: Final = 7200.0
"""Seconds for which a pass may show no sign of life. The longest that it can go without one is the
archiving of two files of 512 MiB, at the slowest that a provider may send them."""
_PATIENCE: Final = 1.0
"""Seconds."""
_LONGEST_STATUS: Final = 400
"""Characters."""


class Progress:
    """Where each provider's pass is. Thread-safe, as each provider has keys of its own."""

    def __init__(self, redactor: Redactor, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._redactor = redactor
        self._elapsed = elapsed
        self._signs: dict[str, float] = {}
        """When a pass that is under way has last shown a sign of life, by provider."""
        self._states: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take in a sign of life."""
        match event:
            case PassBegan(provider=provider):
                self._states.setdefault(provider, "first pass")
                self._signs[provider] = self._elapsed()
            case JobsChosen(provider=provider):
                self._signs[provider] = self._elapsed()
            case JobDone(outcome=outcome):
                self._signs[outcome.provider] = self._elapsed()
            case PassEnded(report=report):
                self._ended(report)

    def _ended(self, report: Report) -> None:
        self._signs.pop(report.provider, None)
        stopped = report.stopped.sentence if report.stopped else ""
        lost = f", {len(report.failures)} not recorded" if report.failures else ""
        self._states[report.provider] = stopped or f"{report.open} open{lost}"

    @property
    def is_hanging(self) -> bool:
        """Whether a pass has shown no sign of life for too long."""
        now = self._elapsed()
        return any(now - sign > LONGEST_SILENCE for sign in tuple(self._signs.values()))

    @property
    def line(self) -> str:
        """What is going on."""
        told = "; ".join(f"{name}: {state}" for name, state in sorted(self._states.items()))
        return self._redactor.line(told or "starting", _LONGEST_STATUS)


class Systemd:
    """The service manager, where there is one. For one thread."""

    def __init__(
        self, environ: Mapping[str, str], elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._interval = _watchdog_interval(environ)
        self._elapsed = elapsed
        self._state = ""
        self._status = ""
        self._alive_at = -self._interval

    def ready(self) -> None:
        """Passes are made as the configuration says."""
        self._enter("READY=1")

    def reloading(self) -> None:
        """The configuration is read again, until ``ready``."""
        self._enter("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon ends."""
        self._enter("STOPPING=1")

    def beat(self, progress: Progress, *, is_alive: bool) -> None:
        """Tell what goes on, if it is something else by now, and that all goes on."""
        if not self._address:
            return
        news = []
        if (status := progress.line) != self._status:
            self._status = status
            news.append(f"STATUS={status}")
        now = self._elapsed()
        is_due = self._interval and now - self._alive_at >= self._interval
        if is_due and is_alive and not progress.is_hanging:
            self._alive_at = now
            news.append("WATCHDOG=1")
        if news:
            self._tell(*news)

    def _enter(self, state: str, *more: str) -> None:
        if state != self._state:
            self._state = state
            self._tell(state, *more)

    def _tell(self, *assignments: str) -> None:
        if self._address[:1] not in {"/", "@"}:
            return
        # "@" stands for the zero byte of a name that is in no file system.
        address = self._address if self._address[0] == "/" else "\0" + self._address[1:]
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        ):
            manager.settimeout(_PATIENCE)
            manager.connect(address)
            manager.send("\n".join(assignments).encode(errors="replace"))


def _watchdog_interval(environ: Mapping[str, str]) -> float:
    """Seconds between signs of life, half of what is allowed; 0: nobody waits for them."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    allowed = environ.get("WATCHDOG_USEC", "")
    return int(allowed) / 2e6 if allowed.isdecimal() and allowed.isascii() else 0.0
