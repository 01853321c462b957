"""Outcomes of jobs, as a pass hands them to its listeners."""

from __future__ import annotations

from typing import Any

from bridge.errors import BridgeError
from bridge.model import MetricPoint
from bridge.plan.recorded import RecordedRun
from bridge.sync.outcome import Synced
from tests.support.plans import plan


def outcome(
    job_id: str = "ftjob-a",
    status: str | None = None,
    *,
    run: RecordedRun | None = None,
    at: int = 0,
    error: BridgeError | None = None,
    **fields: Any,  # noqa: ANN401 - the fields of a plan
) -> Synced:
    """Return a recorded job of OpenAI, with one point where ``at`` is its moment in seconds."""
    points = (MetricPoint("train_loss", 1, 0.5, at * 1000),) if at else ()
    return Synced(
        provider="openai",
        job_id=job_id,
        plan=plan(job_id, status=status, points=points, **fields),
        before=run,
        run_id=run.run_id if run else "r1",
        error=error,
    )
