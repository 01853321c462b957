"""Which run carries which job, whoever created how many."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.ownership import resolve
from bridge.plan.recorded import FINAL_RUN_STATUS, RunState
from bridge.plan.tags import ADOPTED, BRIDGE, COMPLETED, OWNED

runs = st.builds(
    RunState,
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


@given(many, st.randoms())
def test_every_process_comes_to_the_same_answer(found: list[RunState], random: Random) -> None:
    """The order in which MLflow lists the runs does not matter."""
    shuffled = list(found)
    random.shuffle(shuffled)
    one, other = resolve(found), resolve(shuffled)
    assert (one.open, one.settled, one.run_ids) == (other.open, other.settled, other.run_ids)
    assert sorted(one.losers) == sorted(other.losers)
    assert one.spares == other.spares


@given(many)
def test_the_smallest_active_run_carries_the_job(found: list[RunState]) -> None:
    """Of all active runs of a job the smallest id stays, and it is never deleted."""
    ledger = resolve(found)
    for job_id in {run.job_id for run in found}:
        active = sorted(run.run_id for run in found if run.job_id == job_id and not run.is_deleted)
        assert ledger.run_ids.get(job_id) == (active[0] if active else None)
        assert (job_id in ledger.settled) != (job_id in ledger.open)
        assert not set(active[:1]) & set(ledger.losers)


@given(many)
def test_the_ends_of_settled_jobs_are_counted(found: list[RunState]) -> None:
    """One for each job whose run has everything, under that run's status; none for deleted ones."""
    ledger = resolve(found)
    statuses = {run.run_id: run.status for run in found}
    assert ledger.ends == Counter(
        statuses[run_id] for job_id, run_id in ledger.run_ids.items() if job_id in ledger.settled
    )


@given(many)
def test_only_runs_that_the_bridge_created_are_deleted(found: list[RunState]) -> None:
    """A user's run that carries the same tags is left alone."""
    ours = {run.run_id for run in found if run.is_ours and not run.is_deleted}
    assert set(resolve(found).losers) <= ours


@given(many)
def test_a_job_whose_runs_are_all_deleted_is_left_alone(found: list[RunState]) -> None:
    """Deleted by its user means: do not create it again."""
    deleted = [run for run in found if run.is_deleted]
    ledger = resolve(deleted)
    assert ledger.settled == {run.job_id for run in deleted}
    assert not ledger.open


@given(many)
def test_only_runs_of_the_winners_experiment_are_deleted(found: list[RunState]) -> None:
    """A run in another experiment may be there on purpose."""
    ledger = resolve(found)
    by_id = {run.run_id: run for run in found}
    for loser in ledger.losers:
        winner = by_id[ledger.run_ids[by_id[loser].job_id]]
        assert by_id[loser].experiment_id == winner.experiment_id


@given(many)
def test_what_is_finished_is_not_given_up_for_what_is_not(found: list[RunState]) -> None:
    """A run with everything goes only once the one that carries the job has everything too."""
    ledger = resolve(found)
    by_id = {run.run_id: run for run in found}
    for loser in ledger.losers:
        assert by_id[loser].job_id not in ledger.open or not by_id[loser].is_final
    for spare, job_id in ledger.spares.items():
        assert by_id[spare].job_id == job_id
        assert by_id[spare].is_final
        assert job_id in ledger.open


@given(many)
def test_each_active_run_carries_its_job_or_is_told_of(found: list[RunState]) -> None:
    """It is the one that counts, one to delete, now or later, or a rival that stays."""
    ledger = resolve(found)
    told = [*ledger.run_ids.values(), *ledger.losers, *ledger.spares, *ledger.rivals]
    assert sorted(told) == sorted({run.run_id for run in found if not run.is_deleted})


@given(runs)
def test_the_status_of_a_users_run_does_not_say_that_it_is_complete(run: RunState) -> None:
    """A user's script may end its run long before the job; only the bridge's own word counts."""
    if run.is_ours:
        assert run.is_final == (run.status in FINAL_RUN_STATUS)
    else:
        assert run.is_final == (run.tags.get(BRIDGE) == COMPLETED)
