"""``ftbridge jobs``: the jobs that MLflow knows, newest first. Reads MLflow only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table

from bridge import log
from bridge.bootstrap.factories import experiments_of, now_ms, redactor_of
from bridge.cli.terminal.console import out, print_json, safe, saying
from bridge.cli.terminal.curves import Curve, sparkline
from bridge.cli.terminal.selection import hint
from bridge.errors import ConfigError, TrackingDown, TrackingError
from bridge.model import JobStatus, Meaning
from bridge.plan import tags
from bridge.plan.metric_names import Losses, MetricNames
from bridge.providers.registry import TYPES
from bridge.settings.model import Settings
from bridge.text import one_line
from bridge.tracking import Tracking
from bridge.tracking.newest import Seen, curve, newest_jobs

_STATES: Final = {
    "SCHEDULED": "queued",
    "RUNNING": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "cancelled",
}
"""By a run's status: runs from before there was a tag for the state have only that."""
_COLORS: Final = {"running": "cyan", "succeeded": "green", "failed": "red", "cancelled": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs are shown."""

    name: str = ""
    """A part of the run's name or of the job's id."""
    providers: frozenset[str] = frozenset()
    statuses: tuple[str, ...] = ()
    limit: int = 20

    def check(self) -> None:
        """Raise ``ConfigError`` where a status is none."""
        known = [status.value for status in JobStatus if status is not JobStatus.UNKNOWN]
        problems = [
            f"--status {one_line(status)}: no such status; {hint(status, known)}"
            for status in self.statuses
            if status.lower() not in known
        ]
        if problems:
            raise ConfigError(problems)

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
    """The run's."""
    state: str
    step: int | None
    total_steps: int | None
    train_loss: float | None
    valid_loss: float | None
    train_metric: str | None
    """MLflow's name of what ``train_loss`` is a value of."""
    valid_metric: str | None
    created_at: int
    """Unix milliseconds."""
    cost: str | None
    url: str
    """The run's page in MLflow's UI."""
    job_url: str | None
    """The job's page at its provider."""
    seen: Seen = field(repr=False)

    def document(self) -> dict[str, object]:
        """Return it for a JSON document."""
        return {
            "provider": self.provider,
            "job": self.job_id,
            "name": self.name,
            "state": self.state,
            "step": self.step,
            "total_steps": self.total_steps,
            "train_loss": self.train_loss,
            "valid_loss": self.valid_loss,
            "created_at": self.created_at,
            "ended_at": self.seen.ended_at,
            "cost": self.cost,
            "run": self.seen.run.run_id,
            "experiment": self.seen.run.experiment_id,
            "url": self.url,
            "job_url": self.job_url,
        }


class JobList:
    """The jobs of a configuration's experiments; remembers curves that have not grown."""

    def __init__(self, settings: Settings, tracking: Tracking) -> None:
        self._tracking = tracking
        self._experiments = experiments_of(settings)
        self._meanings = {
            provider.name: TYPES[provider.type].meanings for provider in settings.providers
        }
        self._curves: dict[str, tuple[tuple[int, int] | None, Curve]] = {}

    def lines(self, chosen: Filter) -> list[JobLine]:
        """Return the chosen jobs, the newest first.

        Raises:
            TrackingDown: MLflow cannot be asked.
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
        """Return a curve of a job; empty where it has none or cannot be had."""
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
        losses = self._losses(run.provider, run.tags.get(tags.METRIC_NAMES, ""))
        train = _first(losses.train, seen.values)
        valid = _first((*losses.valid, *losses.batch_valid), seen.values)
        steps = [run.newest[name][0] for name in (train, valid) if name and name in run.newest]
        total = run.tags.get(tags.TOTAL_STEPS, "")
        return JobLine(
            provider=run.provider,
            job_id=run.job_id,
            name=run.name,
            state=run.tags.get(tags.STATE) or _STATES.get(run.status, "running"),
            step=max(steps, default=None),
            total_steps=int(total) if total.isascii() and total.isdigit() else None,
            train_loss=seen.values.get(train) if train else None,
            valid_loss=seen.values.get(valid) if valid else None,
            train_metric=train,
            valid_metric=valid,
            created_at=run.start_time,
            cost=run.tags.get(tags.COST),
            url=self._tracking.link(run.experiment_id, run.run_id),
            job_url=run.tags.get(tags.PAGE),
            seen=seen,
        )

    def _losses(self, provider: str, label: str) -> Losses:
        """Return what a run's losses are called; a provider may not be configured any more."""
        meanings: Mapping[str, Meaning] | None = self._meanings.get(provider)
        if meanings is None:
            kind = TYPES.get(provider, TYPES["openai"])
            meanings = kind.meanings
        try:
            return MetricNames.from_label(label or "provider", meanings).losses
        except ValueError:
            return MetricNames.of("provider", meanings).losses


def jobs(
    settings: Settings,
    environ: Mapping[str, str],
    chosen: Filter,
    *,
    as_json: bool = False,
) -> int:
    """List the jobs; return the exit code.

    Raises:
        ConfigError: a status is none.
        TrackingDown: MLflow cannot be asked.
    """
    chosen.check()
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    job_list = JobList(settings, Tracking(settings.mlflow.tracking_uri, redactor=redactor))
    with saying("Reading MLflow", plain=as_json):
        lines = job_list.lines(chosen)
        curves = {} if as_json else _curves(job_list, lines)
    if as_json:
        print_json({"jobs": [line.document() for line in lines]}, redactor)
    elif lines:
        out().print(table(lines, curves, now_ms()))
    elif chosen == Filter(limit=chosen.limit):
        out().print("MLflow has no jobs yet. Start with: [bold]ftbridge backfill[/bold]")
    else:
        out().print("No job in MLflow matches. [bold]ftbridge jobs[/bold] lists all.")
    return 0


def _curves(job_list: JobList, lines: Iterable[JobLine]) -> dict[str, Curve]:
    return {
        line.seen.run.run_id: job_list.curve(line, line.train_metric or line.valid_metric)
        for line in lines
    }


def shown(job_list: JobList, chosen: Filter, now: int) -> Iterator[Table | str]:
    """Yield what there is to see now, as rich prints it."""
    lines = job_list.lines(chosen)
    if lines:
        yield table(lines, _curves(job_list, lines), now)
    else:
        yield "MLflow has no jobs yet. Start with: [bold]ftbridge backfill[/bold]"


def table(lines: Iterable[JobLine], curves: Mapping[str, Curve], now: int) -> Table:
    """Return the jobs as a table; a name leads to the run, a state to the provider's page."""
    lines = list(lines)
    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("job", overflow="fold", ratio=1)
    shown.add_column("state")
    shown.add_column("step", justify="right")
    shown.add_column("loss", justify="right")
    shown.add_column("valid", justify="right")
    shown.add_column("curve", no_wrap=True)
    shown.add_column("age", justify="right", no_wrap=True)
    has_cost = any(line.cost for line in lines)
    if has_cost:
        shown.add_column("cost", justify="right")
    for line in lines:
        color = _COLORS.get(line.state, "default")
        state = f"[{color}]{safe(line.state, 20)}[/{color}]"
        cells = [
            f"[link={line.url}]{safe(_label(line), 100)}[/link]",
            state,
            _steps(line),
            _number(line.train_loss),
            _number(line.valid_loss),
            sparkline([value for _, value in curves.get(line.seen.run.run_id, ())]),
            age(now - line.created_at),
        ]
        shown.add_row(*cells, *([safe(line.cost or "", 20)] if has_cost else []))
    return shown


def _label(line: JobLine) -> str:
    """Return a run's name; a user's own run does not say whose job it continues."""
    return line.name if line.provider in line.name else f"{line.name} ({line.provider})"


def _steps(line: JobLine) -> str:
    if line.step is None:
        return "·" if line.total_steps is None else f"0/{line.total_steps:,}"
    return f"{line.step:,}" if line.total_steps is None else f"{line.step:,}/{line.total_steps:,}"


def _number(value: float | None) -> str:
    return "·" if value is None else f"{value:.4g}"


def _first(names: Iterable[str], values: Mapping[str, float]) -> str | None:
    return next((name for name in names if name in values), None)


def age(milliseconds: int) -> str:
    """A duration in the unit that a person would use."""
    seconds = max(0, milliseconds) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
