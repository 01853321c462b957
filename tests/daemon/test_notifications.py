"""Who is told what by webhook, and that telling it holds nothing up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import httpx
import pytest
from structlog.testing import capture_logs

from bridge import errors
from bridge.daemon.notifications import Heartbeat, Notifier
from bridge.daemon.status import DaemonStatus
from bridge.daemon.webhook import WAITS, Body, WebhookSender
from bridge.plan.plan import Plan
from bridge.redaction import Redactor
from bridge.settings.daemon import Event
from bridge.sync.events import JobDone, PassEnded
from bridge.sync.outcome import Failed, Outcome, Synced
from bridge.sync.report import Report
from tests.support.world import Clock

SECRET = "a-secret-that-must-not-show"
URL = "https://hooks.example/services/T000/B000/very-secret-token"
ALL: tuple[Event, ...] = ("succeeded", "failed", "cancelled", "outage", "recovered")
DOWN = errors.Unreachable("No connection", "Check the network")
AWAY = errors.TrackingDown("MLflow is down", "Start it")


def outcome(
    job_id: str = "ftjob-a",
    status: str | None = "FAILED",
    *,
    is_final: bool = True,
    is_settling: bool = False,
    error: errors.BridgeError | None = None,
    **tags: str,
) -> Outcome:
    """A job that was recorded."""
    plan = Plan(
        provider="openai",
        job_id=job_id,
        run_id="r1",
        run_name="openai/a",
        start_time=1,
        tags=tags,
        params={},
        points=(),
        status=status,
        end_time=None,
        is_final=is_final,
        is_settling=is_settling,
        reason="",
        skipped=(),
    )
    return Synced(provider="openai", job_id=job_id, plan=plan, run_id="r1", error=error)


@dataclass
class Told:
    """A notifier and what it sends."""

    wanted: Sequence[Event] = ALL
    sent: list[Body] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notifier = Notifier(self.sent.append, self.wanted, Redactor([SECRET]))

    def pass_over(
        self, *outcomes: Outcome, stopped: errors.BridgeError | None = None, of: str = "openai"
    ) -> list[str]:
        """Make a pass; returns the events that it brings."""
        before = len(self.sent)
        for each in outcomes:
            self.notifier(JobDone(each))
        self.notifier(PassEnded(Report(provider=of, stopped=stopped), 1.0))
        return [str(body["event"]) for body in self.sent[before:] if body]


def test_a_history_is_no_news() -> None:
    """However a job of it ended; what ends afterwards is, for each provider on its own."""
    told = Told()
    assert told.pass_over(*(outcome(f"job-{number}") for number in range(5000))) == []
    assert told.pass_over(outcome("new")) == ["failed"]


def test_a_history_that_takes_several_passes_is_none_either() -> None:
    """An outage in the middle of it does not make news of the rest."""
    told = Told(wanted=("failed",))
    told.pass_over(outcome("one"), stopped=DOWN)
    assert told.pass_over(outcome("two")) == []
    assert told.pass_over(outcome("three")) == ["failed"]


@pytest.mark.parametrize(
    "late",
    [
        Failed(provider="openai", job_id="late", error=errors.NoAnswer("None")),
        outcome("late", "RUNNING", is_final=False, is_settling=True),
    ],
)
def test_a_job_of_the_history_that_comes_late_is_none(late: Outcome) -> None:
    """One that could not be recorded at first, or whose last data was still to come."""
    told = Told()
    told.pass_over(late)
    assert told.pass_over(outcome("late")) == []


def test_only_ends_are_told_and_only_once_they_are_recorded() -> None:
    """Not each point, nor an end whose archive is still missing."""
    told = Told()
    told.pass_over()
    assert told.pass_over(outcome(status=None, is_final=False)) == []
    assert told.pass_over(outcome(error=errors.ArchiveFailed("Full"))) == []
    assert told.pass_over(outcome(status="FINISHED")) == ["succeeded"]
    assert told.pass_over(outcome(status="KILLED")) == ["cancelled"]


def test_only_what_is_wanted_is_told() -> None:
    """By default failures alone."""
    told = Told(wanted=("failed",))
    told.pass_over()
    ends = [outcome(status="FINISHED"), outcome(status="FAILED"), outcome(status="KILLED")]
    assert told.pass_over(*ends) == ["failed"]
    assert told.pass_over(stopped=DOWN) == []


def test_an_outage_and_its_end_are_told_once() -> None:
    """Each provider's on its own, and MLflow's once, however many passes it ends."""
    told = Told()
    assert told.pass_over(stopped=DOWN) == ["outage"]
    assert told.pass_over(stopped=DOWN) == []
    assert told.pass_over() == ["recovered"]
    assert told.pass_over() == []
    assert told.pass_over(stopped=AWAY) == ["outage"]
    assert told.pass_over(stopped=AWAY, of="mistral") == []
    assert told.pass_over(of="mistral") == ["recovered"]
    assert told.pass_over(stopped=errors.Stopped("Asked to stop")) == []


def test_a_message_is_for_chats_and_for_programs() -> None:
    """In the text nothing is a mention or a link; nothing is long, and no secret is in it."""
    told = Told()
    told.pass_over()
    told.pass_over(outcome("<!channel>", fine_tuning_error=f"a & b {SECRET} " + "x" * 10_000))
    (body,) = told.sent
    assert body
    assert str(body["text"]).startswith("openai: job &lt;!channel&gt; failed. a &amp; b *** xxx")
    assert body["job"] == "<!channel>"
    assert (body["event"], body["provider"], body["run"]) == ("failed", "openai", "r1")
    assert len(json.dumps(body)) < 2000
    assert SECRET not in json.dumps(body)


# A sign of life


def test_a_heartbeat_wants_all_providers_well() -> None:
    """After a pass of any, once a minute at most, and not while one is down."""
    sent: list[Body] = []
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


# The way


@dataclass
class Wire(httpx.BaseTransport):
    """Answers as told, and the last way for ever after."""

    answers: list[int | Exception]
    requests: list[httpx.Request] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Take the next answer."""
        self.requests.append(request)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"location": "https://elsewhere.example/"})


def waited(is_so: Callable[[], object]) -> None:
    """Wait until it is."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.005)


def test_a_message_is_posted_and_a_heartbeat_asked_for() -> None:
    """To the address as it is written, with nothing of ours but the message."""
    wire = Wire([200])
    courier = WebhookSender("webhook", URL, wire=wire)
    courier.send({"text": "well"})
    courier.send(None)
    waited(lambda: len(wire.requests) == 2)
    courier.close()
    posted, asked = wire.requests
    assert (posted.method, str(posted.url)) == ("POST", URL)
    assert json.loads(posted.content) == {"text": "well"}
    assert (asked.method, asked.content) == ("GET", b"")


@pytest.mark.parametrize("trouble", [302, 404, 503, httpx.ConnectError(f"at {URL}")])
def test_what_is_not_delivered_is_told_once(trouble: int | Exception) -> None:
    """After some attempts, without the address; so is that it goes again. No redirect is taken."""
    wire, pauses = Wire([trouble]), list[float]()
    with capture_logs() as lines:
        courier = WebhookSender("webhook", URL, wire=wire, pause=pauses.append)
        for _ in range(2):
            courier.send({"text": "x"})
        waited(lambda: len(wire.requests) == 2 * (1 + len(WAITS)))
        wire.answers = [200]
        courier.send({"text": "y"})
        waited(lambda: len(lines) == 2)
        courier.close()
    assert pauses == [*WAITS, *WAITS]
    assert [line["event"] for line in lines] == ["not reached", "reached again"]
    assert lines[0]["host"] == "hooks.example"
    assert "secret" not in str(lines)
    assert {request.url.host for request in wire.requests} == {"hooks.example"}


def test_a_server_that_hangs_holds_nobody() -> None:
    """Messages beyond some are let go of, sending returns at once, and so does the end."""
    release, asked = threading.Event(), count()

    class Hanging(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            next(asked)
            release.wait(60)
            return httpx.Response(200, request=request)

    with capture_logs() as lines:
        courier = WebhookSender("webhook", URL, wire=Hanging())
        try:
            for _ in range(1000):
                courier.send({"text": "x"})
            courier.close()
        finally:
            release.set()
    assert [line["event"] for line in lines] == ["not reached"]
    assert next(asked) <= 1


def test_the_end_cuts_a_wait_short() -> None:
    """A message that is to be tried again is let go of."""
    wire = Wire([503])
    courier = WebhookSender("a courier of its own", URL, wire=wire)
    courier.send({"text": "x"})
    waited(lambda: wire.requests)
    courier.close()
    waited(lambda: "a courier of its own" not in {t.name for t in threading.enumerate()})
    assert len(wire.requests) == 1
