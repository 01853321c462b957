"""Say in time which fine-tuned models a provider shuts down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from bridge.errors import TrackingError
from bridge.sync.events import Event, PassEnded

_DAYS_BEFORE: Final = (30, 7, 1)
"""A day on which a message is sent needs no memory of those before it."""
_NAMED: Final = 10
"""Models that a message names."""

Models = Callable[[str, str], Sequence[str]]
"""Return the models of a provider that are shut down on a day."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Models that a provider shuts down on one day."""

    provider: str
    day: str
    """As ISO 8601 has it."""
    models: str
    """Their names, and the number of the others."""


class Shutdowns:
    """Look once a day for models that end soon. Thread-safe.

    Args:
        models: asks MLflow.
        wall: this machine's clock, Unix seconds.
        found: takes what ends on one day.
    """

    def __init__(
        self, models: Models, wall: Callable[[], float], found: Callable[[Ending], object]
    ) -> None:
        self._models = models
        self._wall = wall
        self._found = found
        self._lock = threading.Lock()
        self._looked: dict[str, str] = {}
        """By provider the day of the last look."""

    def __call__(self, event: Event) -> None:
        """Look after the first pass of a day that went through."""
        if not isinstance(event, PassEnded) or event.report.stopped:
            return
        provider = event.report.provider
        today = datetime.fromtimestamp(self._wall(), UTC).date()
        with self._lock:
            if self._looked.get(provider) == str(today):
                return
            self._looked[provider] = str(today)
        try:
            endings = [
                Ending(provider, day, _listed(names))
                for days in _DAYS_BEFORE
                if (names := self._models(provider, day := str(today + timedelta(days=days))))
            ]
        except TrackingError:
            # The next pass asks again; what is wrong with MLflow it says itself.
            with self._lock:
                del self._looked[provider]
            return
        for ending in endings:
            self._found(ending)


def _listed(names: Sequence[str]) -> str:
    names = sorted(set(names))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
