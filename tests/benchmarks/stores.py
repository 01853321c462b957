"""Tracking stores that teams use, created for a measurement."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bridge.tracking import Tracking
from tests.support.mlflow_server import MlflowServer
from tests.support.postgres import postgres


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    """Create a database file, opened by the process that writes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield _prepared(f"sqlite:///{folder}/mlflow.db")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a default ``mlflow server`` over sqlite."""
    with sqlite() as uri:
        folder = Path(uri.removeprefix("sqlite:///")).parent
        with MlflowServer(uri, folder, options=()) as mlflow:
            yield mlflow.url


@contextlib.contextmanager
def server_on_postgres() -> Iterator[str]:
    """Start a default ``mlflow server`` over PostgreSQL."""
    with (
        postgres() as uri,
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        MlflowServer(_prepared(uri), Path(folder), options=()) as mlflow,
    ):
        yield mlflow.url


STORES: Final[Mapping[str, Callable[[], AbstractContextManager[str]]]] = {
    "sqlite file": sqlite,
    "mlflow server, sqlite": server,
    "mlflow server, PostgreSQL": server_on_postgres,
}


def _prepared(uri: str) -> str:
    Tracking(uri).experiment("Default", create=True)  # the many migrations of a new database
    return uri
