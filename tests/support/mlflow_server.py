"""A real MLflow server on this machine, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import ssl
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Self

import httpx

from tests.support.ports import free_port
from tests.support.processes import FORKS, wait_until, write_to

_SMALL: Final = ("--workers", "1")
"""Number of workers; it starts faster than the default of four."""

_BELIEVED: Final = ssl.create_default_context()
_BELIEVED.check_hostname = False
_BELIEVED.verify_mode = ssl.CERT_NONE


class MlflowServer:
    """``mlflow server`` over a database, running within the context; the port stays the same."""

    def __init__(
        self,
        store: str,
        folder: Path,
        options: Sequence[str] = _SMALL,
        python: str | Path = sys.executable,
    ) -> None:
        self._store = store
        self._python = str(python)
        self._options = options
        self._folder = folder
        self._process: BaseProcess | None = None
        self._port = free_port()

    @property
    def url(self) -> str:
        """Return the tracking URI."""
        scheme = "https" if any("--ssl-" in option for option in self._options) else "http"
        return f"{scheme}://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server, and return once it answers."""
        arguments = ["server", *self._options, "--host", "127.0.0.1", "--port", str(self._port)]
        arguments += ["--backend-store-uri", self._store]
        arguments += ["--artifacts-destination", str(self._folder / "artifacts")]
        log = self._folder / "mlflow.log"
        environ = os.environ | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            # Old versions look for gunicorn there.
            "PATH": f"{Path(self._python).parent}{os.pathsep}{os.environ['PATH']}",
        }
        process = FORKS.Process(target=_serve, args=(self._python, arguments, log, environ))
        process.start()
        self._process = process
        wait_until(
            lambda: process.exitcode is not None or self._answers(),
            "answer of MLflow",
            seconds=120,
        )
        assert process.exitcode is None, log.read_text()[-3000:]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2.0, verify=_BELIEVED).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """Kill the server at once, including its workers."""
        if self._process is not None:
            assert self._process.pid is not None
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.join()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _serve(python: str, arguments: list[str], log: Path, environ: dict[str, str]) -> None:
    """Become ``mlflow``: with the imports already done, unless it is another interpreter's."""
    os.setsid()
    write_to(log, log)
    os.environ.clear()
    os.environ.update(environ)
    if python != sys.executable:
        os.execv(python, [python, "-m", "mlflow", *arguments])  # noqa: S606 - an MLflow to test with
    from mlflow.cli import cli  # noqa: PLC0415 - other forks do without

    cli(arguments, prog_name="mlflow")
