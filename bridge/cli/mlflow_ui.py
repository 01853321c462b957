"""MLflow's own server, started to show runs to a person."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bridge.cli.processes import Children
from bridge.cli.terminal.console import saying
from bridge.errors import BridgeError, ConfigError

USUAL_PORT: Final = 5000
_START_TIMEOUT: Final = 120.0
"""Timeout of the start in seconds."""


@dataclass(frozen=True, slots=True)
class MlflowUi:
    """A server that has been started."""

    url: str
    _process: subprocess.Popen[bytes]
    _log_file: Path

    def wait(self, stopping: threading.Event) -> None:
        """Wait until it answers or ``stopping`` is set.

        Raises:
            BridgeError: it did not start.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        with saying("MLflow is starting"), httpx.Client(timeout=2.0) as client:
            while not _answers(client, self.url) and not stopping.wait(0.2):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = self._log_file.read_text(errors="replace")[-1000:]
                    raise BridgeError(f"MLflow did not start: {said}")


@contextlib.contextmanager
def mlflow_ui(
    store: str, port: int, folder: Path, children: Children, *, artifacts: Path | None = None
) -> Iterator[MlflowUi]:
    """Start a server on 127.0.0.1; it ends with the context.

    Args:
        store: the URI of its database.
        port: a free port.
        folder: folder of its log.
        children: the command's processes.
        artifacts: location of the clients' artifacts.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", store]
    if artifacts:
        command += ["--artifacts-destination", str(artifacts)]
    log_file = folder / "mlflow.log"
    with log_file.open("wb") as output, children.start(command, output=output) as process:
        yield MlflowUi(f"http://127.0.0.1:{port}", process, log_file)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def free_port(wanted: int | None) -> int:
    """Return the requested port, else the usual one, else any free one.

    Raises:
        ConfigError: another program uses the requested port.
    """
    for port in (wanted,) if wanted else (USUAL_PORT, 0):
        with socket.socket() as probe:
            # As servers do, so that connections of one that has just ended do not block its port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError([f"--port {wanted}: another program uses it; choose another port"])
