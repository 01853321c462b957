"""The runs of each provider, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.providers.openai_end import end_of, is_made_by_openai

_SHOWN: Final = 3
"""Number of models per day that are named; the rest is counted."""
_NOTICE: Final = 60
"""Days before a model's shutdown in which it is announced."""


@dataclass(slots=True)
class Tracked:
    """The runs of one provider."""

    jobs: Counter[str] = field(default_factory=Counter)
    """Number of runs by MLflow's status."""
    newest_point: int | None = None
    """Unix milliseconds of the newest metric."""
    newest_active: int | None = None
    """The newest metric of running jobs, Unix milliseconds."""
    checkpoint: str = ""
    """The newest checkpoint's model name."""
    ends: dict[str, set[str]] = field(default_factory=dict)
    """Models of its jobs, by the day of their shutdown."""
    is_openais: bool = False
    """Whether OpenAI hosts the provider's models."""
    _checkpoint_at: int = -1

    def add(self, run: RecordedRun) -> None:
        """Count a run."""
        self.jobs[run.status] += 1
        if model := run.tags.get(tags.MODEL):
            self.is_openais = self.is_openais or is_made_by_openai(model)
            end = run.tags.get(tags.SHUTDOWN) or end_of(model)
            if end:
                self.ends.setdefault(str(end), set()).add(model)
        at = max((moment for _, moment in run.newest.values()), default=0)
        if run.tags.get(tags.CHECKPOINT) and at > self._checkpoint_at:
            self._checkpoint_at = at
            self.checkpoint = run.tags[tags.CHECKPOINT]
        if not at:
            return
        self.newest_point = max(at, self.newest_point or at)
        if run.status == "RUNNING":
            self.newest_active = max(at, self.newest_active or at)

    def lag(self, now: int) -> int | None:
        """Return the milliseconds since the newest point of a running job."""
        return None if self.newest_active is None else max(0, now - self.newest_active)

    def ending(self, now: int) -> Iterator[tuple[str, list[str]]]:
        """Yield the next days on which models are shut down, with the models."""
        today = datetime.fromtimestamp(now // 1000, UTC).date()
        for day in sorted(self.ends):
            if 0 <= _days_to(day, today) <= _NOTICE:
                yield day, sorted(self.ends[day])


def few(models: list[str]) -> str:
    """Return the first models, and the number of the others."""
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return ", ".join(models[:_SHOWN]) + more


def tally(runs: Iterable[RecordedRun]) -> dict[str, Tracked]:
    """Return the runs by provider."""
    providers: dict[str, Tracked] = {}
    for run in runs:
        if not run.is_deleted:
            providers.setdefault(run.provider, Tracked()).add(run)
    return providers


def _days_to(day: str, today: date) -> int:
    """Return the days from today to a day; -1 if a user has edited the tag to something else."""
    try:
        return (date.fromisoformat(day) - today).days
    except ValueError:
        return -1
