"""What waits until a job's last data are there, and what is written of a job that has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import Checkpoint, CurvePoint, Job, JobStatus, Snapshot
from bridge.plan import tags
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import Plan, make_plan
from bridge.plan.recorded import RecordedRun
from bridge.plan.run_state import SETTLING

NOW = 1_760_000_000_000
BEGAN = NOW - 3_600_000
EVERYTHING = RecordingOptions(
    provider_type="openai", archive_datasets=True, register="of-{provider}"
)


def succeeded(ago: int) -> Job:
    """A job that succeeded so many milliseconds ago."""
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
    """What is planned with everything switched on."""
    return make_plan("openai", snapshot, recorded, EVERYTHING, now=NOW)


CURVE = (CurvePoint("train_loss", 1, 0.5, BEGAN + 1000),)


def test_nothing_is_measured_or_registered_while_checkpoints_are_to_come() -> None:
    """A rounded point would stay for good in the place of a checkpoint's exact one."""
    plan = plan_of(Snapshot(job=succeeded(1000), curve=CURVE))
    assert plan.is_settling
    assert not plan.is_final
    assert (plan.points, plan.models, plan.registration) == ((), (), None)
    assert (plan.documents, plan.files, plan.end_time) == ({}, (), None)


def test_everything_is_written_once_they_are_there() -> None:
    """The same moment after the success, with a checkpoint."""
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
    """After them nothing more is waited for."""
    assert plan_of(Snapshot(job=succeeded(ago), curve=CURVE)).is_settling is settles


def test_a_file_that_trains_and_validates_is_archived_once() -> None:
    """In the order of the job."""
    plan = plan_of(Snapshot(job=succeeded(SETTLING)))
    assert plan.files == ("file-1", "file-2", "file-3")


def test_a_job_without_a_start_begins_with_the_earliest_moment() -> None:
    """It is the earliest of its end, its checkpoints and its points."""
    job = replace(succeeded(SETTLING), created_at=None)
    curve = tuple(CurvePoint("loss", step, 0.5, BEGAN + 1000 * step) for step in (3, 1, 2))
    assert plan_of(Snapshot(job=job, curve=curve)).start_time == BEGAN + 1000


def user_run(**known: object) -> RecordedRun:
    """A run that a user created and the bridge continues."""
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
    """The number of tokens that they noted too."""
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
    """A number is compared by its value."""
    job = replace(succeeded(SETTLING), params={"n_epochs": ours})
    plan = plan_of(Snapshot(job=job), user_run(params={"n_epochs": theirs}))
    assert plan.params == {}
    assert any("n_epochs" in sentence for sentence in plan.skipped) is differs


def test_an_error_is_cut_to_what_a_tag_is_read_for() -> None:
    """The whole text is in the archive."""
    job = replace(succeeded(0), status=JobStatus.FAILED, error="x" * 5000)
    assert len(plan_of(Snapshot(job=job)).tags[tags.ERROR]) == 1000


def test_a_plan_says_what_it_does() -> None:
    """In the line of a dry run: a new run, or an older one."""
    snapshot = Snapshot(job=succeeded(SETTLING))
    assert str(plan_of(snapshot)).startswith("create openai/ftjob-1: ")
    assert str(plan_of(snapshot, user_run())).startswith("update openai/ftjob-1: ")


def test_datasets_that_a_run_has_are_not_planned_again() -> None:
    """Only those that are missing."""
    snapshot = Snapshot(job=succeeded(SETTLING))
    first, *others = plan_of(snapshot).datasets
    assert others
    assert plan_of(snapshot, user_run(datasets=frozenset({first}))).datasets == tuple(others)
