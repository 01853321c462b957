"""Simulated jobs in MLflow, where the same holds for several types of providers."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import pytest

from bridge.simulator import Outcome, SimulatedJob, Simulator, vertex
from bridge.simulator.jobs import Provider
from bridge.tracking import Tracking
from tests.support.recorded import RunRows, recorded, without_links
from tests.support.world import NOW, BrokenReplies, Clock, job, make_sync

IDS: Final[Mapping[Provider, str]] = {
    "prime": "run-1",
    "together": "ft-1",
    "vertex": f"{10**18}",
}
NAMES: Final[Mapping[Provider, set[str]]] = {
    "together": {"loss", "eval_loss", "epoch"},
    "vertex": {"loss", "eval_loss", "epoch", "mean_token_accuracy"},
}
"""Metrics that have the names that transformers uses, where those are asked for."""
VARIANTS: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {"outcome": Outcome.FAILED, "ends_at_step": 7},
    {"outcome": Outcome.CANCELLED, "ends_at_step": 15},
    {"outcome": Outcome.PAUSED, "ends_at_step": 11},
    {"outcome": Outcome.WAITING},
)
END: Final = NOW + 1000


def plain(kind: Provider) -> SimulatedJob:
    """Return a job of four epochs."""
    return job(IDS[kind], kind, total_steps=40, n_epochs=4)


def in_every_state(kind: Provider) -> list[SimulatedJob]:
    """Return jobs with every outcome, and those that only Vertex has."""
    variants = list(VARIANTS)
    if kind == "vertex":
        variants += [
            {"validation": False, "suffix": None},
            {"method": "dpo", "base_model": vertex.model_name(plain(kind)), "metadata": {"a": "b"}},
            {"method": "reinforcement"},
        ]
    return [
        replace(plain(kind), id=f"{IDS[kind][:-1]}{n}", seed=n, **each)
        for n, each in enumerate(variants, int(IDS[kind][-1]))
    ]


def lasting(kind: Provider, runs: dict[str, RunRows]) -> dict[str, RunRows]:
    """Return runs without what may differ: links, and times where the provider gives none."""
    if kind != "prime":
        return without_links(runs)
    return {
        job_id: replace(run, start_time=0, end_time=None, rows=tuple((*r[:3], 0) for r in run.rows))
        for job_id, run in runs.items()
    }


@pytest.mark.parametrize("kind", ["prime", "vertex"])
@pytest.mark.parametrize(("restarts", "rate"), [(False, 0.0), (True, 0.2)])
def test_jobs_that_are_followed_end_up_as_if_they_were_backfilled(
    uri: str,
    tracking: Tracking,
    clock: Clock,
    executor: ThreadPoolExecutor,
    other_uri: str,
    *,
    kind: Provider,
    restarts: bool,
    rate: float,
) -> None:
    """Followed jobs end up as backfilled ones, despite restarts and a fifth of replies broken."""
    jobs = in_every_state(kind)
    with Simulator(jobs=jobs, clock=clock, intercept=BrokenReplies(rate)) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind=kind)
        while clock.now < NOW + 110:
            if restarts:
                sync = make_sync(simulator, tracking, executor, clock, kind=kind)
            assert sync.run().is_well or rate
            clock.now += 19
        clock.now = END
        assert sync.run().is_well
    with Simulator(jobs=jobs, clock=clock) as simulator:
        make_sync(simulator, Tracking(other_uri), executor, clock, kind=kind).run()
    followed = recorded(uri)
    assert len(followed) == len(jobs)
    assert lasting(kind, followed) == lasting(kind, recorded(other_uri))


@pytest.mark.parametrize("kind", NAMES)
def test_local_names_share_charts(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, kind: Provider
) -> None:
    """Losses and the epoch get the names that transformers uses."""
    clock.now = END
    with Simulator(jobs=[plain(kind)], clock=clock) as simulator:
        make_sync(simulator, tracking, executor, clock, kind=kind, metric_names="huggingface").run()
    run = recorded(uri)[IDS[kind]]
    names = {name for name, *_ in run.rows}
    assert names >= NAMES[kind]
    assert names.isdisjoint({"train/loss", "eval/loss", "train_total_loss", "eval_total_loss"})
    assert {value for name, step, value, _ in run.rows if (name, step) == ("epoch", 10)} == {1.0}
    assert run.params["num_train_epochs"] == "4"
