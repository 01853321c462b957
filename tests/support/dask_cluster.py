"""A real Dask cluster on this machine, whose processes can be killed."""

from __future__ import annotations

import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Self

from tests.support.ports import free_port
from tests.support.processes import FORKS, wait_until, write_to

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
        self._processes: list[BaseProcess] = []
        self._port = free_port()

    @property
    def address(self) -> str:
        """Return the address for ``poll.executor``."""
        return f"dask://127.0.0.1:{self._port}"

    @property
    def said(self) -> str:
        """Return everything that the processes have logged."""
        log = self._folder / "dask.log"
        return log.read_text(errors="replace") if log.exists() else ""

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
        log = self._folder / "dask.log"
        environ = os.environ | _ENVIRON | {"FTBRIDGE_CONFIG": str(self._config)}
        process = FORKS.Process(target=_serve, args=([*arguments, *_HERE], log, environ))
        process.start()
        self._processes.append(process)

    @staticmethod
    def _end(process: BaseProcess) -> None:
        process.kill()
        process.join()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _serve(arguments: list[str], log: Path, environ: dict[str, str]) -> None:
    """Become ``dask``, with the imports of the bridge already done."""
    os.chdir(log.parent)
    write_to(log, log)
    os.environ.clear()
    os.environ.update(environ)
    from dask.__main__ import main  # noqa: PLC0415 - it reads the environment

    sys.argv = ["dask", *arguments]
    main()  # type: ignore[no-untyped-call] # Dask has no types there
