"""The delivery of messages, which delays nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from bridge import __version__
from bridge.daemon.delivery import WAITS, Delivery, Message, host_of, to_service, to_webhook
from bridge.daemon.http_server import listening
from bridge.settings.daemon import Address
from tests.support.processes import wait_until

URL = "https://hooks.example/services/T000/B000/very-secret-token"
FAILED = Message(
    "failed",
    "openai: job <!channel> failed",
    {"provider": "openai", "job": "<!channel>", "error": "a & b", "link": "http://mlflow/#/r1"},
)


@dataclass
class Wire(httpx.BaseTransport):
    """Gives its answers in order, and repeats the last one."""

    answers: list[int | Exception]
    requests: list[httpx.Request] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Take the next answer."""
        self.requests.append(request)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"location": "https://elsewhere.example/"})


def test_a_webhook_is_posted_to_and_a_heartbeat_asked_for() -> None:
    """A webhook is posted to and a heartbeat fetched, at the exact address and without mentions."""
    wire = Wire([200])
    delivery = Delivery("webhook", URL, to_webhook(URL, wire))
    delivery.send(FAILED)
    delivery.send(None)
    wait_until(lambda: len(wire.requests) == 2)
    delivery.close()
    posted, asked = wire.requests
    assert (posted.method, str(posted.url)) == ("POST", URL)
    assert json.loads(posted.content) == {
        "text": "openai: job &lt;!channel&gt; failed\na &amp; b\nhttp://mlflow/#/r1",
        "event": "failed",
        **FAILED.facts,
    }
    assert (asked.method, asked.content) == ("GET", b"")


@pytest.mark.parametrize("trouble", [302, 404, 503, httpx.ConnectError(f"at {URL}")])
def test_what_is_not_delivered_is_logged_once(trouble: int | Exception) -> None:
    """A failed delivery and its recovery are logged once each, without the address."""
    wire, pauses = Wire([trouble]), list[float]()
    with capture_logs() as lines:
        delivery = Delivery("webhook", URL, to_webhook(URL, wire), pause=pauses.append)
        for _ in range(2):
            delivery.send(FAILED)
        wait_until(lambda: len(wire.requests) == 2 * (1 + len(WAITS)))
        wire.answers = [200]
        delivery.send(FAILED)
        delivery.send(FAILED)
        wait_until(lambda: len(wire.requests) == 2 * (1 + len(WAITS)) + 2)
        wire.answers = [trouble]
        delivery.send(FAILED)
        wait_until(lambda: len(lines) >= 3)
        delivery.close()
    assert pauses[: 2 * len(WAITS)] == [*WAITS, *WAITS]
    assert pauses[2 * len(WAITS) :] == [*WAITS][: len(pauses) - 2 * len(WAITS)]
    assert [line["event"] for line in lines] == ["not reached", "reached again", "not reached"]
    assert lines[0]["host"] == "hooks.example"
    assert "secret" not in str(lines)
    assert {request.url.host for request in wire.requests} == {"hooks.example"}


@dataclass
class Hanging:
    """A server that accepts a message and does not answer."""

    delivery: Delivery
    begun: threading.Event
    asked: list[Message | None]


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Deliver to a server that hangs until the test is over."""
    release, begun, asked = threading.Event(), threading.Event(), list[Message | None]()

    def attempt(message: Message | None) -> None:
        asked.append(message)
        begun.set()
        release.wait(60)

    delivery = Delivery("a delivery that hangs", URL, attempt)
    yield Hanging(delivery, begun, asked)
    delivery.close()
    release.set()
    # Its last line must not come in another test.
    wait_until(lambda: "a delivery that hangs" not in {t.name for t in threading.enumerate()})


def test_a_server_that_hangs_holds_nobody(hanging: Hanging) -> None:
    """A server that hangs delays nobody: surplus messages are dropped and the end comes at once."""
    with capture_logs() as lines:
        for _ in range(1000):
            hanging.delivery.send(FAILED)
        hanging.delivery.close()
        assert [line["event"] for line in lines] == ["not reached"]
        assert len(hanging.asked) <= 1


def test_the_end_cuts_a_wait_short() -> None:
    """The end drops a message that waits for another attempt."""
    wire = Wire([503])
    delivery = Delivery("a delivery by itself", URL, to_webhook(URL, wire))
    delivery.send(FAILED)
    wait_until(lambda: wire.requests)
    delivery.close()
    wait_until(lambda: "a delivery by itself" not in {t.name for t in threading.enumerate()})
    assert len(wire.requests) == 1


@dataclass
class Service:
    """A notified service that keeps its messages and gives set answers."""

    answers: list[int]
    heard: list[dict[str, object]] = field(default_factory=list)
    threads: set[threading.Thread] = field(default_factory=set)
    """Threads of this process at the requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        self.threads.update(threading.enumerate())
        self.heard.append(await Request(scope, receive).json())
        await Response(status_code=self.answers.pop(0))(scope, receive, send)


def test_a_service_is_notified_by_apprise(capfd: pytest.CaptureFixture[str]) -> None:
    """A service is notified by apprise in this thread, with the message that apprise escapes."""
    pytest.importorskip("apprise")
    service = Service([200, 500])
    threads = set(threading.enumerate())
    with listening(Address("127.0.0.1", 0), service) as at:
        attempt = to_service(f"json://user:very-secret@{at}/hook")
        assert attempt(FAILED) is None
        trouble = attempt(FAILED)
    begun = {each.name for each in service.threads - threads}
    assert begun == {"http-server"}
    first, _ = service.heard
    assert (first["title"], first["type"]) == ("openai: job <!channel> failed", "failure")
    assert first["message"] == "a & b\nhttp://mlflow/#/r1"
    assert trouble
    assert "500" in trouble
    assert "secret" not in trouble
    assert "secret" not in "".join(capfd.readouterr())


def test_the_kind_of_a_service_is_all_that_is_shown_of_it() -> None:
    """Only the kind of a service is shown, because its host can be a token."""
    with capture_logs() as lines:
        url = "slack://very-secret-token/B/C"
        delivery = Delivery("notify", url, lambda _: "refused", pause=lambda _: None)
        delivery.send(FAILED)
        wait_until(lambda: lines)
        delivery.close()
    assert lines[0] == {
        "event": "not reached",
        "log_level": "warning",
        "what": "notify",
        "host": "slack",
        "error": "refused",
    }


@pytest.mark.parametrize(
    ("facts", "details"),
    [
        ({"error": "e", "link": "l", "job": "j"}, "e\nl"),
        ({"error": "e"}, "e"),
        ({"link": "l"}, "l"),
        ({"job": "j"}, ""),
    ],
)
def test_a_messages_details_are_a_line_each(facts: dict[str, str], details: str) -> None:
    """Each detail of a message is a line, except missing ones."""
    assert Message("failed", "title", facts).details == details


def test_a_message_without_details_is_its_title() -> None:
    """A message without details is its title, without an empty line."""
    wire = Wire([200])
    assert to_webhook(URL, wire)(Message("recovered", "openai: recovered", {})) is None
    assert json.loads(wire.requests[0].content) == {
        "text": "openai: recovered",
        "event": "recovered",
    }
    assert wire.requests[0].headers["user-agent"] == f"ftbridge/{__version__}"
    assert set(wire.requests[0].extensions["timeout"].values()) == {5.0}  # nobody waits long


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (200, None),
        (204, None),
        (302, "it answered 302"),
        (404, "it answered 404"),
        (httpx.ReadTimeout("x"), "no answer (ReadTimeout)"),
        (httpx.InvalidURL("x"), "no answer (InvalidURL)"),
        (OSError("x"), "no answer (OSError)"),
    ],
)
def test_an_attempt_says_what_went_wrong(answer: int | Exception, trouble: str | None) -> None:
    """A failed attempt is described without the address."""
    assert to_webhook(URL, Wire([answer]))(FAILED) == trouble


@pytest.mark.parametrize(
    ("answers", "attempts", "is_reported"),
    [([200], 1, False), ([503, 200], 2, False), ([503, 503, 200], 3, False), ([503], 3, True)],
)
def test_a_message_has_three_attempts(
    answers: list[int | Exception], attempts: int, *, is_reported: bool
) -> None:
    """A message has three attempts, and none after a success."""
    wire = Wire(answers)
    with capture_logs() as lines:
        delivery = Delivery("webhook", URL, to_webhook(URL, wire), pause=lambda _: None)
        delivery.send(FAILED)
        wait_until(lambda: len(wire.requests) == attempts)
        delivery.send(FAILED)
        wait_until(lambda: len(wire.requests) > attempts)
        delivery.close()
    assert bool(lines) is is_reported


def test_a_hundred_messages_wait(hanging: Hanging) -> None:
    """A hundred messages can wait, and the next one is dropped and logged."""
    with capture_logs() as lines:
        hanging.delivery.send(FAILED)
        hanging.begun.wait(60)
        for _ in range(100):
            hanging.delivery.send(FAILED)
        assert lines == []
        hanging.delivery.send(FAILED)
        assert [line["error"] for line in lines] == ["more than 100 messages are waiting"]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        *(("succeeded", "success"), ("recovered", "success"), ("cancelled", "warning")),
        *(("failed", "failure"), ("outage", "failure")),
    ],
)
def test_a_service_gets_how_bad_it_is(event: str, kind: str) -> None:
    """The service is sent the severity, and a message without details has its title as body."""
    pytest.importorskip("apprise")
    service = Service([200])
    with listening(Address("127.0.0.1", 0), service) as at:
        attempt = to_service(f"json://{at}/hook")
        assert attempt(Message(event, "title", {})) is None
        assert attempt(None) is None
    (heard,) = service.heard
    assert (heard["type"], heard["title"], heard["message"]) == (kind, "title", "title")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:token@hooks.example:8443/x", "hooks.example"),
        ("http://hooks.example", "hooks.example"),
        ("https:///x", ""),
        ("slack://token/x", "slack"),
        ("mailto://user:password@example.com", "mailto"),
    ],
)
def test_little_of_an_address_is_shown(url: str, shown: str) -> None:
    """An address is shown as the host of a webhook or the kind of a service."""
    assert host_of(url) == shown


def test_a_webhook_is_asked_over_the_network() -> None:
    """A webhook is posted to over the real network."""
    service = Service([200])
    with listening(Address("127.0.0.1", 0), service) as at:
        assert to_webhook(f"http://{at}/hook")(FAILED) is None
    assert service.heard[0]["event"] == "failed"
