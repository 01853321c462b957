"""Storms at a provider, in virtual time: their cost in requests, and the rows after them.

Twenty minutes each; an hour with ``make soak``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import pytest

from bridge.errors import QuotaExhausted, ServerFailed, Throttled
from bridge.http.retries import ATTEMPTS
from bridge.simulator import Reply, Request, SimulatedJob, Simulator, json_reply
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking
from tests.support.recorded import RunRows, recorded
from tests.support.world import NOW, Clock, job, make_sync

pytestmark = pytest.mark.long

STORM = 3600.0 if os.environ.get("SOAK") else 600.0
"""Duration of a storm in seconds."""
LATER = 7200.0
"""Seconds after which every job has ended."""
BEGIN = NOW + 300
LIST = "/openai/v1/fine_tuning/jobs"

Weather = Callable[[float], Reply | None]
"""Answer to a request this many seconds into the storm; ``None``: the normal one."""


@dataclass(frozen=True, slots=True)
class Storm:
    """Some time of bad replies, and the budget of a pass through it."""

    weather: Weather
    most: int
    """Requests of a pass that gets nothing but the storm."""
    stops_with: type[Exception]


def refusal(status: int, code: str = "", **headers: str) -> Reply:
    """Return a reply with these headers; underscores in their names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json_reply({"error": {"message": "Not now", "code": code}}, status)
    return Reply(status=status, headers={**body.headers, **named}, body=body.body)


def in_half_a_minute(after: float) -> Reply:
    """Ask for a wait, by a date of the provider's clock."""
    now = BEGIN + after
    return refusal(
        429, Retry_After=formatdate(now + 30, usegmt=True), Date=formatdate(now, usegmt=True)
    )


STORMS = {
    "429 with seconds": Storm(lambda _: refusal(429, Retry_After="20"), 6, Throttled),
    "429 with a date": Storm(in_half_a_minute, 4, Throttled),
    "429 for an hour": Storm(lambda _: refusal(429, Retry_After="3600"), 1, Throttled),
    "429 without a word": Storm(lambda _: refusal(429), ATTEMPTS, Throttled),
    "quota": Storm(lambda _: refusal(429, "insufficient_quota"), 1, QuotaExhausted),
    "503": Storm(lambda _: refusal(503), ATTEMPTS, ServerFailed),
    "resets": Storm(lambda _: Reply(reset=True), ATTEMPTS, Exception),
}


def jobs() -> list[SimulatedJob]:
    """Return jobs that end before the storm, train through it, and begin in it."""
    return [
        job("ftjob-before", created_at=NOW - 9000),
        job("ftjob-through", total_steps=int(STORM // 15), seconds_per_step=30.0),
        job("ftjob-within", created_at=BEGIN + 300, seconds_per_step=60.0),
    ]


class Sky:
    """A provider with one storm."""

    def __init__(self, clock: Clock, weather: Weather, *, spares_lists: bool = False) -> None:
        self._clock = clock
        self._weather = weather
        self._spares_lists = spares_lists

    def __call__(self, request: Request) -> Reply | None:
        """Return the storm's answer to a request."""
        after = self._clock.now - BEGIN
        is_spared = self._spares_lists and request.path == LIST
        return self._weather(after) if 0 <= after < STORM and not is_spared else None


def minutes(sync: ProviderSync, simulator: Simulator, clock: Clock) -> list[tuple[int, object]]:
    """Make a daemon's passes until the storm is over; return the requests and end of each."""
    costs: list[tuple[int, object]] = []
    while clock.now < BEGIN + STORM:
        begun, before = clock.now, len(simulator.requests)
        report = sync.run()
        if begun >= BEGIN and clock.now < BEGIN + STORM:
            costs.append((len(simulator.requests) - before, report.stopped))
        clock.now = max(clock.now, begun + 60)
    return costs


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> dict[str, RunRows]:
    """Return the rows of one pass in good weather after every job has ended."""
    folder = tmp_path_factory.mktemp("undisturbed")
    uri = f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}"
    clock = Clock()
    clock.now = BEGIN + STORM + LATER
    with Simulator(jobs=jobs(), clock=clock) as simulator, ThreadPoolExecutor(1) as worker:
        assert make_sync(simulator, Tracking(uri), worker, clock).run().is_well
    return recorded(uri)


def assert_same(uri: str, right: dict[str, RunRows]) -> None:
    """Return every row with its time, or the slightly earlier one of a checkpoint."""
    found = recorded(uri)
    assert found.keys() == right.keys()
    for job_id, run in found.items():
        assert (run.status, run.end_time) == (right[job_id].status, right[job_id].end_time)
        assert [row[:3] for row in run.rows] == [row[:3] for row in right[job_id].rows]


@pytest.mark.parametrize("storm", STORMS.values(), ids=STORMS)
def test_a_storm(uri: str, undisturbed: dict[str, RunRows], storm: Storm) -> None:
    """Each pass keeps to its budget, and the first one after the storm is complete."""
    clock = Clock()
    with (
        Simulator(jobs=jobs(), clock=clock, intercept=Sky(clock, storm.weather)) as simulator,
        ThreadPoolExecutor(1) as worker,
    ):
        sync = make_sync(simulator, Tracking(uri), worker, clock, retries_take_time=True)
        costs = minutes(sync, simulator, clock)
        assert {cost for cost, _ in costs} == {storm.most}
        assert all(isinstance(stopped, storm.stops_with) for _, stopped in costs)
        report = sync.run()
        assert report.is_well, report
        assert recorded(uri).keys() == {each.id for each in jobs()}
        trained = recorded(uri)["ftjob-through"].rows
        assert max(step for _, step, _, _ in trained) == int((clock.now - NOW - 30) // 30)
        clock.now += LATER
        assert sync.run().is_well
    assert_same(uri, undisturbed)


def test_a_storm_that_spares_the_list(uri: str, undisturbed: dict[str, RunRows]) -> None:
    """In a storm that spares the list each part of an open job costs eight attempts."""
    clock = Clock()
    sky = Sky(clock, lambda _: refusal(503), spares_lists=True)
    with (
        Simulator(jobs=jobs(), clock=clock, intercept=sky) as simulator,
        ThreadPoolExecutor(1) as worker,
    ):
        sync = make_sync(simulator, Tracking(uri), worker, clock, retries_take_time=True)
        costs = minutes(sync, simulator, clock)
        assert {cost for cost, _ in costs} <= {1 + n * 2 * ATTEMPTS for n in (1, 2)}
        clock.now += LATER
        assert sync.run().is_well
    assert_same(uri, undisturbed)


@pytest.mark.parametrize("turn", [7.0, 420.0])
def test_flapping(uri: str, undisturbed: dict[str, RunRows], turn: float) -> None:
    """A provider that comes and goes is read to the end, at up to eight times the cost."""
    clock = Clock()

    def weather(after: float) -> Reply | None:
        return refusal(503) if after % (2 * turn) < turn else None

    with (
        Simulator(jobs=jobs(), clock=clock, intercept=Sky(clock, weather)) as simulator,
        ThreadPoolExecutor(1) as worker,
    ):
        sync = make_sync(simulator, Tracking(uri), worker, clock, retries_take_time=True)
        calm = [len(paths) for paths in _calm(simulator, sync, clock)]
        costs = minutes(sync, simulator, clock)
        assert max(cost for cost, _ in costs) <= ATTEMPTS * max(calm) * 2
        assert sync.run().is_well
        clock.now += LATER
        assert sync.run().is_well
    assert_same(uri, undisturbed)


def _calm(simulator: Simulator, sync: ProviderSync, clock: Clock) -> list[tuple[Request, ...]]:
    """Return the requests of some passes before the storm."""
    asked = []
    while clock.now < BEGIN - 60:
        before = len(simulator.requests)
        sync.run()
        asked.append(simulator.requests[before:])
        clock.now += 60
    return asked
