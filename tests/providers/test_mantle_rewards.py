"""Bedrock's ``bedrock-mantle``: the best of checkpoints without metrics, and when they are read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bridge.model import LoggedSteps, Snapshot
from bridge.plan.metric_names import MetricNames
from bridge.plan.models import best_model
from bridge.providers.base import Provider
from bridge.providers.bedrock_mantle import BedrockMantle
from tests.support.wire_openai_like import MantleApi

REWARD = "critic_rewards_mean"
LONG = 240
"""Steps, of more than two pages of events."""
NAMES = MetricNames.of("provider", BedrockMantle.meanings)


def reward_of(step: int) -> float:
    """Return the reward of a step: the highest is at step 40."""
    return 1 / (1 + abs(step - 40))


def api_of(
    *, last: int, saved: Mapping[int, Mapping[str, float]], status: str = "running"
) -> MantleApi:
    """Return a job that has come to its step ``last``, with checkpoints that it saved."""
    api = MantleApi()
    api.jobs = [api.row("a-job", status=status)]
    turn(api, last=last, saved=saved)
    return api


def turn(api: MantleApi, *, last: int, saved: Mapping[int, Mapping[str, float]]) -> None:
    """Bring the job of ``api`` to its step ``last``."""
    api.events = [api.event(n, **{REWARD: reward_of(n)}) for n in range(last, 0, -1)]
    rows = [api.checkpoint(step) | {"metrics": saved[step]} for step in sorted(saved)]
    api.checkpoints = rows[::-1]


def read(provider: Provider, logged: LoggedSteps | None = None) -> Snapshot:
    """Read the job."""
    return provider.read(provider.job("a-job"), logged=logged or {})


def logged_until(step: int) -> LoggedSteps:
    """Return what MLflow has after a pass at ``step``."""
    return {REWARD: frozenset(range(1, step + 1))}


@pytest.mark.parametrize("status", ["running", "succeeded", "failed"])
def test_checkpoints_get_the_rewards_of_their_steps(status: str) -> None:
    """A checkpoint without metrics gets the reward of its step, and the best is known by it."""
    api = api_of(last=LONG, saved={40: {}, 120: {}, LONG: {}}, status=status)
    snapshot = read(api.provider())
    assert {each.step: each.metrics for each in snapshot.checkpoints} == {
        step: {REWARD: reward_of(step)} for step in (40, 120, LONG)
    }
    assert best_model(snapshot, NAMES) == "ft:model:ckpt-step-40"


def test_the_reward_that_a_checkpoint_tells_itself_counts() -> None:
    """A checkpoint's metrics come before those of its step's event."""
    api = api_of(last=50, saved={40: {REWARD: 0.25}, 50: {"other": 2.0}})
    checkpoints = read(api.provider()).checkpoints
    assert [dict(each.metrics) for each in checkpoints] == [
        {REWARD: 0.25},
        {REWARD: reward_of(50), "other": 2.0},
    ]


def test_a_followed_job_knows_the_best_as_a_backfilled_one_does() -> None:
    """A followed job reads new events only, and knows the rewards of all that came before.

    A checkpoint may appear long after its step's event was read.
    """
    api = api_of(last=60, saved={})
    provider = api.provider()
    read(provider)
    turn(api, last=LONG, saved={40: {}, 200: {}})
    before = len(api.requests)
    followed = read(provider, logged_until(60))
    asked = [request.url.path for request in api.requests[before:]]
    assert sum(path.endswith("/events") for path in asked) == 2, "it goes back to what is logged"
    assert best_model(followed, NAMES) == "ft:model:ckpt-step-40"
    assert followed.checkpoints == read(api.provider()).checkpoints
    times = {point.step: point.created_at for point in followed.curve if point.name == REWARD}
    assert times == {
        point.step: point.created_at for point in read(api.provider()).curve if point.name == REWARD
    }


def test_a_process_that_has_just_started_reads_all_events_once() -> None:
    """A process that did not read the first steps reads all events once, then the newest."""
    api = api_of(last=LONG, saved={40: {}})
    provider = api.provider()
    numbers = []
    for _ in range(2):
        before = len(api.requests)
        snapshot = read(provider, logged_until(LONG))
        assert best_model(snapshot, NAMES) == "ft:model:ckpt-step-40"
        numbers.append(
            sum(request.url.path.endswith("/events") for request in api.requests[before:])
        )
    assert numbers == [3, 1]


def test_a_job_before_its_first_step_is_not_asked_for_checkpoints() -> None:
    """A job without steps has no checkpoints, and a request for them may end in any error."""
    api = api_of(last=0, saved={})
    api.events = [api.message(1)]
    snapshot = read(api.provider())
    assert (snapshot.checkpoints, snapshot.missing) == ((), ())
    asked = [request.url.path.rpartition("/")[2] for request in api.requests]
    assert "checkpoints" not in asked
    assert asked.count("events") == 1
