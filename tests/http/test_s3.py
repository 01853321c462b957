"""Files in buckets: their addresses, their lists, and the sentences about refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import httpx
import pytest

from bridge import errors
from bridge.http.client import ApiClient, connect
from bridge.http.s3 import Answer, Buckets
from bridge.redaction import Redactor

Reply = Callable[[httpx.Request], httpx.Response]


class Storage:
    """S3 as a function of the request."""

    def __init__(self, reply: Reply, *, region: str = "us-west-2", url: str | None = None) -> None:
        self.asked: list[str] = []
        self.opened: list[str] = []
        self._reply = reply
        self.buckets = Buckets(self._open, region=region, url=url)

    def _open(self, address: str) -> ApiClient:
        self.opened.append(address)
        return connect(
            address,
            headers={},
            redactor=Redactor(),
            patience=1,
            sleep=lambda _seconds: None,
            transport=httpx.MockTransport(self._answer),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        return self._reply(request)


def listed(*rows: str, token: str = "") -> str:
    """Return a page of a list."""
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    contents = "".join(f"<Contents>{row}</Contents>" for row in rows)
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ListBucketResult xmlns="{namespace}">{contents}{more}</ListBucketResult>'


def row(key: str, changed: str = "2026-11-27T06:00:00.000Z") -> str:
    """Return a file in a list."""
    return f"<Key>{key}</Key><LastModified>{changed}</LastModified>"


def text(body: str) -> Reply:
    """Return the same reply every time."""
    return lambda _request: httpx.Response(200, text=body)


@pytest.mark.parametrize(
    ("folder", "asked"),
    [
        ("s3://bucket/out", "?list-type=2&prefix=out%2F"),
        ("s3://bucket/out/", "?list-type=2&prefix=out%2F"),
        ("s3://bucket/a b/ü", "?list-type=2&prefix=a%20b%2F%C3%BC%2F"),
        ("s3://bucket/", "?list-type=2&prefix="),
        ("s3://bucket", "?list-type=2&prefix="),
    ],
)
def test_a_folder_is_listed_to_its_end(folder: str, asked: str) -> None:
    """A folder is listed with everything below it, without names that only begin like it."""
    rows = (row("out/a.csv"), row("out/b.csv", "yesterday"), row("out/c.csv", ""))
    storage = Storage(text(listed(*rows)))
    assert storage.buckets.files(folder) == Answer(
        {
            "s3://bucket/out/a.csv": 1_795_759_200_000,
            "s3://bucket/out/b.csv": None,
            "s3://bucket/out/c.csv": None,
        }
    )
    assert storage.asked == [f"https://bucket.s3.us-west-2.amazonaws.com/{asked}"]


def test_a_long_list_has_pages() -> None:
    """Each page of a list is requested with the token of the page before."""

    def reply(request: httpx.Request) -> httpx.Response:
        token = request.url.params.get("continuation-token", "")
        page = {"": listed(row("a"), token="x/+y"), "x/+y": listed(row("b"))}[token]
        return httpx.Response(200, text=page)

    storage = Storage(reply)
    assert (storage.buckets.files("s3://bucket/").value or {}).keys() == {
        "s3://bucket/a",
        "s3://bucket/b",
    }
    assert "&continuation-token=x%2F%2By" in storage.asked[1]


def test_a_list_without_an_end_is_left() -> None:
    """A list without an end is left after twenty thousand names, and says so."""
    tokens = map(str, itertools.count())
    storage = Storage(lambda _: httpx.Response(200, text=listed(row("a"), token=next(tokens))))
    answer = storage.buckets.files("s3://bucket/")
    assert answer.value == {"s3://bucket/a": 1_795_759_200_000}
    assert answer.problem == "s3://bucket refused (Its list of files has more than 20 pages)"
    assert len(storage.asked) == 20


@pytest.mark.parametrize(
    ("second", "word"),
    [
        (httpx.Response(200, text=listed(row("b"), token="t")), "without a new token"),
        (
            httpx.Response(
                200,
                text=listed(row("b")).replace("</List", "<IsTruncated>true</IsTruncated></List"),
            ),
            "without a new token",
        ),
        (httpx.Response(400, text="<Error><Code>InvalidArgument</Code></Error>"), "answered 400"),
        (httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>"), "denied access"),
        (httpx.Response(200, text="<Error><Code>SlowDown</Code></Error>"), "sent no list"),
        (httpx.Response(200, text="<html>Sign in</html>"), "sent no list"),
        (httpx.Response(200, json={"Contents": []}), "sent no list"),
    ],
)
def test_a_list_that_is_not_continued_has_what_came_before(
    second: httpx.Response, word: str
) -> None:
    """A list whose second page is refused or unreadable gives the first one, and says why."""
    first = httpx.Response(200, text=listed(row("a"), token="t"))

    def reply(request: httpx.Request) -> httpx.Response:
        return second if "continuation-token" in request.url.params else first

    answer = Storage(reply).buckets.files("s3://bucket/")
    assert "s3://bucket/a" in (answer.value or {})
    assert word in (answer.problem or "")


def test_a_list_whose_later_page_fails_for_the_moment_is_asked_again() -> None:
    """A temporary failure is an error, and the next pass reads the list from its beginning."""

    def reply(request: httpx.Request) -> httpx.Response:
        is_later = "continuation-token" in request.url.params
        return httpx.Response(503) if is_later else httpx.Response(200, text=listed(token="t"))

    with pytest.raises(errors.ServerFailed):
        Storage(reply).buckets.files("s3://bucket/")


@pytest.mark.parametrize(
    ("url", "bucket", "address"),
    [
        (None, "bucket", "https://bucket.s3.us-west-2.amazonaws.com"),
        (None, "a.bucket", "https://s3.us-west-2.amazonaws.com/a.bucket"),
        ("https://minio.example/", "bucket", "https://minio.example/bucket"),
        ("https://minio.example", "a.bucket", "https://minio.example/a.bucket"),
    ],
)
def test_each_bucket_has_its_address(url: str | None, bucket: str, address: str) -> None:
    """Each bucket has one address and one client, however many files are read."""
    storage = Storage(text("step,loss"), url=url)
    for name in ("a/b c.csv", "d.csv"):
        assert storage.buckets.content(f"s3://{bucket}/{name}") == Answer(b"step,loss")
    with storage.buckets.stream(f"s3://{bucket}/d.csv") as pieces:
        assert b"".join(pieces) == b"step,loss"
    assert storage.opened == [address]
    assert storage.asked == [f"{address}/{name}" for name in ("a/b%20c.csv", "d.csv", "d.csv")]
    storage.buckets.content("s3://other/x")
    assert len(storage.opened) == 2
    storage.buckets.close()
    with pytest.raises(RuntimeError, match="closed"):
        storage.buckets.content(f"s3://{bucket}/d.csv")


@pytest.mark.parametrize(
    "uri",
    [
        *("", "bucket/a", "https://bucket/a", "s3://", "s3:///a", "s3://UPPER/a", "s3://ab/a"),
        *("s3://-ab/a", "s3://ab-/a", f"s3://{'a' * 64}/a", "s3://a_b/a", "s3://a@b/x"),
    ],
)
def test_what_is_no_address_is_not_asked(uri: str) -> None:
    """An impossible address gives a sentence without a request, and the job continues."""
    storage = Storage(text(""))
    found = storage.buckets.content(uri)
    assert found.value is None
    assert "is not an address in S3" in (found.problem or "")
    assert storage.opened == []


@pytest.mark.parametrize("bucket", ["abc", "a" * 63, "a-b.c1"])
def test_a_buckets_name_has_3_to_63_characters(bucket: str) -> None:
    """A bucket's name has 3 to 63 characters, as S3 demands."""
    assert Storage(text("x")).buckets.content(f"s3://{bucket}/a").value == b"x"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "s3://bucket has no such object (bucket.s3.us-west-2.amazonaws.com answered 404"),
        (403, "s3://bucket denied access; add {"),
        (401, "s3://bucket refused ("),
        (400, "s3://bucket refused ("),
    ],
)
def test_a_refusal_is_a_sentence(status: int, said: str) -> None:
    """A refusal is a sentence with the permission to grant."""
    storage = Storage(lambda _request: httpx.Response(status))
    found = storage.buckets.files("s3://bucket/out")
    assert found.value is None
    assert (found.problem or "").startswith(said)
    policy = (
        '{"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"],'
        ' "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]}'
    )
    assert (policy in (found.problem or "")) is (status == 403)


def test_what_else_a_bucket_needs_is_reported() -> None:
    """Files that are encrypted with a key need a permission for it, which the sentence names."""
    key = "arn:aws:kms:us-west-2:123456789012:key/abc"
    said = f'User: x is not authorized to perform: kms:Decrypt on resource: "{key}" because'
    body = f"<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>"
    storage = Storage(lambda _request: httpx.Response(403, text=body))
    problem = storage.buckets.content("s3://bucket/out/a.csv").problem or ""
    assert f'"Action": "kms:Decrypt", "Resource": "{key}"' in problem
    assert "s3:GetObject" not in problem


def test_credentials_that_are_refused_are_not_taken_for_a_right() -> None:
    """Refused credentials get the remedy for credentials, not that for permissions."""
    body = (
        "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
    )
    storage = Storage(lambda _request: httpx.Response(400, text=body))
    problem = storage.buckets.files("s3://bucket/out").problem or ""
    assert "Renew them" in problem
    assert "Effect" not in problem


def test_a_list_that_is_no_xml_is_a_refusal() -> None:
    """A list in another format than XML counts as a refusal, because a portal may have answered."""
    found = Storage(text("<html>")).buckets.files("s3://bucket/out")
    assert "sent no list of files" in (found.problem or "")


@pytest.mark.parametrize("failure", [500, 503, httpx.ConnectError("down"), httpx.ReadError("x")])
def test_a_failure_is_not_an_answer(failure: int | Exception) -> None:
    """A failure is left to the next pass, and the provider is not blamed for its bucket."""

    def reply(_request: httpx.Request) -> httpx.Response:
        if isinstance(failure, Exception):
            raise failure
        return httpx.Response(failure)

    with pytest.raises(errors.ProviderError) as caught:
        Storage(reply).buckets.content("s3://bucket/a")
    assert not isinstance(caught.value, errors.ProviderDown)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (errors.Unauthorized("AWS has no credentials", "Sign in"), errors.Refused),
        (errors.Unreachable("No connection"), errors.NoAnswer),
    ],
)
def test_a_bucket_that_cannot_be_opened_costs_the_file_and_not_its_provider(
    raised: errors.ProviderError, kind: type[errors.ProviderError]
) -> None:
    """An error that would end a pass over a provider is one of a single file."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise raised

    storage = Storage(fail)
    with pytest.raises(kind, match=raised.sentence), storage.buckets.stream("s3://bucket/d.csv"):
        pass
