"""AWS's signature: the same as its own tools make, and credentials as they find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import botocore.auth
import botocore.session
import httpx
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from bridge import errors
from bridge.http.aws_auth import S3, AwsSignature, Identity, signed_in
from bridge.http.client import ApiClient, connect, segment
from bridge.redaction import Redactor
from bridge.simulator import Reply, Simulator

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-2-lite-v1:0/abc"
TOKEN = "a+/session=token" * 4
MOMENT = datetime(2026, 11, 27, 6, 0, tzinfo=UTC).replace(tzinfo=None)


@pytest.fixture(autouse=True)
def own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of the machine that runs the tests."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer, service: str, url: str, identity: Identity | None = None) -> ApiClient:
    """A client that signs for a service."""
    redactor = Redactor()
    return connect(
        url,
        headers={},
        redactor=redactor,
        auth=AwsSignature(signed_in(identity or Identity(), redactor), service, "us-east-1"),
        sleep=lambda _seconds: None,
        transport=httpx.MockTransport(answer),
    )


def by_botocore(service: str, call: Callable[..., object], **params: object) -> AWSPreparedRequest:
    """The request that AWS's own client would send."""
    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_more: object) -> None:
        caught.append(request)
        raise ConnectionAbortedError

    own = botocore.session.Session().create_client(
        service,
        region_name="us-east-1",
        config=Config(
            retries={"total_max_attempts": 1},
            # Else it asks for checksums, and signs that too.
            response_checksum_validation="when_required",
        ),
    )
    own.meta.events.register_first(f"before-send.{service}.*", catch)
    with pytest.raises(ConnectionAbortedError):
        call(own, **params)
    return caught[0]


def header(value: object) -> str:
    """A header as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("token", ["a+b/c=d e", "plain"])
def test_signatures_are_botocores_own(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """At one moment, for an ARN in the path, a token in the query, and a name in a bucket."""
    # Its clients sign before anything can see the request: its clock has to stand still.
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: MOMENT)
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={})

    control = client(answer, "bedrock", "https://bedrock.us-east-1.amazonaws.com")
    control.get_object(f"/model-customization-jobs/{segment(ARN)}")
    control.get_object("/model-customization-jobs", {"nextToken": token, "maxResults": 5})
    bucket = client(answer, S3, "https://a-bucket.s3.amazonaws.com")
    bucket.get_bytes(f"/some%20where/{segment('a+b.csv')}")
    own = [
        by_botocore("bedrock", lambda c: c.get_model_customization_job(jobIdentifier=ARN)),
        by_botocore(
            "bedrock",
            lambda c: c.list_model_customization_jobs(nextToken=token, maxResults=5),
        ),
        by_botocore("s3", lambda c: c.get_object(Bucket="a-bucket", Key="some where/a+b.csv")),
    ]
    for ours, theirs in zip(sent, own, strict=True):
        assert ours.headers["x-amz-date"] == header(theirs.headers["X-Amz-Date"])
        assert ours.headers["x-amz-security-token"] == TOKEN
        assert ours.headers["authorization"] == header(theirs.headers["Authorization"])


@pytest.mark.usefixtures("keys")
def test_a_bucket_in_another_region_is_asked_there() -> None:
    """S3 says where it is; the next request goes there at once, and no redirect is followed."""
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        scope = request.headers["authorization"].split("/")[2]
        asked.append((request.url.host, scope))
        if scope != "eu-west-1":
            moved = {"x-amz-bucket-region": "eu-west-1", "Location": "https://evil.example/"}
            return httpx.Response(301, headers=moved)
        return httpx.Response(200, content=b"here")

    bucket = client(answer, S3, "https://a-bucket.s3.us-east-1.amazonaws.com")
    assert [bucket.get_bytes("/a"), bucket.get_bytes("/b")] == [b"here", b"here"]
    there = ("a-bucket.s3.eu-west-1.amazonaws.com", "eu-west-1")
    assert asked == [("a-bucket.s3.us-east-1.amazonaws.com", "us-east-1"), there, there]


@pytest.mark.usefixtures("keys")
def test_credentials_that_are_sent_back_are_masked() -> None:
    """AWS explains a wrong signature with all that was signed, the session's token among it."""

    def answer(request: httpx.Request) -> httpx.Response:
        said = f"The Canonical String should have been x-amz-security-token:{TOKEN}"
        assert request.headers["x-amz-security-token"] == TOKEN
        kind = {"x-amzn-ErrorType": "InvalidSignatureException"}
        return httpx.Response(403, headers=kind, json={"message": said})

    with pytest.raises(errors.Unauthorized) as caught:
        client(answer, "bedrock", "https://bedrock.us-east-1.amazonaws.com").get_object("/a")
    assert TOKEN not in str(caught.value)
    assert "***" in str(caught.value)


def refused(identity: Identity) -> errors.Unauthorized:
    """What is said where there are no credentials."""

    def answer(_request: httpx.Request) -> httpx.Response:
        pytest.fail("nothing is sent without a signature")

    with pytest.raises(errors.Unauthorized) as caught:
        client(answer, "bedrock", "https://bedrock.us-east-1.amazonaws.com", identity).get_object(
            "/a"
        )
    return caught.value


SSO = """
[profile research]
sso_session = acme
sso_account_id = 123456789012
sso_role_name = Reader
region = us-east-1
[sso-session acme]
sso_start_url = https://acme.awsapps.com/start
sso_region = us-east-1
"""


def test_an_expired_login_is_named_with_the_command_that_renews_it(tmp_path: Path) -> None:
    """As AWS's own tools would say it."""
    (tmp_path / "config").write_text(SSO)
    error = refused(Identity(profile="research"))
    assert "SSO login" in error.sentence
    assert "aws sso login --profile research" in error.remedy


def test_half_a_key_is_none(tmp_path: Path) -> None:
    """The words of AWS's own package are passed on."""
    (tmp_path / "credentials").write_text("[half]\naws_access_key_id = AKIDEXAMPLE\n")
    error = refused(Identity(profile="half"))
    assert error.sentence.startswith("AWS gave no credentials (Partial credentials found")
    assert error.remedy == (
        "Sign in with: aws sso login --profile half; or correct AWS's configuration"
    )


def test_a_profile_without_credentials_is_named(tmp_path: Path) -> None:
    """With the login of that profile."""
    (tmp_path / "config").write_text("[profile empty]\nregion = us-east-1\n")
    error = refused(Identity(profile="empty"))
    assert error.sentence == "AWS has no credentials for the profile empty"
    assert "aws sso login --profile empty;" in error.remedy


def test_a_role_is_assumed_by_somebody() -> None:
    """Without credentials there is nobody to do so."""
    role = Identity(role_arn="arn:aws:iam::123456789012:role/reader", region="us-east-1")
    assert refused(role).sentence == "AWS has no credentials for this machine"


def test_a_lasting_key_has_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It signs without a token, and its secret is masked all the same."""
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    def answer(request: httpx.Request) -> httpx.Response:
        assert "x-amz-security-token" not in request.headers
        return httpx.Response(200, json={"echo": secret})

    reader = client(answer, "bedrock", "https://bedrock.us-east-1.amazonaws.com")
    assert secret not in str(reader.get_object("/a"))


def test_a_profile_that_is_not_there_is_named() -> None:
    """With the way to list those that are."""
    error = refused(Identity(profile="nobody"))
    assert "nobody" in error.sentence
    assert "aws configure list-profiles" in error.remedy


def test_a_machine_without_credentials_is_told_where_they_come_from() -> None:
    """A login, a variable, a role."""
    error = refused(Identity())
    assert "no credentials" in error.sentence
    assert {"aws sso login", "AWS_ACCESS_KEY_ID", "role"} <= {
        word for word in ("aws sso login", "AWS_ACCESS_KEY_ID", "role") if word in error.remedy
    }


@pytest.fixture
def moto() -> Iterator[str]:
    """AWS, as moto's server stands for it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.usefixtures("keys")
def test_a_role_is_assumed(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are signed with its credentials, and not with those that assumed it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["authorization"].partition("Credential=")[2].partition("/")[0])
        return httpx.Response(200, json={})

    identity = Identity(role_arn="arn:aws:iam::123456789012:role/reader", region="us-east-1")
    reader = client(answer, "bedrock", "https://bedrock.us-east-1.amazonaws.com", identity)
    reader.get_object("/a")
    reader.get_object("/b")
    assert len(set(keys)) == 1
    assert keys[0].startswith("ASIA")


REFUSED = (
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User is not authorized to perform:"
    " sts:AssumeRole</Message></Error></ErrorResponse>"
)


@pytest.mark.usefixtures("keys")
def test_a_role_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what its trust policy has to say."""
    reply = Reply(status=403, headers={"Content-Type": "text/xml"}, body=REFUSED.encode())
    with Simulator(intercept=lambda _request: reply) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        role = Identity(role_arn="arn:aws:iam::123456789012:role/reader", region="us-east-1")
        error = refused(role)
    assert "role/reader" in error.sentence
    assert "trust policy" in error.remedy
