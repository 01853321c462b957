"""The experiments that the bridge creates."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS: Final = ("valid_loss", "train_loss")
"""What runs are compared by, unless they are logged under other names."""
VIEW: Final = "ftbridge"
"""The key of a view of the runs table that is stored with an experiment."""
VIEW_TAG: Final = f"mlflow.sharedViewState.{VIEW}"

_WIDTHS: Final = {
    "tags.`fine_tuning_status`": 150,
    "tags.`base_model`": 220,
    "attributes.`Dataset`": 150,
}
"""Pixels, where the UI's own width cuts off what matters or wastes it."""

_LONGEST_FOLDER: Final = 60
"""Characters, of up to four bytes: file systems take 255 bytes."""

_DESCRIPTION: Final = """\
Fine-tuning jobs that run at hosted APIs, copied here by ftbridge beside local runs.

- A **run** is a job: its curves are its metrics, its settings its params, its state the run's \
status. The description of a run tells the rest.
- A **model** is a checkpoint that can be called at the provider. *Models* shows each with its \
metrics, further to the right; \
`mlflow.search_logged_models(filter_string="metrics.{loss} < 0.5")` finds the good ones.
- Runs are found by tags, such as `tags.fine_tuning_provider = 'openai'`, \
`tags.fine_tuning_job_id = '...'` and `tags.base_model LIKE 'gpt-%'`, or by what they were trained \
on: `dataset.name = 'file-...'`.

A run shows as finished once all that the provider tells of its job is here, and in its artifacts \
as the provider said it. Runs that are deleted are not made again.
"""


def create(client: MlflowClient, name: str, database: Path | None, metrics: Sequence[str]) -> str:
    """Create an experiment that explains itself; returns its id, also if another was faster.

    Args:
        client: MLflow's.
        name: the experiment's.
        database: the file, if the store is an sqlite database.
        metrics: the columns of its table of runs; the first is what runs are to be compared by.
    """
    from mlflow.exceptions import MlflowException

    try:
        return str(
            client.create_experiment(
                name,
                artifact_location=_artifact_location(name, database),
                tags={
                    "mlflow.note.content": _description(metrics),
                    "mlflow.experiment.primaryMetric.name": metrics[0],
                    "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
                    VIEW_TAG: _view(metrics),
                },
            )
        )
    except MlflowException:
        # Another process may have been faster, which not every MLflow says in the same way.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _description(metrics: Sequence[str]) -> str:
    # The last but the training loss is what providers measure checkpoints by.
    return _DESCRIPTION.format(loss=metrics[-2:][0])


def _view(metrics: Sequence[str]) -> str:
    """Columns that tell jobs apart, in the form in which the UI stores its saved views.

    Without it the table shows names and times only. The UI marks a view as shared and lets its
    user go back to columns of their own.
    """
    columns = [
        "tags.`fine_tuning_status`",
        "tags.`base_model`",
        *(f"metrics.`{name}`" for name in metrics),
        "attributes.`Models`",
        "attributes.`Dataset`",
    ]
    state = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": _WIDTHS}
    view = {"name": "Fine-tuning jobs", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    return json.dumps(view)


def _artifact_location(name: str, database: Path | None) -> str | None:
    """Beside an sqlite database: MLflow would take wherever the bridge happens to be started."""
    if database is None:
        return None
    folder = re.sub(r"[^\w-]+", "-", name).strip("-")[:_LONGEST_FOLDER] or "experiment"
    return (database.absolute().parent / "mlruns" / folder).as_uri()
