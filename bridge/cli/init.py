"""``ftbridge init``: a commented configuration to start from, and its schema."""

from __future__ import annotations

from pathlib import Path

from bridge.cli.terminal.console import out, print_json, safe
from bridge.errors import ConfigError
from bridge.redaction import Redactor
from bridge.settings.load import DEFAULT_PATH, STARTER
from bridge.settings.schema import schema


def show_schema() -> int:
    """Print the configuration's JSON Schema; return the exit code."""
    print_json(schema(), Redactor())
    return 0


def init(path: Path) -> int:
    """Write the starter configuration; return the exit code.

    Raises:
        ConfigError: the file exists already or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.read_text(encoding="utf-8"))
    except OSError as error:
        if path.exists():
            problem = f"{path} exists already; name another path or move it away"
        else:
            problem = f"{path} cannot be written: {error.strerror}"
        raise ConfigError([problem]) from None
    check = "ftbridge check" if path == DEFAULT_PATH else f"ftbridge check --config {path}"
    out().print(f"Wrote {safe(str(path))}. Next: edit it, then run [bold]{safe(check)}[/bold].")
    return 0
