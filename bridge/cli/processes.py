"""Processes that end with the command that started them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Final

from bridge.errors import BridgeError

_PATIENCE: Final[Mapping[str, str]] = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "120",
}
"""MLflow's own defaults, because a user's script has no next pass that would try again."""


class Children:
    """The demo's processes, each in a separate group, so that Ctrl-C reaches only this one."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._starting = threading.RLock()  # the handler of one signal may interrupt another's
        self._is_over = False

    @contextlib.contextmanager
    def start(
        self,
        command: list[str],
        *,
        environ: Mapping[str, str] | None = None,
        output: IO[bytes] | int = subprocess.DEVNULL,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Yield a process that ends, with its own children, with the context."""
        # In a thread, because a signal's handler may interrupt the main thread between the start of
        # a process and the recording of its id.
        with ThreadPoolExecutor(1) as thread:
            process = thread.submit(self._started, command, environ or {}, output).result()
        try:
            yield process
        finally:
            for which in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, which)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
                    break
            self._groups.discard(process.pid)

    @contextlib.contextmanager
    def local_run(
        self,
        mlflow_url: str,
        *,
        seconds_per_step: float,
        output: IO[bytes],
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Yield the process of the local training run."""
        command = [sys.executable, "-m", "bridge.simulator.local_training", str(seconds_per_step)]
        environ = {"MLFLOW_TRACKING_URI": mlflow_url, **_PATIENCE}
        with self.start(command, environ=environ, output=output) as process:
            yield process

    def end_now(self, folder: str) -> None:
        """Kill all of them, start no more, and remove what they wrote."""
        with self._starting:
            self._is_over = True
            for group in tuple(self._groups):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)

    def _started(
        self, command: list[str], environ: Mapping[str, str], output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        with self._starting:
            if self._is_over:
                raise BridgeError("The command is ending")
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                command,
                env=os.environ | dict(environ),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.add(process.pid)
            return process
