"""Where MLflow shows an experiment, and where its artifacts lie."""

from __future__ import annotations

import pytest

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
    """Without the kind of the experiment MLflow opens on traces."""
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
    """In a folder that any file system takes."""
    tracking.experiment(name, create=True)
    with tracking.asked() as client:
        found = client.get_experiment_by_name(name)
    assert found is not None
    assert tracking.file is not None
    beside = tracking.file.parent / "mlruns" / folder
    assert found.artifact_location == beside.as_uri()
