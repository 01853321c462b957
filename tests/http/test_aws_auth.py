"""AWS's signature, which equals that of AWS's tools, and credentials as these find them."""

from __future__ import annotations

import sys
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
    """Hide the credentials of the machine that runs the tests."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set temporary credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer, service: str, url: str, identity: Identity | None = None) -> ApiClient:
    """Return a client that signs for a service."""
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
    """Return the request that AWS's own client would send."""
    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_more: object) -> None:
        caught.append(request)
        raise ConnectionAbortedError

    own = botocore.session.Session().create_client(
        service,
        region_name="us-east-1",
        config=Config(
            retries={"total_max_attempts": 1},
            # By default it asks for checksums, and signs them too.
            response_checksum_validation="when_required",
        ),
    )
    own.meta.events.register_first(f"before-send.{service}.*", catch)
    with pytest.raises(ConnectionAbortedError):
        call(own, **params)
    return caught[0]


def header(value: object) -> str:
    """Return a header as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("token", ["a+b/c=d e", "plain"])
def test_signatures_are_botocores_own(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """A signature equals botocore's for an ARN, a token in the query, and a bucket's object."""
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
    """The next request goes to the region that S3 names, and no redirect is followed."""
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
@pytest.mark.parametrize(
    ("service", "named"),
    [
        (S3, "evil.example"),
        (S3, "eu-west-1.evil"),
        (S3, "us-east-1"),  # it is there already
        ("bedrock", "eu-west-1"),
    ],
)
def test_only_a_bucket_moves_and_only_to_a_region(service: str, named: str) -> None:
    """A reply that names anything but a region, or is not S3's, is not followed anywhere."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(400, headers={"x-amz-bucket-region": named})

    host = f"a-bucket.{service}.us-east-1.amazonaws.com"
    with pytest.raises(errors.BridgeError):
        client(answer, service, f"https://{host}").get_bytes("/a")
    assert asked == [host]


@pytest.mark.usefixtures("keys")
def test_credentials_that_are_sent_back_are_masked() -> None:
    """AWS's explanation of a wrong signature is masked, including the session's token."""

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
    """Return the error without credentials."""

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
    """An expired login is reported with the command that renews it, as AWS's tools would."""
    (tmp_path / "config").write_text(SSO)
    error = refused(Identity(profile="research"))
    assert "SSO login" in error.sentence
    assert "aws sso login --profile research" in error.remedy


def test_half_a_key_is_none(tmp_path: Path) -> None:
    """Half a key is refused in the words of AWS's package."""
    (tmp_path / "credentials").write_text("[half]\naws_access_key_id = AKIDEXAMPLE\n")
    error = refused(Identity(profile="half"))
    assert error.sentence.startswith("AWS gave no credentials (Partial credentials found")
    assert error.remedy == (
        "Sign in with: aws sso login --profile half; or correct AWS's configuration"
    )


def test_a_profile_without_credentials_is_named(tmp_path: Path) -> None:
    """A profile without credentials is reported with the command to log in."""
    (tmp_path / "config").write_text("[profile empty]\nregion = us-east-1\n")
    error = refused(Identity(profile="empty"))
    assert error.sentence == "AWS has no credentials for the profile empty"
    assert "aws sso login --profile empty;" in error.remedy


def test_a_role_is_assumed_by_somebody() -> None:
    """A role cannot be assumed without credentials."""
    role = Identity(role_arn="arn:aws:iam::123456789012:role/reader", region="us-east-1")
    assert refused(role).sentence == "AWS has no credentials for this machine"


def test_a_lasting_key_has_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lasting key signs without a session token, and its secret is masked."""
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    def answer(request: httpx.Request) -> httpx.Response:
        assert "x-amz-security-token" not in request.headers
        return httpx.Response(200, json={"echo": secret})

    reader = client(answer, "bedrock", "https://bedrock.us-east-1.amazonaws.com")
    assert secret not in str(reader.get_object("/a"))


def test_a_profile_that_is_not_there_is_named() -> None:
    """A missing profile is reported with the command that lists the existing ones."""
    error = refused(Identity(profile="nobody"))
    assert "nobody" in error.sentence
    assert "aws configure list-profiles" in error.remedy


def test_a_machine_without_credentials_learns_where_they_come_from() -> None:
    """A machine without credentials learns the three ways: a login, a variable, a role."""
    error = refused(Identity())
    assert "no credentials" in error.sentence
    assert {"aws sso login", "AWS_ACCESS_KEY_ID", "role"} <= {
        word for word in ("aws sso login", "AWS_ACCESS_KEY_ID", "role") if word in error.remedy
    }


@pytest.fixture
def moto() -> Iterator[str]:
    """Return AWS as moto's server provides it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.usefixtures("keys")
def test_a_role_is_assumed(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are signed with the role's credentials, not with those that assumed it."""
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
    """A refused role is reported with the trust policy that it needs."""
    reply = Reply(status=403, headers={"Content-Type": "text/xml"}, body=REFUSED.encode())
    with Simulator(intercept=lambda _request: reply) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        role = Identity(role_arn="arn:aws:iam::123456789012:role/reader", region="us-east-1")
        error = refused(role)
    assert "role/reader" in error.sentence
    assert "trust policy" in error.remedy


@pytest.mark.parametrize("service", [S3, "bedrock"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    """A signature without botocore is a sentence that says what to install."""
    for name in ("botocore", "botocore.awsrequest", "botocore.auth", "botocore.session"):
        monkeypatch.setitem(sys.modules, name, None)
    asked = client(lambda _: httpx.Response(200, json={}), service, "https://aws.example.com")
    with pytest.raises(errors.Unauthorized, match=r"needs the package botocore.*pip install"):
        asked.get_object("/jobs")
