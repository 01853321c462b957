"""The connection to a tracking store: a server or a database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote as escaped
from urllib.parse import urlsplit

from bridge.redaction import Redactor
from bridge.text import one_line
from bridge.tracking.addresses import check_address
from bridge.tracking.capabilities import Capabilities
from bridge.tracking.connections import one_each
from bridge.tracking.databases import check_folder, first_opening, knock
from bridge.tracking.experiments import page_of
from bridge.tracking.failures import refused

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAGE_SIZE: Final = 500
"""Largest number of runs in a page. MLflow takes about 50 kB of memory for each run."""
CALLS: Final = 4
"""Number of simultaneous calls to a store. MLflow uses two of its database's fifteen connections
for one write, so sixteen writers, of any number of bridges, can wait for one another until all time
out. More than four calls save no time, because the server's processor is then the limit.
"""


class TrackingClient:
    """One tracking store, through ``MlflowClient``. Thread-safe."""

    def __init__(
        self, uri: str, *, redactor: Redactor | None = None, page_size: int = PAGE_SIZE
    ) -> None:
        """Connect on first use.

        Args:
            uri: address of the store.
            redactor: masks secrets in errors.
            page_size: largest number of runs of a history that are read at once.
        """
        self.uri = uri
        self.page_size = page_size
        self.redactor = redactor or Redactor()
        self.capabilities = Capabilities()
        self._connecting = threading.Lock()
        # sqlite has one writer at a time. On a slow disk, others may wait longer than the twenty
        # seconds that MLflow allows; here they wait as long as necessary.
        self._turn = threading.BoundedSemaphore(CALLS if self.file is None else 1)
        self._connected: MlflowClient | None = None

    @property
    def is_remote(self) -> bool:
        """Whether the store is a server rather than a database."""
        return urlsplit(self.uri).scheme in {"http", "https"}

    @contextlib.contextmanager
    def asked(self, *, one_job: bool = False) -> Iterator[MlflowClient]:
        """Yield MLflow's client, with its exceptions converted into the bridge's own.

        Args:
            one_job: whether a refusal concerns only one job rather than every further call.

        Raises:
            TrackingDown: the store cannot be reached, or refuses everything.
            TrackingError: it refuses this request.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._turn, one_each(self.uri):
                yield self._client
        except (
            MlflowException,
            ImportError,
            SQLAlchemyError,
            OSError,
            ValueError,
        ) as error:
            message = self.redactor.text(str(error))
            raise refused(error, message, self.shown_uri, one_job=one_job) from error

    @property
    def _client(self) -> MlflowClient:
        with self._connecting:
            if self._connected is None:
                check_address(self.uri, self.shown_uri)
                with first_opening(self.file, _opened):
                    knock(self.uri, self.file)
                    client = _opened(self.uri)
                self.capabilities.probe(client, self.uri)
                self._connected = client
            return self._connected

    def ping(self) -> None:
        """Check that the store answers; a missing database file is accepted."""
        check_address(self.uri, self.shown_uri)
        if self.is_missing:
            try:
                check_folder(self.file)
            except OSError as error:
                message = self.redactor.text(str(error))
                raise refused(error, message, self.shown_uri, one_job=False) from error
            return
        is_opened = self._connected is not None
        with self.asked() as client:
            if is_opened:  # otherwise it has just answered
                client.search_experiments(max_results=1)

    @property
    def is_missing(self) -> bool:
        """Whether this is a database file that the first write will create."""
        return self.file is not None and not self.file.exists()

    @property
    def file(self) -> Path | None:
        """File of an sqlite database."""
        scheme, found, rest = self.uri.partition(":///")
        path = rest.partition("?")[0]
        is_file = found and scheme == "sqlite" and path not in {"", ":memory:"}
        return Path(path) if is_file else None

    @property
    def shown_uri(self) -> str:
        """URI without its password."""
        return one_line(self.redactor.text(self.uri))

    def link(
        self,
        experiment_id: str,
        run_id: str | None = None,
        *,
        page: str = "runs",
        view: str | None = None,
    ) -> str:
        """Return the address of an experiment, a run, or another page in MLflow's UI."""
        page = f"runs/{run_id}" if run_id else page
        return f"{self.ui}/{page_of(experiment_id, page=page, view=view)}"

    def registry_link(self, name: str, version: int) -> str:
        """Return the page of a version of a registered model in MLflow's UI."""
        return f"{self.ui}/#/models/{escaped(name, safe='')}/versions/{version}"

    @property
    def ui(self) -> str:
        """Address of MLflow's UI."""
        if not self.is_remote:
            return "http://127.0.0.1:5000"
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]  # without user name and password
        return f"{parts.scheme}://{host}{parts.path}".rstrip("/")

    @property
    def ui_command(self) -> str | None:
        """Command that serves a database's UI; ``None`` for a server."""
        return None if self.is_remote else f"mlflow ui --backend-store-uri {self.shown_uri}"


def _opened(uri: str) -> MlflowClient:
    """Return MLflow's client, after creating the tables that a database lacks."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def quoted(text: str | None) -> str | None:
    """Return ``text`` as a literal of MLflow's filter language, which has no escapes."""
    for quote in ("'", '"'):
        if text is not None and quote not in text:
            return f"{quote}{text}{quote}"
    return None
