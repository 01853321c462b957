"""Fixtures: a real MLflow in a temporary folder, a clock, threads."""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import hypothesis
import mlflow
import pytest
import structlog
from mlflow import MlflowClient

# Tests assert no durations, because these machines are shared.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

# Imports and collected tests stay: until all are there, looking among them for garbage finds none.
gc.disable()

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# The machine's user may have configured MLflow and the providers.
OTHERS = (
    *("MLFLOW_TRACKING", "MLFLOW_EXPERIMENT", "FTBRIDGE", "OPENAI_", "AZURE_", "NEBIUS_"),
    *("MISTRAL_", "TOGETHER_", "FIREWORKS_", "AWS_", "GOOGLE_", "PRIME_"),
)
for name in list(os.environ):
    if name.startswith(OTHERS):
        del os.environ[name]

from bridge.bootstrap.process import prepare_process  # noqa: E402 - MLflow reads it first

prepare_process()

from bridge.tracking import Tracking  # noqa: E402 - MLflow reads the environment first
from tests.support.databases import file_of, refill  # noqa: E402 - as above
from tests.support.mlflow_server import MlflowServer  # noqa: E402 - as above
from tests.support.postgres import postgres as temporary_postgres  # noqa: E402 - as above
from tests.support.undisturbed import (  # noqa: E402 - as above
    Undisturbed,
    undisturbed_backfill,
)
from tests.support.world import Clock  # noqa: E402 - as above

BEGIN = time.monotonic()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the test if the time of the run is over."""
    minutes: float | None = item.config.getoption("--minutes")
    if minutes is not None and time.monotonic() - BEGIN > 60 * minutes:
        pytest.skip(f"no time left of {minutes:g} minutes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that share servers in front: one worker takes them all, and starts each once.

    Workers begin with a third each, and take what is left of each other's from the back.
    """
    servers = {"server", "postgres", "postgres_server"}
    items.sort(key=lambda item: servers.isdisjoint(getattr(item, "fixturenames", ())))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the fork server in the workers of a whole run, while they collect the tests.

    It imports MLflow, and the first test that wants a process would wait. A room may want none.
    """
    if hasattr(session.config, "workerinput"):
        forkserver.ensure_running()


def pytest_collection_finish() -> None:
    """Look for garbage among what tests make, and not among a million objects that stay."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """Fail if a test leaves variables to the tests after it, whose order is random."""
    before = dict(os.environ)
    yield
    before["PYTEST_CURRENT_TEST"] = os.environ.get("PYTEST_CURRENT_TEST", "")
    after = dict(os.environ)
    if after != before:
        os.environ.clear()
        os.environ.update(before)
    assert after == before


@pytest.fixture(autouse=True)
def _log_as_by_default() -> Iterator[None]:
    """Undo what a command in this process has set up for the log."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def empty_database(request: pytest.FixtureRequest) -> Path:
    """Return an MLflow database without runs, whose many migrations are made once per release."""
    folder = request.config.cache.mkdir(f"mlflow-{mlflow.__version__}")
    path = folder / "empty.db"
    if not path.exists():
        unfinished = folder / f"{os.getpid()}.db"
        MlflowClient(f"sqlite:///{unfinished}").search_experiments()
        unfinished.replace(path)  # several processes may make one: each is whole
    return path


@pytest.fixture(scope="session")
def server_database(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """Return the database of ``server``, which is read in a tenth of the time."""
    folder = tmp_path_factory.mktemp("server")
    return f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}"


@pytest.fixture(scope="session")
def server(server_database: str) -> Iterator[str]:
    """Return an MLflow server over sqlite; each test uses a separate experiment."""
    with MlflowServer(server_database, file_of(server_database).parent) as running:
        yield running.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return a PostgreSQL database; each test uses a separate experiment."""
    with temporary_postgres() as uri:
        yield uri


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[str]:
    """Return an MLflow server over PostgreSQL; each test uses a separate experiment."""
    with MlflowServer(postgres, tmp_path_factory.mktemp("postgres_server")) as running:
        yield running.url


@pytest.fixture(scope="session")
def reused_databases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files that hold the databases of one test after another."""
    folders = (tmp_path_factory.mktemp(name) for name in ("reused", "other"))
    one, other = (folder / "mlflow.db" for folder in folders)
    return one, other


@pytest.fixture
def uri(reused_databases: tuple[Path, Path], empty_database: Path) -> str:
    """Return an empty tracking store."""
    return refill(reused_databases[0], empty_database)


@pytest.fixture
def other_uri(reused_databases: tuple[Path, Path], empty_database: Path) -> str:
    """Return another empty tracking store, to compare with."""
    return refill(reused_databases[1], empty_database)


@pytest.fixture
def new_uri(tmp_path: Path, empty_database: Path) -> str:
    """Return an empty tracking store that no connection has seen."""
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_database, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Undisturbed:
    """Return what a backfill writes that nobody disturbs."""
    return undisturbed_backfill(tmp_path_factory.mktemp("undisturbed"), empty_database)


@pytest.fixture
def tracking(uri: str) -> Tracking:
    """Return the bridge's side of the tracking store."""
    return Tracking(uri)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still until the test turns it."""
    return Clock()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Return threads for jobs."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make MLflow's client retry at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
