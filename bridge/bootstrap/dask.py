"""A Dask cluster in place of threads: many processes on any number of machines.

If a worker dies, Dask gives its task to another one. A lost cluster ends the pass with
``ClusterDown``, and the next pass connects again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

from bridge.errors import ClusterDown, ConfigError
from bridge.settings.poll import SCHEMES
from bridge.text import one_line

if TYPE_CHECKING:
    from distributed import Client

P = ParamSpec("P")
T = TypeVar("T")

_ANSWER: Final = 5.0
"""Timeout of a scheduler's answers in seconds."""


class Cluster(Executor):
    """The executor of a Dask cluster, which connects on first use. Thread-safe.

    Its futures cannot be cancelled, and raise ``ClusterDown`` if the cluster is lost.

    Args:
        address: ``dask://host:port``, or ``dask+tls://host:port``.
        most: Highest number of simultaneous tasks; more wait, and leave room for other executors.

    Raises:
        ConfigError: Dask is not installed.
    """

    def __init__(self, address: str, most: int = 1) -> None:
        try:
            import distributed  # noqa: F401 - checks whether it is installed
        except ImportError:
            raise ConfigError(
                ["poll.executor needs the Python package distributed: pip install distributed"]
            ) from None
        for name in ("client", "core", "comm"):
            # The pass reports a lost connection once; Dask's own log lines would repeat it.
            logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
        parts = urlsplit(address)
        self._shown = one_line(address, 200)
        self._address = f"{SCHEMES[parts.scheme]}://{parts.netloc}"
        self._room = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._client: Client | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit work to the workers as soon as there is room.

        Raises:
            ClusterDown: No worker is left.
        """
        self._room.acquire()
        back: Future[T] = Future()
        back.set_running_or_notify_cancel()
        try:
            executor = self._connected().get_executor(pure=False)  # type: ignore[no-untyped-call] # Dask's
            executor.submit(fn, *args, **kwargs).add_done_callback(partial(self._arrived, back))
        except BaseException:
            self._room.release()
            raise
        return back

    def workers(self) -> int:
        """Return the number of workers.

        Raises:
            ClusterDown: There is none, or the scheduler does not answer.
        """
        return len(self._connected().nthreads())  # type: ignore[no-untyped-call] # Dask's

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base class's
        """Close the connection; the workers finish the tasks in hand all the same."""
        del wait, cancel_futures
        if self._client is not None:
            with contextlib.suppress(OSError, RuntimeError):  # the scheduler may be gone
                self._client.close()  # type: ignore[no-untyped-call] # Dask's

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None or self._client.status == "closed":
                self._client = self._connect()
            if self._client.status != "running":
                raise self._down("is lost")  # Dask tries to reconnect for a while
            return self._client

    def _connect(self) -> Client:
        from distributed import Client

        try:
            client = Client(  # type: ignore[no-untyped-call] # Dask's
                self._address, timeout=_ANSWER, set_as_default=False, name="ftbridge"
            )
            if client.nthreads():  # type: ignore[no-untyped-call] # Dask's
                return client
            client.close()  # type: ignore[no-untyped-call] # Dask's
        except (OSError, ValueError) as error:
            raise self._down(f"does not answer ({one_line(str(error), 200)})") from error
        raise self._down("has no workers")

    def _arrived(self, back: Future[Any], sent: Future[Any]) -> None:
        from distributed.scheduler import NoWorkerError

        self._room.release()
        if sent.cancelled():  # by Dask, when the connection breaks
            back.set_exception(self._down("is lost"))
        elif isinstance(error := sent.exception(), NoWorkerError):
            back.set_exception(self._down("has no workers"))
        elif error:
            back.set_exception(error)
        else:
            back.set_result(sent.result())

    def _down(self, why: str) -> ClusterDown:
        return ClusterDown(
            f"The Dask cluster at {self._shown} {why}",
            "Start it, or correct poll.executor; the next pass tries again",
        )
