"""Secrets in replies and requests."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Callable

import httpx
import pytest

from bridge import errors
from bridge.http.client import connect
from bridge.redaction import Redactor
from bridge.simulator import Reply, Simulator
from tests.support.scripted import (
    BASE_URL,
    CLASSES,
    PATH,
    Answer,
    answer,
    failure,
    local,
    script,
    shown,
)
from tests.support.world import KEY, NoSleep

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
    """A key that the server repeats is masked in the error and its causes."""
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
    """A key that the server repeats in a header is masked."""
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
    """A key is masked in any JSON encoding."""
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
    """A key in a malformed header is masked, although the protocol's error quotes the line."""
    broken = Reply(headers={"no header": KEY})
    with (
        Simulator(intercept=lambda _request: broken) as simulator,
        contextlib.closing(local(simulator.openai_url)) as http,
        pytest.raises(errors.NoAnswer, match="header") as caught,
    ):
        http.get_object(PATH)
    assert not [text for text in shown(caught.value) if KEY in text]


def test_a_key_is_masked_before_a_sentence_is_cut() -> None:
    """A key is masked before a sentence is cut, so that no half of it is left."""
    escaped = "".join(f"\\\\u{ord(char):04x}" for char in KEY)
    for before in range(280, 300):
        body = f'{{"detail": "{"x" * before}{escaped}"}}'.encode()
        error = failure(script(Answer(401, body)))
        assert not [text for text in shown(error) if KEY[:6] in text or "u0061" in text]


@pytest.mark.parametrize("key", ["made-up-key\n", "made-up\nkey", "made-up-key ", "made-up-k€y"])
def test_a_key_that_no_header_can_hold_is_not_shown(key: str) -> None:
    """A key with a line break is an error that does not show it."""
    with Simulator() as simulator, pytest.raises(errors.BridgeError) as caught:
        local(simulator.openai_url, key).get_object(PATH)
    assert not [text for text in shown(caught.value) if "made-up" in text]
    assert len(simulator.requests) == 0


def test_a_password_in_the_address_is_not_shown() -> None:
    """A password in ``base_url`` is not shown."""
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
    """The key is sent as a header, and neither the address nor the client shows it."""
    scripted = script(answer(200))
    http = scripted.http()
    http.get_object(PATH, {"limit": 100})
    (request,) = scripted.requests
    assert KEY not in str(request.url)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(http)


def test_a_key_in_a_reply_does_not_reach_the_reader() -> None:
    """A key in a reply is masked before the reply is parsed."""
    percents = "".join(f"%{byte:02x}" for byte in KEY.encode())
    packed = base64.b64encode(KEY.encode()).decode()
    reply = {KEY: [{"a": f"x{KEY}x", "b": 1.5}, None, f"?k={percents}", f"Basic {packed}"]}
    masked = {"***": [{"a": "x***x", "b": 1.5}, None, "?k=***", "Basic ***"]}
    assert script(answer(200, reply)).http().get_object(PATH) == masked


@pytest.mark.parametrize("label", ["application/json", "text/plain", ""])
def test_a_key_that_json_escapes_does_not_reach_the_reader(label: str) -> None:
    """A key in any encoding is masked, whether or not the reply is labelled as JSON."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    body = f'{{"a": "{escaped} \\"said\\" {KEY}"}}'.encode()
    scripted = script(Answer(200, body, {"content-type": label} if label else {}))
    assert scripted.http().get_object(PATH) == {"a": '*** "said" ***'}


def test_a_key_in_json_that_is_nested_deep_does_not_reach_the_reader() -> None:
    """A key in JSON that is nested too deep to walk through is masked."""
    for depth in range(100, 2000, 100):
        body = b'{"a": ' + b"[" * depth + f'"{KEY}"'.encode() + b"]" * depth + b"}"
        assert KEY.encode() not in (script(Answer(200, body)).http().find_bytes(PATH) or b"")


def test_a_reply_without_a_key_is_not_changed() -> None:
    """A reply without a key is unchanged, so that digests do not depend on the reader."""
    body = b'{ "a":1.0,\t"b":"\\u00e9 %41 &amp;" }\r\n'
    assert script(Answer(200, body)).http().find_bytes(PATH) == body


@pytest.mark.parametrize("before", [b"step,train_loss\n1,", b"\xff\xfe\x00"])
def test_a_key_in_a_file_does_not_reach_the_reader(before: bytes) -> None:
    """A key in a file is masked, in text and between other bytes."""
    body = before + KEY.encode() + b"\n2,0.5\n"
    masked = before + b"***" + b"\n2,0.5\n"
    assert script(Answer(200, body, {})).http().find_bytes(PATH) == masked
