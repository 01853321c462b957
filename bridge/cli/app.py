"""The command line. A command's module is imported when it runs, so that ``--help`` is instant."""

from __future__ import annotations

import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bridge import __version__
from bridge.cli.terminal import options as the
from bridge.cli.terminal.finish import Output, chosen_of, finish, settings_of

app = typer.Typer(
    name="ftbridge",
    help="Copy hosted fine-tuning jobs (OpenAI, Azure, ...) into MLflow, next to your local runs.",
    epilog="Try it without a key or a network:  ftbridge demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing frames would take longer than everything else that --help does
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example:  ftbridge demo --all")
def demo(
    port: the.DemoPort = None, *, all_types: the.AllTypes = False, once: the.Once = False
) -> None:
    """Show the bridge at work, without a key or a network."""
    from bridge.cli.demo import demo as command

    finish(lambda: command(port=port, once=once, every=all_types))


@app.command(epilog="Example:  ftbridge run --config /etc/ftbridge.yaml --log-format json")
def run(
    config: the.Config = None,
    experiment: the.Experiment = None,
    tracking_uri: the.TrackingUri = None,
    metric_names: the.MetricNames = None,
    *,
    log_format: the.LogFormat = "text",
    verbose: the.Verbose = False,
) -> None:
    """Follow the jobs of all providers, until stopped."""
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
    jobs: the.Jobs = None,
    config: the.Config = None,
    provider: the.Providers = None,
    job: the.JobIds = None,
    since: the.Since = None,
    until: the.Until = None,
    status: the.Statuses = None,
    limit: the.NewestOfEach = None,
    experiment: the.Experiment = None,
    tracking_uri: the.TrackingUri = None,
    metric_names: the.MetricNames = None,
    *,
    dry_run: the.DryRun = False,
    rename: the.Rename = False,
    rescue: the.Rescue = False,
    quiet: the.Quiet = False,
    verbose: the.Verbose = False,
    as_json: the.Json = False,
) -> None:
    """Copy the jobs of all providers into MLflow, once.

    JOB is a job's id, or a suffix that jobs share. Without JOB, all jobs are copied.
    """
    from bridge.cli.backfill import backfill_as_asked
    from bridge.cli.terminal.selection import Asked

    asked = Asked(
        providers=tuple(provider or ()),
        job_ids=tuple(job or ()),
        names=tuple(jobs or ()),
        since=since,
        until=until,
        statuses=tuple(status or ()),
        limit=limit,
        rename=rename,
        rescue=rescue,
        dry_run=dry_run,
    )
    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    chosen = chosen_of(experiment, tracking_uri, metric_names)
    finish(lambda: backfill_as_asked(settings_of(config, chosen), os.environ, asked, output))


@app.command(epilog="Example:  ftbridge check --config config/bridge.yaml")
def check(config: the.Config = None, *, as_json: the.Json = False) -> None:
    """Check the configuration, every provider and MLflow."""
    from bridge.cli.check import check as command

    finish(lambda: command(settings_of(config), os.environ, as_json=as_json))


@app.command(epilog="Example:  ftbridge doctor --provider openai --fix")
def doctor(
    config: the.Config = None,
    provider: the.Providers = None,
    job: the.JobIds = None,
    *,
    fix: the.Fix = False,
    as_json: the.Json = False,
) -> None:
    """Find lost, duplicate and stuck runs; --fix repairs them."""
    from bridge.cli.doctor import doctor as command
    from bridge.cli.terminal.selection import Asked, select

    asked = Asked(providers=tuple(provider or ()), job_ids=tuple(job or ()))

    def work() -> int:
        settings, selection = select(settings_of(config), asked, datetime.now(UTC))
        return command(settings, os.environ, selection.job_ids, fix=fix, as_json=as_json)

    finish(work)


@app.command(epilog="Examples:  ftbridge jobs   ftbridge jobs support-bot --status running")
def jobs(  # noqa: PLR0917 - typer calls it with names
    name: the.Name = None,
    config: the.Config = None,
    provider: the.Providers = None,
    status: the.ListedStatuses = None,
    limit: the.Newest = 20,
    experiment: the.Experiment = None,
    *,
    as_json: the.Json = False,
) -> None:
    """List the jobs in MLflow, with their losses.

    NAME is part of a run's name or of a job's id.
    """
    from bridge.cli.jobs import jobs as command
    from bridge.listing.job_lines import Filter

    chosen = Filter(
        name=name or "",
        providers=frozenset(provider or ()),
        statuses=tuple(status or ()),
        limit=limit,
    )
    place = chosen_of(experiment)
    finish(lambda: command(settings_of(config, place), os.environ, chosen, as_json=as_json))


@app.command(epilog="Example:  ftbridge show support-bot")
def show(
    job: the.Job,
    config: the.Config = None,
    experiment: the.Experiment = None,
    *,
    as_json: the.Json = False,
) -> None:
    """Show one job: its curve, its checkpoints and what is missing.

    JOB is a job's id, or part of its run's name.
    """
    from bridge.cli.show import show as command

    place = chosen_of(experiment)
    finish(lambda: command(settings_of(config, place), os.environ, job, as_json=as_json))


@app.command(name="open", epilog="Example:  ftbridge open --port 5001")
def open_(
    config: the.Config = None, port: the.UiPort = 5000, *, browser: the.Browser = True
) -> None:
    """Open MLflow's charts in the browser."""
    from bridge.cli.open_ui import open_ui as command

    finish(lambda: command(settings_of(config), os.environ, port=port, browser=browser))


@app.command(epilog="Example:  ftbridge status --watch")
def status(
    config: the.Config = None,
    experiment: the.Experiment = None,
    *,
    as_json: the.Json = False,
    watch: the.Watch = False,
) -> None:
    """Count the jobs in MLflow, and ask a running daemon."""
    from bridge.cli.status import status as command

    place = chosen_of(experiment)
    finish(lambda: command(settings_of(config, place), os.environ, as_json=as_json, watch=watch))


@app.command(epilog="Example:  ftbridge init config/bridge.yaml")
def init(path: the.Target = Path("config/bridge.yaml"), *, schema: the.Schema = False) -> None:
    """Write a commented configuration to start from.

    FILE defaults to config/bridge.yaml.
    """
    from bridge.cli.init import init as command
    from bridge.cli.init import show_schema

    finish(lambda: show_schema() if schema else command(path))


@app.command(epilog="Example:  ftbridge simulate --port 0")
def simulate(port: the.ApiPort = 8808) -> None:
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
