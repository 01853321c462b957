"""Passes over a simulated provider into a real MLflow."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from bridge.report import Kind
from bridge.simulator import Simulator
from bridge.tracking import Tracking
from tests.support.recorded import recorded
from tests.support.world import Clock, job, make_sync


def test_a_second_pass_writes_nothing(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Whatever a first pass recorded, a second one, also of a new process, finds unchanged."""
    with Simulator(
        jobs=[job("ftjob-a"), job("ftjob-b", total_steps=300)], clock=clock
    ) as simulator:
        clock.now += 100
        first = make_sync(simulator, tracking, executor, clock).run()
        assert +first.jobs == Counter({Kind.NEW: 2}), first
        before = recorded(uri)
        again = make_sync(simulator, tracking, executor, clock).run()
        assert +again.jobs == Counter({Kind.UNCHANGED: 2}), again
        assert recorded(uri) == before
