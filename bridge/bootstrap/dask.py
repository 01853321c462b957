"""A Dask cluster in the place of threads: many processes, on as many machines as one likes.

What is sent there counts as under way until it is back. The task of a worker that dies is Dask's
to give to another one; a cluster that is lost ends the pass, and the next one connects anew.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from bridge.errors import BridgeError, ClusterDown, ConfigError
from bridge.settings.poll import SCHEMES
from bridge.text import one_line

if TYPE_CHECKING:
    from distributed import Client

P = ParamSpec("P")
T = TypeVar("T")

_ANSWER: Final = 5.0
"""Seconds in which a scheduler has to answer."""
_LOOK: Final = 0.5
"""Seconds from one look at the cluster to the next."""
PATIENCE: Final = 30.0
"""Seconds without any worker after which a cluster is down: one may be on its way."""
_REMEDY: Final = "Start it, or correct poll.executor; the next pass tries again"


class Cluster:
    """The connection to a cluster: made when it is needed, and again when it was lost.

    Thread-safe.
    """

    def __init__(self, address: str, *, patience: float = PATIENCE) -> None:
        """Connects later: a daemon starts also while its cluster is down.

        Args:
            address: ``dask://host:port``, or ``dask+tls://host:port``.
            patience: seconds for which tasks may wait for a worker where there is none.

        Raises:
            ConfigError: Dask is not installed.
        """
        try:
            import distributed  # noqa: F401 - it is only asked for
        except ImportError:
            raise ConfigError(
                ["poll.executor needs the Python package distributed: pip install distributed"]
            ) from None
        for name in ("client", "core", "comm"):
            # What it says of a lost connection, the pass says once.
            logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
        parts = urlsplit(address)
        self._shown = one_line(address, 200)
        self._address = f"{SCHEMES[parts.scheme]}://{parts.netloc}"
        self._patience = patience
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._under_way: set[Future[Any]] = set()
        self._closed = threading.Event()

    def send(self, work: Callable[[], T]) -> Future[T]:
        """Have work done by a worker.

        The future cannot be cancelled. It raises ``ClusterDown`` if the cluster is lost.

        Raises:
            ClusterDown: there is no worker to send it to.
        """
        back: Future[T] = Future()
        back.set_running_or_notify_cancel()
        with self._lock:
            sent = _executor(self._connected()).submit(work)
            self._under_way.add(back)
        sent.add_done_callback(partial(self._arrived, back))
        return back

    def workers(self) -> int:
        """How many there are.

        Raises:
            ClusterDown: there are none, or the scheduler does not answer.
        """
        with self._lock:
            client = self._connected()
        return _workers(client)

    def close(self) -> None:
        """Let go of the cluster, and of what is under way there."""
        self._closed.set()
        with self._lock:
            client = self._client
        if client is not None:
            self._let_go(client, "is not asked any more")

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._connect()
            threading.Thread(target=self._watch, args=[self._client], daemon=True).start()
        elif self._client.status != "running":
            raise self._down("is lost")  # as its watch is about to notice
        return self._client

    def _connect(self) -> Client:
        from distributed import Client

        try:
            client = Client(  # type: ignore[no-untyped-call] # Dask's
                self._address, timeout=_ANSWER, set_as_default=False, name="ftbridge"
            )
        except (OSError, ValueError) as error:
            said = one_line(str(error), 200)
            raise self._down(f"does not answer ({said})") from error
        if not _workers(client):
            _close(client)
            raise self._down("has no workers")
        return client

    def _watch(self, client: Client) -> None:
        """Notice that the cluster is lost: Dask itself would wait for as long as it takes."""
        missed = 0
        while not self._closed.wait(_LOOK):
            if client.status != "running":
                return self._let_go(client, "is lost")
            missed = 0 if _workers(client) else missed + 1
            if missed * _LOOK > self._patience:
                return self._let_go(client, "has no workers")
        return None

    def _let_go(self, client: Client, why: str) -> None:
        with self._lock:
            if self._client is not client:
                return
            self._client = None
            lost, self._under_way = self._under_way, set()
        for back in lost:
            back.set_exception(self._down(why))
        _close(client)

    def _arrived(self, back: Future[Any], sent: Future[Any]) -> None:
        with self._lock:
            if back not in self._under_way:
                return
            self._under_way.remove(back)
        if sent.cancelled():
            back.set_exception(self._down("is lost"))
        elif error := sent.exception():
            back.set_exception(error)
        else:
            back.set_result(sent.result())

    def _down(self, why: str) -> BridgeError:
        return ClusterDown(f"The Dask cluster at {self._shown} {why}", _REMEDY)


def _workers(client: Client) -> int:
    try:
        return len(client.nthreads())  # type: ignore[no-untyped-call] # Dask's
    except (OSError, RuntimeError):  # it may have just been closed
        return 0


def _executor(client: Client) -> Executor:
    return cast("Executor", client.get_executor(pure=False))  # type: ignore[no-untyped-call] # Dask's


def _close(client: Client) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # there may be nobody to take leave of
        client.close()  # type: ignore[no-untyped-call] # Dask's


class Share(Executor):
    """One provider's part of a cluster: one that hangs leaves room for the others."""

    def __init__(self, cluster: Cluster, most: int) -> None:
        """Has at most so many tasks on the cluster at a time; a further one waits for its turn."""
        self._cluster = cluster
        self._turns = threading.BoundedSemaphore(most)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Send it, as soon as there is room.

        Raises:
            ClusterDown: there is no worker to send it to.
        """
        self._turns.acquire()
        try:
            back = self._cluster.send(partial(fn, *args, **kwargs))
        except BaseException:
            self._turns.release()
            raise
        back.add_done_callback(lambda _: self._turns.release())
        return back
