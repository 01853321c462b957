"""Output of commands: results on stdout, progress and trouble on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape

from bridge.errors import BridgeError
from bridge.redaction import Redactor
from bridge.text import one_line

if TYPE_CHECKING:
    from bridge.tracking import Tracking

Json = Mapping[str, object]


_WIDE: Final = 200
"""Columns of a file or a pipe, where lines need no folding."""


def out() -> Console:
    """Return the console for results."""
    width = None if sys.stdout.isatty() else _WIDE
    return Console(highlight=False, soft_wrap=True, emoji=False, width=width)


def err() -> Console:
    """Return the console for progress and trouble."""
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


@contextlib.contextmanager
def saying(what: str, *, plain: bool = False) -> Iterator[None]:
    """Show what is under way on a terminal, until the context ends."""
    console = err()
    if plain or not console.is_terminal:
        yield
        return
    with console.status(f"{what} ..."):
        yield


def safe(text: str, limit: int = 300) -> str:
    """Return untrusted text in a form that rich can print safely."""
    return escape(one_line(text, limit))


def print_json(document: Json, redactor: Redactor) -> None:
    """Print one JSON document, and nothing else, on stdout."""
    # In ASCII, because JSON leaves C1 control characters unescaped, and terminals obey them.
    sys.stdout.write(json.dumps(_masked(document, redactor), indent=2) + "\n")


def _masked(value: object, redactor: Redactor) -> object:
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, Mapping):
        return {_masked(key, redactor): _masked(each, redactor) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, redactor) for each in value]
    return value


def described(error: BridgeError) -> dict[str, str]:
    """Return an error for a JSON document."""
    return {"error": error.sentence, "remedy": error.remedy, "kind": type(error).__name__}


def links(tracking: Tracking, experiments: Iterable[str]) -> dict[str, str]:
    """Return the page of each experiment's runs; an experiment that does not exist has none."""
    found = {name: tracking.experiment(name, create=False) for name in sorted(set(experiments))}
    return {name: tracking.page(identifier) for name, identifier in found.items() if identifier}


def print_links(tracking: Tracking, experiments: Iterable[str]) -> None:
    """Print the addresses of the runs in MLflow's UI."""
    for line in link_lines(tracking, links(tracking, experiments)):
        out().print(line)


def link_lines(tracking: Tracking, pages: Mapping[str, str]) -> Iterator[str]:
    """Yield the addresses of the runs in MLflow's UI, as rich prints them."""
    if pages and tracking.ui_command:
        yield f"\nTo view them: [bold]{safe(tracking.ui_command)}[/bold], then open"
    for name, page in pages.items():
        yield f"{safe(name)}: {page}" if len(pages) > 1 else page
