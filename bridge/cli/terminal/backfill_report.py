"""The result of a backfill, and what it did not record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from rich.table import Table

from bridge.bootstrap.one_pass import Made
from bridge.cli.terminal.console import described, out, safe
from bridge.errors import BridgeError, Stopped
from bridge.plan.ownership import Deletion
from bridge.redaction import Redactor
from bridge.sync.outcome import Result
from bridge.sync.report import Report
from bridge.text import number_of
from bridge.tracking import Tracking

_SHOWN = 20
"""Number of omitted values that are listed per provider; the rest is counted."""
_NAMED = 3
"""Number of jobs that are named per trouble; ``--json`` names all."""


def show(reports: Sequence[Report], redactor: Redactor, *, quiet: bool = False) -> None:
    """Print plans, counts and troubles; only troubles if ``quiet``."""
    console = out()
    if not quiet:
        for report in reports:
            for plan in report.plans:
                console.print(safe(str(plan)))
            for deletion in report.deleted if report.is_dry else ():
                console.print(safe(f"delete run {deletion.run_id}: {deletion.reason}"))
        if any(report.jobs.total() or report.failures or report.stopped for report in reports):
            console.print(_table(reports))
    for report in reports:
        for mark, text in _troubles(report):
            console.print(f"{mark} {safe(redactor.text(f'{report.provider} {text}'), 800)}")
    if any(isinstance(report.stopped, Stopped) for report in reports):
        console.print("Interrupted. Run it again to continue.")


Runs = Mapping[str, Sequence[Mapping[str, object]]]
"""Jobs with their runs, by provider."""
EMPTY: Final[Runs] = MappingProxyType({})


def runs_of(made: Made, tracking: Tracking) -> Runs:
    """Return the run of each job that was read, with its link."""
    runs: dict[str, list[Mapping[str, object]]] = {}
    for job in made.landed:
        where, run_id = job.experiment_id, job.run_id
        facts = {"job": job.job_id, "result": job.result.value, "run": run_id, "experiment": where}
        url = tracking.link(where, run_id) if run_id and where else None
        runs.setdefault(job.provider, []).append({**facts, "url": url})
    return runs


def document(reports: Sequence[Report], runs: Runs = EMPTY) -> dict[str, object]:
    """Return the result for a JSON document."""
    return {
        "ok": all(report.is_well for report in reports),
        "providers": [
            _document(report) | {"runs": runs.get(report.provider, [])} for report in reports
        ],
    }


def _table(reports: Sequence[Report]) -> Table:
    dry = any(report.is_dry for report in reports)
    table = Table(title="Nothing was written (--dry-run)" if dry else None, title_justify="left")
    table.add_column("provider", style="bold")
    for heading in (*Result, "points"):
        table.add_column(str(heading), justify="right")
    for report in reports:
        counts = [f"{report.jobs[kind]:,}" for kind in Result]
        table.add_row(report.provider, *counts, f"{report.points:,}")
    return table


def _troubles(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the mark and text of everything that a person should know."""
    lost, note = "[red]✗[/red]", "[yellow]![/yellow]"
    for text in _failures(report):
        yield lost, text
    if report.stopped:
        unreached = number_of(report.unreached, "job")
        left = f" Not reached: {unreached}." if report.unreached else ""
        yield lost, f"stopped: {report.stopped}{left}"
    for job_id, what in report.skipped[:_SHOWN]:
        yield note, f"{job_id}: {what}"
    if len(report.skipped) > _SHOWN:
        yield note, f"and {number_of(len(report.skipped) - _SHOWN, 'more value')} left out"
    if report.deleted and not report.is_dry:
        yield note, f"{number_of(len(report.deleted), 'duplicate run')} deleted"
    if report.withheld:
        what = f"{number_of(len(report.withheld), 'duplicate run')} not deleted"
        yield note, f"{what}: too many for one pass. Delete them with ftbridge doctor --fix"
    if report.settling:
        what = number_of(report.settling, "job")
        yield note, f"{what} ended just now: run the command again in five minutes"


def _failures(report: Report) -> Iterator[str]:
    """Yield a line for each trouble, however many jobs have it."""
    troubles: dict[tuple[bool, str], list[tuple[str, BridgeError]]] = {}
    for job_id, error in report.failures:
        troubles.setdefault((bool(job_id), error.sentence), []).append((job_id, error))
    for (is_of_jobs, _), failures in troubles.items():
        count = len(failures)
        job_id, error = failures[0]
        if not is_of_jobs:
            yield f"job list: {error}" if count == 1 else f"job list: {count:,} times: {error}"
        elif count == 1:
            yield f"{job_id}: {error}"
        else:
            # The jobs come last, because the end of a long line may be cut off.
            named = [job_id for job_id, _ in failures[:_NAMED]]
            named += ["..."] if count > _NAMED else []
            yield f"{count:,} jobs: {error} ({', '.join(named)})"


def _document(report: Report) -> dict[str, object]:
    return {
        "provider": report.provider,
        "dry_run": report.is_dry,
        "jobs": {kind.value: report.jobs[kind] for kind in Result},
        "points": report.points,
        "settling": report.settling,
        "unreached": report.unreached,
        "failures": [{"job": job_id, **described(error)} for job_id, error in report.failures],
        "left_out": [{"job": job_id, "what": what} for job_id, what in report.skipped],
        "deleted": [_deletion(each) for each in report.deleted],
        "not_deleted": [_deletion(each) for each in report.withheld],
        "stopped": described(report.stopped) if report.stopped else None,
        "plans": [plan.document() for plan in report.plans],
    }


def _deletion(deletion: Deletion) -> dict[str, str]:
    return {"run": deletion.run_id, "job": deletion.job_id, "reason": deletion.reason}
