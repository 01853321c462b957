"""Fixtures: a real MLflow in a temporary folder, a clock, threads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest

# No test asserts a duration: these machines are shared.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# Whoever runs the tests may use MLflow and the providers themselves.
OTHERS = (
    *("MLFLOW_TRACKING", "MLFLOW_EXPERIMENT", "FTBRIDGE", "OPENAI_", "AZURE_", "NEBIUS_"),
    *("MISTRAL_", "TOGETHER_", "FIREWORKS_"),
)
for name in list(os.environ):
    if name.startswith(OTHERS):
        del os.environ[name]

from bridge.tracking import Tracking  # noqa: E402 - MLflow reads the environment first
from tests.support.postgres import postgres as temporary_postgres  # noqa: E402 - as above
from tests.support.world import Clock  # noqa: E402 - as above


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: its many migrations are made once."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    Tracking(f"sqlite:///{path}").experiment("Default", create=True)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL database; each test uses an experiment of its own."""
    with temporary_postgres() as uri:
        yield uri


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> str:
    """A tracking store of its own for each test."""
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_database, path)
    return f"sqlite:///{path}"


@pytest.fixture
def tracking(uri: str) -> Tracking:
    """The bridge's side of the tracking store."""
    return Tracking(uri)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test turns it."""
    return Clock()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Threads for jobs."""
    with ThreadPoolExecutor(4) as threads:
        yield threads
