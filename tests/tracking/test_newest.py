"""Lists of jobs and curves for people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.tracking import Tracking
from bridge.tracking.newest import curve, newest_jobs
from tests.support.in_memory import START, InMemoryProvider, snapshot_of


@pytest.fixture
def experiment_id(tracking: Tracking, executor: ThreadPoolExecutor) -> str:
    """Create three jobs, the second of which is the newest."""
    jobs = [
        snapshot_of(name, 0.9, 0.4, created_at=START + later)
        for name, later in (("a", 10), ("b", 30), ("c", 20))
    ]
    assert InMemoryProvider(*jobs).sync(tracking, executor).run().is_well
    found = tracking.experiment("hosted-fine-tunes", create=False)
    assert found
    return found


def test_the_newest_job_comes_first(tracking: Tracking, experiment_id: str) -> None:
    """The newest job comes first, with its run, newest values and end, without other runs."""
    with tracking.asked() as client:
        client.create_run(experiment_id, start_time=START + 99)
    found = [*newest_jobs(tracking, [experiment_id])]
    assert [each.run.job_id for each in found] == ["b", "c", "a"]
    assert found[0].values == {"train_loss": 0.5, "valid_loss": 0.4}
    assert found[0].ended_at == START + 60_000
    assert [*newest_jobs(tracking, [])] == []


def test_a_curve_has_its_steps_in_order(tracking: Tracking, experiment_id: str) -> None:
    """A curve has each step once and in order, whenever it was logged."""
    (_, _, oldest) = newest_jobs(tracking, [experiment_id])
    run_id = oldest.run.run_id
    assert curve(tracking, run_id, "valid_loss") == [(1, 0.9), (2, 0.4)]
    with tracking.asked() as client:
        client.log_metric(run_id, "valid_loss", 0.7, step=0, timestamp=START + 99_000)
    assert curve(tracking, run_id, "valid_loss") == [(0, 0.7), (1, 0.9), (2, 0.4)]
    assert curve(tracking, run_id, "other") == []
    assert curve(tracking, "no run", "valid_loss") == []
