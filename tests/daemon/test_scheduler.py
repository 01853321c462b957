"""``ftbridge run``: passes that continue, through outages, until a signal.

The simulator runs in this process, so that a test turns the providers' clock and sees their
requests.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge import errors
from bridge.daemon import scheduler as daemon
from bridge.simulator import (
    Outcome,
    Reply,
    Request,
    SimulatedJob,
    Simulator,
    all_end_by,
    json_reply,
)
from bridge.sync.events import Event, Handler, JobDone, NextPass, PassBegan, PassEnded, RunsRead
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Report
from bridge.tracking import Tracking
from tests.support.config_file import write_config
from tests.support.processes import Started, dump, started, wait_until
from tests.support.recorded import recorded
from tests.support.world import NOW, Clock, job, make_sync


@contextlib.contextmanager
def started_daemon(
    folder: Path, uri: str, *simulators: tuple[str, Simulator], interval: str = "1s"
) -> Iterator[Started]:
    """Run a daemon over providers with these names."""
    providers = {name: simulator.openai_url for name, simulator in simulators}
    poll = {"interval": interval, "idle_interval": interval, "workers": 4}
    path = write_config(folder, uri, providers, poll=poll)
    with started("run", "--config", path) as process:
        yield process


def steps(uri: str, job_id: str, metric: str = "train_loss") -> list[int]:
    """Return the steps of a metric that MLflow has for a job."""
    run = recorded(uri).get(job_id)
    return [step for name, step, _, _ in run.rows if name == metric] if run else []


# The process


def paces_after(pace: daemon.Pace, *ends: errors.BridgeError | None) -> list[float]:
    """Return the seconds to the next pass after each of these passes."""
    found = []
    for stopped in ends:
        pace.changes(Report(provider="openai", stopped=stopped, open=1))
        found.append(pace.seconds)
    return found


def test_a_wrong_path_is_asked_less_and_less_often() -> None:
    """A wrong path is requested less and less often, but again within minutes of a recovery."""
    gone = errors.NoService("There is nothing")
    pace = daemon.Pace(60.0)
    assert paces_after(pace, *[gone] * 8) == [60, 60, 300, 3600, 21600, 86400, 86400, 86400]
    away = errors.Unreachable("No connection")
    assert paces_after(pace, away, None, gone, gone, gone) == [86400, 60, 60, 60, 300]
    assert paces_after(daemon.Pace(60.0), gone, gone, away, gone, gone) == [60] * 5
    assert paces_after(daemon.Pace(7200.0), *[gone] * 4) == [7200] * 4


def test_the_pace_is_that_of_what_is_known() -> None:
    """The idle pace holds after a pass without open jobs: no outage, and no request to stop."""
    pace = daemon.Pace(60.0, idle=600.0)

    def changes(stopped: errors.BridgeError | None = None, *, jobs: int = 0) -> tuple[bool, float]:
        return pace.changes(Report(provider="openai", stopped=stopped, open=jobs)), pace.seconds

    assert changes() == (True, 600.0)
    assert changes() == (False, 600.0)
    assert changes(errors.Stopped("Asked to stop")) == (False, 600.0)
    assert changes(errors.Unreachable("No connection")) == (True, 60.0)
    assert changes(jobs=1) == (False, 60.0)
    assert changes() == (True, 600.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(uri: str, tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the daemon with 0, one line, and no traceback."""
    with (
        Simulator(jobs=[job("ftjob-a")], clock=Clock()) as simulator,
        started_daemon(tmp_path, uri, ("openai", simulator), interval="1h") as process,
    ):
        process.wait_for("job recorded")
        process.send(number)
        assert process.end() == 0, process.said
    assert process.count("Z [info     ] stopped") == 1, process.said
    assert "Traceback" not in process.said


def test_a_second_signal_ends_it_at_once(uri: str, tmp_path: Path) -> None:
    """A second signal ends the daemon at once, with an exit code that shows it."""
    asked, release = threading.Event(), threading.Event()

    def hang(_: Request) -> Reply | None:
        asked.set()
        release.wait(60)
        return None

    with (
        Simulator(jobs=[job("ftjob-a")], clock=Clock(), intercept=hang) as simulator,
        started_daemon(tmp_path, uri, ("openai", simulator)) as process,
    ):
        try:
            wait_until(asked.is_set, "request", process)
            process.send(signal.SIGTERM)
            process.wait_for("stopping")
            process.send(signal.SIGINT)
            assert process.end() == 128 + signal.SIGINT, process.said
        finally:
            release.set()


class Heard:
    """Records the events that it gets."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        self.seconds: list[float] = []
        self.moments: list[float] = []

    def __call__(self, event: Event) -> None:
        """Record an event."""
        match event:
            case RunsRead(provider=provider, owned=owned):
                self.reported.append(f"{provider} has {len(owned.open)} open, {owned.is_complete=}")
            case JobDone(outcome=outcome):
                self.reported.append(f"{outcome.result} {outcome.job_id}")
            case PassBegan(provider=provider):
                self.reported.append(f"{provider} begins")
            case PassEnded(report=report, seconds=seconds):
                self.reported.append(f"{report.provider} ended")
                self.seconds.append(seconds)
            case NextPass(provider=provider, at=at):
                self.reported.append(f"{provider} is due")
                self.moments.append(at)


class Service:
    """A provider that can end its service, and begin it again."""

    def __init__(self) -> None:
        self.is_open = True
        self.asked = 0

    def __call__(self, _: Request) -> Reply | None:
        """Refuse a request, or let it pass."""
        self.asked += 1
        return None if self.is_open else json_reply({"error": {"message": "Gone"}}, 410)


@contextlib.contextmanager
def followed(
    syncs: Sequence[ProviderSync],
    pace: Callable[[], daemon.Pace] = lambda: daemon.Pace(0.1),
    handlers: Sequence[Handler] = (),
    wall: Callable[[], float] = time.time,
) -> Iterator[None]:
    """Follow providers in another thread within the context, each at such a pace."""
    stopping = threading.Event()
    for other in syncs[1:]:
        other.name = "another"
    paces = {each.name: pace() for each in syncs}
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(
            daemon.run,
            syncs,
            paces=paces,
            stopping=stopping,
            handlers=handlers,
            wall=wall,
            elapsed=lambda: 0.0,
        )
        try:
            yield
        finally:
            stopping.set()
        done.result(timeout=60)


def test_steps_appear_while_a_job_trains(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Each new step is in MLflow after the next pass, and so is the end of the job."""
    one = job("ftjob-live", created_at=NOW, validating_seconds=1, queued_seconds=1)
    with Simulator(jobs=[one], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        with followed([sync]):
            wait_until(lambda: recorded(uri).keys() == {one.id}, "run")
            # MLflow creates every run as a running one.
            wait_until(lambda: recorded(uri)[one.id].status == "SCHEDULED", "status")
            for step in (1, 2, 5):
                clock.now = one.step_at(step)
                wait_until(lambda n=step: steps(uri, one.id) == [*range(1, n + 1)], "step")  # type: ignore[misc] # a default binds it
            wait_until(lambda: recorded(uri)[one.id].status == "RUNNING", "status")
            clock.now = all_end_by([one])
            wait_until(lambda: recorded(uri)[one.id].status == "FINISHED", "end")
            assert steps(uri, one.id) == [*range(1, 13)]


def test_an_outage_is_reported_once(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """An outage and its end are one line each, and the other provider's jobs continue meanwhile."""
    there, away = job("ftjob-there"), job("ftjob-away", total_steps=40)
    heard = Heard()
    fragile = Simulator(jobs=[away], clock=clock)
    with (
        Simulator(jobs=[there], clock=clock) as steady,
        contextlib.ExitStack() as stack,
        capture_logs() as lines,
    ):
        stack.enter_context(fragile)
        syncs = [make_sync(each, tracking, executor, clock) for each in (steady, fragile)]

        def count_of(event: str) -> int:
            return [line["event"] for line in lines].count(event)

        with followed(syncs, handlers=[heard]):
            wait_until(lambda: recorded(uri).keys() == {there.id, away.id}, "runs")
            fragile.__exit__(None, None, None)
            wait_until(lambda: count_of("outage"), "outage")
            clock.now = there.step_at(3)
            wait_until(lambda: steps(uri, there.id) == [1, 2, 3], "steps of the other")
            # Some more passes fail, and have nothing new to report.
            failed = heard.reported.count("another ended")
            wait_until(lambda: heard.reported.count("another ended") > failed + 2, "passes")
            fragile.__enter__()
            wait_until(lambda: count_of("recovered"), "recovery")
            wait_until(lambda: steps(uri, away.id) == [1, 2, 3], "steps after it")
    assert (count_of("outage"), count_of("recovered")) == (1, 1)


def test_a_service_that_has_ended_is_asked_less_often(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A service that has ended is requested rarely after three passes, until it answers again.

    A clock that is set back takes the place of the wait for the rare request.
    """
    ended, other = Service(), Service()
    ended.is_open = False
    with (
        Simulator(clock=clock, intercept=ended) as first,
        Simulator(clock=clock, intercept=other) as second,
    ):
        syncs = [make_sync(each, tracking, executor, clock) for each in (first, second)]
        with followed(syncs, lambda: daemon.Pace(0.1, steps=[3600.0]), wall=clock):
            wait_until(lambda: ended.asked == 3)
            before = other.asked
            wait_until(lambda: other.asked > before + 5)
            assert ended.asked == 3
            ended.is_open = True
            clock.now -= 86_400
            wait_until(lambda: ended.asked > 6)


def test_passes_over_one_provider_do_not_overlap(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A provider that hangs gets no second pass, although others get many meanwhile."""
    other, release = Service(), threading.Event()
    asked: list[Request] = []

    def hang(request: Request) -> Reply | None:
        asked.append(request)
        release.wait(60)
        return None

    with (
        Simulator(clock=clock, intercept=hang) as first,
        Simulator(clock=clock, intercept=other) as second,
    ):
        syncs = [make_sync(each, tracking, executor, clock) for each in (first, second)]
        with followed(syncs):
            try:
                wait_until(lambda: asked and other.asked > 3)
                assert len(asked) == 1
            finally:
                release.set()


def test_a_provider_without_open_jobs_is_asked_less_often(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A provider is requested at its pace with an open job, and rarely without one."""
    busy, idle = Service(), Service()
    slow = job("ftjob-slow", seconds_per_step=1000.0)
    with (
        Simulator(jobs=[slow], clock=clock, intercept=busy) as first,
        Simulator(clock=clock, intercept=idle) as second,
    ):
        syncs = [make_sync(each, tracking, executor, clock) for each in (first, second)]
        with followed(syncs, lambda: daemon.Pace(0.1, idle=3600.0)):
            wait_until(lambda: idle.asked > 0 and busy.asked > 6)
            asked, asked_of_busy = idle.asked, busy.asked
            wait_until(lambda: busy.asked > asked_of_busy + 9)
            assert idle.asked == asked


def test_a_clock_that_is_set_back_delays_no_pass(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A clock that is set back a day causes an immediate pass instead of a day's delay."""
    service, stopping = Service(), threading.Event()
    with Simulator(clock=clock, intercept=service) as simulator, ThreadPoolExecutor(1) as thread:
        sync = make_sync(simulator, tracking, executor, clock)
        done = thread.submit(
            daemon.run,
            [sync],
            paces={sync.name: daemon.Pace(3600.0)},
            stopping=stopping,
            wall=clock,
            elapsed=lambda: 0.0,
        )
        try:
            wait_until(lambda: service.asked == 1)
            clock.now -= 86_400
            wait_until(lambda: service.asked == 2)
        finally:
            stopping.set()
        done.result(timeout=60)


def test_handlers_get_the_events_of_every_pass(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Handlers get the events of a pass in order, from its beginning to the next one's time."""
    # So small that hundreds of readings do not look like a clock that was set back.
    tick = 1 / 1024
    heard, stopping, ticks = Heard(), threading.Event(), count(0.0, tick)
    with (
        Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator,
        ThreadPoolExecutor(1) as thread,
    ):
        sync = make_sync(simulator, tracking, executor, clock)
        begun = time.time()
        done = thread.submit(
            daemon.run,
            [sync],
            paces={sync.name: daemon.Pace(3600.0)},
            stopping=stopping,
            handlers=[heard],
            elapsed=lambda: next(ticks),
        )
        try:
            wait_until(lambda: heard.moments)
        finally:
            stopping.set()
        done.result(timeout=60)
    assert heard.reported == [
        "openai begins",
        "openai has 0 open, owned.is_complete=True",
        "new ftjob-a",
        "openai ended",
        "openai is due",
    ]
    # The main thread reads the clock as well.
    assert heard.seconds[0] >= tick
    assert heard.seconds[0] % tick == 0.0
    assert begun + 3000 < heard.moments[0] < time.time() + 4200


def test_patience_may_end_while_a_pass_is_waited_for(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A reload waits for a pass without a limit, and ends its wait when asked to stop."""
    asked, release, stopping = threading.Event(), threading.Event(), threading.Event()
    patience = [math.inf]
    codes: list[int] = []
    beats: list[bool] = []

    def hang(_: Request) -> Reply | None:
        asked.set()
        release.wait(60)
        return None

    with (
        Simulator(clock=clock, intercept=hang) as simulator,
        ThreadPoolExecutor(1) as thread,
        capture_logs() as lines,
    ):
        sync = make_sync(simulator, tracking, executor, clock)
        done = thread.submit(
            daemon.run,
            [sync],
            paces={sync.name: daemon.Pace(3600.0)},
            stopping=stopping,
            patience=lambda: patience[0],
            beat=beats.append,
            leave=codes.append,
        )
        try:
            wait_until(asked.is_set)
            stopping.set()
            before = len(beats)
            wait_until(lambda: len(beats) > before + 3)
            assert codes == []
            patience[0] = 0.0
            done.result(timeout=60)
        finally:
            release.set()
    assert codes == [0]
    assert "stopped early" in [line["event"] for line in lines]


def test_a_pass_under_way_ends_in_order(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A pass in progress is finished at the end of the daemon, and reported."""
    asked, release, stopping = threading.Event(), threading.Event(), threading.Event()
    heard, codes, beats = Heard(), list[int](), list[bool]()

    def hang(_: Request) -> Reply | None:
        asked.set()
        release.wait(60)
        return None

    with (
        Simulator(jobs=[job("ftjob-a")], clock=clock, intercept=hang) as simulator,
        ThreadPoolExecutor(1) as thread,
        capture_logs() as lines,
    ):
        sync = make_sync(simulator, tracking, executor, clock)
        done = thread.submit(
            daemon.run,
            [sync],
            # It changes with this pass.
            paces={sync.name: daemon.Pace(3600.0, idle=7200.0)},
            stopping=stopping,
            handlers=[heard],
            beat=beats.append,
            leave=codes.append,
        )
        try:
            wait_until(asked.is_set)
            stopping.set()
            wait_until(lambda: "stopping" in [line["event"] for line in lines])
            before = len(beats)
            wait_until(lambda: len(beats) > before + 2)
        finally:
            release.set()
        done.result(timeout=60)
    assert codes == []
    assert all(beats)
    assert "openai ended" in heard.reported


# The passes


def passes(
    simulator: Simulator, uri: str, executor: ThreadPoolExecutor, clock: Clock
) -> Iterator[tuple[Report, list[str]]]:
    """Return passes of one daemon, each with the paths that it requested."""
    sync = make_sync(simulator, Tracking(uri), executor, clock)
    while True:
        before = len(simulator.requests)
        report = sync.run()
        assert report.is_well, report
        yield report, [request.path for request in simulator.requests[before:]]


def writes(uri: str) -> int:
    """Return the database's count of writing transactions, including those that change nothing."""
    header = Path(uri.removeprefix("sqlite:///")).read_bytes()[:28]
    return int.from_bytes(header[24:28], "big")


LIST = "/openai/v1/fine_tuning/jobs"


def old_jobs(number: int) -> list[SimulatedJob]:
    """Return jobs that have ended, newest first."""
    return [
        job(f"ftjob-old{n:03d}", created_at=NOW - 10_000 - n * 100, outcome=Outcome.CANCELLED)
        for n in range(number)
    ]


def test_an_idle_pass_costs_one_request(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """An idle pass is one request to the provider and no write to MLflow."""
    with Simulator(jobs=old_jobs(5), clock=clock) as simulator:
        turns = passes(simulator, uri, executor, clock)
        next(turns)
        count, content = writes(uri), dump(Path(uri.removeprefix("sqlite:///")))
        for _ in range(3):
            clock.now += 60
            _, paths = next(turns)
            assert paths == [LIST]
    assert writes(uri) == count
    assert dump(Path(uri.removeprefix("sqlite:///"))) == content


def test_a_running_job_without_news_is_not_written(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job that trains but has nothing new costs reads and no write."""
    slow = job("ftjob-slow", seconds_per_step=1000.0)
    with Simulator(jobs=[slow], clock=clock) as simulator:
        turns = passes(simulator, uri, executor, clock)
        clock.now = slow.step_at(2)
        next(turns)
        count = writes(uri)
        clock.now += 60
        next(turns)
    assert writes(uri) == count


def test_later_passes_stop_at_a_settled_page(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """The first pass reads all pages, and later ones stop at a page of settled jobs."""
    with Simulator(jobs=old_jobs(15), clock=clock, page_limit=10) as simulator:
        turns = passes(simulator, uri, executor, clock)
        _, paths = next(turns)
        assert paths.count(LIST) == 2
        _, paths = next(turns)
        assert paths == [LIST]
        simulator.add(job("ftjob-new", created_at=NOW))
        clock.now += 1000
        next(turns)
        _, paths = next(turns)
        assert paths == [LIST]
    found = recorded(uri)
    assert len(found) == 16
    assert found["ftjob-new"].status == "FINISHED"


def test_an_active_job_beyond_the_first_page_is_followed(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job that still trains far down the list is read directly, to its end."""
    old = job("ftjob-long", created_at=NOW - 99_000, seconds_per_step=9000.0)
    with Simulator(jobs=[*old_jobs(12), old], clock=clock, page_limit=10) as simulator:
        turns = passes(simulator, uri, executor, clock)
        next(turns)
        done = len(steps(uri, old.id))
        assert 0 < done < 12
        clock.now = old.step_at(done + 1)
        _, paths = next(turns)
        assert paths.count(LIST) == 1
        assert f"{LIST}/{old.id}" in paths
        assert steps(uri, old.id) == [*range(1, done + 2)]
        clock.now = all_end_by([old])
        next(turns)
    assert recorded(uri)[old.id].status == "FINISHED"
    assert steps(uri, old.id) == [*range(1, 13)]


def late_job() -> SimulatedJob:
    """Return a job whose checkpoints appear half a minute after its success."""
    return job("ftjob-late", late_seconds=30.0, validation=True)


def test_late_checkpoints_come_before_the_final_status(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Back-dated checkpoints that appear after the success are recorded before the run ends."""
    one = late_job()
    with Simulator(jobs=[one], clock=clock) as simulator:
        turns = passes(simulator, uri, executor, clock)
        for now in (one.step_at(5), one.settled_at + 1, one.settled_at + 20):
            clock.now = now
            next(turns)
            run = recorded(uri)[one.id]
            assert run.status == "RUNNING"
            assert run.end_time is None
        clock.now = one.settled_at + 31
        next(turns)
        run = recorded(uri)[one.id]
        assert run.status == "FINISHED"
        assert run.end_time == int(one.settled_at * 1000)
        assert run.tags["fine_tuned_model_checkpoint"]
        assert {step for name, step, _, _ in run.rows if name == "full_valid_loss"} >= {4, 8, 12}
        _, paths = next(turns)
        assert paths == [LIST]


@pytest.mark.parametrize("ahead", [-30.0, -2.0, 2.0, 30.0])
def test_late_checkpoints_are_awaited_on_clocks_that_differ(
    uri: str, clock: Clock, executor: ThreadPoolExecutor, ahead: float
) -> None:
    """A provider's clock that is some seconds off does not cost a job its checkpoints."""
    one = late_job()
    with Simulator(jobs=[one], clock=lambda: clock.now + ahead) as simulator:
        turns = passes(simulator, uri, executor, clock)
        for now in (one.step_at(5), one.settled_at + 1, one.settled_at + 31):
            clock.now = now - ahead
            next(turns)
        run = recorded(uri)[one.id]
    assert run.status == "FINISHED"
    assert run.tags.get("fine_tuned_model_checkpoint")


def test_a_pass_survives_anything_in_the_list(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Any content of a list leaves a pass with a report, and the good jobs recorded."""
    odd = {"id": "ftjob-odd", "object": "fine_tuning.job", "status": "queued", "created_at": 1e307}
    good = {"id": "ftjob-good", "object": "fine_tuning.job", "status": "queued", "created_at": NOW}

    def intercept(request: Request) -> Reply | None:
        if request.path != LIST:
            return None
        body = json.dumps({"object": "list", "data": [odd, good], "has_more": False})
        return Reply(headers={"Content-Type": "application/json"}, body=body.encode())

    with Simulator(clock=clock, intercept=intercept) as simulator:
        sync = make_sync(simulator, Tracking(uri), executor, clock)
        sync.run()
    assert "ftjob-good" in recorded(uri)


def test_a_pass_that_breaks_unexpectedly_is_reported(uri: str, tmp_path: Path) -> None:
    """A pass that cannot be made at all is logged."""
    odd = {"id": "ftjob-odd", "object": "fine_tuning.job", "status": "queued", "created_at": 1e307}

    def intercept(_: Request) -> Reply | None:
        body = json.dumps({"object": "list", "data": [odd], "has_more": False})
        return Reply(headers={"Content-Type": "application/json"}, body=body.encode())

    with (
        Simulator(clock=Clock(), intercept=intercept) as simulator,
        started_daemon(tmp_path, uri, ("openai", simulator)) as process,
    ):
        wait_until(
            lambda: recorded(uri).keys() == {"ftjob-odd"} or process.count("[error") > 0,
            "run and no word of why",
            process,
        )
        process.send(signal.SIGTERM)
        assert process.end() == 0
