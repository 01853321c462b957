"""``ftbridge status``: count the jobs in MLflow, and ask a running daemon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from bridge import log
from bridge.bootstrap.factories import (
    experiments_of,
    now_ms,
    recording_options_of,
    redactor_of,
)
from bridge.cli.jobs import age
from bridge.cli.jobs import shown as shown_jobs
from bridge.cli.terminal.console import link_lines, links, out, print_json, safe, saying
from bridge.cli.terminal.openai_ending import Safety, safety_of
from bridge.cli.terminal.tally import Tracked, few, tally
from bridge.daemon.status import STATES
from bridge.daemon.status_client import Daemon, ask
from bridge.errors import TrackingError
from bridge.listing.job_lines import Filter, JobList
from bridge.plan.recorded import RecordedRun
from bridge.providers.openai_end import RESCUE, notice
from bridge.settings.daemon import Address
from bridge.settings.model import Settings
from bridge.text import number_of
from bridge.tracking import Tracking

_AGAIN: Final = 2.0
"""Seconds between two refreshes."""
_BELOW: Final = 12
"""Lines of a terminal that are reserved for everything but jobs."""


def status(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    as_json: bool = False,
    watch: bool = False,
    pause: Callable[[float], object] = time.sleep,
) -> int:
    """Show the jobs; return the exit code.

    Args:
        settings: the configuration.
        environ: the environment.
        as_json: whether to print JSON.
        watch: whether to refresh the output on a terminal until Ctrl-C.
        pause: waits for a number of seconds; raises ``KeyboardInterrupt`` at the end.

    Raises:
        TrackingDown: MLflow cannot be read.
    """
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    look = partial(_look, settings, tracking, with_archives=as_json or not watch)
    job_list = JobList(settings, tracking)
    console = out()
    if as_json:
        print_json(look().document(), redactor)
    elif watch and console.is_terminal:
        _watch(console, job_list, look, pause)
    else:
        with saying("Reading MLflow"):
            seen = look()
        for part in seen.shown():
            console.print(part)
    return 0


def _watch(
    console: Console,
    job_list: JobList,
    look: Callable[[], Look],
    pause: Callable[[float], object],
) -> None:
    """Show the jobs live, and the daemon's state below them."""
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            try:
                # As many as fit, because a terminal cuts off the rest.
                chosen = Filter(limit=max(3, console.height - _BELOW))
                jobs = list(shown_jobs(job_list, chosen, now_ms()))
                shown = Group(*jobs, "", *look().below())
            except TrackingError as error:  # MLflow may come back
                shown = Group(f"[red]{safe(str(error))}[/red]")
            live.update(shown, refresh=True)
            pause(_AGAIN)


def _look(settings: Settings, tracking: Tracking, *, with_archives: bool) -> Look:
    experiments = experiments_of(settings)
    found = [tracking.experiment(name, create=False) for name in experiments]
    places = [identifier for identifier in found if identifier]
    ended: dict[str, list[RecordedRun]] = {}

    def noted() -> Iterator[RecordedRun]:
        """Yield the runs, and keep those whose archives are counted."""
        for run in tracking.runs(places):
            if with_archives and run.is_final:
                ended.setdefault(run.provider, []).append(run)
            yield run

    providers = tally(noted())
    # It takes a request per job, too many to repeat every two seconds.
    ending = [name for name, each in providers.items() if each.is_openais and with_archives]
    pages = links(tracking, experiments)
    wanted = [recording_options_of(settings, provider) for provider in settings.providers[:1]]
    return Look(
        providers=providers,
        archives={name: safety_of(tracking, ended.get(name, ())) for name in ending},
        daemon=ask(settings.listen) if settings.listen else None,
        now=now_ms(),
        links=pages,
        link_lines=tuple(link_lines(tracking, pages)),
        listen=settings.listen,
        left_out=tuple(each for options in wanted for each in tracking.left_out(options)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The state of MLflow and the daemon at one time."""

    providers: Mapping[str, Tracked]
    daemon: tuple[Daemon, dict[str, object]] | None
    now: int
    """Time of the state, Unix milliseconds."""
    links: Mapping[str, str]
    link_lines: tuple[str, ...]
    left_out: tuple[str, ...]
    """The features that MLflow cannot record."""
    archives: Mapping[str, Safety] = field(default_factory=dict)
    """The archives of jobs whose provider ends its service."""
    listen: Address | None = None
    """Address on which the configured daemon listens."""

    def document(self) -> dict[str, object]:
        """Return the state for a JSON document."""
        return {
            "providers": {
                name: _document(each, self.now) | self._archives(name)
                for name, each in self.providers.items()
            },
            "links": self.links,
            "daemon": self.daemon[1] if self.daemon else None,
            "left_out": list(self.left_out),
        }

    def _archives(self, provider: str) -> dict[str, object]:
        safety = self.archives.get(provider)
        return {"archives": safety.document()} if safety else {}

    def shown(self) -> Iterator[str | Table]:
        """Yield the state for people, as rich prints it."""
        if self.providers:
            yield _table(self.providers, self.now)
        else:
            yield "Nothing is tracked yet. Start with: [bold]ftbridge backfill[/bold]"
        yield from self.below()

    def below(self) -> Iterator[str]:
        """Yield the lines below the table: dates, the daemon, and links."""
        for name, tracked in sorted(self.providers.items()):
            for day, models in tracked.ending(self.now):
                yield f"[yellow]![/yellow] {safe(name)} shuts down on {day}: {safe(few(models))}"
        for sentence in self.left_out:
            yield f"[yellow]![/yellow] MLflow: {safe(sentence)}"
        for name, archives in sorted(self.archives.items()):
            mark = "[green]✓[/green]" if archives.is_whole else "[yellow]![/yellow]"
            yield f"{mark} {safe(name)}: {safe(archives.sentence)}"
        if any(tracked.is_openais for tracked in self.providers.values()):
            today = datetime.fromtimestamp(self.now // 1000, UTC).date()
            safeties = self.archives.values()
            is_safe = bool(safeties) and all(archives.is_whole for archives in safeties)
            remedy = "" if is_safe else f". Rescue all of it: [bold]{RESCUE}[/bold]"
            yield f"[yellow]![/yellow] {notice(today)}{remedy}"
        if self.daemon:
            yield from _of_daemon(self.daemon[0])
        elif self.listen:
            yield f"No daemon answers at {safe(str(self.listen))}. Start one: ftbridge run"
        else:
            count = sum(
                each.jobs["RUNNING"] + each.jobs["SCHEDULED"] for each in self.providers.values()
            )
            if count:
                are, them = ("is", "it") if count == 1 else ("are", "them")
                jobs = f"{number_of(count, 'job')} {are} open"
                yield f"{jobs}. [bold]ftbridge run[/bold] follows {them} live."
        if self.providers:
            yield from self.link_lines


def _of_daemon(daemon: Daemon) -> Iterator[str]:
    """Yield the lines about a daemon."""
    for name, each in daemon.providers.items():
        last, due = each.last_pass.ended, each.next_pass
        facts = [
            "has made no pass yet" if last is None else f"last pass {_ago(daemon.now - last)} ago",
            "" if due is None else f"next in {_ago(due - daemon.now)}",
            "" if each.lag_seconds is None else f"lag {_ago(each.lag_seconds)}",
        ]
        yield f"daemon: {safe(name)}: {', '.join(filter(None, facts))}"
        for trouble in filter(None, (each.stopped, *each.failures)):
            yield f"[red]![/red] {safe(name)}: {safe(trouble)}"
        if (more := each.failing_jobs - len(each.failures)) > 0:
            yield f"[red]![/red] {safe(name)}: and {number_of(more, 'more job')}"


def _ago(seconds: float) -> str:
    return age(int(seconds * 1000))


def _table(providers: Mapping[str, Tracked], now: int) -> Table:
    """Return a table that fits into the usual 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("provider", style="bold", overflow="fold")
    for heading in STATES.values():
        table.add_column(heading, justify="right")
    table.add_column("newest", justify="right")
    table.add_column("behind", justify="right")
    for name, tracked in sorted(providers.items()):
        point, lag = tracked.newest_point, tracked.lag(now)
        table.add_row(
            safe(name),
            *(f"{tracked.jobs[state]:,}" if tracked.jobs[state] else "·" for state in STATES),
            "-" if point is None else f"{age(now - point)} ago",
            "-" if lag is None else age(lag),
        )
    return table


def _document(tracked: Tracked, now: int) -> dict[str, object]:
    lag = tracked.lag(now)
    return {
        "jobs": {word: tracked.jobs[state] for state, word in STATES.items()},
        "newest_point": tracked.newest_point,
        "newest_checkpoint": tracked.checkpoint or None,
        "lag_seconds": None if lag is None else lag / 1000,
        "shutdowns": [
            {"day": day, "model": model} for day, models in tracked.ending(now) for model in models
        ],
    }
