"""Retries: their causes, their pace, and the errors of broken connections."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import errors
from bridge.http import retries
from bridge.http.client import ApiClient, connect
from bridge.http.transports import RateLimited
from bridge.redaction import Redactor
from bridge.simulator import Reply, Request, Simulator, json_reply
from tests.support.scripted import (
    BASE_URL,
    JSON,
    LASTING,
    PASSING,
    PATH,
    Answer,
    Script,
    answer,
    failure,
    local,
    script,
)
from tests.support.world import NOW, Clock, NoSleep


@pytest.mark.parametrize("status", PASSING)
def test_a_passing_failure_is_asked_again(status: int) -> None:
    """A temporary failure is followed by another attempt, and by the answer."""
    scripted = script(answer(status), answer(status), answer(200, {"id": "a"}))
    assert scripted.http().get_object(PATH) == {"id": "a"}
    assert len(scripted.requests) == 3
    assert len(scripted.sleep.asked) == 2


@pytest.mark.parametrize("status", PASSING)
def test_patience_ends(status: int) -> None:
    """The last failure is reported without another wait."""
    scripted = script(answer(status))
    failure(scripted)
    assert len(scripted.requests) == retries.ATTEMPTS
    assert len(scripted.sleep.asked) == retries.ATTEMPTS - 1


PAGES = [b"<!DOCTYPE html>Bad gateway", b"\n<html></html>", b"<?xml version='1.0'?><Error/>"]


@pytest.mark.parametrize("body", PAGES)
@pytest.mark.parametrize("label", ["text/html; charset=utf-8", "text/plain"])
def test_a_web_page_in_place_of_json_may_pass(body: bytes, label: str) -> None:
    """A proxy's page with status 200 is followed by another attempt, and by the answer."""
    page = Answer(200, body, {"content-type": label})
    scripted = script(page, answer(500), page, answer(429), page, answer(200, {"id": "a"}))
    assert scripted.http().get_object(PATH) == {"id": "a"}
    assert len(scripted.requests) == 6


@pytest.mark.parametrize("body", PAGES)
def test_patience_with_web_pages_ends_sooner(body: bytes) -> None:
    """Few attempts are made at pages, because a sign-in or a wrong address stays."""
    scripted = script(Answer(200, body, {"content-type": "text/html"}))
    assert isinstance(failure(scripted), errors.BadReply)
    assert len(scripted.requests) == retries.PAGE_ATTEMPTS


def test_a_file_may_be_a_web_page() -> None:
    """A page is accepted where the request is not for JSON."""
    scripted = script(Answer(200, PAGES[0], {"content-type": "text/html"}))
    assert scripted.http().get_bytes(PATH) == PAGES[0]
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xfe", b"data: [DONE]"])
def test_other_text_in_place_of_json_is_not_asked_for_again(body: bytes) -> None:
    """Other text in place of JSON is not requested again, because it would come again."""
    scripted = script(Answer(200, body, {"content-type": "text/event-stream"}))
    assert isinstance(failure(scripted), errors.BadReply)
    assert len(scripted.requests) == 1


def test_every_attempt_is_reported() -> None:
    """Each attempt is reported with its number and with its end in one of few words."""
    reported: list[tuple[str, int]] = []
    broken = Answer(200, b'{"id": ')
    first = (httpx.ConnectError("refused"), answer(429), answer(503), broken, answer(200, {}))
    http = script(*first, answer(302)).http(tell=lambda *each: reported.append(each))
    http.get_object(PATH)
    with pytest.raises(errors.ProviderError):
        http.get_object(PATH)
    assert reported == [
        ("no_answer", 1),
        ("429", 2),
        ("5xx", 3),
        ("no_answer", 4),
        ("2xx", 5),
        ("3xx", 1),
    ]
    assert {result for result, _ in reported} <= set(retries.RESULTS)


@pytest.mark.parametrize("status", LASTING)
def test_a_lasting_failure_is_asked_once(status: int) -> None:
    """A permanent failure is not requested again."""
    scripted = script(answer(status), answer(200))
    failure(scripted)
    assert len(scripted.requests) == 1
    assert scripted.sleep.asked == []


@pytest.mark.parametrize("key", ["code", "type"])
@pytest.mark.parametrize(
    "word", ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"]
)
def test_an_empty_account_is_asked_once(key: str, word: str) -> None:
    """A 429 for an exhausted quota is not requested again, and has a remedy."""
    scripted = script(answer(429, {"error": {"message": "You exceeded it", key: word}}))
    error = failure(scripted)
    assert isinstance(error, errors.QuotaExhausted)
    assert "You exceeded it" in error.sentence
    assert error.remedy
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("body", [{}, [], None, {"error": None}, {"error": {"code": None}}, "no"])
def test_any_other_429_is_a_limit_of_the_rate(body: object) -> None:
    """Any other 429 is waited for, and then left to the next pass."""
    scripted = script(answer(429, body))
    assert isinstance(failure(scripted), errors.Throttled)
    assert len(scripted.requests) == retries.ATTEMPTS


@pytest.mark.parametrize("status", PASSING)
def test_a_server_that_asks_not_to_be_asked_again_is_not(status: int) -> None:
    """``x-should-retry: false`` is honoured."""
    scripted = script(answer(status, x_should_retry="false"))
    failure(scripted)
    assert len(scripted.requests) == 1


def test_waits_grow_to_a_limit_and_are_spread() -> None:
    """Waits double from a quarter of a second to eight, less up to a quarter of it."""
    scripted = script(answer(500))
    failure(scripted)
    full = [0.25, 0.5, 1, 2, 4, 8, 8]
    assert all(
        0.75 * most <= asked <= most for asked, most in zip(scripted.sleep.asked, full, strict=True)
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": " 60 "}, 60.0),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        (
            {
                "retry_after": "Wed, 21 Oct 2015 07:28:09 GMT",
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",  # this machine's clock may be wrong
            },
            9.0,
        ),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_the_server_asks_for_is_kept(
    status: int, headers: dict[str, str], seconds: float
) -> None:
    """The server's wait is kept, in seconds, in milliseconds, or as a date."""
    scripted = script(answer(status, **headers), answer(200))
    scripted.http().get_object(PATH)
    assert scripted.sleep.asked == [seconds]


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "1e", "nan-ish", "0x10", "\t"),
        *("Wed, 99 Oct 2015", "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"),
    ],
)
def test_a_wait_that_makes_no_sense_is_ignored(value: str) -> None:
    """An impossible wait is replaced by the ordinary one."""
    scripted = script(answer(503, retry_after=value), answer(200))
    scripted.http().get_object(PATH)
    (asked,) = scripted.sleep.asked
    assert 0 < asked <= 0.25


@pytest.mark.parametrize("value", ["61", "3600", "1e9", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_longer_wait_is_left_to_the_next_pass(value: str) -> None:
    """A wait that is too long for a pass ends the request without another attempt."""
    scripted = script(answer(429, retry_after=value))
    error = failure(scripted)
    assert isinstance(error, errors.Throttled)
    assert "next pass" in error.remedy
    assert scripted.sleep.asked == []
    assert len(scripted.requests) == 1


def test_a_date_is_a_moment() -> None:
    """A date means the time from now until then."""
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    headers = {"retry-after": format_datetime(then, usegmt=True)}
    assert retries.retry_after(headers, now=then.timestamp() - 12.5) == 12.5
    assert retries.retry_after(headers, now=then.timestamp() + 1) == 0.0


@given(value=st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ .*"))
def test_any_wait_is_one_or_none(value: str) -> None:
    """Any header gives seconds, not fewer than zero, or nothing."""
    for name in ("retry-after", "retry-after-ms"):
        asked = retries.retry_after({name: value}, now=0.0)
        assert asked is None or asked >= 0


def test_patience_can_be_less() -> None:
    """The number of attempts can be lowered, as a check does."""
    scripted = script(answer(500))
    with pytest.raises(errors.ServerFailed):
        scripted.http(patience=2).get_object(PATH)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("outcome", [answer(503), answer(429), httpx.ReadError("reset")])
def test_only_reading_is_repeated(method: str, outcome: Answer | Exception) -> None:
    """A request that could change something is sent once."""
    scripted = script(outcome)
    wire = retries.Retrying(httpx.MockTransport(scripted), sleep=scripted.sleep)
    with httpx.Client(transport=wire) as client:
        if isinstance(outcome, Answer):
            assert client.request(method, BASE_URL).status_code == outcome.status
        else:
            with pytest.raises(httpx.ReadError):
                client.request(method, BASE_URL)
    assert len(scripted.requests) == 1
    assert scripted.sleep.asked == []


@pytest.mark.parametrize("first", [answer(503), httpx.ReadError("reset")])
def test_a_stop_ends_the_request_at_once(first: Answer | Exception) -> None:
    """A user's stop ends a wait and the request."""
    scripted = script(first, answer(200))

    def stopped(_seconds: float) -> None:
        raise errors.Stopped("Asked to stop")

    http = connect(
        BASE_URL,
        headers={},
        redactor=Redactor(),
        sleep=stopped,
        transport=httpx.MockTransport(scripted),
    )
    with pytest.raises(errors.Stopped):
        http.get_object(PATH)
    assert len(scripted.requests) == 1


def paced(scripted: Script, clock: Clock, per_second: float = 4.0) -> ApiClient:
    """Return a client that may begin this many requests per second; waiting turns the clock."""
    return connect(
        BASE_URL,
        headers={},
        redactor=Redactor(),
        sleep=clock.sleep,
        clock=clock,
        per_second=per_second,
        transport=httpx.MockTransport(scripted),
    )


def test_requests_begin_at_even_distances() -> None:
    """Requests begin at even distances, and the first does not wait."""
    clock = Clock()
    moments: list[float] = []
    scripted = script(answer(200))
    http = paced(scripted, clock)
    for pause in (0.0, 0.0, 0.0, 9.0, 0.0, 0.1, 0.25):
        clock.now += pause
        http.get_object(PATH)
        moments.append(clock.now - NOW)
    assert moments == pytest.approx([0.0, 0.25, 0.5, 9.5, 9.75, 10.0, 10.25])


def test_the_pace_is_one_for_all_threads() -> None:
    """All threads share one pace, and each gets a turn."""
    frozen, waits, lock = Clock(), [], threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            waits.append(seconds)

    wire = RateLimited(
        httpx.MockTransport(script(answer(200))), per_second=2.0, sleep=sleep, clock=frozen
    )
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(wire.handle_request, [httpx.Request("GET", BASE_URL)] * 8))
    assert sorted(waits) == pytest.approx([0.5 * turn for turn in range(1, 8)])


def test_a_repetition_waits_for_its_turn_too() -> None:
    """A retry waits for its turn as well, even if it comes early."""
    clock = Clock()
    paced(script(answer(500, retry_after="0"), answer(200)), clock, 0.2).get_object(PATH)
    assert clock.now - NOW == pytest.approx(5.0)


def test_a_stop_ends_the_wait_for_a_turn() -> None:
    """A request to stop ends the wait for a turn."""
    scripted = script(answer(200))

    def sleep(_seconds: float) -> None:
        raise errors.Stopped("Asked to stop")

    http = connect(
        BASE_URL,
        headers={},
        redactor=Redactor(),
        sleep=sleep,
        per_second=1.0,
        transport=httpx.MockTransport(scripted),
    )
    http.get_object(PATH)
    with pytest.raises(errors.Stopped):
        http.get_object(PATH)
    assert len(scripted.requests) == 1


def test_a_port_that_nobody_listens_on_is_unreachable() -> None:
    """A refused connection is tried a few times, and then ends the provider's pass."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        sleep = NoSleep()
        http = local(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", sleep=sleep)
        with pytest.raises(errors.Unreachable, match=r"base_url") as caught:
            http.get_object(PATH)
    assert len(sleep.asked) == retries.CONNECT_ATTEMPTS - 1
    assert isinstance(caught.value, errors.ProviderDown)


BROKEN = {
    "reset": Reply(reset=True),
    "cut in its body": Reply(headers=JSON, body=b'{"id": "a"}', truncate_at=5),
    "cut before its body": Reply(headers=JSON, body=b'{"id": "a"}', truncate_at=0),
    "cut JSON of the announced length": Reply(headers=JSON, body=b'{"id": "a", "sta'),
    "empty": Reply(headers=JSON, body=b""),
    "no gzip": Reply(headers={**JSON, "Content-Encoding": "gzip"}, body=b'{"id": "a"}'),
    "cut gzip": Reply(
        headers={**JSON, "Content-Encoding": "gzip"},
        body=gzip.compress(json.dumps({"id": "a", "noise": "abc" * 99}).encode())[:-20],
    ),
    "no UTF-8": Reply(headers=JSON, body=b'{"id": "\xff\xfe"}'),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_a_broken_reply_is_asked_for_again(reply: Reply) -> None:
    """A reply that arrives broken twice over a real socket is whole at the third attempt."""
    asked: list[Request] = []

    def intercept(request: Request) -> Reply:
        asked.append(request)
        return reply if len(asked) < 3 else json_reply({"id": "a"})

    with Simulator(intercept=intercept) as simulator:
        http = local(simulator.openai_url)
        assert http.get_object(PATH) == {"id": "a"}
        http.close()
    assert len(asked) == 3


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_a_reply_that_stays_broken_is_an_error_of_one_job(reply: Reply) -> None:
    """A reply that stays broken is an error of one job, and the pass continues."""
    with Simulator(intercept=lambda _request: reply) as simulator:
        http = local(simulator.openai_url)
        with pytest.raises(errors.ProviderError) as caught:
            http.get_object(PATH)
        http.close()
    assert not isinstance(caught.value, errors.ProviderDown)
    assert len(simulator.requests) == retries.ATTEMPTS


def test_a_broken_result_file_is_asked_for_again() -> None:
    """A file that is cut off is requested again."""
    broken = Reply(body=b"step,train_loss\n1,0.5\n2,0.25\n", truncate_at=20)
    whole = Reply(body=broken.body)
    asked: list[Request] = []

    def intercept(request: Request) -> Reply:
        asked.append(request)
        return broken if len(asked) < 2 else whole

    with Simulator(intercept=intercept) as simulator:
        http = local(simulator.openai_url)
        assert http.find_bytes("/files/a/content") == broken.body
        http.close()


def test_a_compressed_reply_is_read() -> None:
    """A compressed reply is read."""
    body = gzip.compress(json.dumps({"id": "a" * 1000}).encode())
    reply = Reply(headers={**JSON, "Content-Encoding": "gzip"}, body=body)
    with Simulator(intercept=lambda _request: reply) as simulator:
        http = local(simulator.openai_url)
        assert http.get_object(PATH) == {"id": "a" * 1000}
        http.close()
    assert len(simulator.requests) == 1


def test_each_retry_has_its_cause_and_wait() -> None:
    """Each retry is logged with its cause and its wait, and a success is not."""
    heard: list[tuple[str, float]] = []
    waits = NoSleep()
    wire = httpx.MockTransport(Script([answer(503), httpx.ReadTimeout("slow"), answer(200)]))
    retrying = retries.Retrying(
        wire, sleep=waits, retried=lambda cause, seconds: heard.append((cause, seconds))
    )
    reply = retrying.handle_request(httpx.Request("GET", "https://api.example.com/v1/models"))
    assert reply.status_code == 200
    assert [cause for cause, _ in heard] == ["status 503", "ReadTimeout"]
    assert [seconds for _, seconds in heard] == waits.asked


@pytest.mark.parametrize(
    ("status", "word"),
    [
        *((200, "2xx"), (206, "2xx"), (304, "3xx"), (404, "4xx"), (428, "4xx"), (429, "429")),
        *((430, "4xx"), (500, "5xx"), (599, "5xx"), (100, "no_answer"), (600, "no_answer")),
    ],
)
def test_an_attempt_ends_with_one_of_few_words(status: int, word: str) -> None:
    """An attempt with a status that HTTP lacks ends as one without a status."""
    assert retries.result_of(status) == word


@pytest.mark.parametrize(("seconds", "attempts"), [(30.0, 4), (29.9, 5), (90.0, 2), (100.0, 2)])
def test_a_request_ends_after_a_minute_and_a_half(seconds: float, attempts: int) -> None:
    """A request ends after a minute and a half, however many attempts are left."""
    clock = Clock()
    scripted = script(answer(500))

    def slow(request: httpx.Request) -> httpx.Response:
        if scripted.requests:
            clock.now += seconds
        return scripted(request)

    wire = retries.Retrying(httpx.MockTransport(slow), sleep=scripted.sleep, clock=clock)
    wire.handle_request(httpx.Request("GET", "https://api.example"))
    assert len(scripted.requests) == attempts


@pytest.mark.parametrize(
    ("error", "patience", "attempts"),
    [
        (httpx.ConnectError("refused"), 8, 4),
        (httpx.ConnectTimeout("silent"), 8, 4),
        (httpx.ConnectError("refused"), 2, 2),
        (httpx.ReadTimeout("silent"), 8, 8),
        (httpx.UnsupportedProtocol("ftp"), 8, 1),
        (httpx.LocalProtocolError("header"), 8, 1),
    ],
)
def test_a_host_that_is_down_is_asked_less_often(
    error: httpx.RequestError, patience: int, attempts: int
) -> None:
    """A host that is down gets fewer attempts, and an impossible request gets one."""
    scripted = script(error)
    with pytest.raises(errors.ProviderError):
        scripted.http(patience=patience).get_object(PATH)
    assert len(scripted.requests) == attempts


def test_only_a_plain_no_keeps_from_asking_again() -> None:
    """Only ``false`` in the header stops the retries."""
    for value, attempts in (("false", 1), ("true", 2), ("False", 2), ("", 2)):
        scripted = script(answer(500, x_should_retry=value), answer(200))
        with contextlib.suppress(errors.ProviderError):
            scripted.http().get_object(PATH)
        assert len(scripted.requests) == attempts


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"error": {"code": "x"}}', {"code": "x"}),
        ('{"error": "x", "code": "y"}', {"error": "x", "code": "y"}),
        ('["x"]', {}),
        ("x", {}),
        ("[" * 60_000, {}),
    ],
)
def test_an_error_is_described_in_one_place_or_another(
    body: str, expected: dict[str, object]
) -> None:
    """An error is described below a key or at the top, and otherwise not at all."""
    assert retries.error_object(httpx.Response(400, text=body)) == expected


def test_the_wire_is_closed_with_the_layers_above() -> None:
    """The layers above the wire close its connections."""
    closed = []

    class Wire(httpx.BaseTransport):
        def close(self) -> None:
            closed.append(1)

    retries.Retrying(Wire(), sleep=NoSleep()).close()
    assert closed == [1]
