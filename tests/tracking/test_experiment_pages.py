"""The pages of an experiment in MLflow, and the place of its artifacts."""

from __future__ import annotations

import pytest

from bridge.errors import TrackingDown, TrackingError
from bridge.plan.metric_names import Losses
from bridge.tracking import Tracking, views
from bridge.tracking.experiments import page_of

CHARTS = (
    "#/experiments/7/runs?workflowType=machine_learning&compareRunsMode=CHART"
    f"&viewStateShareKey={views.CHARTS}"
)


@pytest.mark.parametrize(
    ("page", "view", "expected"),
    [
        ("runs", None, "#/experiments/7/runs?workflowType=machine_learning"),
        ("models", None, "#/experiments/7/models?workflowType=machine_learning"),
        (
            "runs",
            views.TABLE,
            f"#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey={views.TABLE}",
        ),
        (
            "runs",
            views.CHARTS,
            CHARTS,
        ),
    ],
)
def test_a_page_has_its_address(page: str, view: str | None, expected: str) -> None:
    """A page's address contains the experiment's kind, without which MLflow opens traces."""
    assert page_of("7", page=page, view=view) == expected


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("team/a b", "team-a-b"),
        ("-x-", "x"),
        ("/", "experiment"),
        ("y" * 61, "y" * 60),
        ("ü", "ü"),
    ],
)
def test_artifacts_lie_beside_the_database(tracking: Tracking, name: str, folder: str) -> None:
    """Artifacts lie beside the database, in a folder with a portable name."""
    tracking.experiment(name, create=True)
    with tracking.asked() as client:
        found = client.get_experiment_by_name(name)
    assert found is not None
    assert tracking.file is not None
    beside = tracking.file.parent / "mlruns" / folder
    assert found.artifact_location == beside.as_uri()


def test_an_experiment_is_looked_for_or_created(tracking: Tracking) -> None:
    """An experiment is created by a pass, even without a loss, and not by a lookup."""
    assert tracking.experiment("a", create=False) is None
    created = tracking.experiment("a", create=True, losses=Losses())
    assert created is not None
    assert tracking.experiment("a", create=False) == created
    assert tracking.experiment("a", create=True) == created
    assert tracking.experiment("b", create=False) is None
    assert tracking.experiment_name(created) == "a"
    with tracking.asked() as client:
        found = client.get_experiment(created)
    assert found.tags["mlflow.experiment.primaryMetric.name"] == "valid_loss"
    assert found.tags["mlflow.experiment.primaryMetric.greaterIsBetter"] == "False"
    shown = tracking.experiment("c", create=True, losses=Losses(valid=("eval/loss",)))
    with tracking.asked() as client:
        found = client.get_experiment(shown or "")
    assert found.tags["mlflow.experiment.primaryMetric.name"] == "eval/loss"


@pytest.mark.parametrize(("one_job", "is_down"), [(False, True), (True, False)])
def test_a_deleted_experiment_is_not_used(
    tracking: Tracking, *, one_job: bool, is_down: bool
) -> None:
    """A deleted experiment ends the pass if it is configured, and otherwise costs its job."""
    created = tracking.experiment("a", create=True)
    assert created is not None
    with tracking.asked() as client:
        client.delete_experiment(created)
    for create in (True, False):
        with pytest.raises(TrackingError) as refused:
            tracking.experiment("a", create=create, one_job=one_job)
        assert isinstance(refused.value, TrackingDown) is is_down
        assert refused.value.sentence == "The MLflow experiment 'a' is deleted"
        assert f"mlflow experiments restore -x {created})" in refused.value.remedy


@pytest.mark.parametrize(
    ("uri", "is_remote"),
    [
        *(("http://mlflow.example", True), ("https://mlflow.example", True)),
        *(("sqlite:///mlflow.db", False), ("postgresql://h/d", False), ("databricks", False)),
    ],
)
def test_a_server_is_remote(uri: str, *, is_remote: bool) -> None:
    """The pages of a server can be opened on another machine."""
    assert Tracking(uri).is_remote is is_remote


def test_other_experiments_are_those_that_are_not_named(tracking: Tracking) -> None:
    """Other experiments are those that are not named, with name and id."""
    one, other = (tracking.experiment(name, create=True) for name in ("a", "b"))
    assert tracking.other_experiments(["a", "Default"]) == {"b": other}
    assert tracking.other_experiments([]) == {"a": one, "b": other, "Default": "0"}
