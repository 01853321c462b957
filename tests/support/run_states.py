"""Runs as MLflow shows them."""

from __future__ import annotations

from bridge.plan.recorded import RecordedRun


def run_state(job_id: str, status: str = "RUNNING", at: int = 0) -> RecordedRun:
    """Return a run as MLflow shows it, with its newest point at these Unix seconds."""
    return RecordedRun(
        run_id=f"run-{job_id}",
        experiment_id="1",
        job_id=job_id,
        provider="openai",
        name=job_id,
        status=status,
        is_deleted=False,
        start_time=1,
        artifact_uri="",
        tags={},
        params={},
        newest={"train_loss": (1, at * 1000)} if at else {},
    )
