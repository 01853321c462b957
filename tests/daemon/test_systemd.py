"""The messages to systemd, and the reasons for their absence."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge import errors
from bridge.daemon.status import LONGEST_SILENCE, DaemonStatus, View
from bridge.daemon.systemd import Systemd, summary
from bridge.plan.ownership import Ownership
from bridge.redaction import Redactor
from bridge.sync.events import JobDone, JobsChosen, PassBegan, PassEnded, RunsRead
from bridge.sync.report import Report
from tests.support.notify_socket import NotifySocket, notify_socket
from tests.support.outcomes import outcome
from tests.support.run_states import run_state
from tests.support.world import KEY, Clock


@pytest.fixture(params=["path", "@"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    """Return a socket at an address of either form."""
    address = f"@ftbridge-{uuid.uuid4()}" if request.param == "@" else str(tmp_path / "notify")
    with notify_socket(address) as bound:
        yield bound


def status(clock: Clock, *secrets: str) -> DaemonStatus:
    """Return the status of a daemon over two providers."""
    return DaemonStatus(["openai", "mistral"], Redactor(secrets), clock, clock)


def well(clock: Clock) -> View:
    """Return a daemon that makes no pass yet."""
    return status(clock).view()


def systemd(manager: NotifySocket, clock: Clock, **more: str) -> Systemd:
    """Return the bridge's side, with the variables that systemd sets."""
    return Systemd({"NOTIFY_SOCKET": manager.address} | more, clock)


def test_each_state_is_reported_once(manager: NotifySocket, clock: Clock) -> None:
    """Each state is sent once, and a reload with its time."""
    reported = systemd(manager, clock)
    for state in (
        reported.ready,
        reported.ready,
        reported.reloading,
        reported.ready,
        reported.stopping,
        reported.stopping,
    ):
        state()
    assert manager.states() == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    (moment,) = (each for each in manager.heard if each.startswith("MONOTONIC_USEC="))
    assert int(moment.partition("=")[2]) > 0


def test_signs_of_life_come_twice_as_often_as_needed(manager: NotifySocket, clock: Clock) -> None:
    """A sign of life comes at once, then after each half of the allowed time."""
    reported = systemd(manager, clock, WATCHDOG_USEC="20000000", WATCHDOG_PID=str(os.getpid()))
    counts = []
    for _ in range(5):
        reported.beat(well(clock), is_alive=True)
        counts.append(manager.listen().count("WATCHDOG=1"))
        clock.now += 5.0
    assert counts == [1, 1, 2, 2, 3]


def test_the_first_sign_of_life_waits_for_nothing(manager: NotifySocket) -> None:
    """The first sign of life comes at once, also if the machine has just been started."""
    clock = Clock(0.0)
    systemd(manager, clock, WATCHDOG_USEC="20000000").beat(well(clock), is_alive=True)
    assert "WATCHDOG=1" in manager.listen()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_waits_for_signs_of_life(
    manager: NotifySocket, clock: Clock, more: dict[str, str]
) -> None:
    """No sign of life is sent without a request, or on behalf of another process."""
    reported = systemd(manager, clock, **more)
    reported.beat(well(clock), is_alive=True)
    assert manager.listen() == ["STATUS=starting"]


def test_a_dead_scheduler_gives_no_sign_of_life(manager: NotifySocket, clock: Clock) -> None:
    """A dead scheduler sends no sign of life, so that systemd restarts the daemon."""
    reported = systemd(manager, clock, WATCHDOG_USEC="2000000")
    reported.beat(well(clock), is_alive=False)
    assert "WATCHDOG=1" not in manager.listen()


def test_a_pass_that_hangs_gives_no_sign_of_life(clock: Clock) -> None:
    """A pass without a page or a job for hours sends no sign of life."""
    progress = status(clock)
    hangs = []
    signs: list[Callable[[], None]] = [
        lambda: progress(PassBegan("openai")),
        lambda: progress(JobsChosen("openai", 3)),
        lambda: progress(JobDone(outcome())),
        lambda: None,
        lambda: progress(PassBegan("mistral")),  # a pass of another provider does not excuse it
        lambda: progress(PassEnded(Report(provider="openai"), 1.0)),
        lambda: progress(PassEnded(Report(provider="mistral"), 1.0)),
        lambda: None,
    ]
    for sign in signs:
        sign()
        clock.now += 1
        hangs.append(any(each.is_hanging for each in progress.view().providers.values()))
        clock.now += LONGEST_SILENCE - 1
    assert hangs == [False, False, False, True, True, True, False, False]


def test_one_pass_that_hangs_is_enough(manager: NotifySocket, clock: Clock) -> None:
    """One hanging provider of two makes systemd restart the daemon."""
    progress, reported = status(clock), systemd(manager, clock, WATCHDOG_USEC="2000000")
    progress(PassBegan("openai"))
    clock.now += LONGEST_SILENCE + 1
    reported.beat(progress.view(), is_alive=True)
    assert "WATCHDOG=1" not in manager.listen()
    progress(PassEnded(Report(provider="openai"), 1.0))
    reported.beat(progress.view(), is_alive=True)
    assert "WATCHDOG=1" in manager.listen()


def test_the_status_says_what_goes_on(manager: NotifySocket, clock: Clock) -> None:
    """The status has each provider's open jobs or trouble on one line, sent on each change."""
    progress, reported = status(clock, KEY), systemd(manager, clock)
    down = errors.Unreachable(f"No connection\nREADY=1 {KEY}", "Check the network")
    progress(PassBegan("openai"))
    reported.beat(progress.view(), is_alive=True)
    progress(
        RunsRead("openai", Ownership(open={"a": run_state("a"), "b": run_state("b", "SCHEDULED")}))
    )
    report = Report(provider="openai")
    report.failures.append(("ftjob-a", errors.ServerFailed("It broke")))
    progress(PassEnded(report, 1.0))
    progress(PassEnded(Report(provider="mistral", stopped=down), 1.0))
    for _ in range(2):
        reported.beat(progress.view(), is_alive=True)
    first, second = manager.listen()
    assert first == "STATUS=openai: first pass"
    assert second.startswith("STATUS=mistral: No connection")
    assert second.endswith("; openai: 2 open, 1 not recorded")
    assert KEY not in second


@pytest.mark.parametrize(
    "address", ["", "relative", "vsock:2:1", "/nowhere/at/all", "@" + "x" * 300]
)
def test_an_address_that_nobody_listens_at_is_no_matter(address: str, clock: Clock) -> None:
    """An address without a listener leaves the daemon as it is without systemd."""
    reported = Systemd({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}, clock)
    reported.ready()
    reported.beat(well(clock), is_alive=True)
    reported.stopping()


@pytest.mark.parametrize(("seconds", "signs"), [(9.9, 1), (10.0, 2), (15.0, 2)])
def test_a_sign_of_life_comes_at_half_the_time(
    manager: NotifySocket, clock: Clock, seconds: float, signs: int
) -> None:
    """A sign of life comes after exactly half the time, for this process if no other is named."""
    reported = systemd(manager, clock, WATCHDOG_USEC="20000000")
    for _ in range(2):
        reported.beat(well(clock), is_alive=True)
        clock.now += seconds
    assert manager.listen().count("WATCHDOG=1") == signs


def test_a_reload_ends_with_ready(manager: NotifySocket, clock: Clock) -> None:
    """A reload ends with READY, and each state is sent again after another."""
    reported = systemd(manager, clock)
    reported.ready()
    reported.stopping()
    reported.ready()
    assert manager.states() == ["READY=1", "STOPPING=1", "READY=1"]


def test_a_summary_has_each_provider(clock: Clock) -> None:
    """The summary has each provider in order, except those that have not begun."""
    progress = status(clock)
    assert summary(progress.view()) == "starting"
    progress(PassBegan("openai"))
    progress(PassBegan("mistral"))
    assert summary(progress.view()) == "mistral: first pass; openai: first pass"
    runs = {"a": run_state("a"), "b": run_state("b", "SCHEDULED"), "c": run_state("c")}
    progress(RunsRead("openai", Ownership(open=runs)))
    progress(PassEnded(Report(provider="openai"), 1.0))
    assert summary(progress.view()) == "mistral: first pass; openai: 3 open"
