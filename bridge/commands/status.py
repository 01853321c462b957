"""``ftbridge status``: what is tracked, as MLflow knows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from rich.table import Table

from bridge import log, tags
from bridge.assembly import experiments_of, now_ms, redactor_of
from bridge.commands.console import links, out, print_json, print_links, safe
from bridge.ledger import RunState
from bridge.settings import Settings
from bridge.tracking import Tracking

_COLUMNS = {
    "SCHEDULED": "waiting",
    "RUNNING": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "cancelled",
}
_NOTICE: Final = 60
"""Days ahead of a model's end in which it is warned of."""
_SHOWN: Final = 3
"""Models of one day that are named; the rest is counted."""


@dataclass(slots=True)
class Tracked:
    """The runs of one provider."""

    jobs: Counter[str] = field(default_factory=Counter)
    """By MLflow's run status."""
    newest_point: int | None = None
    """Unix milliseconds of the newest metric."""
    newest_active: int | None = None
    """As ``newest_point``, of the jobs that are running alone."""
    checkpoint: str = ""
    """The newest checkpoint's model name."""
    ends: dict[str, set[str]] = field(default_factory=dict)
    """By the day on which they are shut down the models of its jobs."""
    _checkpoint_at: int = -1

    def add(self, run: RunState) -> None:
        """Count a run."""
        self.jobs[run.status] += 1
        if (end := run.tags.get(tags.SHUTDOWN)) and (model := run.tags.get(tags.MODEL)):
            self.ends.setdefault(end, set()).add(model)
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
        """Milliseconds since the newest point of a running job."""
        return None if self.newest_active is None else max(0, now - self.newest_active)

    def ending(self, now: int) -> Iterator[tuple[str, list[str]]]:
        """The days to come on which models are shut down before long, with the models."""
        today = datetime.fromtimestamp(now // 1000, UTC).date()
        for day in sorted(self.ends):
            if 0 <= _days_to(day, today) <= _NOTICE:
                yield day, sorted(self.ends[day])


def tally(runs: Iterable[RunState]) -> dict[str, Tracked]:
    """The runs by provider."""
    providers: dict[str, Tracked] = {}
    for run in runs:
        if not run.is_deleted:
            providers.setdefault(run.provider, Tracked()).add(run)
    return providers


def status(settings: Settings, environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Show what is tracked; returns the exit code.

    Raises:
        TrackingDown: MLflow cannot be asked.
    """
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    experiments = experiments_of(settings)
    found = (tracking.experiment(name, create=False) for name in experiments)
    providers = tally(tracking.runs([identifier for identifier in found if identifier]))
    now = now_ms()
    if as_json:
        print_json(
            {
                "providers": {name: _document(each, now) for name, each in providers.items()},
                "links": links(tracking, experiments),
            },
            redactor,
        )
        return 0
    console = out()
    if not providers:
        console.print("Nothing is tracked yet. Start with: [bold]ftbridge backfill[/bold]")
        return 0
    console.print(_table(providers, now))
    for name, tracked in sorted(providers.items()):
        if tracked.checkpoint:
            console.print(f"newest checkpoint of {safe(name)}: {safe(tracked.checkpoint)}")
    for name, tracked in sorted(providers.items()):
        for day, models in tracked.ending(now):
            console.print(f"[yellow]![/yellow] {safe(name)} shuts down on {day}: {_few(models)}")
    print_links(tracking, experiments)
    return 0


def _table(providers: Mapping[str, Tracked], now: int) -> Table:
    """Fits the usual 80 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("provider", style="bold", overflow="fold")
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right")
    table.add_column("newest", justify="right")
    table.add_column("lag", justify="right")
    for name, tracked in sorted(providers.items()):
        point, lag = tracked.newest_point, tracked.lag(now)
        table.add_row(
            safe(name),
            *(f"{tracked.jobs[state]:,}" if tracked.jobs[state] else "·" for state in _COLUMNS),
            "-" if point is None else f"{age(now - point)} ago",
            "-" if lag is None else age(lag),
        )
    return table


def _document(tracked: Tracked, now: int) -> dict[str, object]:
    lag = tracked.lag(now)
    return {
        "jobs": {word: tracked.jobs[state] for state, word in _COLUMNS.items()},
        "newest_point": tracked.newest_point,
        "newest_checkpoint": tracked.checkpoint or None,
        "lag_seconds": None if lag is None else lag / 1000,
        "shutdowns": [
            {"day": day, "model": model} for day, models in tracked.ending(now) for model in models
        ],
    }


def _days_to(day: str, today: date) -> int:
    """From today to a day; -1 for what is no day: a user may have edited it."""
    try:
        return (date.fromisoformat(day) - today).days
    except ValueError:
        return -1


def _few(models: list[str]) -> str:
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return safe(", ".join(models[:_SHOWN])) + more


def age(milliseconds: int) -> str:
    """A duration in the unit that a person would use."""
    seconds = max(0, milliseconds) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
