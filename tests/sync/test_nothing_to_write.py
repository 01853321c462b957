"""A pass that has nothing to write leaves MLflow as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.simulator import Reply, Request, Simulator, json_reply
from bridge.tracking import Tracking
from tests.support.world import NOW, Clock, job, make_sync


def names_of(tracking: Tracking) -> set[str]:
    """Return the names of MLflow's experiments."""
    with tracking.asked() as client:
        return {each.name for each in client.search_experiments()}


@pytest.mark.parametrize("is_refused", [True, False])
def test_an_experiment_is_created_for_the_first_job(
    tracking: Tracking, *, is_refused: bool
) -> None:
    """Neither a refused key nor an account without jobs creates an experiment; a job does."""
    before = names_of(tracking)
    clock = Clock(NOW)
    refusals = [json_reply({"error": {"message": "no"}}, 401)] if is_refused else []

    def refuse(_: Request) -> Reply | None:
        return refusals.pop() if refusals else None

    with Simulator(clock=clock, intercept=refuse) as simulator, ThreadPoolExecutor(1) as executor:
        sync = make_sync(simulator, tracking, executor, clock)
        report = sync.run()
        assert (report.stopped is not None) is is_refused
        assert names_of(tracking) == before
        simulator.add(job("ftjob-first", created_at=NOW))
        clock.now += 60
        assert sync.run().is_well
        assert names_of(tracking) == before | {"hosted-fine-tunes"}
