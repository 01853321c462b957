"""``ftbridge doctor``: find what no pass repairs; ``--fix`` repairs it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from bridge import log
from bridge.bootstrap.bridge import Bridge, assemble
from bridge.bootstrap.factories import redactor_of
from bridge.cli.terminal.console import described, err, out, print_json, safe
from bridge.cli.terminal.interrupted import leave, stopped_early, wait_for
from bridge.cli.terminal.progress import watching
from bridge.cli.terminal.selection import without_strangers
from bridge.daemon.signals import stop_on_signals
from bridge.doctor.examine import Doctor, Examination, Treated
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.sync.events import Handler
from bridge.sync.report import Report, Selection
from bridge.text import counted, number_of

_MOST_WITHHELD: Final = 10
"""Number of withheld parts that are listed; the rest is counted."""


def doctor(
    settings: Settings,
    environ: Mapping[str, str],
    job_ids: tuple[str, ...],
    *,
    fix: bool = False,
    as_json: bool = False,
) -> int:
    """Compare MLflow with itself and with every provider; return the exit code.

    Raises:
        TrackingError: MLflow cannot be read.
    """
    log.set_up(redactor_of(settings, environ))
    stopping = threading.Event()
    with (
        stop_on_signals(stopping),
        assemble(settings, environ, stopping) as bridge,
        ThreadPoolExecutor(len(bridge.syncs)) as pool,
        contextlib.ExitStack() as stack,
        contextlib.ExitStack() as shown,
    ):
        handler = shown.enter_context(watching(plain=as_json, dry_run=not fix))
        doctors = _doctors(bridge, stack, job_ids, handler, fix=fix)
        examinations = [pool.submit(each.examine) for each in doctors]
        is_done = wait_for(examinations, stopping)
        shown.close()
        found = [
            each.result() if each.done() else _cut_off(sync.name, fix=fix)
            for sync, each in zip(bridge.syncs, examinations, strict=True)
        ]
        if not is_done:  # leaving this block would wait again
            _tell(found, bridge.redactor, fix=fix, as_json=as_json)
            leave(1)
    without_strangers([each.report for each in found], Selection(job_ids=job_ids))
    _tell(found, bridge.redactor, fix=fix, as_json=as_json)
    return 0 if all(each.is_well for each in found) else 1


def _doctors(
    bridge: Bridge,
    stack: contextlib.ExitStack,
    job_ids: tuple[str, ...],
    handler: Handler,
    *,
    fix: bool,
) -> list[Doctor]:
    """Return a doctor for each provider; their threads end with the stack."""
    # In threads even if a cluster is configured, because its workers only sync jobs.
    return [
        Doctor(
            job_sync=sync.job_sync,
            executor=stack.enter_context(ThreadPoolExecutor(bridge.settings.poll.workers)),
            handler=handler,
            job_ids=job_ids,
            fix=fix,
            is_stopping=bridge.stopping.is_set,
        )
        for sync in bridge.syncs
    ]


def _cut_off(provider: str, *, fix: bool) -> Examination:
    return Examination(provider, Report(provider=provider, is_dry=not fix, stopped=stopped_early()))


def _tell(found: Sequence[Examination], redactor: Redactor, *, fix: bool, as_json: bool) -> None:
    if as_json:
        is_well = all(each.is_well for each in found)
        document = {"ok": is_well, "fix": fix, "providers": [_document(each) for each in found]}
        print_json(document, redactor)
    else:
        _show(found, redactor, fix=fix)


def _document(found: Examination) -> dict[str, object]:
    report = found.report
    return {
        "provider": found.provider,
        "findings": [_finding(each) for each in found.treated],
        "compared": found.compared,
        "without_run": found.without_run,
        "not_compared": [{"job": job_id, **described(error)} for job_id, error in report.failures],
        "left_out": [{"job": job_id, "what": what} for job_id, what in report.skipped],
        "stopped": described(report.stopped) if report.stopped else None,
        "unreached": report.unreached,
    }


def _finding(treated: Treated) -> dict[str, object]:
    return {
        "job": treated.finding.job_id,
        "run": treated.finding.run_id,
        "link": treated.finding.link,
        "what": treated.finding.what,
        "remedy": treated.finding.remedy,
        "name": treated.finding.name,
        "note": treated.finding.is_note,
        "withheld": treated.finding.is_withheld,
        "fixed": treated.is_fixed,
        "trouble": described(treated.error) if treated.error else None,
    }


def _show(examinations: Iterable[Examination], redactor: Redactor, *, fix: bool) -> None:
    console = out()
    for found in examinations:
        shown, left = _shown(found.treated)
        for each in shown:
            for line in _lines(found, each, fix=fix):
                console.print(f"{line.mark} {safe(redactor.text(line.text), 800)}")
        if left:
            console.print(
                f"[cyan]·[/cyan] {number_of(left, 'more part')} cannot be read: see --json"
            )
        for text in _not_compared(found):
            console.print(f"[red]✗[/red] {safe(redactor.text(f'{found.provider} {text}'), 800)}")
    for found in examinations:
        console.print(safe(f"{found.provider}: {_sum(found)}"))
    if fix:
        return
    if any(not each.finding.by_hand for found in examinations for each in found.damage):
        err().print("Nothing was written. To repair: [bold]ftbridge doctor --fix[/bold]")
    if any(found.notes for found in examinations):
        err().print("To bring runs up to date: [bold]ftbridge backfill[/bold]")


def _shown(treated: Sequence[Treated]) -> tuple[list[Treated], int]:
    """Return the findings for people, and the number of parts that are not listed.

    A server that lacks a part lacks it for every job.
    """
    withheld = [each for each in treated if each.finding.is_withheld]
    others = [each for each in treated if not each.finding.is_withheld]
    return others + withheld[:_MOST_WITHHELD], len(withheld[_MOST_WITHHELD:])


class _Line(NamedTuple):
    """A line of text about a finding."""

    mark: str
    text: str


def _lines(found: Examination, treated: Treated, *, fix: bool) -> Iterator[_Line]:
    """Yield what is wrong with a run, what to do, and the link to it."""
    finding = treated.finding
    is_note = finding.is_note or finding.is_withheld
    mark = "[cyan]·[/cyan]" if is_note else "[yellow]![/yellow]"
    if treated.is_fixed:
        mark = "[green]✓[/green]"
    name = finding.name or finding.job_id
    whose = name if found.provider in name else f"{name} ({found.provider})"
    yield _Line(mark, f"{whose}: {finding.what}")
    if treated.error:
        yield _Line(" ", f"not done: {treated.error}")
    elif treated.is_fixed:
        yield _Line(" ", f"done: {finding.remedy}")
    elif finding.is_note:
        yield _Line(" ", f"ftbridge backfill --job {finding.job_id}")
    elif finding.is_withheld:
        yield _Line(" ", finding.remedy)
    elif finding.by_hand:
        yield _Line(" ", f"to do by hand: {finding.remedy}")
    elif not fix:
        yield _Line(" ", f"ftbridge doctor --fix --job {finding.job_id}: {finding.remedy}")
    yield _Line(" ", finding.link)


def _not_compared(found: Examination) -> Iterable[str]:
    shown = {each.finding.job_id for each in found.treated if each.error}
    for job_id, error in found.report.failures:
        if job_id not in shown:
            yield f"{job_id or 'job list'}: {error}"
    if stopped := found.report.stopped:
        left = (
            f" ({number_of(found.report.unreached, 'job')} left)" if found.report.unreached else ""
        )
        yield f"could not be read further{left}, so only MLflow was checked: {stopped}"


def _sum(found: Examination) -> str:
    fixed = sum(each.is_fixed for each in found.treated)
    damage = [*found.damage, *(each for each in found.treated if each.is_fixed)]
    parts = [
        f"{number_of(found.compared, 'job')} compared",
        counted(damage, "finding") or "no findings",
    ]
    if notes := len(found.notes):
        parts.append(f"{notes:,} not up to date")
    if found.withheld:
        parts.append(f"{counted(found.withheld, 'part')} that cannot be read")
    if fixed:
        parts.append(f"{fixed:,} fixed")
    if unrecorded := found.without_run:
        parts.append(f"{number_of(unrecorded, 'job')} without a run (ftbridge backfill creates it)")
    return ", ".join(parts)
