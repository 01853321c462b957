"""``ftbridge backfill --rescue``: archive everything that providers still have."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from rich.table import Table

from bridge import log
from bridge.bootstrap.bridge import Bridge, assemble
from bridge.bootstrap.factories import experiments_of, redactor_of
from bridge.cli.terminal import backfill_report as summary
from bridge.cli.terminal.console import links, out, print_json, print_links, safe
from bridge.cli.terminal.interrupted import leave, stopped_early, wait_for
from bridge.cli.terminal.progress import watching
from bridge.daemon.signals import stop_on_signals
from bridge.doctor.examine import Doctor
from bridge.errors import BridgeError, Stopped
from bridge.settings.model import Settings
from bridge.sync import archive
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Report, Selection


@dataclass(slots=True)
class Rescued:
    """The ended jobs of one provider in MLflow."""

    provider: str
    jobs: int = 0
    archived: int = 0
    """Jobs with an archive."""
    files: int = 0
    size: int = 0
    """Size of the archives in bytes."""
    lost: list[tuple[str, str]] = field(default_factory=list)
    """The parts that could not be read, by job."""


def with_everything(settings: Settings) -> Settings:
    """Return settings that record and archive everything."""
    more = {"archive": True, "archive_datasets": True, "curves": True}
    return settings.model_copy(update={"mlflow": settings.mlflow.model_copy(update=more)})


def rescue(
    settings: Settings, environ: Mapping[str, str], selection: Selection, *, as_json: bool = False
) -> int:
    """Copy and archive everything, including jobs copied earlier; return the exit code."""
    settings = with_everything(settings)
    log.set_up(redactor_of(settings, environ))
    stopping = threading.Event()
    with (
        stop_on_signals(stopping),
        assemble(settings, environ, stopping) as bridge,
        ThreadPoolExecutor(len(bridge.syncs)) as pool,
    ):
        reports = _passes(bridge, pool, selection, stopping, as_json=as_json)
        if any(isinstance(report.stopped, Stopped) for report in reports):
            _show(bridge, reports, [], as_json=as_json, settings=settings)
            leave(1)
        # A provider that is down costs only its own jobs.
        well = [
            sync for sync, report in zip(bridge.syncs, reports, strict=True) if not report.stopped
        ]
        again = _examined(well, pool, selection, stopping, settings, as_json=as_json)
        rescued = [_rescued(bridge, settings, report, selection) for report in again]
        _show(bridge, reports, rescued, as_json=as_json, settings=settings)
    return 0 if all(report.is_well for report in (*reports, *again)) else 1


def _passes(
    bridge: Bridge,
    pool: ThreadPoolExecutor,
    selection: Selection,
    stopping: threading.Event,
    *,
    as_json: bool,
) -> list[Report]:
    """Make a pass over each provider for new jobs and those that are not settled."""
    with watching(plain=as_json, dry_run=False) as handler:
        passes = [pool.submit(sync.run, selection, handler=handler) for sync in bridge.syncs]
        wait_for(passes, stopping)
    return [
        each.result() if each.done() else Report(provider=sync.name, stopped=stopped_early())
        for sync, each in zip(bridge.syncs, passes, strict=True)
    ]


def _examined(
    syncs: Sequence[ProviderSync],
    pool: ThreadPoolExecutor,
    selection: Selection,
    stopping: threading.Event,
    settings: Settings,
    *,
    as_json: bool,
) -> list[Report]:
    """Compare the jobs copied earlier with what the provider has, and complete them."""
    with (
        watching(plain=as_json, dry_run=False) as handler,
        ThreadPoolExecutor(settings.poll.workers) as executor,
    ):
        doctors = [
            Doctor(
                job_sync=sync.job_sync,
                executor=executor,
                handler=handler,
                job_ids=selection.job_ids,
                fix=True,
                wants_all_files=True,
                is_stopping=stopping.is_set,
            )
            for sync in syncs
        ]
        examinations = [pool.submit(each.examine) for each in doctors]
        wait_for(examinations, stopping)
    return [
        each.result().report if each.done() else Report(provider=sync.name, stopped=stopped_early())
        for sync, each in zip(syncs, examinations, strict=True)
    ]


def _rescued(bridge: Bridge, settings: Settings, report: Report, selection: Selection) -> Rescued:
    found = Rescued(report.provider)
    experiments = experiments_of(settings)
    places = (bridge.tracking.experiment(name, create=False) for name in experiments)
    for run in bridge.tracking.runs([each for each in places if each], report.provider):
        is_wanted = not selection.job_ids or run.job_id in selection.job_ids
        if run.is_deleted or not run.is_final or not is_wanted:
            continue
        sizes = bridge.tracking.archived(run, archive.ARTIFACT_PATH)
        found.jobs += 1
        found.archived += bool(sizes)
        found.files += len(sizes)
        found.size += sum(sizes)
    lost = [_said(each) for each in report.failures] + report.skipped
    found.lost = [*dict.fromkeys(lost)]
    return found


def _show(
    bridge: Bridge,
    reports: Sequence[Report],
    rescued: Sequence[Rescued],
    *,
    as_json: bool,
    settings: Settings,
) -> None:
    experiments, redactor = experiments_of(settings), bridge.redactor
    if as_json:
        document = summary.document(reports) | {"rescued": [_document(each) for each in rescued]}
        pages = {"links": links(bridge.tracking, experiments)}
        print_json(document | pages, redactor)
        return
    # Both parts of a rescue find what is missing; it is printed once.
    lost = {each.provider: each.lost for each in rescued}
    summary.show([_without(report, lost.get(report.provider, ())) for report in reports], redactor)
    printed = {(report.provider, *_said(each)) for report in reports for each in report.failures}
    for each in rescued:
        for job_id, what in each.lost:
            if (each.provider, job_id, what) in printed:
                continue
            text = safe(redactor.text(f"{each.provider} {job_id}: {what}"), 800)
            out().print(f"[yellow]![/yellow] not available: {text}")
    if rescued:
        out().print(_table(rescued))
        print_links(bridge.tracking, experiments)


def _said(failure: tuple[str, BridgeError]) -> tuple[str, str]:
    job_id, error = failure
    return job_id, error.sentence


def _without(report: Report, lost: Collection[tuple[str, str]]) -> Report:
    return replace(report, skipped=[each for each in report.skipped if each not in lost])


def _table(rescued: Sequence[Rescued]) -> Table:
    table = Table(title="Rescued: jobs that have ended, in MLflow", title_justify="left")
    table.add_column("provider", style="bold")
    for heading in ("jobs", "archived", "files", "bytes", "not available"):
        table.add_column(heading, justify="right")
    for each in rescued:
        counts = (each.jobs, each.archived, each.files, each.size, len(each.lost))
        table.add_row(safe(each.provider), *(f"{count:,}" for count in counts))
    return table


def _document(rescued: Rescued) -> dict[str, object]:
    return {
        "provider": rescued.provider,
        "jobs": rescued.jobs,
        "archived": rescued.archived,
        "files": rescued.files,
        "bytes": rescued.size,
        "lost": [{"job": job_id, "what": what} for job_id, what in rescued.lost],
    }
