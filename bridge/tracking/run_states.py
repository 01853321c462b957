"""Runs as the bridge sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge import tags
from bridge.datasets import DatasetInput
from bridge.ledger import RunState

if TYPE_CHECKING:
    from mlflow.entities import Run

_CONTEXT = "mlflow.data.context"


def run_state(run: Run) -> RunState:
    """A run of MLflow's, as one search or one look shows it."""
    found = run.data.tags
    return RunState(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        job_id=found.get(tags.JOB, ""),
        provider=found.get(tags.PROVIDER, ""),
        name=run.info.run_name or "",
        status=run.info.status,
        is_deleted=run.info.lifecycle_stage == "deleted",
        start_time=run.info.start_time,
        artifact_uri=run.info.artifact_uri or "",
        tags=found,
        params=run.data.params,
        # The message form is the public one that keeps a metric's step and time.
        newest={m.key: (m.step, m.timestamp) for m in run.data.to_proto().metrics},
        datasets=frozenset(
            DatasetInput(each.dataset.name, tag.value)
            for each in (run.inputs.dataset_inputs if run.inputs else ())
            for tag in each.tags
            if tag.key == _CONTEXT
        ),
        outputs={
            model.model_id: model.step
            for model in (run.outputs.model_outputs if run.outputs else ())
        },
    )
