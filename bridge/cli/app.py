"""The command line. A command's module is imported when it runs: ``--help`` is instant."""

from __future__ import annotations

import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from bridge import __version__
from bridge.cli.terminal.finish import chosen_of, finish, settings_of
from bridge.cli.terminal.options import (
    Config,
    Experiment,
    JobIds,
    Jobs,
    Json,
    MetricNames,
    Providers,
    Quiet,
    TrackingUri,
    Verbose,
)

app = typer.Typer(
    name="ftbridge",
    help="Hosted fine-tuning jobs (OpenAI, Azure, ...) as MLflow runs, beside your local ones.",
    epilog="Look first, with no key and no network:  ftbridge demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # frames around the help would take longer than all the rest of it
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example:  ftbridge demo --port 5001")
def demo(
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Port of the MLflow UI; else 5000, or any if that is taken.",
        ),
    ] = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Run the simulated jobs to their end, then exit.")
    ] = False,
) -> None:
    """Show it at work with no key and no network."""
    from bridge.cli.demo import demo as command

    finish(lambda: command(port=port, once=once))


@app.command(epilog="Example:  ftbridge run --config /etc/ftbridge.yaml --log-format json")
def run(
    config: Config = None,
    experiment: Experiment = None,
    tracking_uri: TrackingUri = None,
    metric_names: MetricNames = None,
    *,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(
            "--log-format", envvar="FTBRIDGE_LOG_FORMAT", help="One JSON object a line, or text."
        ),
    ] = "text",
    verbose: Verbose = False,
) -> None:
    """Follow all providers until stopped."""
    from bridge.daemon.service import run as command

    chosen = chosen_of(experiment, tracking_uri, metric_names)
    finish(
        lambda: command(
            lambda: settings_of(config, chosen),
            os.environ,
            as_json=log_format == "json",
            verbose=verbose,
        )
    )


@app.command(
    epilog="Examples:  ftbridge backfill --since 2w   ftbridge backfill support-bot   "
    "ftbridge backfill --experiment my-sft --dry-run"
)
def backfill(  # noqa: PLR0917 - typer calls it with names
    jobs: Jobs = None,
    config: Config = None,
    provider: Providers = None,
    job: JobIds = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Created at or after: 2026-01-31, 30d, 2w, yesterday."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Created before.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="Only running, succeeded, failed, cancelled, queued, ... jobs; repeatable.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only the newest N jobs of each provider."),
    ] = None,
    experiment: Experiment = None,
    tracking_uri: TrackingUri = None,
    metric_names: MetricNames = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print what would be written; write nothing.")
    ] = False,
    rename: Annotated[
        bool,
        typer.Option(
            "--rename", help="Give the runs that are logged the names of mlflow.metric_names."
        ),
    ] = False,
    rescue: Annotated[
        bool,
        typer.Option(
            "--rescue",
            help="Archive everything, with datasets, also of jobs copied before; print a summary.",
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Copy the history of all providers into MLflow, once."""
    from bridge.cli.backfill import backfill as command
    from bridge.cli.rename import rename as rename_command
    from bridge.cli.rescue import rescue as rescue_command
    from bridge.cli.terminal.selection import select

    chosen = chosen_of(experiment, tracking_uri, metric_names)

    def work() -> int:
        settings, selection = select(
            settings_of(config, chosen),
            providers=provider or (),
            job_ids=[*(job or ()), *((jobs or ()) if rename or rescue else ())],
            names=jobs or (),
            since=since,
            until=until,
            statuses=status or (),
            limit=limit,
            rename=rename,
            rescue=rescue,
            dry_run=dry_run,
            now=datetime.now(UTC),
        )
        if rescue:
            return rescue_command(settings, os.environ, selection, as_json=as_json)
        if rename:
            return rename_command(
                settings, os.environ, selection.job_ids, dry_run=dry_run, as_json=as_json
            )
        return command(
            settings,
            os.environ,
            selection,
            names=jobs or (),
            dry_run=dry_run,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
        )

    finish(work)


@app.command(epilog="Example:  ftbridge check --config config/bridge.yaml")
def check(config: Config = None, *, as_json: Json = False) -> None:
    """Check the configuration, and reach every provider and MLflow."""
    from bridge.cli.check import check as command

    finish(lambda: command(settings_of(config), os.environ, as_json=as_json))


@app.command(epilog="Example:  ftbridge doctor --provider openai --fix")
def doctor(
    config: Config = None,
    provider: Providers = None,
    job: JobIds = None,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Correct what it finds; without it nothing is written.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find what no pass heals by itself: lost, doubled, stuck."""
    from bridge.cli.doctor import doctor as command
    from bridge.cli.terminal.selection import select

    def work() -> int:
        settings, selection = select(
            settings_of(config),
            providers=provider or (),
            job_ids=job or (),
            now=datetime.now(UTC),
        )
        return command(settings, os.environ, selection.job_ids, fix=fix, as_json=as_json)

    finish(work)


@app.command(epilog="Examples:  ftbridge jobs   ftbridge jobs support-bot --status running")
def jobs(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only jobs with this in their name or id."),
    ] = None,
    config: Config = None,
    provider: Providers = None,
    status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help="Only jobs with this status; repeatable."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="Only the newest N jobs.")
    ] = 20,
    *,
    as_json: Json = False,
) -> None:
    """List the jobs that are in MLflow, with their losses."""
    from bridge.cli.jobs import Filter
    from bridge.cli.jobs import jobs as command

    chosen = Filter(
        name=name or "",
        providers=frozenset(provider or ()),
        statuses=tuple(status or ()),
        limit=limit,
    )
    finish(lambda: command(settings_of(config), os.environ, chosen, as_json=as_json))


@app.command(epilog="Example:  ftbridge show support-bot")
def show(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or part of its name.")],
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one job: its curve, checkpoints, and what is missing."""
    from bridge.cli.show import show as command

    finish(lambda: command(settings_of(config), os.environ, job, as_json=as_json))


@app.command(name="open", epilog="Example:  ftbridge open --port 5001")
def open_(
    config: Config = None,
    port: Annotated[
        int,
        typer.Option(min=1, max=65535, metavar="PORT", help="Port of the UI, if one is started."),
    ] = 5000,
    *,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Whether to open the browser.")
    ] = True,
) -> None:
    """Open MLflow's charts in the browser."""
    from bridge.cli.open_ui import open_ui as command

    finish(lambda: command(settings_of(config), os.environ, port=port, browser=browser))


@app.command(epilog="Example:  ftbridge status --watch")
def status(
    config: Config = None,
    *,
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="On a terminal: the jobs live, until Ctrl-C.")
    ] = False,
) -> None:
    """Show what is tracked, and what a running daemon does."""
    from bridge.cli.status import status as command

    finish(lambda: command(settings_of(config), os.environ, as_json=as_json, watch=watch))


@app.command(epilog="Example:  ftbridge init config/bridge.yaml")
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("config/bridge.yaml"),
    *,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema instead, for an editor.")
    ] = False,
) -> None:
    """Write a commented configuration to start from."""
    from bridge.cli.init import init as command
    from bridge.cli.init import show_schema

    finish(lambda: show_schema() if schema else command(path))


@app.command(epilog="Example:  ftbridge simulate --port 0")
def simulate(
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Port on 127.0.0.1; 0 takes any free one."
        ),
    ] = 8808,
) -> None:
    """Serve simulated fine-tuning APIs on this machine."""
    from bridge.cli.simulate import simulate as command

    finish(lambda: command(port=port))


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"ftbridge {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Show the version.",
            callback=lambda wanted: _version(wanted=wanted),
            is_eager=True,
        ),
    ] = False,
) -> None:
    from bridge.bootstrap.process import prepare_process

    del version
    prepare_process()


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows "?"
    app()
