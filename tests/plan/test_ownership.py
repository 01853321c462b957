"""The ownership of jobs by runs, with any number of creators."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.ownership import Claims, Fate, Ownership, may_delete, resolve
from bridge.plan.recorded import FINAL_RUN_STATUS, RecordedRun
from bridge.plan.tags import ADOPTED, BRIDGE, COMPLETED, INCOMPLETE_SINCE, OWNED

runs = st.builds(
    RecordedRun,
    run_id=st.uuids().map(lambda uuid: uuid.hex),
    experiment_id=st.sampled_from(["1", "1", "2"]),
    job_id=st.sampled_from(["a", "b", "c"]),
    provider=st.just("openai"),
    name=st.just("openai/x"),
    status=st.sampled_from(["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]),
    is_deleted=st.booleans(),
    start_time=st.just(1),
    artifact_uri=st.just(""),
    tags=st.sampled_from([{}, {BRIDGE: OWNED}, {BRIDGE: ADOPTED}, {BRIDGE: COMPLETED}]),
    params=st.just({}),
    newest=st.just({}),
)
many = st.lists(runs, unique_by=lambda run: run.run_id)


def going(owned: Ownership) -> set[str]:
    """Return the runs that are to be deleted."""
    return {each.run_id for each in owned.deletions()}


@given(many, st.randoms())
def test_every_process_comes_to_the_same_answer(found: list[RecordedRun], random: Random) -> None:
    """The order in which MLflow lists the runs does not change the owner."""
    shuffled = list(found)
    random.shuffle(shuffled)
    one, other = resolve(found), resolve(shuffled)
    assert (one.open, one.settled, one.run_ids) == (other.open, other.settled, other.run_ids)
    assert sorted(one.duplicates) == sorted(other.duplicates)


@given(many)
def test_the_smallest_active_run_carries_the_job(found: list[RecordedRun]) -> None:
    """The active run with the smallest id owns its job and is never deleted."""
    owned = resolve(found)
    for job_id in {run.job_id for run in found}:
        active = sorted(run.run_id for run in found if run.job_id == job_id and not run.is_deleted)
        assert owned.run_ids.get(job_id) == (active[0] if active else None)
        assert (job_id in owned.settled) != (job_id in owned.open)
        assert not set(active[:1]) & going(owned)


@given(many)
def test_the_ends_of_settled_jobs_are_counted(found: list[RecordedRun]) -> None:
    """Each job with a complete run counts once under its status, and deleted ones do not."""
    owned = resolve(found)
    statuses = {run.run_id: run.status for run in found}
    assert owned.ends == Counter(
        statuses[run_id] for job_id, run_id in owned.run_ids.items() if job_id in owned.settled
    )


@given(many)
def test_only_runs_that_the_bridge_created_are_deleted(found: list[RecordedRun]) -> None:
    """A user's run with the same tags is not deleted."""
    ours = {run.run_id for run in found if run.is_ours and not run.is_deleted}
    assert going(resolve(found)) <= ours


@given(many)
def test_a_job_whose_runs_are_all_deleted_is_left_alone(found: list[RecordedRun]) -> None:
    """A job whose runs were all deleted by its user gets no other run."""
    deleted = [run for run in found if run.is_deleted]
    owned = resolve(deleted)
    assert owned.settled == {run.job_id for run in deleted}
    assert not owned.open


@given(many)
def test_only_runs_of_the_winners_experiment_are_deleted(found: list[RecordedRun]) -> None:
    """A run in another experiment than the owner's may have a purpose, and is not deleted."""
    owned = resolve(found)
    by_id = {run.run_id: run for run in found}
    for loser in going(owned):
        winner = by_id[owned.run_ids[by_id[loser].job_id]]
        assert by_id[loser].experiment_id == winner.experiment_id


@given(many)
def test_what_is_finished_is_not_given_up_for_what_is_not(found: list[RecordedRun]) -> None:
    """A complete run is deleted only once the owner is complete too."""
    owned = resolve(found)
    by_id = {run.run_id: run for run in found}
    for loser in going(owned):
        assert by_id[loser].job_id not in owned.open or not by_id[loser].is_final
    waiting = [each for each in owned.duplicates if each.fate is Fate.WAITS]
    for spare, job_id in ((each.run_id, each.job_id) for each in waiting):
        assert by_id[spare].job_id == job_id
        assert by_id[spare].is_final
        assert job_id in owned.open


@given(many)
def test_each_active_run_carries_its_job_or_is_reported(found: list[RecordedRun]) -> None:
    """Each active run is the owner, a duplicate to delete now or later, or a rival that stays."""
    owned = resolve(found)
    reported = [*owned.run_ids.values(), *(each.run_id for each in owned.duplicates)]
    assert sorted(reported) == sorted({run.run_id for run in found if not run.is_deleted})


@given(runs)
def test_the_status_of_a_users_run_does_not_say_that_it_is_complete(run: RecordedRun) -> None:
    """A user's run is complete only by the bridge's tag, because scripts end runs early."""
    if run.is_ours:
        assert run.is_final == (run.status in FINAL_RUN_STATUS)
    else:
        assert run.is_final == (run.tags.get(BRIDGE) == COMPLETED)


@pytest.mark.parametrize(
    ("deletions", "runs", "allowed"),
    [
        (0, 0, True),
        (10, 0, True),
        (10, 50, True),
        (11, 50, False),
        (11, 110, True),
        (12, 119, False),
    ],
)
def test_a_pass_deletes_few_duplicates_from_earlier(
    deletions: int, runs: int, *, allowed: bool
) -> None:
    """A pass deletes up to ten duplicates, or up to a tenth of the runs, and otherwise none."""
    assert may_delete(deletions, runs) is allowed


@given(many)
def test_a_vanished_job_keeps_the_run_that_has_everything(found: list[RecordedRun]) -> None:
    """If a job vanishes, its complete duplicate stays and its unfinished owner is deleted."""
    owned = resolve(found)
    waiting = owned.jobs_with(Fate.WAITS)
    gone = {each.run_id: each.job_id for each in owned.deletions(waiting)}
    kept = {each.run_id for each in owned.duplicates if each.fate is Fate.WAITS}
    assert {owned.run_ids[job_id] for job_id in waiting} <= gone.keys()
    assert not kept & gone.keys()


@given(many)
def test_every_deletion_has_its_reason(found: list[RecordedRun]) -> None:
    """Every deletion has a reason that names the run that stays."""
    owned = resolve(found)
    for each in owned.deletions(owned.run_ids):
        others = {run.run_id for run in found if run.job_id == each.job_id} - {each.run_id}
        assert any(other in each.reason for other in others)


def run_of(run_id: str, job_id: str = "a", **facts: object) -> RecordedRun:
    """Return a run of the bridge that is not complete."""
    fields: dict[str, object] = {
        "run_id": run_id,
        "experiment_id": "1",
        "job_id": job_id,
        "provider": "openai",
        "name": run_id,
        "status": "RUNNING",
        "is_deleted": False,
        "start_time": 1,
        "artifact_uri": "",
        "tags": {BRIDGE: OWNED},
        "params": {},
        "newest": {},
    }
    return RecordedRun(**(fields | facts))  # type: ignore[arg-type] # as the test says


def test_the_runs_of_one_experiment_do_not_say_that_there_are_no_others() -> None:
    """The runs of one experiment do not show that others are absent, and only all runs do."""
    assert not resolve([]).is_complete
    assert resolve([], is_complete=True).is_complete
    assert not Ownership().is_complete


def test_a_run_that_is_shown_as_ended_is_open_while_a_part_is_awaited() -> None:
    """A run that is shown as ended counts as open while a part is awaited."""
    awaited = run_of("a", status="FINISHED", tags={BRIDGE: OWNED, INCOMPLETE_SINCE: "x"})
    assert resolve([awaited]).open == {"a": awaited}
    assert not resolve([run_of("a", status="FINISHED")]).open


def test_a_run_that_is_listed_twice_is_as_it_was_seen_last() -> None:
    """A run that ends between two pages, and is on both, has ended."""
    ended, other = run_of("1", status="FINISHED"), run_of("2", "b", status="FINISHED")
    assert resolve([other, run_of("1"), ended]).settled == {"a", "b"}
    assert resolve([other, ended, run_of("1")]).open.keys() == {"a"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_deleted_run_beside_an_open_one_settles_nothing(order: int) -> None:
    """A job that trains is not settled by a deleted run of it, also before all runs are read."""
    claims = Claims()
    for run in (run_of("1"), run_of("2", is_deleted=True))[::order]:
        claims.add(run)
    assert not claims.is_settled("a")
    claims.add(run_of("3", "b", is_deleted=True))
    assert claims.is_settled("b"), "its user wants no run"


def test_an_owner_without_an_end_goes_once_its_job_is_lost() -> None:
    """An owner without an end is deleted once its job is lost, and the complete duplicate stays."""
    owner, whole = run_of("1"), run_of("2", status="FINISHED")
    owned = resolve([owner, whole])
    assert owned.jobs_with(Fate.WAITS) == {"a"}
    assert [*owned.deletions()] == []
    assert [*owned.deletions({"b"})] == []
    (deletion,) = owned.deletions({"a", "b"})
    assert (deletion.run_id, deletion.job_id) == ("1", "a")
    assert deletion.reason == "its provider no longer has the job, and run 2 has everything of it"


def test_a_duplicate_goes_with_its_reason() -> None:
    """A duplicate is deleted with a reason that names the run that stays."""
    owned = resolve([run_of("1"), run_of("2")])
    (deletion,) = owned.deletions()
    assert (deletion.run_id, deletion.job_id, deletion.reason) == ("2", "a", "run 1 owns its job")


def test_the_runs_of_a_further_experiment_join_the_others() -> None:
    """The runs of a further experiment are added to the others."""
    owned = resolve([run_of("1", "a"), run_of("2", "b", status="FAILED")], is_complete=True)
    owned.add(resolve([run_of("3", "c"), run_of("4", "c"), run_of("5", "d", is_deleted=True)]))
    assert owned.is_complete
    assert owned.open.keys() == {"a", "c"}
    assert owned.settled == {"b", "d"}
    assert owned.run_ids == {"a": "1", "b": "2", "c": "3"}
    assert [(each.run_id, each.fate) for each in owned.duplicates] == [("4", Fate.GOES)]
