"""``ftbridge init``: a commented configuration to start from."""

from __future__ import annotations

from pathlib import Path

from bridge.commands.console import out, safe
from bridge.config import STARTER
from bridge.errors import ConfigError


def init(path: Path) -> int:
    """Write the starter configuration; returns the exit code.

    Raises:
        ConfigError: there is a file already, or none can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.read_text(encoding="utf-8"))
    except FileExistsError:
        raise ConfigError([f"{path} exists already; name another path or move it away"]) from None
    except OSError as error:
        raise ConfigError([f"{path} cannot be written: {error.strerror}"]) from None
    out().print(f"Wrote {safe(str(path))}. Next: edit it, then run [bold]ftbridge check[/bold].")
    return 0
