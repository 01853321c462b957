"""Which points are new, and the times that they get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import CurvePoint, Job, JobStatus, MetricPoint, Snapshot
from bridge.plan.metric_names import LONGEST_NAME, MetricNames, is_allowed_name
from bridge.plan.points import new_points

NOW = 1_760_000_000_000
BEGAN = NOW - 60_000
NAMES = MetricNames(epoch="epoch")
JOB = Job(
    id="ftjob-1",
    status=JobStatus.RUNNING,
    provider_status="running",
    created_at=BEGAN,
    total_steps=10,
    epochs=2.0,
)


def points(
    *curve: CurvePoint, steps: dict[str, set[int]] | None = None
) -> tuple[dict[tuple[str, int], MetricPoint], tuple[str, ...]]:
    """The new points of a curve by name and step, and what is said of them."""
    snapshot = Snapshot(job=JOB, curve=curve)
    found, skipped = new_points(snapshot, NAMES, steps or {}, fallback=BEGAN, now=NOW)
    return {(point.name, point.step): point for point in found}, skipped


@pytest.mark.parametrize("logged", [{}, {"early": {5}}, {"late": {5}}])
def test_an_epoch_has_the_earliest_time_of_its_step(logged: dict[str, set[int]]) -> None:
    """Whichever of the step's points are logged already."""
    early, late = CurvePoint("early", 5, 0.5, BEGAN + 10), CurvePoint("late", 5, 0.5, BEGAN + 20)
    for curve in ((early, late), (late, early)):
        found, _ = points(*curve, steps=logged)
        assert found["epoch", 5] == MetricPoint("epoch", 5, 1.0, BEGAN + 10)


def test_a_providers_own_metric_of_this_name_stays() -> None:
    """The computed epoch does not take its place."""
    own, other = CurvePoint("epoch", 5, 0.75, BEGAN + 10), CurvePoint("loss", 6, 0.5, BEGAN + 20)
    found, _ = points(own, other)
    assert found["epoch", 5].value == 0.75
    assert found["epoch", 6].value == 1.2


@pytest.mark.parametrize(
    ("number", "said"), [(1, "future:"), (2, "future (and of 1 more):"), (3, "(and of 2 more):")]
)
def test_steps_without_a_time_are_counted(number: int, said: str) -> None:
    """In one sentence, however many there are."""
    curve = [CurvePoint("loss", step, 0.5, None) for step in range(1, number + 1)]
    found, skipped = points(*curve)
    assert {point.timestamp for point in found.values()} == {BEGAN}
    (sentence,) = skipped
    assert said in sentence


def test_a_name_may_be_as_long_as_mlflow_allows() -> None:
    """And no longer."""
    assert is_allowed_name("x" * LONGEST_NAME)
    assert not is_allowed_name("x" * (LONGEST_NAME + 1))


def test_a_job_without_steps_has_no_epochs() -> None:
    """Nothing is computed from a number that nobody gave."""
    curve = (CurvePoint("loss", 5, 0.5, BEGAN + 10),)
    for job in (replace(JOB, total_steps=None), replace(JOB, epochs=None)):
        found, _ = new_points(Snapshot(job=job, curve=curve), NAMES, {}, fallback=BEGAN, now=NOW)
        assert [point.name for point in found] == ["loss"]
