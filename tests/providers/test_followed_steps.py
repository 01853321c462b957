"""Jobs that are followed: after each pass MLflow has every step that their provider has.

The clock stands still during a pass, so that a lag would be the bridge's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from bridge.simulator import SimulatedJob, Simulator
from bridge.simulator.jobs import Provider, has_started, status, steps_done
from bridge.tracking import Tracking
from tests.support.recorded import RunRows, recorded
from tests.support.world import NOW, Clock, job, make_sync

CURVES: Final[dict[Provider, str]] = {
    "vertex": "train_total_loss",
    "prime": "reward/all/mean",
    "bedrock": "training_loss",
    "bedrock-mantle": "critic_rewards_mean",
}
"""A metric that each of the types measures at every step."""
IDS: Final[dict[Provider, str]] = {"vertex": f"{10**18}"}
INTERVAL: Final = 3.3
"""Seconds from one pass to the next, in which three or four steps are done."""


def newest(run: RunRows, metric: str) -> int:
    """Return the newest step of a curve that has no gaps, 0 before its first."""
    steps = sorted(step for name, step, *_ in run.rows if name == metric)
    first = steps[0] if steps else 1
    assert steps == [*range(first, first + len(steps))]
    return steps[-1] if steps else 0


def followed(of: SimulatedJob) -> list[float]:
    """Return the moments of passes: before its start, at the start, at each interval, at its end.

    The first two are the daemon's first pass and the first that sees the job train.
    """
    moments = [of.created_at + 1, of.started_at, of.step_at(1)]
    while moments[-1] < of.settled_at:
        moments.append(moments[-1] + INTERVAL)
    return moments


@pytest.mark.parametrize("kind", CURVES)
def test_after_a_pass_every_step_of_the_provider_is_there(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, kind: Provider
) -> None:
    """A pass records every step that its provider has, from the very first pass to the last."""
    one = job(IDS.get(kind, f"{kind}-followed"), kind)
    with Simulator(jobs=[one], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind=kind)
        seen: list[int] = []
        for moment in followed(one):
            clock.now = moment
            assert sync.run().failures == []
            (run,) = recorded(uri).values()
            seen.append(steps_done(one, moment))
            assert newest(run, CURVES[kind]) == seen[-1], f"after {moment - NOW:.1f} s"
            if not status(one, moment).is_final:
                assert run.status == ("RUNNING" if has_started(one, moment) else "SCHEDULED")
    assert seen == [0, 0, 1, 4, 7, 10, 12, 12]
    assert run.status == "FINISHED"
