"""Settings of a process that belongs to the bridge.

A user's process that uses the bridge, such as a notebook or a cluster's worker, is not changed.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Mapping
from typing import Final

_ENVIRONMENT: Final[Mapping[str, str]] = {
    # MLflow makes up to 7 retries of up to 120 s; the next pass is the better retry. A server waits
    # up to 30 s for its database: a client that hangs up earlier never learns the reason.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "35",
    # A link per finished run would drown the bridge's own output.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # So would a progress bar per file, and the migrations of a new database.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""Defaults for MLflow's client, which the user's own settings override."""

_NEW_OBJECTS: Final = 50_000
"""Number of new objects after which Python collects garbage, instead of 700. A page of runs has
some hundred thousand objects, and each collection scans all of MLflow's modules."""


def prepare_process() -> None:
    """Set the process-wide settings of MLflow and Python; call it before MLflow is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # MLflow logs a traceback of each exception that it raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # It warns of each login that it tries; the bridge's error says what is missing.
    logging.getLogger("mlflow.utils.databricks_utils").setLevel(logging.ERROR)
    gc.set_threshold(max(_NEW_OBJECTS, gc.get_threshold()[0]), *gc.get_threshold()[1:])
