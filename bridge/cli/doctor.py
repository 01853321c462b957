"""``ftbridge doctor``: what no pass repairs by itself, and ``--fix`` to repair it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bridge import log
from bridge.bootstrap.bridge import assemble
from bridge.bootstrap.factories import redactor_of
from bridge.cli.terminal.console import described, err, out, print_json, safe
from bridge.cli.terminal.interrupted import leave, stopped_early, wait_for
from bridge.cli.terminal.progress import watching
from bridge.cli.terminal.selection import without_strangers
from bridge.daemon.signals import stop_on_signals
from bridge.doctor.examine import Doctor, Examination, Treated
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.sync.report import Report, Selection
from bridge.text import counted


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
        TrackingError: MLflow cannot be asked.
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
        # In threads, even where a cluster makes the passes: its workers only sync jobs.
        doctors = [
            Doctor(
                job_sync=sync.job_sync,
                executor=stack.enter_context(ThreadPoolExecutor(settings.poll.workers)),
                handler=handler,
                job_ids=job_ids,
                fix=fix,
                is_stopping=stopping.is_set,
            )
            for sync in bridge.syncs
        ]
        examinations = [pool.submit(each.examine) for each in doctors]
        is_done = wait_for(examinations, stopping)
        shown.close()
        found = [
            each.result() if each.done() else _cut_off(sync.name, fix=fix)
            for sync, each in zip(bridge.syncs, examinations, strict=True)
        ]
        if not is_done:  # to leave this block would be to wait again
            _tell(found, bridge.redactor, fix=fix, as_json=as_json)
            leave(1)
    without_strangers([each.report for each in found], Selection(job_ids=job_ids))
    _tell(found, bridge.redactor, fix=fix, as_json=as_json)
    return 0 if all(each.is_well for each in found) else 1


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
        "fixed": treated.is_fixed,
        "trouble": described(treated.error) if treated.error else None,
    }


def _show(examinations: Iterable[Examination], redactor: Redactor, *, fix: bool) -> None:
    console = out()
    for found in examinations:
        for each in found.treated:
            console.print(f"{_mark(each)} {safe(redactor.text(_line(found, each, fix=fix)), 800)}")
        for text in _not_compared(found):
            console.print(f"[red]✗[/red] {safe(redactor.text(f'{found.provider} {text}'), 800)}")
    for found in examinations:
        console.print(safe(f"{found.provider}: {_sum(found)}"))
    open_ones = sum(not each.is_fixed for found in examinations for each in found.treated)
    if open_ones and not fix:
        err().print("Nothing was written. To apply corrections: [bold]ftbridge doctor --fix[/bold]")


def _mark(treated: Treated) -> str:
    return "[green]✓[/green]" if treated.is_fixed else "[yellow]![/yellow]"


def _line(found: Examination, treated: Treated, *, fix: bool) -> str:
    finding = treated.finding
    if treated.error:
        outcome = f"not done: {treated.error}"
    elif treated.is_fixed:
        outcome = f"done: {finding.remedy}"
    else:
        # With --fix only what is for its user to do is left.
        outcome = f"to do{' by you' if fix else ''}: {finding.remedy}"
    whose = f"{found.provider} {finding.job_id} (run {finding.run_id})"
    return f"{whose}: {finding.what}; {outcome}. {finding.link}"


def _not_compared(found: Examination) -> Iterable[str]:
    told = {each.finding.job_id for each in found.treated if each.error}
    for job_id, error in found.report.failures:
        if job_id not in told:
            yield f"{job_id or 'job list'}: {error}"
    if stopped := found.report.stopped:
        left = f", {found.report.unreached} jobs" if found.report.unreached else ""
        yield f"could not be read further{left}, so only MLflow was checked: {stopped}"


def _sum(found: Examination) -> str:
    fixed = sum(each.is_fixed for each in found.treated)
    parts = [
        f"{found.compared:,} jobs compared",
        counted(found.treated, "finding") or "no findings",
    ]
    if fixed:
        parts.append(f"{fixed:,} fixed")
    if unrecorded := found.without_run:
        parts.append(f"{unrecorded:,} jobs without a run, which ftbridge backfill records")
    return ", ".join(parts)
