"""A daemon's long life in virtual time: its memory, its files and its log.

Two hours of passes, a minute apart; thirty days with ``make soak``.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from bridge.daemon.log_events import JobLog, TroubleLog
from bridge.simulator import Outcome, Reply, Request, SimulatedJob, Simulator, json_reply
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking
from tests.support.measured import measured
from tests.support.recorded import RunRows, recorded
from tests.support.world import NOW, BrokenReplies, Clock, job, make_sync

pytestmark = pytest.mark.long

PASSES: Final = 43_200 if os.environ.get("SOAK") else 120
EARLY: Final = 4320 if os.environ.get("SOAK") else 80
"""Passes after which libraries have filled most of their caches."""
FASTER: Final = 1 if os.environ.get("SOAK") else 5
"""Factor by which events come faster in a short life."""
MINUTE: Final = 60.0
OUTCOMES: Final = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED)
JUMPS: Final = (0.0, 7200.0, -7200.0, 400 * 86_400.0, -72_000.0)
"""Successive errors of this machine's clock in seconds."""


class Forgetful(Simulator):
    """Keeps no requests, because the test measures the bridge's memory."""

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request."""
        reply = super().answer(request)
        with self._lock:
            self._requests.clear()
        return reply


class Weather:
    """Breaks some replies, and is down for ten minutes every six hours, or every 72 minutes."""

    def __init__(self, world: Clock) -> None:
        self._world = world
        self._broken = BrokenReplies(rate=0.02)

    def __call__(self, request: Request) -> Reply | None:
        """Return the fault of a request, if any."""
        if (self._world.now - NOW) % (21_600 / FASTER) > 21_600 / FASTER - 600:
            return json_reply({"error": {"message": "Not now"}}, 503)
        return self._broken(request)


def kept() -> int:
    """Return the bytes allocated since tracing began and still held.

    Those of the simulator and the tests do not count.
    """
    gc.collect()
    others = ("*/bridge/simulator/*", "*/tests/*", "*/tracemalloc.py", "*/hypothesis/*")
    snapshot = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(inclusive=False, filename_pattern=each) for each in others]
    )
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


def open_files() -> int:
    """Return how many files and sockets this process has open."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def counted_lines() -> Iterator[list[int]]:
    """Count the lines of the normal log, without keeping them."""
    lines = [0]

    def count(_logger: object, name: str, _event: MutableMapping[str, Any]) -> str:
        lines[0] += name != "debug"
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[count])
    try:
        yield lines
    finally:
        structlog.configure(**before)


def new_job(number: int, now: float) -> SimulatedJob:
    """Return half an hour of training."""
    return job(
        f"ftjob-{number:05d}",
        created_at=now,
        total_steps=30,
        seconds_per_step=MINUTE,
        outcome=OUTCOMES[number % len(OUTCOMES)],
        ends_at_step=number % 20,
        seed=number,
    )


def live(
    sync: ProviderSync, simulator: Simulator, world: Clock, here: Clock
) -> tuple[list[SimulatedJob], int]:
    """Make all passes while jobs come and go; return how many files were open early on."""
    jobs: list[SimulatedJob] = []
    news = TroubleLog()
    files = 0
    for number in range(PASSES):
        if number == EARLY:
            files = open_files()
            tracemalloc.start()  # not earlier, because tracing makes a pass four times as slow
        if number % (97 // FASTER) == 0 and number < PASSES - 60:
            jobs.append(new_job(len(jobs), world.now))
            simulator.add(jobs[-1])
            if len(jobs) > 12:
                simulator.remove(jobs[-12].id)
        here.now = world.now + JUMPS[number * FASTER // 131 % len(JUMPS)]
        news.of(sync.run(handler=JobLog(only_turns=True)))
        world.now += MINUTE
    return jobs, files


def test_a_long_life(uri: str, request: pytest.FixtureRequest) -> None:
    """Memory, open files and the log do not grow with the passes, and no row is lost.

    Jobs come, end, and are forgotten by the provider; it fails now and then; this machine's clock
    is set forward and back by hours, and forward by more than a year.
    """
    world, here = Clock(), Clock()
    executor = request.getfixturevalue("executor")
    with (
        Forgetful(clock=world, intercept=Weather(world)) as simulator,
        counted_lines() as lines,
    ):
        sync = make_sync(simulator, Tracking(uri), executor, here)
        try:
            jobs, files = live(sync, simulator, world, here)
            memory = kept()
        finally:
            tracemalloc.stop()
        assert open_files() <= files + 4
    # Libraries fill their caches for a while: a leak of ten kilobytes in each pass is more, and
    # in thirty days one of ten bytes.
    assert memory < 384 * 2**10 + 4096 * len(jobs)
    outages = PASSES * FASTER // 360 + 1
    assert lines[0] <= 4 * len(jobs) + 2 * outages
    runs = recorded(uri)
    assert runs.keys() == {each.id for each in jobs}
    for each in jobs:
        assert_whole(each, runs[each.id])


def assert_whole(simulated: SimulatedJob, run: RunRows) -> None:
    """Check every value at its step, and at its time or that of the slightly earlier checkpoint."""
    ends = {Outcome.SUCCEEDED: "FINISHED", Outcome.FAILED: "FAILED", Outcome.CANCELLED: "KILLED"}
    assert run.status == ends[simulated.outcome]
    reported = measured(simulated)
    assert [(name, step) for name, step, _, _ in run.rows] == sorted(reported)
    for name, step, value, at in run.rows:
        assert value == pytest.approx(reported[name, step], abs=1e-5)
        assert int(simulated.step_at(step)) - at // 1000 in {0, 1, 2}
