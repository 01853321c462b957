"""Writes that wait until a job's last data is there, and the record of an ended job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import (
    Checkpoint,
    CurvePoint,
    Job,
    JobStatus,
    MetricPoint,
    MissingPart,
    Snapshot,
)
from bridge.plan import tags
from bridge.plan.datasets import DatasetInput
from bridge.plan.models import HostedModel, Registration
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import Plan, make_plan
from bridge.plan.recorded import RecordedRun
from bridge.plan.routing import Route
from bridge.plan.run_state import SETTLING
from tests.support import plans

NOW = 1_760_000_000_000
BEGAN = NOW - 3_600_000
EVERYTHING = RecordingOptions(
    provider_type="openai", archive_datasets=True, register="of-{provider}"
)


def succeeded(ago: int) -> Job:
    """Return a job that succeeded this many milliseconds ago."""
    return Job(
        id="ftjob-1",
        status=JobStatus.SUCCEEDED,
        provider_status="succeeded",
        created_at=BEGAN,
        finished_at=NOW - ago,
        base_model="gpt-4.1",
        fine_tuned_model="ft:model",
        training_files=("file-1", "file-2"),
        validation_files=("file-2", "file-3"),
    )


def plan_of(snapshot: Snapshot, recorded: RecordedRun | None = None) -> Plan:
    """Return the plan with everything switched on."""
    return make_plan("openai", snapshot, recorded, EVERYTHING, now=NOW)


CURVE = (CurvePoint("train_loss", 1, 0.5, BEGAN + 1000),)


def test_nothing_is_measured_or_registered_while_checkpoints_are_to_come() -> None:
    """Nothing is measured or registered before the last checkpoints, whose values are exact."""
    plan = plan_of(Snapshot(job=succeeded(1000), curve=CURVE))
    assert plan.is_settling
    assert not plan.is_final
    assert (plan.points, plan.models, plan.registration) == ((), (), None)
    assert (plan.documents, plan.files, plan.end_time) == ({}, (), None)


def test_everything_is_written_once_they_are_there() -> None:
    """With a checkpoint everything is written in the same moment after the success."""
    checkpoint = Checkpoint(
        id="c1", step=1, created_at=BEGAN + 1000, model="ft:1", metrics={"train_loss": 0.5}
    )
    plan = plan_of(Snapshot(job=succeeded(1000), curve=CURVE, checkpoints=(checkpoint,)))
    assert plan.is_final
    assert [(point.name, point.step) for point in plan.points] == [("train_loss", 1)]
    assert {model.model for model in plan.models} == {"ft:1", "ft:model"}
    assert plan.registration is not None
    assert plan.end_time == NOW - 1000


@pytest.mark.parametrize(("ago", "settles"), [(SETTLING - 1, True), (SETTLING, False)])
def test_a_job_settles_for_five_minutes(ago: int, *, settles: bool) -> None:
    """A job settles for five minutes."""
    assert plan_of(Snapshot(job=succeeded(ago), curve=CURVE)).is_settling is settles


def test_a_file_that_trains_and_validates_is_archived_once() -> None:
    """A file that trains and validates is archived once, in the order of the job."""
    plan = plan_of(Snapshot(job=succeeded(SETTLING)))
    assert plan.files == ("file-1", "file-2", "file-3")


def test_a_job_without_a_start_begins_with_the_earliest_moment() -> None:
    """A job without a start begins with the earliest of its end, checkpoints and points."""
    job = replace(succeeded(SETTLING), created_at=None)
    curve = tuple(CurvePoint("loss", step, 0.5, BEGAN + 1000 * step) for step in (3, 1, 2))
    assert plan_of(Snapshot(job=job, curve=curve)).start_time == BEGAN + 1000


def user_run(**known: object) -> RecordedRun:
    """Return a run that a user created and the bridge continues."""
    fields: dict[str, object] = {
        "run_id": "run",
        "experiment_id": "1",
        "job_id": "ftjob-1",
        "provider": "openai",
        "name": "mine",
        "status": "RUNNING",
        "is_deleted": False,
        "start_time": BEGAN,
        "artifact_uri": "",
        "tags": {tags.BRIDGE: tags.ADOPTED},
        "params": {},
        "newest": {},
    }
    return RecordedRun(**(fields | known))  # type: ignore[arg-type] # as the test says


def test_a_users_own_tags_stay() -> None:
    """A user's tags stay, even a noted number of tokens."""
    theirs = {"trained_tokens": "12", tags.BASE_MODEL: "mine", tags.MODEL: "mine too"}
    job = replace(succeeded(SETTLING), trained_tokens=4096)
    plan = plan_of(Snapshot(job=job), user_run(tags={tags.BRIDGE: tags.ADOPTED, **theirs}))
    assert theirs.keys().isdisjoint(plan.tags)


@pytest.mark.parametrize(
    ("theirs", "ours", "differs"), [("2", 2.0, False), ("2.0", 2, False), ("3", 2, True)]
)
def test_a_param_in_another_spelling_is_the_same(
    theirs: str, ours: float, *, differs: bool
) -> None:
    """A param in another spelling of the same number is unchanged."""
    job = replace(succeeded(SETTLING), params={"n_epochs": ours})
    plan = plan_of(Snapshot(job=job), user_run(params={"n_epochs": theirs}))
    assert plan.params == {}
    assert any("n_epochs" in sentence for sentence in plan.skipped) is differs


def test_an_error_is_cut_to_what_a_tag_is_read_for() -> None:
    """An error is cut in its tag, and whole in the archive."""
    job = replace(succeeded(0), status=JobStatus.FAILED, error="x" * 5000)
    assert len(plan_of(Snapshot(job=job)).tags[tags.ERROR]) == 1000


def test_a_plan_says_what_it_does() -> None:
    """The line of a dry run says whether a run is new or older."""
    snapshot = Snapshot(job=succeeded(SETTLING))
    assert str(plan_of(snapshot)).startswith("create openai/ftjob-1: ")
    assert str(plan_of(snapshot, user_run())).startswith("update openai/ftjob-1: ")


def test_datasets_that_a_run_has_are_not_planned_again() -> None:
    """Only missing datasets are planned."""
    snapshot = Snapshot(job=succeeded(SETTLING))
    first, *others = plan_of(snapshot).datasets
    assert others
    assert plan_of(snapshot, user_run(datasets=frozenset({first}))).datasets == tuple(others)


REST = plans.plan("ftjob-1", run_name="openai/x", start_time=BEGAN)
MODEL = HostedModel(model="ft:1", name="x-1", step=1, metrics=(), about={})
POINTS = tuple(MetricPoint(name, 1, 0.5, BEGAN) for name in ("a", "b"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"points": POINTS}, "2 points of 2 metrics"),
        ({"points": POINTS[:1]}, "1 point of 1 metric"),
        ({"models": (MODEL,)}, "1 model"),
        ({"datasets": (DatasetInput("f", "training"),)}, "1 dataset"),
        ({"params": {"seed": "1", "method": "dpo"}}, "2 params"),
        ({"tags": {"a": "b"}}, "1 tag"),
        ({"documents": {"job.json": b""}}, "1 archived file"),
        ({"documents": {"job.json": b""}, "files": ("f", "g")}, "3 archived files"),
        (
            {"registration": Registration(name="r", model="ft:1", source="", at=1)},
            "a registered version",
        ),
        ({"params": {"seed": "1"}, "status": "FINISHED"}, "1 param, FINISHED"),
        ({"status": "FINISHED"}, "FINISHED"),
    ],
)
def test_what_is_added_is_said_in_words(changes: dict[str, object], said: str) -> None:
    """The line of a dry run names every kind of addition."""
    plan = replace(REST, **changes)  # type: ignore[arg-type] # as the test says
    assert not plan.is_empty
    assert str(plan) == f"update openai/x: {said}"


def test_nothing_to_do_is_said_too() -> None:
    """A plan without work says so, and a new run or a changed tag counts as work."""
    assert str(REST) == "openai/x: nothing to do"
    for changes in ({"run_id": None}, {"removed_tags": ("a",)}, {"last_tags": {"a": "b"}}):
        assert not replace(REST, **changes).is_empty


def test_a_plan_as_a_document_has_all_of_it() -> None:
    """The document of a plan is complete, with points counted by metric."""
    plan = replace(
        REST,
        tags={"a": "1"},
        last_tags={"b": "2"},
        params={"seed": "1"},
        points=(*POINTS, MetricPoint("a", 2, 0.4, BEGAN)),
        models=(MODEL,),
        datasets=(DatasetInput("f", "training"),),
        documents={"job.json": b""},
        files=("f",),
        registration=Registration(name="shop", model="ft:1", source="", at=1),
        status="FINISHED",
        end_time=BEGAN + 1,
        reason="why",
    )
    assert plan.document() == {
        "job": "ftjob-1",
        "run": "run",
        "run_name": "openai/x",
        "reason": "why",
        "start_time": BEGAN,
        "end_time": BEGAN + 1,
        "status": "FINISHED",
        "tags": {"a": "1", "b": "2"},
        "params": {"seed": "1"},
        "points": {"a": 2, "b": 1},
        "datasets": {"f": "training"},
        "models": {"x-1": "ft:1"},
        "registered_model": "shop",
        "archive": ["f", "job.json"],
    }


@pytest.mark.parametrize(
    ("status", "ago", "recorded", "said"),
    [
        (JobStatus.RUNNING, 0, False, "it has no run yet, and the job is still open"),
        (JobStatus.RUNNING, 0, True, "its run is RUNNING, and the job is still open"),
        (JobStatus.SUCCEEDED, SETTLING, True, "its run is RUNNING, and the job has ended"),
        (
            JobStatus.SUCCEEDED,
            1,
            False,
            "it has no run yet, and its checkpoints are still to come",
        ),
    ],
)
def test_a_plan_says_why_it_is_so(
    status: JobStatus, ago: int, said: str, *, recorded: bool
) -> None:
    """A plan has a reason for the log."""
    snapshot = Snapshot(job=replace(succeeded(ago), status=status))
    assert plan_of(snapshot, user_run() if recorded else None).reason == said


def test_everything_that_is_left_out_is_said() -> None:
    """A sentence reports everything that is left out: wishes, parts, words and values."""
    job = replace(
        succeeded(SETTLING), status=JobStatus.UNKNOWN, provider_status="odd", params={"a(b)": 1}
    )
    missing = MissingPart("events", "it is forbidden (403)", is_lasting=True)
    snapshot = Snapshot(
        job=job, skipped=("a value",), missing=(missing,), curve=(CurvePoint("c(d)", 1, 1.0, 1),)
    )
    route = Route(experiment="x", refused=("a wish",))
    plan = make_plan("openai", snapshot, None, EVERYTHING, now=NOW, route=route)
    assert plan.skipped == (
        "a wish",
        "a value",
        "its events cannot be read: it is forbidden (403)",
        "its status 'odd' is unknown: it counts as running",
        "metric 'c(d)' has a name that MLflow refuses",
        "param 'a(b)' has a name that MLflow refuses",
    )


@pytest.mark.parametrize(
    ("models", "datasets", "archive", "archive_datasets"),
    [(False, True, True, True), (True, False, True, False), (True, True, False, True)],
)
def test_only_what_is_wanted_is_recorded(
    *, models: bool, datasets: bool, archive: bool, archive_datasets: bool
) -> None:
    """Models, versions, datasets and archives are recorded only if they are wanted."""
    options = replace(
        EVERYTHING,
        models=models,
        datasets=datasets,
        archive=archive,
        archive_datasets=archive_datasets,
    )
    snapshot = Snapshot(job=succeeded(SETTLING), documents={"job.json": b"{}"})
    plan = make_plan("openai", snapshot, None, options, now=NOW)
    assert bool(plan.models) is models
    assert (plan.registration is not None) is models
    assert bool(plan.datasets) is datasets
    assert bool(plan.files) is (archive and archive_datasets)
    assert plan.documents == {"job.json": b"{}"}


def test_the_end_of_an_id_is_in_a_runs_name() -> None:
    """The name of a run has the last six characters of the job's id, without a leading dash."""
    names = {
        "ftjob-abcdef": "openai/s-abcdef",
        "abc-12345": "openai/s-12345",
        "abc_-2345": "openai/s-2345",
        "abc": "openai/s-abc",
    }
    for job_id, name in names.items():
        job = replace(succeeded(SETTLING), id=job_id, suffix="s")
        assert plan_of(Snapshot(job=job)).run_name == name
