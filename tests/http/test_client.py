"""The HTTP client: its retries, its errors, and its secrets."""

from __future__ import annotations

import contextlib
import gzip
import json
import sys

import httpx
import pytest

import bridge
from bridge import errors
from bridge.http import entra_auth
from bridge.http import transports as transport
from bridge.http.client import connect, segment
from bridge.http.proxies import proxy_of
from bridge.redaction import Redactor
from bridge.simulator import Reply, Simulator, json_reply
from tests.support.scripted import (
    BASE_URL,
    CLASSES,
    JSON,
    PATH,
    Answer,
    Chunks,
    answer,
    failure,
    local,
    script,
    shown,
    streaming,
)
from tests.support.world import KEY, NoSleep

# Replies


def test_json_may_begin_with_a_byte_order_mark() -> None:
    """JSON can begin with a byte order mark."""
    assert script(Answer(content=b'\xef\xbb\xbf{"id": "a"}')).http().get_object(PATH) == {"id": "a"}


def test_json_needs_no_label() -> None:
    """JSON needs no label."""
    scripted = script(Answer(content=b'{"id": "a"}', headers={}))
    assert scripted.http().get_object(PATH) == {"id": "a"}


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><title>Sign in</title>", b"", b"\xff\xfe"])
def test_a_page_instead_of_json_is_a_bad_reply_with_a_remedy(body: bytes) -> None:
    """A page instead of JSON is a bad reply with a remedy, however often it is requested."""
    scripted = script(Answer(content=body, headers={"content-type": "text/html; charset=utf-8"}))
    error = failure(scripted)
    assert isinstance(error, errors.BadReply)
    assert "text/html" in error.sentence
    assert "base_url" in error.remedy


@pytest.mark.parametrize("value", [[], [{"id": "a"}], "text", 7, None, True])
def test_json_that_is_no_object_is_a_bad_reply(value: object) -> None:
    """JSON other than an object is a bad reply that names its kind."""
    error = failure(script(Answer(content=json.dumps(value).encode())))
    assert isinstance(error, errors.BadReply)
    assert type(value).__name__ in error.sentence


@pytest.mark.parametrize("status", [200, 400, 503])
def test_brackets_beyond_reason_are_an_error_with_a_name(status: int) -> None:
    """JSON that is nested too deep to be read is a bad reply."""
    error = failure(script(Answer(status, content=b"[" * 60_000)))
    assert isinstance(error, errors.ProviderError)


def test_of_a_long_error_only_the_beginning_is_read() -> None:
    """Ten megabytes of an error cost a few kilobytes, because only their beginning is read."""
    chunks = Chunks([b"x" * 16 * 1024] * 640)
    with pytest.raises(errors.Refused):
        streaming(400, chunks).get_object(PATH)
    assert (chunks.taken - 1) * 16 * 1024 <= transport.LARGEST_ERROR
    assert chunks.closed


def test_a_reply_beyond_all_reason_is_given_up_once() -> None:
    """A reply beyond the limit is dropped, and not requested again."""
    chunks = Chunks([b" " * 2**20] * 1000)
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
    """A reply in an unrequested encoding is not decoded, because one chunk can hold a gigabyte."""
    chunks = Chunks([b"x" * 1024] * 64)

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
    """Only encodings that gain a thousandfold at most are requested, whatever is installed."""
    scripted = script(answer(200))
    scripted.http().get_object(PATH)
    assert scripted.requests[0].headers["accept-encoding"] == "gzip, deflate"


def test_zeros_that_are_packed_are_given_up_at_the_limit() -> None:
    """The limit counts the decoded size of a reply."""
    content = gzip.compress(bytes(2 * transport.LARGEST_REPLY), 1)
    scripted = script(Answer(200, content, {**JSON, "content-encoding": "gzip"}))
    assert isinstance(failure(scripted), errors.BadReply)
    assert len(scripted.requests) == 1


def test_headers_without_end_are_no_answer() -> None:
    """Headers are not read beyond a limit."""
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
    """A redirect is not followed, so that key, headers and cookies go to no other host or port."""
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


@pytest.mark.parametrize(("status", "kind"), CLASSES)
def test_each_status_becomes_its_error(status: int, kind: type[errors.ProviderError]) -> None:
    """Each status becomes an error with the status, the host and, where possible, a remedy."""
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
    (422, {"detail": "FINE-TUNING IS NO LONGER AVAILABLE."}, errors.Withdrawn),
    (400, {"message": "This API has been Decommissioned."}, errors.Withdrawn),
    (422, {"detail": [{"msg": "Field required"}]}, errors.Refused),
    (400, {"error": {"message": "limit is no integer"}}, errors.Refused),
    (500, {"error": {"message": "deprecated"}}, errors.ServerFailed),
]


@pytest.mark.parametrize(("status", "body", "kind"), ENTRY)
def test_where_the_service_begins_a_reply_may_say_that_it_is_no_more(
    status: int, body: object, kind: type[errors.ProviderError]
) -> None:
    """A list's reply can withdraw the service, by its status, its code or its words."""
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
    """The same words about one job do not end its provider's pass, except for one code."""
    del kind
    error = failure(script(answer(status, body)))
    ends = "training_not_available" in str(body)
    assert isinstance(error, errors.Withdrawn) == ends


def test_what_a_server_does_not_have_may_be_none() -> None:
    """An optional object is missing after a 404, 405, 410 or 501, and after no other status."""
    for status in (404, 405, 410, 501):
        assert script(answer(status)).http().find_object(PATH) is None
    assert script(answer(200, {"a": 1})).http().find_object(PATH) == {"a": 1}
    for status in (401, 403, 422, 500):
        with pytest.raises(errors.ProviderError):
            script(answer(status)).http().find_object(PATH)


def test_the_request_id_is_reported() -> None:
    """The request id is in the error, because the provider's support asks for it."""
    error = failure(script(answer(400, x_request_id="req_123")))
    assert "req_123" in error.remedy
    # A lasting failure is recognized by its sentence, and the id differs each time.
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
def test_the_servers_words_are_reported(body: object) -> None:
    """The server's words are in the error, in every form in which providers send them."""
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
def test_an_error_without_readable_words_is_still_reported(answered: Answer) -> None:
    """An error without readable words is one plain sentence without markup."""
    error = failure(script(answered))
    assert isinstance(error, errors.ServerFailed)
    assert error.sentence.isprintable()
    assert "<" not in str(error)
    assert "502" in str(error)
    str(error).encode()


def test_long_words_are_cut() -> None:
    """A server's megabyte is cut in the sentence."""
    error = failure(script(answer(400, {"error": {"message": "long " * 5000}})))
    assert len(str(error)) < 1000


@pytest.mark.parametrize("status", [404, 405, 422, 500])
def test_a_long_path_is_cut(status: int) -> None:
    """A long path is cut in the sentence."""
    with pytest.raises(errors.ProviderError) as caught:
        script(answer(status)).http().get_object(f"/jobs/{'x' * 5000}")
    assert "/jobs/xxx" in caught.value.sentence
    assert len(caught.value.sentence) < 300


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (httpx.ConnectError("refused"), errors.Unreachable),
        (httpx.ConnectTimeout("timed out"), errors.Unreachable),
        (httpx.ReadTimeout("timed out"), errors.NoAnswer),
        (httpx.RemoteProtocolError("gone"), errors.NoAnswer),
    ],
)
def test_a_host_that_takes_no_connection_is_down(
    trouble: httpx.RequestError, kind: type[errors.ProviderError]
) -> None:
    """A refused connection ends the pass, and a request without an answer costs only its job."""
    assert type(failure(script(trouble))) is kind


def test_a_header_that_cannot_be_sent_is_said_to_be_malformed() -> None:
    """A header that cannot be sent is called malformed: the protocol's error would quote it."""
    with Simulator() as simulator:
        http = connect(
            simulator.openai_url, headers={"no header": KEY}, redactor=Redactor(), sleep=NoSleep()
        )
        with pytest.raises(errors.Refused, match="a header is malformed") as caught:
            http.get_object(PATH)
        http.close()
    assert not [text for text in shown(caught.value) if KEY in text]
    assert len(simulator.requests) == 0


# Requests


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
    """A slash at the end of the address makes no difference."""
    scripted = script(answer(200))
    http = connect(base, headers={}, redactor=Redactor(), transport=httpx.MockTransport(scripted))
    http.get_object(PATH, {"after": "a b&c", "limit": 100})
    (request,) = scripted.requests
    assert request.url.path == "/v1/fine_tuning/jobs"
    assert dict(request.url.params) == {"after": "a b&c", "limit": "100"}


@pytest.mark.parametrize(
    ("base", "query", "sent"),
    [
        (f"{BASE_URL}?provider=openai", {}, {"provider": "openai"}),
        (f"{BASE_URL}/?provider=openai#top", {}, {"provider": "openai"}),
        (f"{BASE_URL}?a=x%20y%26z&b=", {}, {"a": "x y&z", "b": ""}),
        (BASE_URL, {"provider": "openai"}, {"provider": "openai"}),
        (f"{BASE_URL}?a=1", {"b": "2"}, {"a": "1", "b": "2"}),
        (f"{BASE_URL}?a=1", {"a": "2"}, {"a": "2"}),
        (f"{BASE_URL}?after=0&a=1", {}, {"a": "1"}),
    ],
)
def test_a_query_goes_along_with_every_request(
    base: str, query: dict[str, str], sent: dict[str, str]
) -> None:
    """The address's and the configured query go with every request, beside its own parameters."""
    scripted = script(answer(200))
    http = connect(
        base,
        headers={},
        redactor=Redactor(),
        query=query,
        transport=httpx.MockTransport(scripted),
    )
    assert http.is_at(BASE_URL)
    http.get_object(PATH, {"after": "ftjob-9"})
    http.find_bytes("/files/a/content")
    with http.stream("/files/b/content") as pieces:
        list(pieces)
    first, *files = [request.url for request in scripted.requests]
    assert first.path == "/v1/fine_tuning/jobs"
    assert dict(first.params) == {**sent, "after": "ftjob-9"}
    assert [url.path for url in files] == ["/v1/files/a/content", "/v1/files/b/content"]
    without_cursor = {"after": "0"} if "after" in base else {}
    assert [dict(url.params) for url in files] == [{**sent, **without_cursor}] * 2


@pytest.mark.parametrize(
    ("address", "is_below"),
    [
        ("https://provider.example", True),
        ("https://PROVIDER.example/", True),
        ("https://provider.ex", False),
        (BASE_URL, False),
    ],
)
def test_an_address_is_below_another_by_whole_parts(address: str, *, is_below: bool) -> None:
    """An API is below another address only from a slash on: other hosts may begin alike."""
    assert script().http().is_below(address) is is_below


def test_a_password_in_the_address_is_not_shown() -> None:
    """A name and password in the address are hidden whole, also if the password has an @."""
    base = BASE_URL.replace("://", "://user:pass@word@")
    transport = httpx.MockTransport(script(Answer(200, b"<html>", {})))
    http = connect(base, headers={}, redactor=Redactor(), sleep=NoSleep(), transport=transport)
    with pytest.raises(errors.BadReply) as caught:
        http.get_object(PATH)
    assert caught.value.sentence.startswith(BASE_URL)


def test_a_parameter_of_the_address_may_stand_twice() -> None:
    """A parameter that the address has twice is sent twice, as written."""
    scripted = script(answer(200))
    transport = httpx.MockTransport(scripted)
    http = connect(f"{BASE_URL}?tag=a&tag=b", headers={}, redactor=Redactor(), transport=transport)
    http.get_object(PATH, {"limit": 1})
    assert scripted.requests[0].url.query == b"tag=a&tag=b&limit=1"


def test_the_query_of_the_address_is_not_shown() -> None:
    """The query of the address is hidden, because any of its parameters can be a key."""
    scripted = script(Answer(200, b"<html>", {}))
    transport = httpx.MockTransport(scripted)
    http = connect(
        f"{BASE_URL}?code={KEY}",
        headers={},
        redactor=Redactor(),
        sleep=NoSleep(),
        transport=transport,
    )
    with pytest.raises(errors.BadReply) as caught:
        http.get_object(PATH)
    assert not [text for text in shown(caught.value) if KEY in text]


@pytest.mark.parametrize(
    "base",
    ["", "provider.example", "ftp://provider.example", "http://", "https://[", "http://a:b/v1"],
)
def test_an_address_that_is_none_is_said_to_be_none(base: str) -> None:
    """An impossible address is reported at once, with the request to correct ``base_url``."""
    sleep = NoSleep()
    http = connect(base, headers={}, redactor=Redactor(), sleep=sleep)
    with pytest.raises(errors.ProviderError, match="base_url"):
        http.get_object(PATH)


@pytest.mark.parametrize("bare", [False, True])
def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, *, bare: bool) -> None:
    """HTTP_PROXY names the proxy of the environment."""
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
    """An unusable proxy is a sentence without its password."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy.format(KEY))
    with pytest.raises(errors.ConfigError, match="proxy") as caught:
        connect(BASE_URL, headers={}, redactor=Redactor())
    assert not [text for text in shown(caught.value) if KEY in text]


@pytest.mark.parametrize(
    ("status", "without", "optional"),
    [
        *((404, None, None), (405, None, None), (410, None, None), (501, None, None)),
        (400, errors.Refused, None),
        (403, errors.Forbidden, None),
        (422, errors.Refused, None),
        (401, errors.Unauthorized, errors.Unauthorized),
        (429, errors.Throttled, errors.Throttled),
        (500, errors.ServerFailed, errors.ServerFailed),
    ],
)
def test_what_a_server_refuses_for_good_is_nothing(
    status: int,
    without: type[errors.ProviderError] | None,
    optional: type[errors.ProviderError] | None,
) -> None:
    """A permanent refusal counts as nothing, and any refusal does where nothing depends on it."""
    for is_optional, expected in ((False, without), (True, optional)):
        http = script(answer(status)).http(patience=1)
        if expected is None:
            assert http.find_object(PATH, is_optional=is_optional) is None
        else:
            with pytest.raises(expected):
                http.find_object(PATH, is_optional=is_optional)


@pytest.mark.parametrize(
    ("address", "proxies", "expected"),
    [
        ("https://api.example/v1", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("https://api.example/v1", {"https_proxy": "p:1"}, "http://p:1"),
        ("https://api.example/v1", {"all_proxy": "socks5://p:1"}, "socks5://p:1"),
        (
            "https://api.example/v1",
            {"all_proxy": "http://a:1", "https_proxy": "http://p:1"},
            "http://p:1",
        ),
        ("https://api.example/v1", {"http_proxy": "http://p:1"}, None),
        ("https://api.example/v1", {"https_proxy": "http://p:1", "no_proxy": ".example"}, None),
        ("http://[::1", {"http_proxy": "http://p:1"}, None),
        ("no address", {"all_proxy": "http://p:1"}, None),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    proxies: dict[str, str],
    expected: str | None,
) -> None:
    """The scheme's proxy comes before the common one, and excluded hosts have none."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(address) == expected


@pytest.mark.parametrize(
    ("identifier", "written"),
    [(".", "%2E"), ("..", "%2E%2E"), ("a.b", "a.b"), ("a/b c", "a%2Fb%20c"), ("ü", "%C3%BC")],
)
def test_an_id_stays_where_it_is_in_a_path(identifier: str, written: str) -> None:
    """An id that is only dots is escaped, because it would walk up the path."""
    assert segment(identifier) == written


def test_signed_urls_are_checked_without_being_asked() -> None:
    """Every client checks signed URLs without a request."""
    found = script(answer(200)).http().find_signed("http://storage.example/a?X-Signature=b")
    assert found.problem == "A signed URL at storage.example was not requested: it is not https"


def test_a_login_at_microsoft_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login at Microsoft without its package names the package."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with (
        pytest.raises(errors.ConfigError, match="pip install azure-identity"),
        entra_auth.signed_in(),
    ):
        pytest.fail("nobody is signed in")
