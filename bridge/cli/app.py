"""The command line. A command's module is imported when it runs: ``--help`` is instant."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from bridge import __version__

if TYPE_CHECKING:
    from bridge.settings.model import Settings

USAGE = 2
"""Exit code for a wrong configuration or command line."""

app = typer.Typer(
    name="ftbridge",
    help="Hosted fine-tuning jobs (OpenAI, Azure, ...) as MLflow runs, beside your local ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # frames around the help would take longer than all the rest of it
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="YAML file; else $FTBRIDGE_CONFIG, else config/bridge.yaml, else the environment.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command()
def demo(
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of the MLflow UI; else 5000, or any if that is taken."
        ),
    ] = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Run the simulated jobs to their end, then exit.")
    ] = False,
) -> None:
    """See it work with no key and no network: simulated jobs, the bridge, the MLflow UI."""
    from bridge.cli.demo import demo as command

    _exit(lambda: command(port=port, once=once))


@app.command()
def run(
    config: Config = None,
    *,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(
            "--log-format", envvar="FTBRIDGE_LOG_FORMAT", help="One JSON object a line, or text."
        ),
    ] = "text",
) -> None:
    """Follow all providers until stopped."""
    from bridge.daemon.service import run as command

    _exit(lambda: command(lambda: _settings(config), os.environ, as_json=log_format == "json"))


@app.command()
def backfill(  # noqa: PLR0917 - typer calls it with names
    config: Config = None,
    provider: Annotated[
        list[str] | None, typer.Option(help="Only this provider; repeatable.")
    ] = None,
    job: Annotated[list[str] | None, typer.Option(help="Only this job id; repeatable.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Created at or after: 2026-01-31, or 30d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Created before.")] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Only jobs with this status; repeatable.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the newest so many of each provider.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be written; write nothing.")
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
            help="Archive everything, datasets too, also of jobs copied before; and sum it up.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy the history of all providers into MLflow, once."""
    from bridge.cli.backfill import backfill as command
    from bridge.cli.backfill import select
    from bridge.cli.rename import rename as rename_command
    from bridge.cli.rescue import rescue as rescue_command

    def work() -> int:
        settings, selection = select(
            _settings(config),
            providers=provider or (),
            job_ids=job or (),
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
        return command(settings, os.environ, selection, dry_run=dry_run, as_json=as_json)

    _exit(work)


@app.command()
def check(config: Config = None, *, as_json: Json = False) -> None:
    """Say whether the configuration holds and everything can be reached."""
    from bridge.cli.check import check as command

    _exit(lambda: command(_settings(config), os.environ, as_json=as_json))


@app.command()
def doctor(
    config: Config = None,
    provider: Annotated[
        list[str] | None, typer.Option(help="Only this provider; repeatable.")
    ] = None,
    job: Annotated[list[str] | None, typer.Option(help="Only this job id; repeatable.")] = None,
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Mend it; else nothing is written.")] = False,
    as_json: Json = False,
) -> None:
    """Find what no pass heals by itself: lost, doubled, stuck. Reads every job anew."""
    from bridge.cli.backfill import select
    from bridge.cli.doctor import doctor as command

    def work() -> int:
        settings, selection = select(
            _settings(config),
            providers=provider or (),
            job_ids=job or (),
            now=datetime.now(UTC),
        )
        return command(settings, os.environ, selection.job_ids, fix=fix, as_json=as_json)

    _exit(work)


@app.command()
def status(
    config: Config = None,
    *,
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="On a terminal: show it anew every 2 s, until Ctrl-C.")
    ] = False,
) -> None:
    """Show what is tracked, as MLflow knows it, and what a running daemon is about."""
    from bridge.cli.status import status as command

    _exit(lambda: command(_settings(config), os.environ, as_json=as_json, watch=watch))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("config/bridge.yaml"),
    *,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print its JSON Schema instead, for an editor.")
    ] = False,
) -> None:
    """Write a commented configuration to start from."""
    from bridge.cli.init import init as command
    from bridge.cli.init import show_schema

    _exit(lambda: show_schema() if schema else command(path))


@app.command()
def simulate(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")
    ] = 8808,
) -> None:
    """Serve simulated fine-tuning APIs of all providers on this machine."""
    from bridge.cli.simulate import simulate as command

    _exit(lambda: command(port=port))


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"ftbridge {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda wanted: _version(wanted=wanted), is_eager=True),
    ] = False,
) -> None:
    from bridge.bootstrap.process import prepare_process

    del version
    prepare_process()


def _settings(config: Path | None) -> Settings:
    from bridge.settings.load import load

    return load(
        config, os.environ, warn=lambda what: typer.echo(f"ftbridge: warning: {what}", err=True)
    )


def _exit(work: Callable[[], int]) -> NoReturn:
    """Do a command's work; the only place where an error becomes text and an exit code."""
    from bridge.errors import BridgeError, ConfigError

    try:
        code = work()
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(f"ftbridge: {problem}", err=True)
        code = USAGE
    except BridgeError as error:
        typer.echo(f"ftbridge: {error}", err=True)
        code = 1
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does; silence the interpreter's own word.
        sys.stderr.close()
        code = 1
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows "?"
    app()
