"""Notify systemd of the daemon's state if systemd has started it: sd_notify(3).

Nothing here fails: without systemd, or if it does not listen, nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from bridge.daemon.status import ProviderView, View


class Systemd:
    """The service manager, if there is one. Not thread-safe."""

    def __init__(
        self, environ: Mapping[str, str], elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract socket's name.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        allowed = environ.get("WATCHDOG_USEC", "")
        is_watched = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Half of the allowed time in seconds; 0: systemd does not expect signs of life.
        self._interval = int(allowed) / 2e6 if is_watched and allowed.isdecimal() else 0.0
        self._elapsed = elapsed
        self._state = self._status = ""
        self._alive_at = -self._interval

    def ready(self) -> None:
        """Report that the daemon makes passes."""
        self._enter("READY=1")

    def reloading(self) -> None:
        """Report that the configuration is read again, until ``ready``."""
        self._enter(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the daemon ends."""
        self._enter("STOPPING=1")

    def beat(self, view: View, *, is_alive: bool) -> None:
        """Report the state when it has changed, and a sign of life in time."""
        if (status := summary(view)) != self._status:
            self._status = status
            self._send(f"STATUS={status}")
        now = self._elapsed()
        is_due = self._interval and now - self._alive_at >= self._interval
        if is_due and is_alive and not any(each.is_hanging for each in view.providers.values()):
            self._alive_at = now
            self._send("WATCHDOG=1")

    def _enter(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._send(state)

    def _send(self, message: str) -> None:
        if self._address[:1] in {"/", "\0"}:
            manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            with manager, contextlib.suppress(OSError):
                manager.sendto(message.encode(errors="replace"), self._address)


def summary(view: View) -> str:
    """Return the state of the providers in one line."""
    states = {name: _state(each) for name, each in sorted(view.providers.items())}
    return "; ".join(f"{name}: {state}" for name, state in states.items() if state) or "starting"


def _state(each: ProviderView) -> str:
    if each.ended is None:
        return "first pass" if each.is_busy else ""
    if each.stopped:
        return each.stopped
    lost = f", {each.failing} not recorded" if each.failing else ""
    return f"{each.jobs['waiting'] + each.jobs['running']} open{lost}"
