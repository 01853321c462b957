"""A real Dask cluster on this machine, whose processes can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from tests.support.ports import free_port
from tests.support.processes import wait_until

_DASK: Final = [sys.executable, "-m", "dask"]
_ENVIRON: Final = {
    "PYTHONUNBUFFERED": "1",
    "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "1s",  # as the page on operations says
    # Python 3.11 can stand still for ever while Dask's profiler looks at all threads.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
}
_HERE: Final = ["--host", "127.0.0.1", "--no-dashboard"]


class DaskCluster:
    """A scheduler and its workers, running within the context; the port stays the same.

    The workers start with a separate configuration, as they do on other machines.
    """

    def __init__(self, folder: Path, config: Path, *, workers: int, threads: int = 4) -> None:
        self._folder = folder
        self._config = config
        self._threads = threads
        self._size = workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = free_port()

    @property
    def address(self) -> str:
        """Return the address for ``poll.executor``."""
        return f"dask://127.0.0.1:{self._port}"

    @property
    def said(self) -> str:
        """Return everything that the processes have logged."""
        return (self._folder / "dask.log").read_text(errors="replace")

    def start(self) -> None:
        """Start the cluster, and return once the workers are connected."""
        self._start("scheduler", "--port", str(self._port))
        for _ in range(self._size):
            self.add_worker()
        self.wait_for_workers(self._size)

    def add_worker(self) -> None:
        """Start one more worker."""
        self._start(
            *("worker", f"tcp://127.0.0.1:{self._port}", "--no-nanny"),
            *("--nthreads", str(self._threads), "--local-directory", str(self._folder)),
        )

    def wait_for_workers(self, number: int) -> None:
        """Return once this many workers are ready."""
        wait_until(lambda: self.said.count("Registered to:") >= number, f"{number} workers")

    def kill_worker(self) -> None:
        """Kill one worker at once, as a power cut would."""
        self._end(self._processes.pop())

    def kill(self) -> None:
        """Kill all processes at once."""
        while self._processes:
            self._end(self._processes.pop())
        (self._folder / "dask.log").unlink(missing_ok=True)

    def _start(self, *arguments: str) -> None:
        with (self._folder / "dask.log").open("ab") as output:
            process = subprocess.Popen(
                [*_DASK, *arguments, *_HERE],
                env=os.environ | _ENVIRON | {"FTBRIDGE_CONFIG": str(self._config)},
                stdout=output,
                stderr=output,
                cwd=self._folder,
            )
        self._processes.append(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
