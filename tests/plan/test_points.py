"""New points, and their times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import Checkpoint, CurvePoint, Job, JobStatus, MetricPoint, Scalar, Snapshot
from bridge.plan.metric_names import LONGEST_NAME, MetricNames, is_allowed_name
from bridge.plan.points import all_metric_names, new_params, new_points

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
    """Return the new points of a curve by name and step, and the sentences about them."""
    snapshot = Snapshot(job=JOB, curve=curve)
    found, skipped = new_points(snapshot, NAMES, steps or {}, fallback=BEGAN, now=NOW)
    return {(point.name, point.step): point for point in found}, skipped


@pytest.mark.parametrize("logged", [{}, {"early": {5}}, {"late": {5}}])
def test_an_epoch_has_the_earliest_time_of_its_step(logged: dict[str, set[int]]) -> None:
    """An epoch has the earliest time of its step, even if some points are logged."""
    early, late = CurvePoint("early", 5, 0.5, BEGAN + 10), CurvePoint("late", 5, 0.5, BEGAN + 20)
    for curve in ((early, late), (late, early)):
        found, _ = points(*curve, steps=logged)
        assert found["epoch", 5] == MetricPoint("epoch", 5, 1.0, BEGAN + 10)


def test_a_providers_own_metric_of_this_name_stays() -> None:
    """A provider's metric named epoch stays, and no computed one replaces it."""
    own, other = CurvePoint("epoch", 5, 0.75, BEGAN + 10), CurvePoint("loss", 6, 0.5, BEGAN + 20)
    found, _ = points(own, other)
    assert found["epoch", 5].value == 0.75
    assert found["epoch", 6].value == 1.2


@pytest.mark.parametrize(
    ("number", "said"), [(1, "future:"), (2, "future (and of 1 more):"), (3, "(and of 2 more):")]
)
def test_steps_without_a_time_are_counted(number: int, said: str) -> None:
    """Steps without a time are counted in one sentence."""
    curve = [CurvePoint("loss", step, 0.5, None) for step in range(1, number + 1)]
    found, skipped = points(*curve)
    assert {point.timestamp for point in found.values()} == {BEGAN}
    (sentence,) = skipped
    assert said in sentence


def test_a_name_may_be_as_long_as_mlflow_allows() -> None:
    """A name can be as long as MLflow allows, and no longer."""
    assert is_allowed_name("x" * LONGEST_NAME)
    assert not is_allowed_name("x" * (LONGEST_NAME + 1))


def test_a_job_without_steps_has_no_epochs() -> None:
    """A job without a known number of steps has no epochs."""
    curve = (CurvePoint("loss", 5, 0.5, BEGAN + 10),)
    for job in (replace(JOB, total_steps=None), replace(JOB, epochs=None)):
        found, _ = new_points(Snapshot(job=job, curve=curve), NAMES, {}, fallback=BEGAN, now=NOW)
        assert [point.name for point in found] == ["loss"]


@pytest.mark.parametrize("epochs", [float("inf"), float("nan"), 0.0, -1.0])
def test_a_number_of_epochs_that_cannot_be_makes_none(epochs: float) -> None:
    """An impossible number of epochs gives none, and the points are logged."""
    job, curve = replace(JOB, epochs=epochs), (CurvePoint("loss", 5, 0.5, BEGAN + 10),)
    found, _ = new_points(Snapshot(job=job, curve=curve), NAMES, {}, fallback=BEGAN, now=NOW)
    assert [point.name for point in found] == ["loss"]


def test_an_epoch_is_logged_once() -> None:
    """An epoch is logged once, even if another metric of its step comes late."""
    found, _ = points(CurvePoint("loss", 5, 0.5, BEGAN + 10), steps={"epoch": {5}})
    assert found.keys() == {("loss", 5)}
    other, _ = points(CurvePoint("loss", 5, 0.5, BEGAN + 10), steps={"epoch": {4}})
    assert other.keys() == {("loss", 5), ("epoch", 5)}


def test_a_step_without_a_time_has_no_epoch() -> None:
    """A step without a time has no epoch."""
    found, _ = points(CurvePoint("loss", 5, 0.5, None))
    assert found.keys() == {("loss", 5)}


def test_the_epoch_is_one_of_the_metrics_of_a_job() -> None:
    """The epoch is one of the run's metrics, and measures the models as well."""
    checkpoint = Checkpoint(step=1, created_at=BEGAN, metrics={"valid_loss": 0.5})
    snapshot = Snapshot(job=JOB, checkpoints=(checkpoint,), curve=(CurvePoint("a", 1, 0.5, 1),))
    assert all_metric_names(snapshot, NAMES) == {"a", "valid_loss", "epoch"}
    assert all_metric_names(snapshot, MetricNames()) == {"a", "valid_loss"}


def test_time_does_not_run_backwards_along_what_is_logged() -> None:
    """A new step is not later than a later logged one, which keeps its time."""
    curve = (CurvePoint("loss", 4, 0.5, BEGAN + 40), CurvePoint("loss", 6, 0.4, BEGAN + 60))
    newest = {"loss": (5, BEGAN + 30), "other": (5, BEGAN + 35)}
    found, _ = new_points(
        Snapshot(job=JOB, curve=curve), MetricNames(), {}, fallback=BEGAN, now=NOW, newest=newest
    )
    assert [(point.step, point.timestamp) for point in found] == [(4, BEGAN + 30), (6, BEGAN + 60)]


@pytest.mark.parametrize("logged", [20, 40])
def test_a_logged_step_that_gets_another_time_keeps_the_order(logged: int) -> None:
    """A step is not later than the next one, by the time in MLflow or the provider's new one."""
    curve = (CurvePoint("loss", 4, 0.5, BEGAN + 50), CurvePoint("loss", 5, 0.4, BEGAN + 30))
    found, _ = new_points(
        Snapshot(job=JOB, curve=curve),
        MetricNames(),
        {"loss": {5}},
        fallback=BEGAN,
        now=NOW,
        newest={"loss": (5, BEGAN + logged)},
    )
    assert [(point.step, point.timestamp) for point in found] == [(4, BEGAN + min(logged, 30))]


def test_a_step_between_has_the_time_of_the_one_before() -> None:
    """A step between two others has the time of the one before."""
    times = {1: BEGAN + 10, 3: BEGAN + 30}
    curve = [CurvePoint("loss", step, 0.5, times.get(step)) for step in range(5)]
    found, _ = points(*curve)
    moments = [found["loss", step].timestamp for step in range(5)]
    assert moments == [BEGAN, BEGAN + 10, BEGAN + 10, BEGAN + 30, BEGAN + 30]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (3.0, "3"),
        (3.5, "3.5"),
        (1e15, "1000000000000000.0"),
        (1e15 - 1, "999999999999999"),
        (-1e15, "-1000000000000000.0"),
        (True, "True"),
        ("3.0", "3.0"),
        ("x" * 6000, "x" * 6000),
        ("x" * 6001, "x" * 5999 + "…"),
    ],
)
def test_a_param_is_written_as_its_value(value: Scalar, text: str) -> None:
    """A param is written with whole numbers where exact, and as long as MLflow allows."""
    assert new_params({"a": value}, {}, MetricNames()) == ({"a": text}, ())


def test_a_param_that_cannot_be_written_is_said() -> None:
    """A param with a refused name or a changed value is reported."""
    wanted: dict[str, Scalar] = {"a(b)": 1, "seed": 2, "method": "dpo", "rank": 8}
    new, refused = new_params(wanted, {"seed": "1", "method": "dpo", "rank": "x"}, MetricNames())
    assert new == {}
    assert refused == (
        "param 'a(b)' has a name that MLflow refuses",
        "param seed is 1 in MLflow, which never changes a param, and 2 at the provider",
        "param rank is x in MLflow, which never changes a param, and 8 at the provider",
    )
