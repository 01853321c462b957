"""``ftbridge backfill``: one pass over history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bridge import log
from bridge.bootstrap.bridge import Bridge, assemble
from bridge.bootstrap.factories import experiments_of, redactor_of
from bridge.bootstrap.one_pass import Made, one_pass
from bridge.bootstrap.processes import beside
from bridge.bootstrap.read_ahead import ReadAhead
from bridge.cli.rename import is_due, rename
from bridge.cli.terminal import backfill_report as summary
from bridge.cli.terminal.console import err, link_lines, links, out, print_json, safe, saying
from bridge.cli.terminal.finish import Output
from bridge.cli.terminal.interrupted import leave, stopped_early, wait_for
from bridge.cli.terminal.progress import watching
from bridge.cli.terminal.selection import Asked, ids_of, select, without_strangers
from bridge.cli.terminal.turn import turn
from bridge.daemon.signals import stop_on_signals
from bridge.errors import BridgeError, TrackingDown, TrackingError
from bridge.settings.model import Settings
from bridge.sync.outcome import Result
from bridge.sync.report import Report, Selection
from bridge.text import number_of


def backfill_as_asked(
    settings: Settings, environ: Mapping[str, str], asked: Asked, output: Output
) -> int:
    """Make the requested pass, renaming or rescue; return the exit code.

    Raises:
        ConfigError: with every problem of the command line.
    """
    settings, selection = select(settings, asked, datetime.now(UTC))
    if asked.rescue:
        from bridge.cli.rescue import rescue  # noqa: PLC0415 - most passes rescue nothing

        return rescue(settings, environ, selection, as_json=output.as_json)
    if asked.rename:
        return rename(
            settings, environ, selection.job_ids, dry_run=asked.dry_run, as_json=output.as_json
        )
    return backfill(settings, environ, selection, asked, output)


def backfill(
    settings: Settings,
    environ: Mapping[str, str],
    selection: Selection,
    asked: Asked,
    output: Output,
) -> int:
    """Make one pass over every provider; return the exit code."""
    redactor = redactor_of(settings, environ)
    log.set_up(redactor, verbose=output.verbose)
    if asked.names:
        with saying("Looking for the jobs", plain=output.is_plain):
            found = ids_of(settings, redactor, asked.names)
        selection = replace(selection, job_ids=(*selection.job_ids, *found))
    stopping = threading.Event()
    with (
        stop_on_signals(stopping),
        beside(settings, stopping, verbose=output.verbose) as executor,
        ReadAhead() as lists,
        assemble(
            settings,
            environ,
            stopping,
            executor=executor,
            ahead=lists.of if selection.is_everything else None,
        ) as bridge,
    ):
        _open(bridge, plain=output.is_plain)
        made = _pass(bridge, selection, stopping, output, lists.forget, dry_run=asked.dry_run)
        reports = without_strangers(list(made.reports), selection)
        if not made.is_done:  # leaving this block would wait again
            _show_early(reports, bridge, as_json=output.as_json)
            leave(1)
        if output.as_json:
            document = summary.document(reports, summary.runs_of(made, bridge.tracking))
            print_json(document | {"links": _links(bridge, reports)}, bridge.redactor)
        else:
            summary.show(reports, bridge.redactor, quiet=output.quiet)
            if not output.quiet:
                _say_next(bridge, selection, reports)
    return 0 if all(report.is_well for report in reports) else 1


def _pass(
    bridge: Bridge,
    selection: Selection,
    stopping: threading.Event,
    output: Output,
    forget: Callable[[], None],
    *,
    dry_run: bool,
) -> Made:
    """Make the pass once no other backfill writes to this MLflow, and show its progress."""

    def wait() -> None:
        forget()  # the jobs change during the wait
        if not output.is_plain:
            err().print(
                "Waiting for another backfill that writes to this MLflow; Ctrl-C stops waiting."
            )

    # A dry run does not disturb other backfills.
    place = f"{bridge.settings.mlflow.tracking_uri}{' (dry)' if dry_run else ''}"
    with (
        turn(place, waiting=wait, pause=stopping.wait),
        watching(
            plain=output.is_plain, dry_run=dry_run, verbose=output.verbose, quiet=output.quiet
        ) as handler,
    ):
        return one_pass(
            bridge,
            selection,
            dry_run=dry_run,
            handler=handler,
            wait=lambda passes: wait_for(passes, stopping),
            cut_off=stopped_early,
        )


def _show_early(reports: Sequence[Report], bridge: Bridge, *, as_json: bool) -> None:
    if as_json:
        print_json(summary.document(reports, {}) | {"links": {}}, bridge.redactor)
    else:
        summary.show(reports, bridge.redactor)


def _open(bridge: Bridge, *, plain: bool) -> None:
    """Reach MLflow before any bar is shown, because its first import takes seconds."""
    with saying("Opening MLflow", plain=plain):
        try:
            bridge.tracking.ping()
        except BridgeError:
            return  # each pass meets the same error and reports it


def _say_names(bridge: Bridge) -> None:
    """Report where the metrics of runs have outdated names."""
    try:
        label = is_due(bridge.settings, bridge.tracking)
    except TrackingError:
        return  # the passes have reported it
    if label:
        out().print(
            f"[yellow]![/yellow] The metric names of some runs are not those of {safe(label, 80)}:"
            " [bold]ftbridge backfill --rename[/bold] copies their curves to the new names."
        )


def _links(bridge: Bridge, reports: Sequence[Report]) -> dict[str, str]:
    """Return the links to the experiments that were written to; none if nothing was written."""
    wrote = any(report.jobs[Result.NEW] or report.jobs[Result.UPDATED] for report in reports)
    return links(bridge.tracking, experiments_of(bridge.settings)) if wrote else {}


def _say_next(bridge: Bridge, selection: Selection, reports: Sequence[Report]) -> None:
    """Print the links, and what is left to do."""
    is_well = all(report.is_well for report in reports)
    if is_well and not any(report.jobs.total() for report in reports):
        what = "The providers have no jobs yet" if selection.is_everything else "No job matches"
        out().print(f"{what}: nothing was written.")
    for line in link_lines(bridge.tracking, _links(bridge, reports)):
        out().print(line)
    if not any(isinstance(report.stopped, TrackingDown) for report in reports):
        _say_names(bridge)  # a store that does not answer would be waited for once more
    running = sum(report.open for report in reports)
    if running and not any(report.is_dry for report in reports):
        are, them = ("is", "it") if running == 1 else ("are", "them")
        out().print(
            f"{number_of(running, 'job')} {are} still open."
            f" [bold]ftbridge run[/bold] follows {them} live."
        )
