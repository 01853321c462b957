"""Fine-tuned models that their provider shuts down soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import pytest

from bridge.daemon.shutdowns import Ending, Shutdowns
from bridge.errors import TrackingDown, Unreachable
from bridge.sync.events import PassEnded
from bridge.sync.report import Report
from tests.support.world import Clock

DAY = 86_400
NOW = 1_760_000_000  # 2025-10-09
WELL = PassEnded(Report(provider="openai"), 1.0)


@dataclass
class Ends:
    """Models by the day of their end, and the messages about them."""

    days: dict[str, list[str]]
    found: list[Ending] = field(default_factory=list)
    asked: int = 0
    known: list[tuple[str, float | None]] = field(default_factory=list)
    is_down: bool = False
    clock: Clock = field(default_factory=lambda: Clock(NOW))

    def __post_init__(self) -> None:
        self.shutdowns = Shutdowns(
            self.models,
            self.next_day,
            self.clock,
            self.found.append,
            lambda *known: self.known.append(known),
        )

    def models(self, provider: str, day: str) -> Sequence[str]:
        """Answer as MLflow does."""
        assert provider == "openai"
        self.asked += 1
        if self.is_down:
            raise TrackingDown("MLflow is down", "Start it")
        return self.days.get(day, [])

    def next_day(self, provider: str, today: date) -> str | None:
        """Answer as MLflow does."""
        assert provider == "openai"
        return min((day for day in self.days if day >= today.isoformat()), default=None)


@pytest.mark.parametrize(
    ("days", "is_said"), [(31, False), (30, True), (8, False), (7, True), (1, True), (0, False)]
)
def test_it_is_said_in_time(days: int, *, is_said: bool) -> None:
    """A message comes on fixed days before the end, so that no memory is needed."""
    ends = Ends({"2025-12-01": ["ft:b", "ft:a", "ft:b"]})
    ends.clock.now = 1_764_547_200 - days * DAY + 3600
    ends.shutdowns(WELL)
    wanted = [Ending("openai", "2025-12-01", "ft:a, ft:b")]
    assert ends.found == (wanted if is_said else [])
    assert ends.known == [("openai", 1_764_547_200)]


def test_a_day_has_one_look() -> None:
    """MLflow is searched once a day after a complete pass, and again if it could not answer."""
    ends = Ends({"2025-10-16": [f"ft:{number:02}" for number in range(1200)]}, is_down=True)
    ends.shutdowns(PassEnded(Report(provider="openai", stopped=Unreachable("No", "Wait")), 1.0))
    assert ends.asked == 0
    ends.shutdowns(WELL)
    assert (ends.asked, ends.found) == (1, [])
    ends.is_down = False
    ends.shutdowns(WELL)
    ends.shutdowns(WELL)
    (ending,) = ends.found
    assert ending.models.endswith("ft:07, ft:08, ft:09 and 1,190 more")
    ends.clock.now += DAY
    ends.shutdowns(WELL)
    assert len(ends.found) == 1


def test_a_date_that_is_withdrawn_is_forgotten() -> None:
    """A provider that ends no models any more has no next day, also if it had one."""
    ends = Ends({"2025-12-01": ["ft:a"]})
    ends.shutdowns(WELL)
    ends.days.clear()
    ends.clock.now += DAY
    ends.shutdowns(WELL)
    assert ends.known == [("openai", 1_764_547_200), ("openai", None)]


def test_ten_models_are_named() -> None:
    """A message names ten models, and counts the others only if there are any."""
    ends = Ends({"2025-10-16": [f"ft:{number}" for number in range(10)]})
    ends.shutdowns(WELL)
    (ending,) = ends.found
    assert ending.models.endswith("ft:8, ft:9")
