"""``ftbridge jobs``: the jobs that MLflow knows, newest first. Reads MLflow only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from rich.table import Table

from bridge import log
from bridge.bootstrap.factories import now_ms, redactor_of
from bridge.cli.terminal.console import out, print_json, safe, saying
from bridge.cli.terminal.selection import hint
from bridge.errors import ConfigError
from bridge.listing.curves import Curve, sparkline
from bridge.listing.job_lines import Filter, JobLine, JobList
from bridge.model import JobStatus
from bridge.settings.model import Settings
from bridge.text import one_line
from bridge.tracking import Tracking

_COLORS: Final = {"running": "cyan", "succeeded": "green", "failed": "red", "cancelled": "yellow"}


def jobs(
    settings: Settings,
    environ: Mapping[str, str],
    chosen: Filter,
    *,
    as_json: bool = False,
) -> int:
    """List the jobs; return the exit code.

    Raises:
        ConfigError: a status is unknown.
        TrackingDown: MLflow cannot be read.
    """
    _check(chosen.statuses)
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


def _check(statuses: Iterable[str]) -> None:
    """Raise ``ConfigError`` if a status is unknown."""
    known = [status.value for status in JobStatus if status is not JobStatus.UNKNOWN]
    problems = [
        f"--status {one_line(status)}: no such status; {hint(status, known)}"
        for status in statuses
        if status.lower() not in known
    ]
    if problems:
        raise ConfigError(problems)


def _curves(job_list: JobList, lines: Iterable[JobLine]) -> dict[str, Curve]:
    return {
        line.seen.run.run_id: job_list.curve(line, line.train_metric or line.valid_metric)
        for line in lines
    }


def shown(job_list: JobList, chosen: Filter, now: int) -> Iterator[Table | str]:
    """Yield the jobs in MLflow now, as rich prints them."""
    lines = job_list.lines(chosen)
    if lines:
        yield table(lines, _curves(job_list, lines), now)
    else:
        yield "MLflow has no jobs yet. Start with: [bold]ftbridge backfill[/bold]"


def table(lines: Iterable[JobLine], curves: Mapping[str, Curve], now: int) -> Table:
    """Return the jobs as a table; a name links to the run, a state to the provider's page."""
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
        if line.is_stalled:
            state = f"[yellow]stalled {age(line.silent or 0)}[/yellow]"
        cells = [
            f"[link={line.url}]{safe(_label(line), 100)}[/link]",
            state,
            _steps(line),
            _number(line.train, is_reward=line.is_reward),
            _number(line.valid, is_reward=line.is_reward),
            sparkline([value for _, value in curves.get(line.seen.run.run_id, ())]),
            age(now - line.created_at),
        ]
        shown.add_row(*cells, *([safe(line.short_cost, 20)] if has_cost else []))
    return shown


def _label(line: JobLine) -> str:
    """Return a run's name, with the provider if a user's own run does not contain it."""
    return line.name if line.provider in line.name else f"{line.name} ({line.provider})"


def _steps(line: JobLine) -> str:
    if line.step is None:
        return "·" if line.total_steps is None else f"0/{line.total_steps:,}"
    return f"{line.step:,}" if line.total_steps is None else f"{line.step:,}/{line.total_steps:,}"


def _number(value: float | None, *, is_reward: bool) -> str:
    if value is None:
        return "·"
    return f"reward {value:.4g}" if is_reward else f"{value:.4g}"


def age(milliseconds: int) -> str:
    """Return a duration in the unit that a person would use."""
    seconds = max(0, milliseconds) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
