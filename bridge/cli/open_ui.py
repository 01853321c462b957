"""``ftbridge open``: MLflow's charts in the browser."""

from __future__ import annotations

import tempfile
import threading
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path

from bridge import log
from bridge.bootstrap.factories import experiments_of, redactor_of
from bridge.cli.mlflow_ui import USUAL_PORT, free_port, mlflow_ui
from bridge.cli.processes import Children
from bridge.cli.terminal.console import links, out, safe
from bridge.daemon.scheduler import wait
from bridge.daemon.signals import stop_on_signals
from bridge.errors import BridgeError
from bridge.settings.model import Settings
from bridge.tracking import Tracking


def open_ui(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    port: int = USUAL_PORT,
    browser: bool = True,
    visit: Callable[[str], object] = webbrowser.open,
) -> int:
    """Open the charts of the first experiment that has jobs; return the exit code.

    A server shows them itself. For a database MLflow's own server is started, and ends with the
    command.

    Raises:
        ConfigError: the port is taken.
        BridgeError: there is nothing to show yet, or MLflow did not start.
    """
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    pages = links(tracking, experiments_of(settings))
    if not pages:
        raise BridgeError(
            "MLflow has none of the configured experiments yet",
            "Run ftbridge backfill first, or try ftbridge demo",
        )
    if tracking.is_remote:
        return _shown(pages, "", visit if browser else None)
    stopping = threading.Event()
    children = Children()
    with (
        tempfile.TemporaryDirectory(prefix="ftbridge-open-") as folder,
        stop_on_signals(stopping),
        mlflow_ui(settings.mlflow.tracking_uri, free_port(port), Path(folder), children) as ui,
    ):
        ui.wait(stopping)
        if not stopping.is_set():
            here = {name: f"{ui.url}/#{page.partition('#')[2]}" for name, page in pages.items()}
            _shown(here, "\nCtrl-C stops MLflow's server.", visit if browser else None)
            wait(stopping)
    return 0


def _shown(pages: Mapping[str, str], last: str, visit: Callable[[str], object] | None) -> int:
    for name, page in pages.items():
        out().print(f"{safe(name)}: {page}")
    if last:
        out().print(last)
    if visit:
        visit(next(iter(pages.values())))
    return 0
