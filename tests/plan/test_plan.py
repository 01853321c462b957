"""The plan, as tables of inputs and outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import Checkpoint, CurvePoint, Job, JobStatus, MetricPoint, Snapshot
from bridge.plan import tags
from bridge.plan.metric_names import MetricNames, is_allowed_name
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import Plan, make_plan
from bridge.plan.recorded import FINAL_RUN_STATUS, Logged, RecordedRun
from bridge.plan.run_state import CLOCK_SKEW, SETTLING

NOW = 1_760_000_000_000
CREATED = NOW - 3_600_000
PLAIN = MetricNames()

JOB = Job(
    id="ftjob-1",
    status=JobStatus.RUNNING,
    provider_status="running",
    created_at=CREATED,
    base_model="gpt-4.1",
    suffix="support",
    params={"n_epochs": 3, "learning_rate_multiplier": 1.8},
)


def finished(**changes: object) -> Job:
    """Return the job after its success."""
    ended = {
        "status": JobStatus.SUCCEEDED,
        "provider_status": "succeeded",
        "finished_at": CREATED + 60_000,
        "fine_tuned_model": "ft:model",
    }
    return dataclasses.replace(JOB, **(ended | changes))  # type: ignore[arg-type] # as the test says


def checkpoint(
    step: int,
    created_at: int | None = CREATED,
    others: Mapping[str, float] | None = None,
    **metrics: float,
) -> Checkpoint:
    """Return a checkpoint with its own model name; ``others`` are metrics with any names."""
    return Checkpoint(
        id=f"c{step}",
        step=step,
        created_at=created_at,
        model=f"ft:{step}",
        metrics={**(others or {}), **metrics},
    )


def plan_of(snapshot: Snapshot, recorded: RecordedRun | None = None, now: int = NOW) -> Plan:
    """Return the plan for the provider ``openai``."""
    options = RecordingOptions(metric_names=PLAIN)
    return make_plan("openai", snapshot, recorded, options, now=now)


def recorded_run(**known: Any) -> RecordedRun:  # noqa: ANN401 - the fields of a run
    """Return a run of this job with a test's values."""
    return RecordedRun(
        **{
            "run_id": "run",
            "experiment_id": "1",
            "job_id": JOB.id,
            "provider": "openai",
            "name": "openai/support",
            "is_deleted": False,
            "artifact_uri": "",
            "newest": {},
            **known,
        }
    )


def applied(plan: Plan, recorded: RecordedRun | None = None) -> RecordedRun:
    """Return the state of MLflow once a plan is written."""
    steps = {name: set(logged) for name, logged in (recorded.steps if recorded else {}).items()}
    for point in plan.points:
        steps.setdefault(point.name, set()).add(point.step)
    return recorded_run(
        status=plan.status or (recorded.status if recorded else "RUNNING"),
        start_time=plan.start_time,
        tags={**(recorded.tags if recorded else {}), **plan.tags, **plan.last_tags},
        params={**(recorded.params if recorded else {}), **plan.params},
        datasets=frozenset(plan.datasets) | (recorded.datasets if recorded else frozenset()),
        logged=Logged(
            steps={name: frozenset(logged) for name, logged in steps.items()},
            models={
                **(recorded.models if recorded else {}),
                **{model.model: f"m-{model.name}" for model in plan.models},
            },
        ),
    )


def test_a_new_job_becomes_a_run_with_everything_known_of_it() -> None:
    """A new job's run has its name, start, tags, params and points as documented."""
    snapshot = Snapshot(job=JOB, checkpoints=(checkpoint(10, CREATED + 5, train_loss=0.5),))
    plan = plan_of(snapshot)
    assert plan.is_new
    assert plan.run_name == "openai/support-tjob-1"
    assert plan.start_time == CREATED
    assert plan.status is None  # a new run is RUNNING already
    assert plan.params == {"n_epochs": "3", "learning_rate_multiplier": "1.8"}
    assert plan.points == (MetricPoint("train_loss", 10, 0.5, CREATED + 5),)
    own = {"fine_tuned_model_best_checkpoint"}
    contract = {
        name: text
        for name, text in plan.tags.items()
        if not name.startswith("mlflow.") and name not in own
    }
    assert contract == {
        "fine_tuning_provider": "openai",
        "fine_tuning_job_id": "ftjob-1",
        "fine_tuning_status": "running",
        "fine_tuning_state": "running",
        "fine_tuning_bridge": "ftbridge",
        "base_model": "gpt-4.1",
        "fine_tuned_model_checkpoint": "ft:10",
        "fine_tuning_metric_names": "provider",
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (JobStatus.VALIDATING, "SCHEDULED"),
        (JobStatus.QUEUED, "SCHEDULED"),
        (JobStatus.RUNNING, "RUNNING"),
        (JobStatus.PAUSED, "RUNNING"),
        (JobStatus.UNKNOWN, "RUNNING"),
        (JobStatus.SUCCEEDED, "FINISHED"),
        (JobStatus.FAILED, "FAILED"),
        (JobStatus.CANCELLED, "KILLED"),
    ],
)
def test_each_status_has_one_of_mlflows(status: JobStatus, expected: str) -> None:
    """A run's status follows from the job's, and only a final one gets an end."""
    plan = plan_of(Snapshot(job=dataclasses.replace(JOB, status=status)))
    assert (plan.status or "RUNNING") == expected
    assert (plan.end_time is not None) == (expected in FINAL_RUN_STATUS) == plan.is_final


def test_a_point_of_a_checkpoint_counts_before_that_of_the_curve() -> None:
    """Checkpoint, event and result file never double a point, and the exact value counts.

    Its time is the event's, because checkpoints are published later, some before others.
    """
    snapshot = Snapshot(
        job=JOB,
        checkpoints=(checkpoint(2, CREATED + 9, train_loss=0.123456789),),
        curve=(
            CurvePoint("train_loss", 2, 0.123456789, CREATED + 20),
            CurvePoint("train_loss", 1, 0.987654321, CREATED + 10),
            CurvePoint("train_loss", 1, 0.98765, CREATED + 11),
            CurvePoint("train_loss", 2, 0.12346, CREATED + 21),
        ),
    )
    assert plan_of(snapshot).points == (
        MetricPoint("train_loss", 1, 0.987654321, CREATED + 10),
        MetricPoint("train_loss", 2, 0.123456789, CREATED + 20),
    )


def test_what_is_logged_is_not_planned_again() -> None:
    """A logged point stays as it is, whatever the provider says later."""
    snapshot = Snapshot(job=JOB, checkpoints=(checkpoint(1, train_loss=1.0),))
    recorded = applied(plan_of(snapshot))
    changed = Snapshot(job=JOB, checkpoints=(checkpoint(1, CREATED + 7, train_loss=9.0),))
    plan = plan_of(changed, recorded)
    assert (plan.points, plan.models, plan.params, plan.status) == ((), (), {}, None)
    assert plan.tags.keys() == {"mlflow.note.content", tags.NOTE_DIGEST}  # has the newer value


def test_the_end_of_a_failed_job_that_does_not_tell_it_is_the_last_known_moment() -> None:
    """A failed job without ``finished_at`` ends with its newest point, and never now."""
    job = finished(status=JobStatus.FAILED, finished_at=None)
    snapshot = Snapshot(job=job, curve=(CurvePoint("train_loss", 3, 1.0, CREATED + 9_000),))
    assert plan_of(snapshot).end_time == CREATED + 9_000
    assert plan_of(Snapshot(job=job)).end_time == CREATED


def test_a_job_never_ends_before_it_starts() -> None:
    """An end before the start becomes the start."""
    assert plan_of(Snapshot(job=finished(finished_at=CREATED - 1))).end_time == CREATED


def test_a_success_without_checkpoints_settles_first() -> None:
    """A run is not finished in the seconds after a success in which checkpoints appear."""
    just_now = Snapshot(job=finished(finished_at=NOW - 1_000))
    plan = plan_of(just_now)
    assert (plan.status, plan.is_final, plan.is_settling) == (None, False, True)
    later = plan_of(just_now, applied(plan), now=NOW + SETTLING)
    assert (later.status, later.is_final, later.is_settling) == ("FINISHED", True, False)
    complete = dataclasses.replace(just_now, checkpoints=(checkpoint(1),))
    assert plan_of(complete).status == "FINISHED"
    # Where no checkpoints are awaited.
    assert plan_of(dataclasses.replace(just_now, is_whole=True)).status == "FINISHED"


@pytest.mark.parametrize("strange", [None, NOW + CLOCK_SKEW + 1])
def test_a_point_without_a_credible_time_is_logged_at_the_start(strange: int | None) -> None:
    """A point with a missing or future time gets the start, and a sentence reports it."""
    snapshot = Snapshot(job=JOB, checkpoints=(checkpoint(1, strange, train_loss=1.0),))
    plan = plan_of(snapshot)
    assert plan.points == (MetricPoint("train_loss", 1, 1.0, CREATED),)
    assert any("step 1" in sentence for sentence in plan.skipped)


def test_a_job_without_a_credible_start_starts_with_its_first_known_moment() -> None:
    """A missing or future creation is replaced by the earliest other time."""
    job = dataclasses.replace(JOB, created_at=NOW + 10 * CLOCK_SKEW)
    snapshot = Snapshot(job=job, checkpoints=(checkpoint(1, CREATED + 4, train_loss=1.0),))
    assert plan_of(snapshot).start_time == CREATED + 4
    assert plan_of(Snapshot(job=dataclasses.replace(JOB, created_at=None))).start_time == NOW


def test_a_name_that_mlflow_refuses_costs_that_metric_only() -> None:
    """A name that MLflow refuses is reported once, and the other metrics are logged."""
    snapshot = Snapshot(
        job=JOB,
        checkpoints=(
            checkpoint(1, others={"a(b)": 1.0}, train_loss=2.0),
            checkpoint(2, others={"a(b)": 1.0}),
        ),
    )
    plan = plan_of(snapshot)
    assert [point.name for point in plan.points] == ["train_loss"]
    assert sum("a(b)" in sentence for sentence in plan.skipped) == 1


def test_a_param_is_written_once() -> None:
    """A param that changes at the provider is reported; 2 and 2.0 count as equal."""
    recorded = applied(plan_of(Snapshot(job=JOB)))
    same = dataclasses.replace(JOB, params={"n_epochs": 3.0, "learning_rate_multiplier": 1.8})
    assert plan_of(Snapshot(job=same), recorded).is_empty
    other = plan_of(Snapshot(job=dataclasses.replace(JOB, params={"n_epochs": 4})), recorded)
    assert not other.params
    assert "n_epochs" in other.skipped[0]


def test_tags_change_with_the_job_and_are_never_taken_away() -> None:
    """A later plan writes only new or different tags, and removes none."""
    recorded = applied(plan_of(Snapshot(job=JOB)))
    plan = plan_of(Snapshot(job=finished(base_model=None, error="x\x1b[31my")), recorded)
    note = {name: plan.tags[name] for name in ("mlflow.note.content", tags.NOTE_DIGEST)}
    assert plan.tags == note | {
        "fine_tuning_status": "succeeded",
        "fine_tuning_state": "succeeded",
        "fine_tuned_model": "ft:model",
        "fine_tuning_error": "x[31my",
    }


def test_the_runs_name_is_the_job_id_without_a_suffix() -> None:
    """A job without a suffix gives its id to its run's name."""
    assert plan_of(Snapshot(job=dataclasses.replace(JOB, suffix=None))).run_name == "openai/ftjob-1"


def test_jobs_of_one_suffix_have_names_that_differ() -> None:
    """Runs of jobs with one suffix have different names, by the ends of the jobs' ids."""
    jobs = [dataclasses.replace(JOB, id=f"ftjob-{number:08}") for number in range(12)]
    names = {plan_of(Snapshot(job=job)).run_name for job in jobs}
    assert len(names) == 12
    assert "openai/support-000007" in names


times = st.none() | st.integers(CREATED - 10, NOW + 2 * CLOCK_SKEW)
names = st.sampled_from(["train_loss", "valid_loss", "bad(name)"])
values = st.floats(allow_nan=False, allow_infinity=False)
steps = st.integers(0, 6)
snapshots = st.builds(
    Snapshot,
    job=st.builds(
        Job,
        id=st.just("ftjob-1"),
        status=st.sampled_from(JobStatus),
        provider_status=st.sampled_from(["running", "succeeded", ""]),
        created_at=times,
        finished_at=times,
        suffix=st.none() | st.text(max_size=5),
        params=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)),
    ),
    checkpoints=st.lists(
        st.builds(
            Checkpoint,
            step=steps,
            created_at=times,
            metrics=st.dictionaries(names, values),
            model=st.none() | st.text(max_size=5),
        ),
        unique_by=lambda checkpoint: checkpoint.step,
    ).map(lambda found: tuple(sorted(found, key=lambda checkpoint: checkpoint.step))),
    curve=st.lists(st.builds(CurvePoint, names, steps, values, times)).map(tuple),
)


@given(snapshots)
def test_once_written_a_plan_is_empty(snapshot: Snapshot) -> None:
    """A plan for a written job is empty, whatever the job holds."""
    recorded = applied(plan_of(snapshot))
    again = plan_of(snapshot, recorded)
    assert again.is_empty, again


@given(snapshots, snapshots)
def test_a_metric_has_one_point_a_step(first: Snapshot, second: Snapshot) -> None:
    """No (metric, step) is planned twice over several passes, and no time is invented."""
    one = plan_of(first)
    two = plan_of(second, applied(one))
    rows = [(point.name, point.step) for plan in (one, two) for point in plan.points]
    assert len(rows) == len(set(rows))
    assert all(0 < point.timestamp <= NOW + CLOCK_SKEW for point in one.points + two.points)


@given(snapshots, st.data())
def test_an_interrupted_write_is_completed_with_the_same_points(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    """After an interrupted write the next plan has exactly the missing points."""
    whole = plan_of(snapshot)
    written = data.draw(st.integers(0, len(whole.points)))
    partly = applied(dataclasses.replace(whole, points=whole.points[:written], status=None))
    rest = plan_of(snapshot, partly)
    assert rest.points == whole.points[written:]


@given(st.text(max_size=8))
def test_a_name_is_allowed_only_if_mlflow_allows_it(name: str) -> None:
    """A name is allowed exactly if MLflow allows it."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - slow, and only for this test
    from mlflow.utils.validation import _validate_metric_name  # noqa: PLC0415 - the rule

    try:
        _validate_metric_name(name)  # type: ignore[no-untyped-call] # MLflow's
    except MlflowException:
        assert not is_allowed_name(name)
    else:
        # The pattern of MLflow ends with $, which also matches before a newline at the end.
        assert is_allowed_name(name) or not name or name.endswith("\n")


def test_a_users_own_metrics_do_not_measure_the_providers_models() -> None:
    """In a user's run only the provider's metrics are linked to its models."""
    snapshot = Snapshot(job=JOB, checkpoints=(checkpoint(10, train_loss=0.5),))
    theirs = recorded_run(
        status="RUNNING",
        start_time=CREATED,
        tags={},
        params={},
        logged=Logged(steps={"gpu_temperature": frozenset({10})}),
    )
    (model,) = plan_of(snapshot, theirs).models
    assert model.metrics == (("train_loss", 10),)
    ours = dataclasses.replace(theirs, tags={"fine_tuning_bridge": "ftbridge"})
    (model,) = plan_of(snapshot, ours).models
    assert model.metrics == (("gpu_temperature", 10), ("train_loss", 10))


@pytest.mark.parametrize(("role", "delay"), [(tags.OWNED, 30), (tags.ADOPTED, 40)])
def test_a_late_step_is_not_later_than_what_the_bridge_logged(role: str, delay: int) -> None:
    """A late step is not dated after a later one in the bridge's run; a user's steps are others."""
    run = recorded_run(
        status="RUNNING",
        start_time=CREATED,
        tags={tags.BRIDGE: role},
        params={},
        newest={"train_loss": (5, CREATED + 30)},
    )
    late = CurvePoint("train_loss", 4, 0.5, CREATED + 40)
    (point,) = plan_of(Snapshot(job=JOB, curve=(late,)), run).points
    assert point.timestamp == CREATED + delay


def test_a_point_that_comes_late_is_linked_to_its_model_too() -> None:
    """A model is planned again with all its metrics when a point of it comes late."""
    early = Snapshot(job=JOB, checkpoints=(checkpoint(10, train_loss=0.5),))
    recorded = applied(plan_of(early))
    late = Snapshot(job=JOB, checkpoints=(checkpoint(10, train_loss=0.5, valid_loss=0.4),))
    plan = plan_of(late, recorded)
    assert [point.name for point in plan.points] == ["valid_loss"]
    assert [model.metrics for model in plan.models] == [(("train_loss", 10), ("valid_loss", 10))]
    assert plan_of(late, applied(plan, recorded)).is_empty
