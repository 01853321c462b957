"""The settings of the bridge's own process, which do not affect a user's process."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bridge.bootstrap.process import prepare_process

USED = """
import gc, json, logging, os, sys
import mlflow
import mlflow.store.tracking.sqlalchemy_store
from mlflow.utils import request_utils
import urllib3.connectionpool
def seen():
    databricks = "mlflow.utils.databricks_utils"
    names = [None, "mlflow", "alembic", "mlflow.store.db.utils", "sqlalchemy.engine", databricks]
    return {
        "environment": {k: v for k, v in os.environ.items() if k.startswith("MLFLOW")},
        "levels": [logging.getLogger(name).level for name in names],
        "garbage": gc.get_threshold(),
        "connections": repr(urllib3.connectionpool.HTTPConnectionPool.ConnectionCls),
    }
before = seen()
from bridge.tracking import Tracking
tracking = Tracking(sys.argv[1])
assert tracking.experiment("any", create=True)
print(json.dumps([before, seen()]))
"""


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restore Python's settings after a test."""
    thresholds, level = gc.get_threshold(), logging.getLogger("mlflow.store.db.utils").level
    yield
    gc.set_threshold(*thresholds)
    logging.getLogger("mlflow.store.db.utils").setLevel(level)


def test_a_script_that_uses_the_bridge_stays_as_it_is(uri: str) -> None:
    """A script that uses the bridge keeps its environment, log levels and garbage collector."""
    done = subprocess.run(
        [sys.executable, "-c", USED, uri], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert after == before


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's settings stay, because the bridge sets only defaults."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    gc.set_threshold(100_000, 5, 5)
    prepare_process()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
    assert gc.get_threshold() == (100_000, 5, 5)
