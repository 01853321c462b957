"""The experiments that the bridge writes to: their description, stored views and metric names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.plan import tags as run_tags
from bridge.plan.metric_names import Losses, preset_of
from bridge.tracking import views

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

LOSSES: Final = Losses(valid=("valid_loss",), train=("train_loss",))
"""Metrics for comparing runs, unless they are logged under other names."""

METRIC_NAMES: Final = "fine_tuning_metric_names"
"""Tag of an experiment and its runs with a preset's name, or a mapping as JSON."""
NOTE: Final = "mlflow.note.content"
_LOCAL_RUNS: Final = 50
"""Number of the newest local runs that decide on metric names."""
_NEWEST_RUNS: Final = 1000
"""Number of runs of any kind that are searched for local runs on an older server."""
_LONGEST_FOLDER: Final = 60
"""Longest name in characters of up to four bytes; file systems accept 255 bytes."""

_BEGINNING: Final = "Fine-tuning jobs that run at hosted APIs, copied here by ftbridge"
_LINKS: Final = re.compile(r"\[Charts\]\(#/experiments/[^\n]*")
"""First line of a description that the bridge has written or extended."""
_DESCRIPTION: Final = """\
{beginning} beside local runs.

- A **run** is a job. Its metrics are the job's curves, its params the job's settings, and its \
status the job's state. Its description has the other facts.
- A **model** is a checkpoint that can be called at the provider. *Models* lists each with its \
metrics; `mlflow.search_logged_models(filter_string="metrics.{loss} < 0.5")` finds the best ones.
- Search for runs by tag, such as `tags.fine_tuning_provider = 'openai'`, \
`tags.fine_tuning_job_id = '...'` or `tags.base_model LIKE 'gpt-%'`, or by training file: \
`dataset.name = 'file-...'`.

A run is finished once everything that the provider returns about its job is recorded, and stored \
unchanged among its artifacts. Deleted runs are not created again.
"""


def create(client: MlflowClient, name: str, database: Path | None, losses: Losses) -> str:
    """Create an experiment with a description; return its id, even if another process was faster.

    Args:
        client: MLflow's client.
        name: name of the experiment.
        database: file of an sqlite store.
        losses: metrics for comparing its runs.
    """
    from mlflow.exceptions import MlflowException

    text = _DESCRIPTION.format(beginning=_BEGINNING, loss=losses.columns[0])
    try:
        created = client.create_experiment(
            name,
            artifact_location=_artifact_location(name, database),
            tags={
                NOTE: text,
                "mlflow.experiment.primaryMetric.name": losses.columns[0],
                "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
            },
        )
    except MlflowException:
        # Another process may have been faster, which MLflow reports in different ways.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)
    furnish(client, client.get_experiment(created), losses)
    return str(created)


def furnish(
    client: MlflowClient, experiment: Experiment, losses: Losses, *, only: bool = False
) -> None:
    """Add the stored views, and the links to them, that an experiment lacks.

    Args:
        client: MLflow's client.
        experiment: the experiment, as read.
        losses: metrics for comparing its runs.
        only: whether its views show nothing else.
    """
    tags = experiment.tags
    # The description first: existing views mean that a missing one was removed by a user.
    new = _new_note(tags, str(experiment.experiment_id)) | views.wanted(tags, losses, only=only)
    for name, value in new.items():
        set_tag(client, experiment.experiment_id, name, value)


def set_tag(client: MlflowClient, experiment_id: str, name: str, value: str) -> None:
    """Set a tag of an experiment, even if another process sets the same tag now.

    MLflow reads the tag before it writes it: if two writers both find none, the database refuses
    the second one. The tag then exists, and the second attempt updates it.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.set_experiment_tag(experiment_id, name, value)
    except MlflowException:
        if name not in client.get_experiment(experiment_id).tags:
            raise
        client.set_experiment_tag(experiment_id, name, value)


def _new_note(tags: Mapping[str, str], experiment_id: str) -> dict[str, str]:
    """Return the description with the links in its first line; nothing if a user wrote it."""
    links, text = _links(experiment_id), tags.get(NOTE, "")
    if _LINKS.match(text):
        # The links of a copied experiment lead to the original.
        text = _LINKS.sub(lambda _: links, text, count=1)
    elif text.startswith(_BEGINNING):
        text = f"{links}\n\n{text}"
    elif not text.strip() and views.tag_of(views.CHARTS) not in tags:
        # Only once, because a user who removes the line does not want it.
        text = f"{links}\n\nftbridge copies hosted fine-tuning jobs to this experiment.\n"
    return {NOTE: text} if text != tags.get(NOTE, "") else {}


def _links(experiment_id: str) -> str:
    """Return the first line of a description, which the UI shows on every page of an experiment."""
    pages = {
        "Charts": page_of(experiment_id, view=views.CHARTS),
        "Table": page_of(experiment_id, view=views.TABLE),
        "Models": page_of(experiment_id, page="models"),
    }
    return " - ".join(f"[{word}]({address})" for word, address in pages.items())


def page_of(experiment_id: str, *, page: str = "runs", view: str | None = None) -> str:
    """Return the address of an experiment relative to MLflow's UI.

    Without ``workflowType`` the UI opens an overview of traces, which shows no runs.

    Args:
        experiment_id: id of the experiment.
        page: ``runs``, ``models`` or ``runs/<run id>``.
        view: the key of a stored view.
    """
    mode = "&compareRunsMode=CHART" if view == views.CHARTS else ""
    shown = f"{mode}&viewStateShareKey={view}" if view else ""
    return f"#/experiments/{experiment_id}/{page}?workflowType=machine_learning{shown}"


def _artifact_location(name: str, database: Path | None) -> str | None:
    """Return a folder for artifacts beside an sqlite database, not in the working folder."""
    if database is None:
        return None
    folder = re.sub(r"[^\w-]+", "-", name).strip("-")[:_LONGEST_FOLDER] or "experiment"
    return (database.absolute().parent / "mlruns" / folder).as_uri()


def label_of(client: MlflowClient, experiment_id: str, *, remember: bool) -> str:
    """Return the label of the names in an experiment.

    Its hosted runs keep the names that they have; without hosted runs, its local runs decide.

    Args:
        client: MLflow's client.
        experiment_id: id of the experiment.
        remember: whether to store the decision.
    """
    known = client.get_experiment(experiment_id).tags.get(METRIC_NAMES)
    if known:
        return str(known)
    for run in client.search_runs(
        [experiment_id], f"tags.{run_tags.METRIC_NAMES} != ''", max_results=1
    ):
        return str(run.data.tags[run_tags.METRIC_NAMES])
    label = preset_of(local_metric_names(client, experiment_id))
    if remember:
        set_tag(client, experiment_id, METRIC_NAMES, label)
    return label


def local_metric_names(client: MlflowClient, experiment_id: str) -> list[frozenset[str]]:
    """Return the metric names of each of the newest local runs."""
    from mlflow.exceptions import MlflowException

    is_local = f"tags.{run_tags.PROVIDER} IS NULL"
    try:
        runs = [*client.search_runs([experiment_id], is_local, max_results=_LOCAL_RUNS)]
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        # MLflow 3.5 and older cannot search for tags that are absent.
        newest = client.search_runs([experiment_id], max_results=_NEWEST_RUNS)
        runs = [run for run in newest if run_tags.PROVIDER not in run.data.tags][:_LOCAL_RUNS]
    return [frozenset(run.data.metrics) for run in runs]
