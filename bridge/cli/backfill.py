"""``ftbridge backfill``: one pass over history."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from bridge import log
from bridge.bootstrap.bridge import assemble
from bridge.bootstrap.factories import experiments_of, redactor_of
from bridge.cli import backfill_report as summary
from bridge.cli.console import links, print_json, print_links
from bridge.cli.interrupted import leave, stopped_early, wait_for
from bridge.cli.progress import watching
from bridge.daemon.signals import stop_on_signals
from bridge.errors import ConfigError, NotFound, Refused
from bridge.model import JobStatus
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.poll import duration
from bridge.sync.outcome import Result
from bridge.sync.report import Report, Selection
from bridge.text import one_line


def backfill(
    settings: Settings,
    environ: Mapping[str, str],
    selection: Selection,
    *,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Make one pass over every provider; returns the exit code."""
    log.set_up(redactor_of(settings, environ))
    stopping = threading.Event()
    with (
        stop_on_signals(stopping),
        assemble(settings, environ, stopping) as bridge,
        ThreadPoolExecutor(len(bridge.syncs)) as pool,
    ):
        with watching(plain=as_json, dry_run=dry_run) as handler:
            passes = {
                sync.name: pool.submit(sync.run, selection, dry_run=dry_run, handler=handler)
                for sync in bridge.syncs
            }
            is_done = wait_for(passes.values(), stopping)
        reports = [
            each.result()
            if each.done()
            else Report(provider=name, is_dry=dry_run, stopped=stopped_early())
            for name, each in passes.items()
        ]
        if not is_done:  # to leave this block would be to wait again
            _show(reports, bridge.redactor, as_json=as_json, pages={})
            leave(1)
        reports = without_strangers(reports, selection)
    experiments = experiments_of(settings)
    wrote = any(report.jobs[Result.NEW] or report.jobs[Result.UPDATED] for report in reports)
    pages = links(bridge.tracking, experiments) if wrote and as_json else {}
    _show(reports, bridge.redactor, as_json=as_json, pages=pages)
    if wrote and not as_json:
        print_links(bridge.tracking, experiments)
    return 0 if all(report.is_well for report in reports) else 1


def _show(
    reports: Sequence[Report], redactor: Redactor, *, as_json: bool, pages: Mapping[str, str]
) -> None:
    if as_json:
        print_json(summary.document(reports) | {"links": pages}, redactor)
    else:
        summary.show(reports, redactor)


def select(
    settings: Settings,
    *,
    providers: Sequence[str] = (),
    job_ids: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
    statuses: Sequence[str] = (),
    limit: int | None = None,
    rename: bool = False,
    rescue: bool = False,
    dry_run: bool = False,
    now: datetime,
) -> tuple[Settings, Selection]:
    """The providers and jobs that the command line asks for.

    Raises:
        ConfigError: with everything on the command line that does not hold.
    """
    problems: list[str] = []
    known = [provider.name for provider in settings.providers]
    problems += [
        f"--provider {one_line(name)}: not configured; there is {', '.join(known)}"
        for name in providers
        if name not in known
    ]
    words = {status.value for status in JobStatus}
    kinds = {*TYPES, *(provider.type for provider in settings.providers)}
    words |= {word.lower() for kind in kinds for word in TYPES[kind].statuses}
    problems += [
        f"--status {one_line(status)}: no such status; there is {', '.join(sorted(words))}"
        for status in statuses
        if status.lower() not in words
    ]
    if job_ids and (since or until or statuses or limit):
        problems.append("--job names jobs by itself: leave out --since, --until, --status, --limit")
    if rename and (since or until or statuses or limit):
        problems.append("--rename asks MLflow alone: only --provider and --job go with it")
    if rescue and (since or until or statuses or limit or rename or dry_run):
        problems.append("--rescue takes all there is: only --provider and --job go with it")
    selection = Selection(
        job_ids=tuple(dict.fromkeys(job_ids)),
        since=_moment("--since", since, now, problems),
        until=_moment("--until", until, now, problems),
        statuses=frozenset(status.lower() for status in statuses),
        limit=limit,
    )
    if problems:
        raise ConfigError(problems)
    wanted = tuple(p for p in settings.providers if not providers or p.name in providers)
    return settings.model_copy(update={"providers": wanted}), selection


def _moment(option: str, text: str | None, now: datetime, problems: list[str]) -> int | None:
    """Unix milliseconds of a date, a time, or so long ago."""
    if text is None:
        return None
    ago = duration(text) if not text.strip().isdigit() else text
    try:
        if isinstance(ago, float):
            moment = now - timedelta(seconds=ago)
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        problems.append(
            f"{option} {one_line(text)}: write a date (2026-01-31), a time (2026-01-31T12:00:00Z),"
            " or how long ago (30d)"
        )
        return None


def without_strangers(reports: list[Report], selection: Selection) -> list[Report]:
    """With ``--job``, a provider that does not know a job is no failure where another does."""
    lost = Counter(job_id for report in reports for job_id, _ in report.failures)
    for report in reports:
        kept = [
            (job_id, error)
            for job_id, error in report.failures
            if not (
                isinstance(error, NotFound | Refused)
                and job_id in selection.job_ids
                and lost[job_id] < len(reports)
            )
        ]
        report.jobs[Result.FAILED] -= len(report.failures) - len(kept)
        report.failures = kept
    return reports
