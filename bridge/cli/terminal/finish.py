"""The end of a command: its errors as text, and its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import typer

if TYPE_CHECKING:
    from bridge.settings.model import Settings

USAGE: Final = 2
"""Exit code for a wrong configuration or command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The amount and the form of a command's output."""

    as_json: bool = False
    """Whether to print one document for programs."""
    quiet: bool = False
    """Whether to print problems only."""
    verbose: bool = False
    """Whether to log every decision."""

    @property
    def is_plain(self) -> bool:
        """Whether to omit progress bars and text for people."""
        return self.as_json or self.quiet


def chosen_of(
    experiment: str | None, tracking_uri: str | None = None, metric_names: str | None = None
) -> dict[str, str]:
    """Return the keys of ``mlflow:`` that the command line sets."""
    said = {
        "experiment": experiment,
        "tracking_uri": tracking_uri,
        "metric_names": metric_names,
    }
    return {key: value for key, value in said.items() if value is not None}


def settings_of(config: Path | None, chosen: dict[str, str] | None = None) -> Settings:
    """Return the configuration; a warning goes to stderr."""
    from bridge.settings.load import load

    return load(
        config,
        os.environ,
        mlflow=chosen or {},
        warn=lambda what: typer.echo(f"ftbridge: warning: {what}", err=True),
    )


def finish(work: Callable[[], int]) -> NoReturn:
    """Do a command's work; the only place where an error becomes text and an exit code."""
    from bridge.errors import BridgeError, ConfigError

    try:
        code = work()
    except ConfigError as error:
        for problem in error.problems:
            where = f"{error.file}: " if error.file else ""
            typer.echo(f"ftbridge: {where}{problem}", err=True)
        code = USAGE
    except BridgeError as error:
        typer.echo(f"ftbridge: {error}", err=True)
        code = 1
    raise typer.Exit(code)
