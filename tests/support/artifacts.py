"""A run's artifacts, read through MLflow's public client."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.recorded import active_runs


def archived(uri: str, job_id: str, experiment: str = "hosted-fine-tunes") -> dict[str, bytes]:
    """Return a job's archive: contents by path below ``provider/``, empty if there are none."""
    (run,) = (
        run
        for run in active_runs(uri, experiment)
        if run.data.tags.get("fine_tuning_job_id") == job_id
    )
    return archive_of(uri, run)


def archive_of(uri: str, run: Run) -> dict[str, bytes]:
    """Return the archive of a run, which may be in a folder of this machine or at a server."""
    place = urlsplit(run.info.artifact_uri)
    if place.scheme in {"", "file"}:
        return _files(Path(unquote(place.path)) / "provider")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if not client.list_artifacts(run.info.run_id, "provider"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        return _files(Path(client.download_artifacts(run.info.run_id, "provider", folder)))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
