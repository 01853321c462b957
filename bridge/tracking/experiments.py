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
"""Metrics that compare runs, unless they are logged under other names."""

METRIC_NAMES: Final = "fine_tuning_metric_names"
"""Tag of an experiment, as of its runs: a preset's name, or a mapping as JSON."""
NOTE: Final = "mlflow.note.content"
_LOCAL_RUNS: Final = 50
"""Local runs, the newest, that decide on metric names."""
_NEWEST_RUNS: Final = 1000
"""Runs of any kind among which an older server's local ones are found."""
_LONGEST_FOLDER: Final = 60
"""Characters, of up to four bytes: file systems take 255 bytes."""

_BEGINNING: Final = "Fine-tuning jobs that run at hosted APIs, copied here by ftbridge"
_LINKS: Final = re.compile(r"\[Charts\]\(#/experiments/[^\n]*")
"""The first line of a description that the bridge has written or added to."""
_DESCRIPTION: Final = """\
{beginning} beside local runs.

- A **run** is a job: its curves are its metrics, its settings its params, its state the run's \
status. A run's description has the rest.
- A **model** is a checkpoint that can be called at the provider. *Models* shows each with its \
metrics; `mlflow.search_logged_models(filter_string="metrics.{loss} < 0.5")` finds the good ones.
- Runs are found by tags, such as `tags.fine_tuning_provider = 'openai'`, \
`tags.fine_tuning_job_id = '...'` and `tags.base_model LIKE 'gpt-%'`, or by what they were trained \
on: `dataset.name = 'file-...'`.

A run shows as finished once everything that the provider gives about its job is here, and in its \
artifacts as the provider sent it. Deleted runs are not created again.
"""


def create(client: MlflowClient, name: str, database: Path | None, losses: Losses) -> str:
    """Create an experiment that explains itself; return its id, also if another was faster.

    Args:
        client: MLflow's.
        name: the experiment's.
        database: the file, if the store is an sqlite database.
        losses: what its runs are to be compared by.
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
        # Another process may have been faster, which not every MLflow says in the same way.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)
    furnish(client, client.get_experiment(created), losses)
    return str(created)


def furnish(
    client: MlflowClient, experiment: Experiment, losses: Losses, *, only: bool = False
) -> None:
    """Give an experiment the stored views and the links to them, as far as it lacks them.

    Args:
        client: MLflow's.
        experiment: as it was found.
        losses: what its runs are to be compared by.
        only: whether its views are to show nothing else.
    """
    tags = experiment.tags
    # The description first: the views show whether a user has removed it.
    new = _new_note(tags, str(experiment.experiment_id)) | views.wanted(tags, losses, only=only)
    for name, value in new.items():
        set_tag(client, experiment.experiment_id, name, value)


def set_tag(client: MlflowClient, experiment_id: str, name: str, value: str) -> None:
    """Set a tag of an experiment, also where another process sets the same tag right now.

    MLflow reads the tag before it writes it: of two writers that both find none, a database
    refuses the second one. By then the tag is there, and is set like any other.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.set_experiment_tag(experiment_id, name, value)
    except MlflowException:
        if name not in client.get_experiment(experiment_id).tags:
            raise
        client.set_experiment_tag(experiment_id, name, value)


def _new_note(tags: Mapping[str, str], experiment_id: str) -> dict[str, str]:
    """Return the description with the links in its first line; nothing where it is a user's."""
    links, text = _links(experiment_id), tags.get(NOTE, "")
    if _LINKS.match(text):
        # An experiment that was copied has links that lead elsewhere.
        text = _LINKS.sub(lambda _: links, text, count=1)
    elif text.startswith(_BEGINNING):
        text = f"{links}\n\n{text}"
    elif not text.strip() and views.tag_of(views.CHARTS) not in tags:
        # Once: a user who takes the line away does not want it.
        text = f"{links}\n\nftbridge copies hosted fine-tuning jobs to this experiment.\n"
    return {NOTE: text} if text != tags.get(NOTE, "") else {}


def _links(experiment_id: str) -> str:
    """Return the first line of a description: the UI shows it on every page of an experiment."""
    pages = {
        "Charts": page_of(experiment_id, view=views.CHARTS),
        "Table": page_of(experiment_id, view=views.TABLE),
        "Models": page_of(experiment_id, page="models"),
    }
    return " - ".join(f"[{word}]({address})" for word, address in pages.items())


def page_of(experiment_id: str, *, page: str = "runs", view: str | None = None) -> str:
    """Return where MLflow's UI shows an experiment, relative to the UI's own address.

    Without ``workflowType`` the UI opens on an overview of traces, where no run is in sight.

    Args:
        experiment_id: the experiment's.
        page: ``runs``, ``models`` or ``runs/<run id>``.
        view: the key of a stored view.
    """
    mode = "&compareRunsMode=CHART" if view == views.CHARTS else ""
    shown = f"{mode}&viewStateShareKey={view}" if view else ""
    return f"#/experiments/{experiment_id}/{page}?workflowType=machine_learning{shown}"


def _artifact_location(name: str, database: Path | None) -> str | None:
    """Return a folder beside an sqlite database: MLflow would use the working folder."""
    if database is None:
        return None
    folder = re.sub(r"[^\w-]+", "-", name).strip("-")[:_LONGEST_FOLDER] or "experiment"
    return (database.absolute().parent / "mlruns" / folder).as_uri()


def label_of(client: MlflowClient, experiment_id: str, *, remember: bool) -> str:
    """Return the label of the names in an experiment.

    Its hosted runs keep the names that they have; without any, what its local runs log decides.

    Args:
        client: MLflow's.
        experiment_id: the experiment's.
        remember: whether to write down what is decided.
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
    """Return the names of the metrics of each of the newest local runs."""
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
