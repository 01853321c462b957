"""Passes as a daemon's status hears of them."""

from __future__ import annotations

from typing import Final

from bridge import errors
from bridge.daemon.status import DaemonStatus, ProviderView
from bridge.redaction import Redactor
from bridge.sync.events import PassEnded
from bridge.sync.report import Report
from tests.support.world import Clock

SECRET: Final = "a-secret-that-must-not-show"
DOWN: Final = errors.Unreachable(f"No connection with {SECRET}", "Check the network")
AWAY: Final = errors.TrackingDown("MLflow is down", "Start it")


def status_of_two(clock: Clock) -> DaemonStatus:
    """Return the status of two providers."""
    return DaemonStatus(["openai", "mistral"], Redactor([SECRET]), clock, clock)


def ended(
    status: DaemonStatus,
    stopped: errors.BridgeError | None = None,
    *failures: tuple[str, errors.BridgeError],
    provider: str = "openai",
    seconds: float = 2.0,
) -> ProviderView:
    """End a pass, and return its provider's status."""
    status(PassEnded(Report(provider=provider, stopped=stopped, failures=[*failures]), seconds))
    return status.view().providers[provider]
