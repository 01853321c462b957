"""The settings of a process that belongs to the bridge.

A user's process that uses the bridge, such as a notebook or a cluster's worker, stays as it is.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Mapping
from typing import Final

_ENVIRONMENT: Final[Mapping[str, str]] = {
    # MLflow's own patience is 7 retries of up to 120 s; the next pass is the better retry.
    # A server waits for its database for up to 30 s: who hangs up earlier never hears why.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "35",
    # A link per finished run would drown what the bridge itself prints.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The same for bars of one file each, and for the migrations of a new database.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""Settings of MLflow's client, unless the user has set others."""

_NEW_OBJECTS: Final = 50_000
"""New objects after which Python looks for garbage, in place of 700. A page of runs is some hundred
thousand objects, and each search goes through all of MLflow's modules."""


def prepare_process() -> None:
    """Set what MLflow and Python read from the process; to be called before MLflow is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # MLflow writes a traceback of what it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # It warns of each login that it tries; the error has a sentence on what is missing.
    logging.getLogger("mlflow.utils.databricks_utils").setLevel(logging.ERROR)
    gc.set_threshold(max(_NEW_OBJECTS, gc.get_threshold()[0]), *gc.get_threshold()[1:])
