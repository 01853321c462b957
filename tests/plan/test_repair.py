"""Additions to a run that should be complete, and the end of a lost job's run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import JobStatus, MetricPoint
from bridge.plan import tags
from bridge.plan.models import HostedModel, Registration
from bridge.plan.plan import Plan
from bridge.plan.recorded import Logged, RecordedRun
from bridge.plan.repair import GONE, Inventory, farewell, lacking
from tests.support import plans

BEGAN = 1_760_000_000_000
MANIFEST = "files/manifest.json"
NOTES = {tags.NOTE: "text", tags.NOTE_DIGEST: "digest"}

RUN = RecordedRun(
    run_id="run",
    experiment_id="1",
    job_id="a",
    provider="openai",
    name="openai/a",
    status="FINISHED",
    is_deleted=False,
    start_time=BEGAN,
    artifact_uri="",
    tags={tags.BRIDGE: tags.OWNED, tags.JOB: "a"},
    params={},
    newest={"loss": (3, BEGAN + 30), "valid_loss": (2, BEGAN + 40)},
    logged=Logged(models={"ft:1": "m-1"}),
)
ADOPTED = replace(RUN, tags={tags.BRIDGE: tags.COMPLETED, tags.JOB: "a"})
NOTHING = plans.plan("a", run_name="openai/a", start_time=BEGAN, end_time=BEGAN + 60, is_final=True)
POINT = MetricPoint("loss", 1, 0.5, BEGAN)


def model(step: int) -> HostedModel:
    """Return a model of a step."""
    return HostedModel(model=f"ft:{step}", name=f"a-{step}", step=step, metrics=(), about={})


def repaired(plan: Plan, run: RecordedRun = RUN, inventory: Inventory | None = None) -> Plan:
    """Return the rest of a plan."""
    return lacking(plan, run, inventory or Inventory(), manifest=MANIFEST)


def test_a_run_that_has_everything_is_left_alone() -> None:
    """A complete run is not written to, whether the bridge or a user created it."""
    assert repaired(NOTHING) == NOTHING
    assert repaired(NOTHING, ADOPTED) == NOTHING


def test_what_is_archived_is_not_archived_again() -> None:
    """An archived document or file is not archived again."""
    plan = replace(NOTHING, documents={"job.json": b"1", "events.json": b"2"}, files=("file-1",))
    some = repaired(plan, inventory=Inventory(archived=frozenset({"job.json"})))
    assert (some.documents, some.files) == ({"events.json": b"2"}, ("file-1",))
    others = repaired(plan, inventory=Inventory(archived=frozenset({MANIFEST})))
    assert (others.documents, others.files) == (plan.documents, ())


def test_a_model_that_its_user_deleted_stays_deleted() -> None:
    """A deleted model, whose output still shows that it existed, is not made again."""
    plan = replace(NOTHING, models=(model(1), model(2)))
    found = repaired(plan, inventory=Inventory(emptied=frozenset({1})))
    assert found.models == (model(2),)


@pytest.mark.parametrize(
    ("of", "models", "registered", "is_registered"),
    [
        ("ft:1", (), (), True),  # the run has it
        ("ft:2", (model(2),), (), True),  # the plan adds it
        ("ft:2", (), (), False),  # nobody has it
        ("ft:1", (), ("shop",), False),
        ("ft:2", (model(2),), ("shop",), False),
        ("ft:1", (), ("other",), True),
    ],
)
def test_a_version_is_registered_once(
    of: str, models: tuple[HostedModel, ...], registered: tuple[str, ...], *, is_registered: bool
) -> None:
    """A version is registered once, and only for a model that exists."""
    registration = Registration(name="shop", model=of, source=f"openai:/{of}", at=BEGAN)
    plan = replace(NOTHING, models=models, registration=registration)
    found = repaired(plan, inventory=Inventory(registered=frozenset(registered)))
    assert found.registration == (registration if is_registered else None)


def test_tags_that_their_user_edited_stay() -> None:
    """A user's edits of tags stay, and missing tags are added together with the description."""
    edited = replace(NOTHING, tags={tags.JOB: "b", tags.COST: "$3", **NOTES})
    found = repaired(edited)
    assert found.tags == {tags.COST: "$3", **NOTES}
    assert found.status is None


def test_a_description_that_differs_is_no_reason_to_write() -> None:
    """A description that differs, as after an update of the bridge, is not written again."""
    has_note = replace(RUN, tags={**RUN.tags, **dict.fromkeys(NOTES, "old")})
    assert repaired(replace(NOTHING, tags=NOTES), has_note).tags == {}
    more = repaired(replace(NOTHING, tags=NOTES, params={"seed": "1"}), has_note)
    assert more.tags == NOTES


def test_the_status_is_corrected_while_the_jobs_last_word_is_missing() -> None:
    """The status is corrected if the run ended before its job."""
    plan = replace(NOTHING, tags={tags.STATUS: "succeeded", tags.JOB: "b"}, status="FAILED")
    found = repaired(plan)
    assert (found.status, found.tags) == ("FAILED", plan.tags)
    assert repaired(replace(plan, status=None)).status == "FINISHED"
    assert repaired(replace(plan, status=None), ADOPTED).status is None


def test_points_that_are_added_may_move_the_end() -> None:
    """Added points can move the end, so the status is written again, except in a user's run."""
    plan = replace(NOTHING, points=(POINT,))
    assert repaired(plan).status == "FINISHED"
    assert repaired(plan, ADOPTED).status is None
    assert repaired(replace(plan, tags={tags.STATUS: "succeeded"})).status == "FINISHED"


def test_a_run_or_a_job_that_goes_on_gets_all_of_its_plan() -> None:
    """An open run, or a run of an open job, gets its whole plan, as in its next pass."""
    plan = replace(NOTHING, tags={tags.JOB: "b"}, status="RUNNING", points=(POINT,))
    assert repaired(replace(plan, is_final=False)) == replace(plan, is_final=False)
    assert repaired(plan, replace(RUN, status="RUNNING")) == plan


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, "KILLED"),
        (JobStatus.RUNNING, "KILLED"),
        (JobStatus.SUCCEEDED, "FINISHED"),
        (JobStatus.FAILED, "FAILED"),
        (JobStatus.CANCELLED, "KILLED"),
    ],
)
def test_a_lost_job_ends_as_it_was_last_seen(last: JobStatus | None, expected: str) -> None:
    """A lost job ends with its last known status and the newest time of its run."""
    plan = farewell(replace(RUN, status="RUNNING"), last)
    assert (plan.status, plan.end_time) == (expected, BEGAN + 40)
    assert (plan.run_id, plan.job_id, plan.run_name, plan.start_time) == (
        "run",
        "a",
        "openai/a",
        BEGAN,
    )
    assert (plan.is_final, plan.is_settling, plan.last_tags) == (True, False, {})
    assert plan.reason == GONE
    assert plan.skipped == (GONE,)


def test_a_lost_jobs_run_keeps_the_end_that_it_has() -> None:
    """A lost job's run keeps an existing end, and without any point ends at its start."""
    assert farewell(RUN, None).status is None
    assert farewell(replace(RUN, newest={}), None).end_time == BEGAN
    adopted = replace(RUN, status="RUNNING", tags={tags.BRIDGE: tags.ADOPTED})
    assert farewell(adopted, None).last_tags == {tags.BRIDGE: tags.COMPLETED}
