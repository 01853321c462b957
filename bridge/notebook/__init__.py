"""The bridge in a notebook or a script: one line puts a hosted job into MLflow.

::

    import bridge

    run = bridge.log_job("ftjob-abc")                        # or the SDK's job object
    run = bridge.follow("ftjob-abc")                         # blocks while it trains
    result = bridge.backfill(providers=["openai"], since="30d")
    result.data_frame()                                      # as mlflow.search_runs

    with mlflow.start_run() as run:                          # a launch script: continues this run
        client.fine_tuning.jobs.create(..., metadata=bridge.metadata(run))

Providers come from the environment or the configuration file, as for the commands. Runs go
to the MLflow of ``mlflow.set_tracking_uri`` and ``mlflow.set_experiment``. The functions make the
same passes as the commands.
"""

from __future__ import annotations

from bridge.errors import BridgeError
from bridge.notebook.functions import backfill, follow, log_job, metadata
from bridge.notebook.logged import Failure, Logged

__all__ = ["BridgeError", "Failure", "Logged", "backfill", "follow", "log_job", "metadata"]
