"""Duplicates, which are deleted for a reason, in one place, and never many at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.plan.ownership import MOST_DELETIONS
from bridge.simulator import Simulator
from bridge.sync.events import Event, RunDeleted
from bridge.tracking import Tracking
from tests.support.models import client_of
from tests.support.recorded import active_runs, deleted_runs
from tests.support.world import Clock, job, make_sync


def double(uri: str, number: int) -> None:
    """Create a second run of this many jobs, as other processes do."""
    client = client_of(uri)
    for run in active_runs(uri)[:number]:
        twin = client.create_run(
            run.info.experiment_id, start_time=run.info.start_time, tags=run.data.tags
        )
        client.set_terminated(twin.info.run_id, run.info.status, run.info.end_time)


@pytest.fixture
def finished(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> Iterator[Simulator]:
    """Record twelve finished jobs, each once."""
    jobs = [job(f"ftjob-{number}", total_steps=2) for number in range(12)]
    clock.now += 1000
    with Simulator(jobs=jobs, clock=clock) as simulator:
        assert make_sync(simulator, tracking, executor, clock).run().is_well
        assert len(active_runs(uri)) == 12
        yield simulator


def test_a_dry_run_lists_what_would_be_deleted(
    uri: str, finished: Simulator, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A dry run lists each duplicate with the run that stays, and deletes nothing."""
    double(uri, 2)
    report = make_sync(finished, Tracking(uri), executor, clock).run(dry_run=True)
    assert len(report.deleted) == 2
    assert all("owns its job" in each.reason for each in report.deleted)
    assert not deleted_runs(uri)


def test_a_pass_deletes_what_it_finds_from_earlier(
    uri: str, finished: Simulator, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A pass deletes and reports up to ten older duplicates, and each job keeps one run."""
    events: list[Event] = []
    double(uri, MOST_DELETIONS)
    report = make_sync(finished, Tracking(uri), executor, clock).run(handler=events.append)
    gone = {run.info.run_id for run in deleted_runs(uri)}
    assert {each.run_id for each in report.deleted} == gone
    assert [e.deletion for e in events if isinstance(e, RunDeleted)] == report.deleted
    assert len(active_runs(uri)) == len(
        {r.data.tags["fine_tuning_job_id"] for r in active_runs(uri)}
    )
    assert len(gone) == MOST_DELETIONS
    assert not report.withheld


def test_a_pass_that_finds_many_deletes_none(
    uri: str, finished: Simulator, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A pass that finds many duplicates deletes none, and refers to ``doctor --fix``."""
    double(uri, MOST_DELETIONS + 1)
    sync = make_sync(finished, Tracking(uri), executor, clock)
    report = sync.run()
    assert not deleted_runs(uri)
    assert report.deleted == []
    assert len(report.withheld) == MOST_DELETIONS + 1
    # It is reported once, and costs later passes nothing.
    assert sync.run().withheld == []
