"""Announce which fine-tuned models a provider shuts down soon, and when the next ones end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from bridge.errors import TrackingError
from bridge.sync.events import Event, PassEnded

_DAYS_BEFORE: Final = (30, 7, 1)
"""Days before a shutdown on which a message is sent, so that nothing needs to be remembered."""
_NAMED: Final = 10
"""Number of models that a message names."""

Models = Callable[[str, str], Sequence[str]]
"""Returns the models of a provider that are shut down on a day."""
NextDay = Callable[[str, date], str | None]
"""Returns the first day, from a given one on, on which a provider shuts down models."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Models that a provider shuts down on one day."""

    provider: str
    day: str
    """Date in ISO 8601."""
    models: str
    """Names of the first models, and the number of the others."""


class Shutdowns:
    """Check once a day for models that end soon. Thread-safe.

    Args:
        models: reads MLflow.
        next_day: reads MLflow.
        wall: this machine's clock, Unix seconds.
        found: receives the models that end on one day.
        known: receives a provider's name and the beginning of the next such day in Unix seconds.
    """

    def __init__(
        self,
        models: Models,
        next_day: NextDay,
        wall: Callable[[], float],
        found: Callable[[Ending], object],
        known: Callable[[str, float | None], object],
    ) -> None:
        self._models = models
        self._next_day = next_day
        self._wall = wall
        self._found = found
        self._known = known
        self._lock = threading.Lock()
        self._looked: dict[str, str] = {}
        """Day of the last check, by provider."""

    def __call__(self, event: Event) -> None:
        """Check after the first pass of a day that succeeded."""
        if not isinstance(event, PassEnded) or event.report.stopped:
            return
        provider = event.report.provider
        today = datetime.fromtimestamp(self._wall(), UTC).date()
        with self._lock:
            if self._looked.get(provider) == str(today):
                return
            self._looked[provider] = str(today)
        try:
            first = self._next_day(provider, today)
            endings = [
                Ending(provider, day, _listed(names))
                for days in _DAYS_BEFORE
                if (names := self._models(provider, day := str(today + timedelta(days=days))))
            ]
        except TrackingError:
            # The next pass tries again, and reports what is wrong with MLflow.
            with self._lock:
                del self._looked[provider]
            return
        begins = datetime.fromisoformat(f"{first}T00:00Z").timestamp() if first else None
        self._known(provider, begins)
        for ending in endings:
            self._found(ending)


def _listed(names: Sequence[str]) -> str:
    names = sorted(set(names))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
