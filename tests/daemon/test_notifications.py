"""Notifications: the events that cause one, and those that do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

import pytest

from bridge import errors
from bridge.daemon.delivery import Message
from bridge.daemon.notifications import Heartbeat, Notifier
from bridge.daemon.shutdowns import Ending
from bridge.daemon.stalls import Stalled
from bridge.daemon.status import DaemonStatus
from bridge.redaction import Redactor
from bridge.settings.daemon import Event
from bridge.sync.events import JobDone, PassEnded
from bridge.sync.outcome import Failed, Outcome
from bridge.sync.report import Report
from tests.support.outcomes import outcome
from tests.support.run_states import run_state
from tests.support.world import Clock

SECRET = "a-secret-that-must-not-show"
ALL: tuple[Event, ...] = get_args(Event)
DOWN = errors.Unreachable("No connection", "Check the network")
AWAY = errors.TrackingDown("MLflow is down", "Start it")


def ended(
    job_id: str = "ftjob-a",
    status: str | None = "FAILED",
    *,
    is_final: bool = True,
    is_settling: bool = False,
    error: errors.BridgeError | None = None,
    **tags: str,
) -> Outcome:
    """Return a job that was recorded with its end."""
    return outcome(
        job_id, status, is_final=is_final, is_settling=is_settling, error=error, tags=tags
    )


@dataclass
class InMemoryProvider:
    """A notifier and its messages."""

    wanted: Sequence[Event] = ALL
    sent: list[Message | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notifier = Notifier(self.sent.append, self.wanted, Redactor([SECRET]))

    def pass_over(
        self, *outcomes: Outcome, stopped: errors.BridgeError | None = None, of: str = "openai"
    ) -> list[str]:
        """Make a pass, and return the messages that it causes."""
        before = len(self.sent)
        for each in outcomes:
            self.notifier(JobDone(each))
        self.notifier(PassEnded(Report(provider=of, stopped=stopped), 1.0))
        return [each.event for each in self.sent[before:] if each]


def test_a_history_is_no_news() -> None:
    """The history causes no message, and later ends do, for each provider separately."""
    reported = InMemoryProvider()
    assert reported.pass_over(*(ended(f"job-{number}") for number in range(5000))) == []
    assert reported.pass_over(ended("new")) == ["failed"]


def test_a_history_that_takes_several_passes_is_none_either() -> None:
    """A history that takes several passes causes no message, even after an outage in its middle."""
    reported = InMemoryProvider(wanted=("failed",))
    reported.pass_over(ended("one"), stopped=DOWN)
    assert reported.pass_over(ended("two")) == []
    assert reported.pass_over(ended("three")) == ["failed"]


@pytest.mark.parametrize(
    "late",
    [
        Failed(provider="openai", job_id="late", error=errors.NoAnswer("None")),
        ended("late", "RUNNING", is_final=False, is_settling=True),
    ],
)
def test_a_job_of_the_history_that_comes_late_is_none(late: Outcome) -> None:
    """A late job of the history causes no message."""
    reported = InMemoryProvider()
    reported.pass_over(late)
    assert reported.pass_over(ended("late")) == []


def test_only_ends_are_reported_and_only_once_they_are_recorded() -> None:
    """An end causes one message once it is recorded completely, and a point causes none."""
    reported = InMemoryProvider()
    reported.pass_over()
    assert reported.pass_over(ended(status=None, is_final=False)) == []
    assert reported.pass_over(ended(error=errors.ArchiveFailed("Full"))) == []
    assert reported.pass_over(ended(status="FINISHED")) == ["succeeded"]
    assert reported.pass_over(ended(status="KILLED")) == ["cancelled"]


def test_only_what_is_wanted_is_reported() -> None:
    """By default only failures cause messages."""
    reported = InMemoryProvider(wanted=("failed",))
    reported.pass_over()
    ends = [ended(status="FINISHED"), ended(status="FAILED"), ended(status="KILLED")]
    assert reported.pass_over(*ends) == ["failed"]
    assert reported.pass_over(stopped=DOWN) == []


def test_an_outage_and_its_end_are_reported_once() -> None:
    """An outage and its end cause one message each: per provider, but once for MLflow."""
    reported = InMemoryProvider()
    assert reported.pass_over(stopped=DOWN) == ["outage"]
    assert reported.pass_over(stopped=DOWN) == []
    assert reported.pass_over() == ["recovered"]
    assert reported.pass_over() == []
    assert reported.pass_over(stopped=AWAY) == ["outage"]
    assert reported.pass_over(stopped=AWAY, of="mistral") == []
    assert reported.pass_over(of="mistral") == ["recovered"]
    assert reported.pass_over(stopped=errors.Stopped("Asked to stop")) == []


def test_a_message_says_what_happened() -> None:
    """A message has a title and facts for programs, bounded and without secrets."""
    reported = InMemoryProvider()
    reported.pass_over()
    reported.pass_over(
        ended(fine_tuned_model="ft:a", fine_tuning_error=f"b {SECRET} " + "x" * 10_000)
    )
    (message,) = reported.sent
    assert message
    assert message.title == "openai: job ftjob-a failed, model ft:a"
    assert message.details.startswith("b *** xxx")
    assert (message.event, message.facts["provider"], message.facts["run"]) == (
        "failed",
        "openai",
        "r1",
    )
    assert len(str(message)) < 2000
    assert SECRET not in str(message)


def test_a_stall_and_an_end_say_since_when_and_which() -> None:
    """A message about a stall or an end has a link to the run, and both are sent by default."""
    sent: list[Message | None] = []
    notifier = Notifier(sent.append, ALL, Redactor(), lambda place, run: f"https://m/{place}/{run}")
    silent = Stalled(
        provider="openai",
        job_id="a",
        name="openai/bot-a",
        run_id="r",
        experiment_id="1",
        seconds=9e3,
    )
    notifier.stalled(silent)
    notifier.shut_down(Ending("openai", "2025-12-01", "ft:a, ft:b"))
    stall, end = (message for message in sent if message)
    assert stall.title == "openai: job a stalled"
    assert stall.details == "It has shown nothing new for 2 h\nhttps://m/1/r"
    assert end.title == "openai: fine-tuned models end on 2025-12-01"
    assert end.details == "openai shuts them down on 2025-12-01: ft:a, ft:b"
    wanted: tuple[Event, ...] = ("failed",)
    quiet = Notifier(sent.append, wanted, Redactor())
    quiet.stalled(silent)
    assert len(sent) == 2
    assert not quiet.wants("stalled")


# A sign of life


def test_a_heartbeat_wants_all_providers_well() -> None:
    """A heartbeat comes after a pass, once a minute, and only while all providers are up."""
    sent: list[Message | None] = []
    clock = Clock()
    picture = DaemonStatus(["openai", "mistral"], Redactor(), clock)
    heart = Heartbeat(sent.append, picture.view, clock)

    def beats(of: str, stopped: errors.BridgeError | None = None, *, later: float = 61.0) -> int:
        clock.now += later
        before = len(sent)
        for observer in (picture, heart):
            observer(PassEnded(Report(provider=of, stopped=stopped), 1.0))
        return len(sent) - before

    assert beats("openai") == 0, "the other has not been asked yet"
    assert beats("mistral") == 1
    assert beats("openai", later=59.0) == 0, "too soon"
    assert beats("openai") == 1
    assert beats("mistral", DOWN) == 0
    assert beats("openai") == 0, "the other is down"
    assert beats("mistral") == 1
    assert set(map(type, sent)) == {type(None)}


def test_a_message_has_what_is_known_and_nothing_else() -> None:
    """A message has the known facts and, for an existing run, a link."""
    sent: list[Message | None] = []
    links = []

    def link(experiment: str, run: str) -> str:
        links.append((experiment, run))
        return "http://mlflow/#/r"

    notifier = Notifier(sent.append, ALL, Redactor(), link)
    notifier(PassEnded(Report(provider="openai"), 1.0))
    run = run_state("ftjob-a", "FINISHED")
    notifier(JobDone(outcome("ftjob-a", run=run, is_final=True)))
    notifier(JobDone(outcome("ftjob-b", "KILLED", is_final=True)))
    first, second = sent
    assert first
    assert second
    assert (first.event, first.title) == ("succeeded", "openai: job ftjob-a succeeded")
    assert first.facts == {
        "provider": "openai",
        "job": "ftjob-a",
        "run": "run-ftjob-a",
        "name": "openai/job",
        "link": "http://mlflow/#/r",
    }
    assert links == [("1", "run-ftjob-a")]
    assert second.facts == {
        "provider": "openai",
        "job": "ftjob-b",
        "run": "r1",
        "name": "openai/job",
    }


def test_an_outage_is_a_message_too() -> None:
    """An outage's message has the reason, and its end a message per provider that returns."""
    reported = InMemoryProvider()
    reported.pass_over(stopped=AWAY)
    reported.pass_over(stopped=DOWN)
    reported.pass_over()
    found = [(each.title, dict(each.facts)) for each in reported.sent if each]
    assert found == [
        ("MLflow: outage", {"provider": "MLflow", "error": "MLflow is down"}),
        ("openai: outage", {"provider": "openai", "error": "No connection"}),
        ("MLflow: recovered", {"provider": "MLflow"}),
        ("openai: recovered", {"provider": "openai"}),
    ]


def test_a_late_job_of_the_history_is_news_the_next_time() -> None:
    """A late job of the history causes a message at its next end, after a resumption."""
    reported = InMemoryProvider()
    reported.pass_over(ended("late", "RUNNING", is_final=False, is_settling=True))
    assert reported.pass_over(ended("late", "RUNNING", is_final=False)) == []
    assert reported.pass_over(ended("new")) == ["failed"], "another job is news meanwhile"
    assert reported.pass_over(ended("late")) == []
    assert reported.pass_over(ended("late")) == ["failed"]


def test_a_job_of_the_history_that_goes_on_is_news_when_it_ends() -> None:
    """An open job of the history causes a message when it ends."""
    reported = InMemoryProvider()
    reported.pass_over(ended("open", "RUNNING", is_final=False))
    assert reported.pass_over(ended("open")) == ["failed"]


def test_a_sign_of_life_comes_after_passes_only() -> None:
    """A heartbeat comes only after passes, once a minute to the second."""
    sent: list[Message | None] = []
    clock = Clock()
    picture = DaemonStatus(["openai"], Redactor(), clock)
    heart = Heartbeat(sent.append, picture.view, clock)
    for later, expected in ((0.0, 1), (59.9, 1), (0.1, 2), (60.0, 3)):
        clock.now += later
        picture(PassEnded(Report(provider="openai"), 1.0))
        heart(PassEnded(Report(provider="openai"), 1.0))
        assert len(sent) == expected
    clock.now += 600
    heart(JobDone(outcome()))
    assert len(sent) == 3


def test_jobs_of_two_providers_may_have_one_id() -> None:
    """A job of one provider's history is new for another provider with the same id."""
    reported = InMemoryProvider()
    reported.pass_over(of="mistral")
    reported.pass_over(ended("late", "RUNNING", is_final=False, is_settling=True))
    other = dataclasses.replace(outcome("late", "FAILED", is_final=True), provider="mistral")
    assert reported.pass_over(other, of="mistral") == ["failed"]
    assert reported.pass_over(ended("late")) == []
