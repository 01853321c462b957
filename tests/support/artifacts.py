"""A run's artifacts, read through MLflow's public client."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlflow import MlflowClient

from tests.support.recorded import active_runs


def archived(uri: str, job_id: str, experiment: str = "hosted-fine-tunes") -> dict[str, bytes]:
    """Return a job's archive: contents by path below ``provider/``, empty if there are none."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    (run_id,) = (
        run.info.run_id
        for run in active_runs(uri, experiment)
        if run.data.tags.get("fine_tuning_job_id") == job_id
    )
    if not client.list_artifacts(run_id, "provider"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        provider = Path(client.download_artifacts(run_id, "provider", folder))
        return {
            path.relative_to(provider).as_posix(): path.read_bytes()
            for path in provider.rglob("*")
            if path.is_file()
        }
