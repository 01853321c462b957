"""The jobs of a configuration as lines of a list, read from MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bridge.bootstrap.factories import experiments_of, now_ms
from bridge.errors import TrackingDown, TrackingError
from bridge.listing.curves import Curve
from bridge.model import Meaning
from bridge.plan import tags
from bridge.plan.metric_names import MetricNames
from bridge.plan.run_state import is_training, last_sign
from bridge.providers.registry import TYPES
from bridge.settings.model import Settings
from bridge.tracking import Tracking
from bridge.tracking.newest import Seen, curve, newest_jobs

_STATES: Final = {
    "SCHEDULED": "queued",
    "RUNNING": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "cancelled",
}
"""States by a run's status, for runs from before the tag for the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A choice of the jobs to show."""

    name: str = ""
    """A part of the run's name or of the job's id."""
    providers: frozenset[str] = frozenset()
    statuses: tuple[str, ...] = ()
    limit: int = 20

    def shows(self, job: JobLine) -> bool:
        """Return whether a job is shown."""
        if self.providers and job.provider not in self.providers:
            return False
        if self.statuses and job.state not in {status.lower() for status in self.statuses}:
            return False
        return self.name.lower() in f"{job.name} {job.job_id}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """A line about a job."""

    provider: str
    job_id: str
    name: str
    """Name of the run."""
    state: str
    step: int | None
    total_steps: int | None
    train: float | None
    """Newest training loss, or reward if ``is_reward``."""
    valid: float | None
    """Newest validation loss, or reward."""
    is_reward: bool
    """Whether the job maximises rewards."""
    train_metric: str | None
    """MLflow's name of the metric whose value is ``train``."""
    valid_metric: str | None
    created_at: int
    """Creation time of the job, Unix milliseconds."""
    cost: str | None
    url: str
    """The run's page in MLflow's UI."""
    job_url: str | None
    """The job's page at its provider."""
    silent: int | None
    """Milliseconds since a running job last changed."""
    is_stalled: bool
    """Whether ``silent`` exceeds ``notify.stalled_after``."""
    seen: Seen = field(repr=False)

    @property
    def short_cost(self) -> str:
        """Cost, with a sign if it is not the provider's own figure."""
        amount, _, how = (self.cost or "").partition(" (")
        return f"≈ {amount}" if how else amount

    def document(self) -> dict[str, object]:
        """Return the line for a JSON document."""
        return {
            "provider": self.provider,
            "job": self.job_id,
            "name": self.name,
            "state": self.state,
            "step": self.step,
            "total_steps": self.total_steps,
            "train_loss": None if self.is_reward else self.train,
            "valid_loss": None if self.is_reward else self.valid,
            "train_reward": self.train if self.is_reward else None,
            "valid_reward": self.valid if self.is_reward else None,
            "created_at": self.created_at,
            "ended_at": self.seen.ended_at,
            "cost": self.cost,
            "run": self.seen.run.run_id,
            "experiment": self.seen.run.experiment_id,
            "url": self.url,
            "job_url": self.job_url,
            "stalled": self.is_stalled,
            "silent_seconds": None if self.silent is None else self.silent // 1000,
        }


class JobList:
    """The jobs of a configuration's experiments, with a cache of their curves."""

    def __init__(self, settings: Settings, tracking: Tracking) -> None:
        self._tracking = tracking
        self._experiments = experiments_of(settings)
        self._meanings = {
            provider.name: TYPES[provider.type].meanings for provider in settings.providers
        }
        self._patience = settings.notify.stalled_after if settings.notify else None
        self._curves: dict[str, tuple[tuple[int, int] | None, Curve]] = {}

    def lines(self, chosen: Filter) -> list[JobLine]:
        """Return the chosen jobs, the newest first.

        Raises:
            TrackingDown: MLflow cannot be read.
        """
        found = (self._tracking.experiment(name, create=False) for name in self._experiments)
        places = [place for place in found if place]
        lines: list[JobLine] = []
        for seen in newest_jobs(self._tracking, places):
            line = self._line(seen)
            if chosen.shows(line):
                lines.append(line)
            if len(lines) == chosen.limit:
                break
        return lines

    def curve(self, line: JobLine, metric: str | None) -> Curve:
        """Return a curve of a job; empty if it has none or cannot be read."""
        if metric is None:
            return ()
        run = line.seen.run
        key = f"{run.run_id} {metric}"
        newest = run.newest.get(metric)
        if key not in self._curves or self._curves[key][0] != newest:
            try:
                self._curves[key] = newest, curve(self._tracking, run.run_id, metric)
            except TrackingDown:
                raise
            except TrackingError:
                return ()
        return self._curves[key][1]

    def _line(self, seen: Seen) -> JobLine:
        run = seen.run
        names = self._names(run.provider, run.tags.get(tags.METRIC_NAMES, ""))
        train, valid = (_first(each, seen.values) for each in _rewards(names))
        is_reward = bool(train or valid)
        if not is_reward:
            losses = names.losses
            train = _first(losses.train, seen.values)
            valid = _first((*losses.valid, *losses.batch_valid), seen.values)
        silent = max(0, now_ms() - last_sign(run)) if is_training(run) else None
        steps = [run.newest[name][0] for name in (train, valid) if name and name in run.newest]
        total = run.tags.get(tags.TOTAL_STEPS, "")
        return JobLine(
            provider=run.provider,
            job_id=run.job_id,
            name=run.name,
            state=run.tags.get(tags.STATE) or _STATES.get(run.status, "running"),
            step=max(steps, default=None),
            total_steps=int(total) if total.isascii() and total.isdigit() else None,
            train=seen.values.get(train) if train else None,
            valid=seen.values.get(valid) if valid else None,
            is_reward=is_reward,
            train_metric=train,
            valid_metric=valid,
            created_at=run.start_time,
            cost=run.tags.get(tags.COST),
            url=self._tracking.link(run.experiment_id, run.run_id),
            job_url=run.tags.get(tags.PAGE),
            silent=silent,
            is_stalled=bool(self._patience and silent and silent >= self._patience * 1000),
            seen=seen,
        )

    def _names(self, provider: str, label: str) -> MetricNames:
        """Return the metric names of a run, even if its provider is no longer configured."""
        meanings: Mapping[str, Meaning] | None = self._meanings.get(provider)
        if meanings is None:
            kind = TYPES.get(provider, TYPES["openai"])
            meanings = kind.meanings
        try:
            return MetricNames.from_label(label or "provider", meanings)
        except ValueError:
            return MetricNames.of("provider", meanings)


def _rewards(names: MetricNames) -> Iterator[list[str]]:
    """Yield MLflow's names of the training reward and the validation reward."""
    for meaning in (Meaning.REWARD, Meaning.VALID_REWARD):
        yield [names.metric(name) for name in names.named(meaning)]


def _first(names: Iterable[str], values: Mapping[str, float]) -> str | None:
    return next((name for name in names if name in values), None)
