"""The bridge's connections to a tracking server, which differ from those of other clients."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest
from mlflow import MlflowClient

from bridge.tracking import Tracking
from bridge.tracking.connections import RequestHeaders, one_each
from tests.support.http_server import send_json, serving


@dataclass
class Seen:
    """The header ``Connection`` and the client's port of each request."""

    url: str = ""
    headers: list[str | None] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)


@contextlib.contextmanager
def served() -> Iterator[Seen]:
    """Run a tracking server without experiments."""
    seen = Seen()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", "0")))
        seen.headers.append(request.headers.get("Connection"))
        seen.ports.append(request.client_address[1])
        send_json(request, 200, b'{"experiments": []}')

    with serving(answer) as seen.url:
        yield seen


def test_each_request_of_the_bridge_has_its_connection() -> None:
    """Each request of the bridge has a separate connection, by MLflow's entry point."""
    with served() as seen:
        tracking = Tracking(seen.url)
        for _ in range(3):
            tracking.ping()
    assert set(seen.headers) == {"close"}
    assert len(set(seen.ports)) == len(seen.ports) >= 3


def test_a_script_in_the_same_process_keeps_its_connection() -> None:
    """MLflow's client is unchanged for a script, even while the bridge is inside a call."""
    with served() as seen:
        Tracking(seen.url).ping()
        before = len(seen.headers)
        mine = MlflowClient(seen.url, seen.url)
        with Tracking(seen.url).asked():
            script = threading.Thread(
                target=lambda: [mine.search_experiments() for _ in range(3)], daemon=True
            )
            script.start()
            script.join()
        mine.search_experiments()
    asked = seen.headers[-4:]
    assert before < len(seen.headers)
    assert asked == ["keep-alive"] * 4
    assert len(set(seen.ports[-4:])) == 1


@pytest.mark.parametrize(
    ("uri", "is_wanted"),
    [
        ("http://127.0.0.1:5000", True),
        ("HTTP://mlflow.example.com", True),
        ("https://mlflow.example.com", False),
        ("sqlite:///mlflow.db", False),
        ("databricks", False),
    ],
)
def test_only_plain_http_is_concerned(uri: str, *, is_wanted: bool) -> None:
    """Only plain http is affected, because a new TLS connection costs more than it saves."""
    headers = RequestHeaders()
    with one_each(uri):
        assert headers.in_context() is is_wanted
    assert not headers.in_context()
