"""Application Default Credentials of Google Cloud, with a token service on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge import errors
from bridge.http.client import connect
from bridge.http.google_auth import signed_in
from bridge.redaction import Redactor
from bridge.simulator.http_server import HttpServer
from bridge.simulator.messages import Reply, Request, json_reply
from tests.support.world import NoSleep

TOKEN = "ya29.token-number-{}"


@dataclass
class Tokens:
    """A token service that numbers its tokens."""

    reply: Reply | None = None
    lasts: int = 3600
    given: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        """Give a token."""
        assert request.method == "POST"
        if self.reply:
            return self.reply
        self.given.append(TOKEN.format(len(self.given) + 1))
        return json_reply({"access_token": self.given[-1], "expires_in": self.lasts})


@pytest.fixture
def tokens() -> Tokens:
    """Answer of the token service."""
    return Tokens()


@pytest.fixture
def account(tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write the key file of a service account, named as Google's tools find it."""
    server = HttpServer(0, tokens)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path / "account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "acme",
                "private_key_id": "1",
                "private_key": pem.decode(),
                "client_email": "reader@acme.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{server.server_port}/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield path
    server.stop()


@dataclass
class Service:
    """An API that accepts the newest token, or a given one."""

    wanted: str | None = None
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer, and repeat the token."""
        self.asked.append(request)
        bearer = request.headers["authorization"]
        if self.wanted and bearer != f"Bearer {self.wanted}":
            return httpx.Response(401, json={"error": {"message": f"not {bearer}"}})
        return httpx.Response(200, json={"echo": bearer})


def ask(
    service: Service, *, times: int = 1, headers: Mapping[str, str] | None = None
) -> list[object]:
    """Return the API's answer to the credentials of this machine."""
    redactor = Redactor()
    with signed_in("acme", redactor) as auth:
        http = connect(
            "https://api.example",
            headers=headers or {},
            redactor=redactor,
            auth=auth,
            sleep=NoSleep(),
            transport=httpx.MockTransport(service),
        )
        return [http.get_object("/a") for _ in range(times)]


@pytest.mark.usefixtures("account")
def test_a_token_is_taken_once_and_masked_in_replies(tokens: Tokens) -> None:
    """A token is requested once in its life, and masked in replies."""
    service = Service()
    said = ask(service, times=3)
    assert tokens.given == [TOKEN.format(1)]
    assert [each.headers["authorization"] for each in service.asked] == [
        f"Bearer {TOKEN.format(1)}"
    ] * 3
    assert said == [{"echo": "Bearer ***"}] * 3
    # A service account's project is not charged: a right to another quota is its owner's to give.
    assert "x-goog-user-project" not in service.asked[0].headers


@pytest.mark.usefixtures("account")
def test_a_token_is_renewed_before_it_ends(tokens: Tokens) -> None:
    """A token is renewed a minute before it ends."""
    tokens.lasts = 60
    ask(Service(), times=2)
    assert len(tokens.given) == 2


@pytest.mark.usefixtures("account")
def test_a_token_that_is_refused_is_renewed_once(tokens: Tokens) -> None:
    """A refused token is renewed once, and a second refusal is final."""
    service = Service(wanted=TOKEN.format(2))
    assert ask(service) == [{"echo": "Bearer ***"}]
    with pytest.raises(errors.Unauthorized) as caught:
        ask(Service(wanted="another"))
    assert "ya29" not in str(caught.value)
    assert len(tokens.given) == 4


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a user's login with a token that lasts long."""
    path = tmp_path / "login.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    write_login(path)
    return path


def write_login(path: Path, **more: str) -> None:
    """Write the file that ``gcloud auth application-default login`` writes."""
    found = {"type": "authorized_user", "client_id": "c", "client_secret": "s"}
    found |= {"refresh_token": "r", "token": "ya29.login", "expiry": "2100-01-01T00:00:00Z"}
    path.write_text(json.dumps(found | more))


def test_a_users_login_names_whose_quota_counts(login: Path) -> None:
    """The quota project is a configured header's, then the login's, then the configuration's."""
    for more, project in (({}, "acme"), ({"quota_project_id": "mine"}, "mine")):
        write_login(login, **more)
        service = Service()
        ask(service)
        assert service.asked[0].headers["x-goog-user-project"] == project
    service = Service()
    ask(service, headers={"x-goog-user-project": "configured"})
    assert service.asked[0].headers.get_list("x-goog-user-project") == ["configured"]


def test_a_token_service_that_is_not_there_is_a_matter_of_the_network(
    login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token service that is down counts as a network failure and is tried again later."""
    write_login(login, expiry="2001-01-01T00:00:00Z")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(errors.Unreachable, match="access token"):
        ask(Service())


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("status", "said", "kind", "remedy"),
    [
        (400, "invalid_grant", errors.Unauthorized, "gcloud auth application-default login"),
        (503, "unavailable", errors.Unreachable, "next pass"),
    ],
)
def test_a_refused_login_says_which_command_renews_it(
    tokens: Tokens, status: int, said: str, kind: type[errors.BridgeError], remedy: str
) -> None:
    """A refused login is reported with the command that renews it, or left to the next pass."""
    tokens.reply = json_reply({"error": said, "error_description": "Token is expired"}, status)
    with pytest.raises(kind) as caught:
        ask(Service())
    assert remedy in str(caught.value)
    assert f"({said}: Token is expired)" in str(caught.value)


def test_without_credentials_the_ways_to_have_some_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing credentials are reported with the ways to get them, at the first request."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(errors.Unauthorized) as caught:
        ask(Service())
    for way in ("gcloud auth application-default login", "GOOGLE_APPLICATION_CREDENTIALS", "token"):
        assert way in caught.value.remedy
