"""MLflow: the only module that imports it, and the bridge's only memory.

Reads what is recorded, applies plans, and says in ``bridge.errors`` what went wrong. Nothing is
decided here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from bridge import errors
from bridge.database import check_folder, first_opening, knock
from bridge.ledger import RunState
from bridge.mlflow_errors import refused
from bridge.plan import FINAL_RUN_STATUS, JOB_TAG, OWNER, OWNER_TAG, PROVIDER_TAG, Plan
from bridge.untrusted import Redactor, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

_PAGE_SIZE: Final = 1000
_CALLS: Final = 6
"""How many calls may be inside an in-process store. MLflow may need two of its fifteen connections
for one call: more threads than this could wait for one another for ever."""

_ENVIRONMENT: Final[Mapping[str, str]] = {
    # MLflow's own patience is 7 retries of up to 120 s; the next pass is the better retry.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # A link per finished run would drown what the bridge itself prints.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What the bridge wants of MLflow's client, unless the user has said otherwise."""


class Tracking:
    """One tracking store, through ``MlflowClient``: a server or a database. Thread-safe.

    Every method raises ``TrackingDown`` where the store cannot be reached or refuses everything,
    and ``TrackingError`` where it refuses this one thing.
    """

    def __init__(self, uri: str, *, redactor: Redactor | None = None) -> None:
        self.uri = uri
        self._redactor = redactor or Redactor()
        self._connecting = threading.Lock()
        self._turn = self._turns()
        self._connected: MlflowClient | None = None

    @property
    def is_remote(self) -> bool:
        """Whether a server is asked, not a database opened."""
        return urlsplit(self.uri).scheme in {"http", "https"}

    def _turns(self) -> AbstractContextManager[object]:
        """What a call holds while it is in the store."""
        if self.is_remote:
            return contextlib.nullcontext()  # a server queues by itself
        # sqlite has one writer at a time. On a slow disk others wait for longer than the twenty
        # seconds that MLflow gives them; here they wait as long as it takes.
        return threading.BoundedSemaphore(_CALLS if self._file is None else 1)

    def experiment(self, name: str, *, create: bool) -> str | None:
        """The id of an active experiment; ``None`` where it does not exist and is not created."""
        if not create and self._is_missing:
            return None
        with self._translated():
            found: Experiment | None = self._client.get_experiment_by_name(name)
            if found is None and create:
                return self._create_experiment(name)
        if found is None:
            return None
        if found.lifecycle_stage == "deleted":
            raise errors.TrackingDown(
                f"The MLflow experiment {name!r} is deleted",
                f"Restore it (mlflow experiments restore -x {found.experiment_id})"
                " or configure another name",
            )
        return str(found.experiment_id)

    def _create_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.create_experiment(name))
        except MlflowException as error:
            # Another process may have been faster.
            found = self._client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
            return str(found.experiment_id)

    def ping(self) -> None:
        """Make sure that the store answers. A database file that is still missing is fine."""
        if self._is_missing:
            with self._translated():
                check_folder(self._file)
            return
        with self._translated():
            self._client.search_experiments(max_results=1)

    def runs(
        self,
        experiment_id: str,
        provider: str | None = None,
        *,
        job_id: str | None = None,
        only_open: bool = False,
    ) -> Iterator[RunState]:
        """Runs that carry jobs, deleted ones too.

        Args:
            experiment_id: where to look.
            provider: only jobs of this provider.
            job_id: only this job.
            only_open: only runs without final status.
        """
        terms = [f"tags.{PROVIDER_TAG} = {_quoted(provider)}"] if provider else []
        if not provider:
            terms.append(f"tags.{PROVIDER_TAG} != ''")
        if job_id is not None and _quoted(job_id):
            terms.append(f"tags.{JOB_TAG} = {_quoted(job_id)}")
        if only_open:
            terms += [f"attributes.status != '{status}'" for status in sorted(FINAL_RUN_STATUS)]
        for run in self._search(experiment_id, " and ".join(terms)):
            state = _run_state(run)
            if state.job_id and job_id in {None, state.job_id}:
                yield state

    def _search(self, experiment_id: str, filter_string: str) -> Iterator[Run]:
        from mlflow.entities import ViewType

        token: str | None = None
        while True:
            with self._translated():
                page = self._client.search_runs(
                    [experiment_id],
                    filter_string=filter_string,
                    run_view_type=ViewType.ALL,
                    max_results=_PAGE_SIZE,
                    page_token=token,
                )
            yield from page
            token = page.token
            if not token:
                return

    def steps(self, run: RunState) -> dict[str, frozenset[int]]:
        """The steps that are logged in a run, by metric: one request a metric."""
        with self._translated(one_job=True):
            return {
                name: frozenset(
                    metric.step for metric in self._client.get_metric_history(run.run_id, name)
                )
                for name in run.newest
            }

    def apply(self, experiment_id: str, plan: Plan) -> str:
        """Write a plan and return its run's id. The final status is written last.

        Raises:
            RunChanged: the run was deleted meanwhile.
        """
        from mlflow.entities import Metric, Param, RunTag

        with self._translated(one_job=True):
            run_id = plan.run_id
            tags = plan.tags
            if run_id is None:
                created = self._client.create_run(
                    experiment_id,
                    start_time=plan.start_time,
                    tags=dict(tags),
                    run_name=plan.run_name,
                )
                run_id = str(created.info.run_id)
                tags = {}
            self._client.log_batch(
                run_id,
                metrics=[Metric(p.name, p.value, p.timestamp, p.step) for p in plan.points],
                params=[Param(name, value) for name, value in plan.params.items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )
            if plan.status and plan.end_time is not None:
                self._client.set_terminated(run_id, plan.status, plan.end_time)
            elif plan.status:
                self._client.update_run(run_id, status=plan.status)
        return run_id

    def delete(self, run_ids: Iterable[str]) -> None:
        """Move runs to MLflow's trash."""
        for run_id in run_ids:
            # Whoever else resolves the same race may have been faster.
            with contextlib.suppress(errors.RunChanged), self._translated(one_job=True):
                self._client.delete_run(run_id)

    @property
    def _is_missing(self) -> bool:
        """Whether this is a database file that the first write will create."""
        return self._file is not None and not self._file.exists()

    @property
    def _file(self) -> Path | None:
        """The file of an sqlite database."""
        scheme, found, rest = self.uri.partition(":///")
        path = rest.partition("?")[0]
        return Path(path) if found and scheme == "sqlite" and path else None

    @property
    def _client(self) -> MlflowClient:
        with self._connecting:
            if self._connected is None:
                for name, value in _ENVIRONMENT.items():
                    os.environ.setdefault(name, value)
                # The migrations of a new database are of no interest to its user.
                logging.getLogger("alembic").setLevel(logging.WARNING)
                logging.getLogger("mlflow").setLevel(logging.WARNING)
                from mlflow import MlflowClient

                knock(self.uri)
                client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
                with first_opening(self._file):
                    client.search_experiments(max_results=1)
                self._connected = client
            return self._connected

    @contextlib.contextmanager
    def _translated(self, *, one_job: bool = False) -> Iterator[None]:
        """MLflow's exceptions as the bridge's; a refusal counts for ``one_job`` or for all."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._turn:
                yield
        except (
            MlflowException,
            ModuleNotFoundError,
            SQLAlchemyError,
            OSError,
            ValueError,
        ) as error:
            message = self._redactor.text(str(error))
            raise refused(error, message, self.shown_uri, one_job=one_job) from error

    @property
    def shown_uri(self) -> str:
        """The URI without its password."""
        return one_line(self._redactor.text(self.uri))

    def link(self, experiment_id: str, run_id: str | None = None) -> str:
        """Where MLflow's UI shows an experiment's runs, or one run.

        Without ``workflowType`` the UI opens on an overview of traces, where no run is in sight.
        """
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]  # without user name and password
        base = f"{parts.scheme}://{host}{parts.path}".rstrip("/")
        if not self.is_remote:
            base = "http://127.0.0.1:5000"
        page = f"runs/{run_id}" if run_id else "runs"
        return f"{base}/#/experiments/{experiment_id}/{page}?workflowType=machine_learning"

    @property
    def ui_command(self) -> str | None:
        """The command that serves the UI of a database; ``None`` where a server does already."""
        return None if self.is_remote else f"mlflow ui --backend-store-uri {self.shown_uri}"


def _quoted(text: str | None) -> str | None:
    """``text`` as a literal of MLflow's filter language, which has no escapes."""
    for quote in ("'", '"'):
        if text is not None and quote not in text:
            return f"{quote}{text}{quote}"
    return None


def _run_state(run: Run) -> RunState:
    tags = run.data.tags
    return RunState(
        run_id=run.info.run_id,
        job_id=tags.get(JOB_TAG, ""),
        provider=tags.get(PROVIDER_TAG, ""),
        name=run.info.run_name or "",
        status=run.info.status,
        is_deleted=run.info.lifecycle_stage == "deleted",
        is_ours=tags.get(OWNER_TAG) == OWNER,
        start_time=run.info.start_time,
        tags=tags,
        params=run.data.params,
        # The message form is the public one that keeps a metric's step and time.
        newest={m.key: (m.step, m.timestamp) for m in run.data.to_proto().metrics},
    )
