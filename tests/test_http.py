"""The HTTP client: what is asked again, what each answer becomes, and what is never shown."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bridge
from bridge import errors, transport
from bridge.http import Http, connect, segment
from bridge.simulator import Reply, Request, Simulator, json_reply
from bridge.untrusted import Redactor
from tests.support.world import KEY, NOW, Clock, NoSleep

BASE_URL = "https://provider.example/v1"
PATH = "/fine_tuning/jobs"
JSON = {"content-type": "application/json"}
PASSING = [408, 409, 429, 500, 502, 503, 504]
LASTING = [300, 302, 400, 401, 403, 404, 405, 410, 413, 422, 501]


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply of a script."""

    status: int = 200
    content: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)

    def response(self) -> httpx.Response:
        """A response that has not been read yet."""
        return httpx.Response(self.status, headers=self.headers, content=self.content)


def answer(status: int, body: object = None, **headers: str) -> Answer:
    """A reply with a JSON body; underscores in headers' names are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({} if body is None else body).encode(), JSON | named)


@dataclass
class Script:
    """Gives its answers in their order, and the last one for ever after."""

    answers: list[Answer | Exception]
    requests: list[httpx.Request] = field(default_factory=list)
    sleep: NoSleep = field(default_factory=NoSleep)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        given_answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(request)
        if isinstance(given_answer, Exception):
            raise given_answer
        return given_answer.response()

    def http(self, patience: int = transport.ATTEMPTS, tell: transport.Tell | None = None) -> Http:
        """A client whose network is this script."""
        return connect(
            BASE_URL,
            headers={"Authorization": f"Bearer {KEY}"},
            redactor=Redactor([KEY]),
            sleep=self.sleep,
            patience=patience,
            transport=httpx.MockTransport(self),
            tell=tell,
        )


def script(*answers: Answer | Exception) -> Script:
    """A script of these answers."""
    return Script(list(answers))


def failure(scripted: Script) -> errors.ProviderError:
    """The error that a request ends with."""
    with pytest.raises(errors.ProviderError) as caught:
        scripted.http().get_object(PATH)
    return caught.value


def local(url: str, key: str = KEY, *, sleep: NoSleep | None = None) -> Http:
    """A client over a real socket."""
    return connect(
        url,
        headers={"Authorization": f"Bearer {key}"},
        redactor=Redactor([key]),
        sleep=sleep or NoSleep(),
    )


def shown(error: BaseException | None) -> Iterator[str]:
    """Every text that a traceback or a report could show of an error."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args))
        if isinstance(error, errors.BridgeError):
            yield from (error.sentence, error.remedy)
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context


# What is asked again


@pytest.mark.parametrize("status", PASSING)
def test_a_passing_failure_is_asked_again(status: int) -> None:
    """A failure that may pass is followed by another attempt, and by the answer."""
    scripted = script(answer(status), answer(status), answer(200, {"id": "a"}))
    assert scripted.http().get_object(PATH) == {"id": "a"}
    assert len(scripted.requests) == 3
    assert len(scripted.sleep.asked) == 2


@pytest.mark.parametrize("status", PASSING)
def test_patience_ends(status: int) -> None:
    """After the last attempt the failure is reported; no wait follows it."""
    scripted = script(answer(status))
    failure(scripted)
    assert len(scripted.requests) == transport.ATTEMPTS
    assert len(scripted.sleep.asked) == transport.ATTEMPTS - 1


def test_every_attempt_is_told() -> None:
    """How it ended, in one of few words, and which one it was; each request begins anew."""
    told: list[tuple[str, int]] = []
    broken = Answer(200, b'{"id": ')
    first = (httpx.ConnectError("refused"), answer(429), answer(503), broken, answer(200, {}))
    http = script(*first, answer(302)).http(tell=lambda *each: told.append(each))
    http.get_object(PATH)
    with pytest.raises(errors.ProviderError):
        http.get_object(PATH)
    assert told == [
        ("no_answer", 1),
        ("429", 2),
        ("5xx", 3),
        ("no_answer", 4),
        ("2xx", 5),
        ("3xx", 1),
    ]
    assert {result for result, _ in told} <= set(transport.RESULTS)


@pytest.mark.parametrize("status", LASTING)
def test_a_lasting_failure_is_asked_once(status: int) -> None:
    """What will not change by asking again is not asked again."""
    scripted = script(answer(status), answer(200))
    failure(scripted)
    assert len(scripted.requests) == 1
    assert scripted.sleep.asked == []


@pytest.mark.parametrize("key", ["code", "type"])
@pytest.mark.parametrize(
    "word", ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"]
)
def test_an_empty_account_is_asked_once(key: str, word: str) -> None:
    """429 with an exhausted quota, by its code or its type, says what to do at once."""
    scripted = script(answer(429, {"error": {"message": "You exceeded it", key: word}}))
    error = failure(scripted)
    assert isinstance(error, errors.QuotaExhausted)
    assert "You exceeded it" in error.sentence
    assert error.remedy
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("body", [{}, [], None, {"error": None}, {"error": {"code": None}}, "no"])
def test_any_other_429_is_a_limit_of_the_rate(body: object) -> None:
    """Whatever its body, 429 is waited for, and then left to the next pass."""
    scripted = script(answer(429, body))
    assert isinstance(failure(scripted), errors.Throttled)
    assert len(scripted.requests) == transport.ATTEMPTS


@pytest.mark.parametrize("status", PASSING)
def test_a_server_that_asks_not_to_be_asked_again_is_not(status: int) -> None:
    """``x-should-retry: false`` is honoured."""
    scripted = script(answer(status, x_should_retry="false"))
    failure(scripted)
    assert len(scripted.requests) == 1


def test_waits_grow_to_a_limit_and_are_spread() -> None:
    """From a quarter of a second doubling to eight, less up to a quarter of it."""
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
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_the_server_asks_for_is_kept(
    status: int, headers: dict[str, str], seconds: float
) -> None:
    """In seconds, in milliseconds, or as a date; a date in the past asks for no wait."""
    scripted = script(answer(status, **headers), answer(200))
    scripted.http().get_object(PATH)
    assert scripted.sleep.asked == [seconds]


@pytest.mark.parametrize("value", ["", "soon", "1e", "Wed, 99 Oct 2015", "nan-ish", "0x10", "\t"])
def test_a_wait_that_makes_no_sense_is_ignored(value: str) -> None:
    """The ordinary wait is made instead."""
    scripted = script(answer(503, retry_after=value), answer(200))
    scripted.http().get_object(PATH)
    (asked,) = scripted.sleep.asked
    assert 0 < asked <= 0.25


@pytest.mark.parametrize("value", ["61", "3600", "1e9", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_longer_wait_is_left_to_the_next_pass(value: str) -> None:
    """Who asks for more than a pass may take is left alone: no wait, no further attempt."""
    scripted = script(answer(429, retry_after=value))
    error = failure(scripted)
    assert isinstance(error, errors.Throttled)
    assert "next pass" in error.remedy
    assert scripted.sleep.asked == []
    assert len(scripted.requests) == 1


def test_a_date_is_a_moment() -> None:
    """A date asks for the time from now until then."""
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    headers = {"retry-after": format_datetime(then, usegmt=True)}
    assert transport.retry_after(headers, now=then.timestamp() - 12.5) == 12.5
    assert transport.retry_after(headers, now=then.timestamp() + 1) == 0.0


@given(value=st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ .*"))
def test_any_wait_is_one_or_none(value: str) -> None:
    """Whatever a server puts there becomes seconds, not fewer than none, or nothing."""
    for name in ("retry-after", "retry-after-ms"):
        asked = transport.retry_after({name: value}, now=0.0)
        assert asked is None or asked >= 0


def test_patience_can_be_less() -> None:
    """A check asks as often as it says."""
    scripted = script(answer(500))
    with pytest.raises(errors.ServerFailed):
        scripted.http(patience=2).get_object(PATH)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("outcome", [answer(503), answer(429), httpx.ReadError("reset")])
def test_only_reading_is_repeated(method: str, outcome: Answer | Exception) -> None:
    """A request that could change something is sent once."""
    scripted = script(outcome)
    wire = transport.Retrying(httpx.MockTransport(scripted), sleep=scripted.sleep)
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
    """A wait that is interrupted by the user is the end of the request."""
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


# A pace


def paced(scripted: Script, clock: Clock, per_second: float = 4.0) -> Http:
    """A client that may begin so many requests in a second; to wait turns the clock."""
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
    """None comes sooner, whatever has gone by before; a first one does not wait."""
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
    """Threads that ask at once are given turns, none of them twice."""
    frozen, waits, lock = Clock(), [], threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            waits.append(seconds)

    wire = transport.Paced(
        httpx.MockTransport(script(answer(200))), per_second=2.0, sleep=sleep, clock=frozen
    )
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(wire.handle_request, [httpx.Request("GET", BASE_URL)] * 8))
    assert sorted(waits) == pytest.approx([0.5 * turn for turn in range(1, 8)])


def test_a_repetition_waits_for_its_turn_too() -> None:
    """What a provider asks is to be asked less: a retry that comes early is no exception."""
    clock = Clock()
    paced(script(answer(500, retry_after="0"), answer(200)), clock, 0.2).get_object(PATH)
    assert clock.now - NOW == pytest.approx(5.0)


def test_a_stop_ends_the_wait_for_a_turn() -> None:
    """Who waits for a turn is not asked to wait longer once the daemon is to stop."""
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


# Broken connections


def test_a_port_that_nobody_listens_on_is_unreachable() -> None:
    """A refused connection is tried a few times, and the provider's pass ends."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        sleep = NoSleep()
        http = local(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", sleep=sleep)
        with pytest.raises(errors.Unreachable, match=r"base_url") as caught:
            http.get_object(PATH)
    assert len(sleep.asked) == transport.CONNECT_ATTEMPTS - 1
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
    """Over a real socket: a reply that arrives broken twice is whole at the third attempt."""
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
    """It has a name, and it does not end the provider's pass."""
    with Simulator(intercept=lambda _request: reply) as simulator:
        http = local(simulator.openai_url)
        with pytest.raises(errors.ProviderError) as caught:
            http.get_object(PATH)
        http.close()
    assert not isinstance(caught.value, errors.ProviderDown)
    assert len(simulator.requests) == transport.ATTEMPTS


def test_a_broken_result_file_is_asked_for_again() -> None:
    """A file that is cut off is not taken for a short one."""
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
    """A server may compress, and says so."""
    body = gzip.compress(json.dumps({"id": "a" * 1000}).encode())
    reply = Reply(headers={**JSON, "Content-Encoding": "gzip"}, body=body)
    with Simulator(intercept=lambda _request: reply) as simulator:
        http = local(simulator.openai_url)
        assert http.get_object(PATH) == {"id": "a" * 1000}
        http.close()
    assert len(simulator.requests) == 1


# What a reply becomes


def test_json_may_begin_with_a_byte_order_mark() -> None:
    """Some writers put one there."""
    assert script(Answer(content=b'\xef\xbb\xbf{"id": "a"}')).http().get_object(PATH) == {"id": "a"}


def test_json_needs_no_label() -> None:
    """A server that forgets to say that it sends JSON is understood."""
    scripted = script(Answer(content=b'{"id": "a"}', headers={}))
    assert scripted.http().get_object(PATH) == {"id": "a"}


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><title>Sign in</title>", b"", b"\xff\xfe"])
def test_a_page_instead_of_json_is_a_bad_reply_with_a_remedy(body: bytes) -> None:
    """A portal or a wrong address answers 200 with HTML; asking again would not help."""
    scripted = script(Answer(content=body, headers={"content-type": "text/html; charset=utf-8"}))
    error = failure(scripted)
    assert isinstance(error, errors.BadReply)
    assert "text/html" in error.sentence
    assert "base_url" in error.remedy
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("value", [[], [{"id": "a"}], "text", 7, None, True])
def test_json_that_is_no_object_is_a_bad_reply(value: object) -> None:
    """An API's reply is an object; anything else is said to be what it is."""
    error = failure(script(Answer(content=json.dumps(value).encode())))
    assert isinstance(error, errors.BadReply)
    assert type(value).__name__ in error.sentence


@pytest.mark.parametrize("status", [200, 400, 503])
def test_brackets_beyond_reason_are_an_error_with_a_name(status: int) -> None:
    """JSON that is nested too deep to be read does not break the reader."""
    error = failure(script(Answer(status, content=b"[" * 60_000)))
    assert isinstance(error, errors.ProviderError)


@dataclass
class Chunks(httpx.SyncByteStream):
    """One chunk again and again; counts what is taken of it."""

    chunk: bytes
    number: int
    taken: int = 0
    closed: bool = False

    def __iter__(self) -> Iterator[bytes]:
        """Chunk after chunk."""
        for _ in range(self.number):
            self.taken += 1
            yield self.chunk

    def close(self) -> None:
        """Note that nobody wants more."""
        self.closed = True


def streaming(status: int, chunks: Chunks) -> Http:
    """A client of a server that sends ``chunks``."""

    def stream(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=JSON, stream=chunks)

    return connect(
        BASE_URL,
        headers={},
        redactor=Redactor(),
        sleep=NoSleep(),
        transport=httpx.MockTransport(stream),
    )


def test_of_a_long_error_only_the_beginning_is_read() -> None:
    """Ten megabytes of error cost a few kilobytes."""
    chunks = Chunks(b"x" * 16 * 1024, 640)
    with pytest.raises(errors.Refused):
        streaming(400, chunks).get_object(PATH)
    assert chunks.taken * len(chunks.chunk) <= transport.LARGEST_ERROR + len(chunks.chunk)
    assert chunks.closed


def test_a_reply_beyond_all_reason_is_given_up_once() -> None:
    """The client stops reading at its limit, and asking again would bring the same."""
    chunks = Chunks(b" " * 2**20, 1000)
    with pytest.raises(errors.BadReply, match="base_url"):
        streaming(200, chunks).get_object(PATH)
    assert chunks.taken == transport.LARGEST_REPLY // 2**20 + 1
    assert chunks.closed


@pytest.mark.parametrize("packing", ["gzip, gzip", "gzip, deflate, gzip", "br", "zstd"])
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("status", [200, 401])
def test_a_reply_that_is_packed_as_nobody_asked_is_not_unpacked(
    packing: str, status: int, *, is_stream: bool
) -> None:
    """A gigabyte of zeros is a few kilobytes when it is packed twice: not a chunk is taken."""
    chunks = Chunks(b"x" * 1024, 64)

    def reply(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-encoding": packing}, stream=chunks)

    sleep = NoSleep()
    http = connect(
        BASE_URL,
        headers={},
        redactor=Redactor(),
        sleep=sleep,
        transport=httpx.MockTransport(reply),
    )
    asked = http.stream(PATH) if is_stream else contextlib.closing(http)
    with pytest.raises(errors.BadReply, match=f"packed as {packing}"), asked:
        http.get_object(PATH)
    assert (chunks.taken, chunks.closed, sleep.asked) == (0, True, [])


def test_only_what_can_be_bounded_is_asked_for() -> None:
    """Whatever packages are installed, only packings that gain a thousandfold at most."""
    scripted = script(answer(200))
    scripted.http().get_object(PATH)
    assert scripted.requests[0].headers["accept-encoding"] == "gzip, deflate"


def test_zeros_that_are_packed_are_given_up_at_the_limit() -> None:
    """What counts is the size that a reply unpacks to."""
    content = gzip.compress(bytes(2 * transport.LARGEST_REPLY), 1)
    scripted = script(Answer(200, content, {**JSON, "content-encoding": "gzip"}))
    assert isinstance(failure(scripted), errors.BadReply)
    assert len(scripted.requests) == 1


def test_headers_without_end_are_no_answer() -> None:
    """They are not read beyond a limit."""
    reply = Reply(headers={f"x-{number}": "y" * 100 for number in range(2000)})
    with (
        Simulator(intercept=lambda _request: reply) as simulator,
        contextlib.closing(local(simulator.openai_url)) as http,
        pytest.raises(errors.NoAnswer),
    ):
        http.get_object(PATH)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_is_not_followed(status: int, host: str) -> None:
    """Key, headers and cookies are for the address that the user wrote: no other host or port."""
    with Simulator() as elsewhere:
        there = elsewhere.openai_url.replace("127.0.0.1", host)
        reply = Reply(
            status=status,
            headers={"Location": f"{there}{PATH}", "Set-Cookie": "a=b; Path=/"},
        )
        with Simulator(intercept=lambda _request: reply) as simulator:
            http = connect(
                simulator.openai_url,
                headers={"Authorization": f"Bearer {KEY}", "X-Team": KEY, "Cookie": f"c={KEY}"},
                redactor=Redactor([KEY]),
            )
            with pytest.raises(errors.Refused, match=str(status)):
                http.get_object(PATH)
            with pytest.raises(errors.Refused, match=str(status)), http.stream(PATH):
                pass
            http.close()
        assert elsewhere.requests == ()
        assert len(simulator.requests) == 2


CLASSES: list[tuple[int, type[errors.ProviderError]]] = [
    (301, errors.Refused),
    (400, errors.Refused),
    (401, errors.Unauthorized),
    (403, errors.Forbidden),
    (404, errors.NotFound),
    (405, errors.NotOffered),
    (408, errors.Refused),
    (409, errors.Refused),
    (410, errors.NotFound),
    (418, errors.Refused),
    (422, errors.Refused),
    (429, errors.Throttled),
    (500, errors.ServerFailed),
    (501, errors.NotOffered),
    (502, errors.ServerFailed),
    (503, errors.ServerFailed),
    (599, errors.ServerFailed),
]


@pytest.mark.parametrize(("status", "kind"), CLASSES)
def test_each_status_becomes_its_error(status: int, kind: type[errors.ProviderError]) -> None:
    """Its sentence has the status and the host; where a person can act it says how."""
    error = failure(script(answer(status, {"error": {"message": "as the server says"}})))
    assert type(error) is kind
    assert str(status) in error.sentence
    assert "provider.example" in error.sentence
    assert "as the server says" in error.sentence
    if kind in {errors.Unauthorized, errors.Forbidden, errors.Withdrawn, errors.Throttled}:
        assert error.remedy


ENTRY: list[tuple[int, object, type[errors.ProviderError]]] = [
    (404, {"error": {"message": "Invalid URL"}}, errors.NoService),
    (404, {"detail": "Not Found"}, errors.NoService),
    (410, {}, errors.Withdrawn),
    (403, {"error": {"message": "No more", "code": "training_not_available"}}, errors.Withdrawn),
    (403, {"error": {"message": "Missing scopes", "code": "missing_scope"}}, errors.Forbidden),
    (403, {"error": {"message": "Fine-tuning is deprecated"}}, errors.Withdrawn),
    (400, {"error": {"message": "This endpoint was sunset on 2026-09-15."}}, errors.Withdrawn),
    (422, {"detail": "Fine-tuning is no longer available."}, errors.Withdrawn),
    (422, {"detail": [{"msg": "Field required"}]}, errors.Refused),
    (400, {"error": {"message": "limit is no integer"}}, errors.Refused),
    (500, {"error": {"message": "deprecated"}}, errors.ServerFailed),
]


@pytest.mark.parametrize(("status", "body", "kind"), ENTRY)
def test_where_the_service_begins_a_reply_may_say_that_it_is_no_more(
    status: int, body: object, kind: type[errors.ProviderError]
) -> None:
    """By its status, its code or its words; the remedy says what stays."""
    with pytest.raises(errors.ProviderError) as caught:
        script(answer(status, body)).http().get_object(PATH, is_entry=True)
    assert type(caught.value) is kind
    if isinstance(caught.value, errors.Withdrawn):
        assert "MLflow" in caught.value.remedy
        assert "once a day" in caught.value.remedy
        assert str(status) in caught.value.sentence


@pytest.mark.parametrize(("status", "body", "kind"), ENTRY)
def test_of_one_job_the_same_words_mean_that_job(
    status: int, body: object, kind: type[errors.ProviderError]
) -> None:
    """A job whose model is deprecated does not end its provider's pass; one code always does."""
    del kind
    error = failure(script(answer(status, body)))
    ends = "training_not_available" in str(body)
    assert isinstance(error, errors.Withdrawn) == ends


def test_what_a_server_does_not_have_may_be_none() -> None:
    """404, 405, 410 and 501 are an answer where it is asked what there is; no other failure is."""
    for status in (404, 405, 410, 501):
        assert script(answer(status)).http().find_object(PATH) is None
    assert script(answer(200, {"a": 1})).http().find_object(PATH) == {"a": 1}
    for status in (401, 403, 422, 500):
        with pytest.raises(errors.ProviderError):
            script(answer(status)).http().find_object(PATH)


def test_a_hint_is_no_loss_to_go_without() -> None:
    """Whatever the reason."""
    assert script(answer(200, {"a": 1})).http().hint(PATH) == {"a": 1}
    for status in (401, 403, 404, 410, 422, 500):
        assert script(answer(status)).http().hint(PATH) == {}
    assert script(httpx.ConnectError("no")).http().hint(PATH) == {}


def test_the_request_id_is_told() -> None:
    """Whoever asks the provider's support needs it."""
    error = failure(script(answer(400, x_request_id="req_123")))
    assert "req_123" in error.remedy
    # The sentence is what a lasting failure is recognised by; the id differs each time.
    assert "req_123" not in error.sentence


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "the reason", "type": "t", "param": None, "code": None}},
        {"error": "the reason"},
        {"detail": "the reason"},
        {"detail": [{"type": "missing", "loc": ["query"], "msg": "the reason"}]},
        {"message": "the reason", "request_id": "r"},
        {"error": {"message": ["the reason"]}},
    ],
)
def test_the_servers_words_are_told(body: object) -> None:
    """In every form in which a provider describes an error."""
    assert "the reason" in failure(script(answer(422, body))).sentence


@pytest.mark.parametrize(
    "answered",
    [
        Answer(502, b"<html><h1>Bad gateway</h1><script>x()</script></html>", {}),
        Answer(502, b"upstream connect error", {"content-type": "text/plain"}),
        Answer(502, b"", {}),
        Answer(502, b"\xff\xfe\x00", JSON),
        Answer(502, b'"text"', JSON),
        Answer(502, b"[1]", JSON),
        Answer(502, b'{"error": {"message": null}}', JSON),
        Answer(502, b'{"error": [], "detail": {}}', JSON),
        Answer(502, b'{"error": {"message": "\\ud800 \\u001b[31m\\u202e"}}', JSON),
    ],
)
def test_an_error_without_readable_words_is_still_told(answered: Answer) -> None:
    """Pages, nulls and control characters leave one plain sentence without markup."""
    error = failure(script(answered))
    assert isinstance(error, errors.ServerFailed)
    assert error.sentence.isprintable()
    assert "<" not in str(error)
    assert "502" in str(error)
    str(error).encode()


def test_long_words_are_cut() -> None:
    """A server's megabyte does not become a log line."""
    error = failure(script(answer(400, {"error": {"message": "long " * 5000}})))
    assert len(str(error)) < 1000


# Secrets

ECHOES: dict[str, Callable[[str], object]] = {
    "message": lambda key: {"error": {"message": f"Incorrect API key provided: {key}."}},
    "text": lambda key: {"error": f"bad {key}"},
    "detail": lambda key: {"detail": key},
    "list": lambda key: {"detail": [{"input": f"Bearer {key}", "msg": key}]},
    "name": lambda key: {"detail": {key: key}},
}
EVERY_STATUS = sorted({status for status, _ in CLASSES})


@pytest.mark.parametrize("status", EVERY_STATUS)
@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_the_server_echoes_is_masked(status: int, echo: str) -> None:
    """No text of the error, nor of what caused it, holds the key."""
    error = failure(script(answer(status, ECHOES[echo](KEY))))
    assert not [text for text in shown(error) if KEY in text]


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize(
    "headers",
    [
        {"x-request-id": KEY},
        {"content-type": f"text/{KEY}"},
        {"location": f"/{KEY}"},
        {"www-authenticate": f"Bearer {KEY}"},
    ],
)
def test_a_key_that_the_server_echoes_in_a_header_is_masked(
    status: int, headers: dict[str, str]
) -> None:
    """Headers are the server's text as well."""
    error = failure(script(Answer(status, b"<html>", headers)))
    assert not [text for text in shown(error) if KEY in text]


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("made/up/key/of/base64==", r"made\/up\/key\/of\/base64=="),
        ("made-up-key", r"\u006dade-up-key"),
        ('made"up\\key', r"made\"up\\key"),
        ("made<up>&key", r"made\u003cup\u003e\u0026key"),
    ],
)
def test_a_key_that_the_server_escapes_is_masked(key: str, written: str) -> None:
    """JSON can be written in many ways; what is shown is what it means."""
    body = f'{{"detail": "refused {written}"}}'.encode()
    scripted = script(Answer(401, body))
    http = connect(
        BASE_URL,
        headers={"Authorization": f"Bearer {key}"},
        redactor=Redactor([key]),
        transport=httpx.MockTransport(scripted),
    )
    with pytest.raises(errors.Unauthorized) as caught:
        http.get_object(PATH)
    assert "refused" in str(caught.value)
    assert not [text for text in shown(caught.value) if key in text]


def test_a_key_in_a_header_that_is_none_is_masked() -> None:
    """The error of a broken protocol quotes the line that breaks it."""
    broken = Reply(headers={"no header": KEY})
    with (
        Simulator(intercept=lambda _request: broken) as simulator,
        contextlib.closing(local(simulator.openai_url)) as http,
        pytest.raises(errors.NoAnswer, match="header") as caught,
    ):
        http.get_object(PATH)
    assert not [text for text in shown(caught.value) if KEY in text]


def test_a_key_is_masked_before_a_sentence_is_cut() -> None:
    """Wherever the end of a long sentence falls, no half of the key is left."""
    escaped = "".join(f"\\\\u{ord(char):04x}" for char in KEY)
    for before in range(280, 300):
        body = f'{{"detail": "{"x" * before}{escaped}"}}'.encode()
        error = failure(script(Answer(401, body)))
        assert not [text for text in shown(error) if KEY[:6] in text or "u0061" in text]


@pytest.mark.parametrize("key", ["made-up-key\n", "made-up\nkey", "made-up-key ", "made-up-k€y"])
def test_a_key_that_no_header_can_hold_is_not_shown(key: str) -> None:
    """A line break pasted along with a key is an error that says so, and not the key."""
    with Simulator() as simulator, pytest.raises(errors.BridgeError) as caught:
        local(simulator.openai_url, key).get_object(PATH)
    assert not [text for text in shown(caught.value) if "made-up" in text]
    assert len(simulator.requests) == 0


def test_a_password_in_the_address_is_not_shown() -> None:
    """A ``base_url`` with a password is shown without it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        http = connect(
            f"http://someone:{KEY}@127.0.0.1:{taken.getsockname()[1]}/v1",
            headers={},
            redactor=Redactor([KEY]),
            sleep=NoSleep(),
        )
        with pytest.raises(errors.Unreachable) as caught:
            http.get_object(PATH)
    assert not [text for text in shown(caught.value) if KEY in text]


def test_the_key_is_not_in_the_address() -> None:
    """It is sent as a header, and neither it nor the client shows it."""
    scripted = script(answer(200))
    http = scripted.http()
    http.get_object(PATH, {"limit": 100})
    (request,) = scripted.requests
    assert KEY not in str(request.url)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(http)


def test_a_key_in_a_reply_does_not_reach_the_reader() -> None:
    """What a provider sends back of a key is masked before anything is made of it."""
    assert script(answer(200, {"a": f"x{KEY}x"})).http().get_object(PATH) == {"a": "x***x"}


# The request


def test_a_request_says_who_asks() -> None:
    """The user agent has the name and the version."""
    scripted = script(answer(200))
    scripted.http().get_object(PATH)
    (request,) = scripted.requests
    assert request.headers["user-agent"] == f"ftbridge/{bridge.__version__}"
    assert request.headers["accept"] == "application/json"
    assert request.method == "GET"


@pytest.mark.parametrize("base", [BASE_URL, f"{BASE_URL}/", f"{BASE_URL}//"])
def test_a_slash_at_the_end_of_the_address_makes_no_difference(base: str) -> None:
    """The path is put together with one slash."""
    scripted = script(answer(200))
    http = connect(base, headers={}, redactor=Redactor(), transport=httpx.MockTransport(scripted))
    http.get_object(PATH, {"after": "a b&c", "limit": 100})
    (request,) = scripted.requests
    assert request.url.path == "/v1/fine_tuning/jobs"
    assert dict(request.url.params) == {"after": "a b&c", "limit": "100"}


@pytest.mark.parametrize(
    "base",
    ["", "provider.example", "ftp://provider.example", "http://", "https://[", "http://a:b/v1"],
)
def test_an_address_that_is_none_is_said_to_be_none(base: str) -> None:
    """The user is told to mend ``base_url``; nothing is waited for."""
    sleep = NoSleep()
    http = connect(base, headers={}, redactor=Redactor(), sleep=sleep)
    with pytest.raises(errors.ProviderError, match="base_url"):
        http.get_object(PATH)


@pytest.mark.parametrize("bare", [False, True])
def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, *, bare: bool) -> None:
    """Where a network can be left only through a proxy, HTTP_PROXY names it."""
    with Simulator(intercept=lambda _request: json_reply({"id": "through"})) as proxy:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url.removeprefix("http://") if bare else proxy.url)
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        http = local("http://provider.invalid/v1")
        assert http.get_object(PATH) == {"id": "through"}
        http.close()
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("proxy", ["ftp://u:{}@h", "socks9://u:{}@h", "http://u:{}@h:port"])
def test_a_proxy_that_cannot_be_used_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """It does not show the proxy's password."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy.format(KEY))
    with pytest.raises(errors.ConfigError, match="proxy") as caught:
        connect(BASE_URL, headers={}, redactor=Redactor())
    assert not [text for text in shown(caught.value) if KEY in text]


# Files


@pytest.mark.parametrize("body", [b"", b"step,train_loss\n", b"\xff\x00", b"{}"])
def test_bytes_come_as_they_are(body: bytes) -> None:
    """A file is not interpreted."""
    scripted = script(Answer(200, body, {"content-type": "application/octet-stream"}))
    assert scripted.http().find_bytes("/files/a/content") == body


def test_bytes_that_are_gone_are_none() -> None:
    """404 for a file is an answer, not an error."""
    assert script(answer(404)).http().find_bytes("/files/a/content") is None


@pytest.mark.parametrize(
    ("status", "kind"), [(401, errors.Unauthorized), (500, errors.ServerFailed)]
)
def test_bytes_may_fail(status: int, kind: type[errors.ProviderError]) -> None:
    """A file that cannot be had now is not taken for gone."""
    with pytest.raises(kind):
        script(answer(status)).http().find_bytes("/files/a/content")


# Streams


FILE = "/files/a/content"


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "gzip"])
def test_a_stream_is_the_file_in_small_pieces(headers: Mapping[str, str]) -> None:
    """Over a real socket: the pieces are the whole file, and none is large."""
    body = bytes(range(256)) * 2000
    sent = gzip.compress(body) if headers else body
    with Simulator(intercept=lambda _request: Reply(headers=headers, body=sent)) as simulator:
        http = local(simulator.openai_url)
        with http.stream(FILE) as pieces:
            read = list(pieces)
        http.close()
    assert b"".join(read) == body
    assert max(map(len, read)) <= 64 * 1024


def test_a_stream_is_read_no_further_than_it_is_wanted() -> None:
    """Who takes one piece and leaves has the rest not sent."""
    chunks = Chunks(b"x" * 2**20, 1000)
    with streaming(200, chunks).stream(FILE) as pieces:
        assert next(pieces)
    assert chunks.taken == 1
    assert chunks.closed


def test_a_stream_may_be_longer_than_any_other_reply() -> None:
    """How much of a file is wanted is for its reader to say."""
    chunks = Chunks(b"x" * 2**20, transport.LARGEST_REPLY // 2**20 + 2)
    with streaming(200, chunks).stream(FILE) as pieces:
        assert sum(map(len, pieces)) == transport.LARGEST_REPLY + 2 * 2**20


def test_a_stream_is_asked_for_as_it_is() -> None:
    """Uncompressed: the cut end of a compressed file would not be noticed."""
    scripted = script(Answer(200, b"a file"))
    with scripted.http().stream(FILE) as pieces:
        assert list(pieces) == [b"a file"]
    assert scripted.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_stream_is_not_searched_for_secrets() -> None:
    """A user's file is theirs: its digest must not depend on who reads it."""
    body = f"x{KEY}x".encode()
    with script(Answer(200, body)).http().stream(FILE) as pieces:
        assert b"".join(pieces) == body


@pytest.mark.parametrize("first", [answer(500), answer(429), httpx.ReadError("gone")], ids=repr)
def test_a_stream_that_does_not_begin_is_asked_for_again(first: Answer | Exception) -> None:
    """Up to its beginning it is a request like any other."""
    scripted = script(first, first, Answer(200, b"a file"))
    with scripted.http().stream(FILE) as pieces:
        assert b"".join(pieces) == b"a file"
    assert len(scripted.requests) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, errors.Refused),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (410, errors.NotFound),
        (500, errors.ServerFailed),
    ],
)
def test_a_stream_fails_like_any_request(status: int, kind: type[errors.ProviderError]) -> None:
    """The server's words are told, without its secrets."""
    scripted = script(answer(status, {"error": {"message": f"no, {KEY}"}}))
    with (
        pytest.raises(kind) as caught,
        scripted.http(patience=1).stream(FILE),
    ):
        pytest.fail("there is nothing to read")
    said = "\n".join(shown(caught.value))
    assert KEY not in said
    assert "no, ***" in said


def test_of_a_long_error_only_the_beginning_is_streamed() -> None:
    """An error is no file."""
    chunks = Chunks(b"x" * 16 * 1024, 640)
    with pytest.raises(errors.Refused), streaming(400, chunks).stream(FILE):
        pytest.fail("there is nothing to read")
    assert chunks.taken * len(chunks.chunk) <= transport.LARGEST_ERROR + len(chunks.chunk)
    assert chunks.closed


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"a file" * 30_000, truncate_at=120_000),
        Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["cut", "no gzip"],
)
def test_a_stream_that_breaks_off_is_an_error(reply: Reply) -> None:
    """A file that is cut off is not taken for a short one; the caller has the pieces before."""
    with Simulator(intercept=lambda _request: reply) as simulator:
        http = local(simulator.openai_url)
        with (
            pytest.raises(errors.NoAnswer, match=r"broke off its answer to /files/a/content"),
            http.stream(FILE) as pieces,
        ):
            for _ in pieces:
                pass
        http.close()
    assert len(simulator.requests) == 1


def test_an_error_of_a_streams_reader_is_the_readers() -> None:
    """What goes wrong while pieces are used is not the provider's failure; the stream is closed."""
    chunks = Chunks(b"x", 1000)
    with (
        pytest.raises(ValueError, match="invalid literal"),
        streaming(200, chunks).stream(FILE) as pieces,
    ):
        int(next(pieces))
    assert chunks.closed


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (BASE_URL, True),
        (f"{BASE_URL}/", True),
        ("https://Provider.Example/v1", True),
        ("https://provider.example", False),
        ("https://provider.example.org/v1", False),
        ("http://provider.example/v1", False),
        ("https://me:secret@provider.example/v1", False),
    ],
)
def test_a_client_knows_whose_api_it_reads(base: str, *, expected: bool) -> None:
    """A server that merely speaks the same format is told from the public service."""
    http = connect(base, headers={}, redactor=Redactor())
    assert http.is_at(BASE_URL) is expected
    http.close()


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_segment_is_one_segment(text: str) -> None:
    """Any text is one segment of a path, and can be read back from it."""
    scripted = script(answer(200))
    scripted.http().get_object(f"/jobs/{segment(text)}/end")
    (request,) = scripted.requests
    start, middle, end = request.url.raw_path.decode().removeprefix("/v1/").split("/")
    assert (start, end) == ("jobs", "end")
    assert unquote(middle) == text
    assert middle not in {".", ".."}
