"""The bridge's connections to a tracking server, which differ from those of other clients."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.parametrize(("is_remote", "number"), [(True, 4), (False, 1)])
def test_a_store_has_few_calls_at_once(uri: str, *, is_remote: bool, number: int) -> None:
    """A server gets at most four calls at once, and sqlite, which has one writer, a single one."""
    inside: list[int] = []
    most: list[int] = []
    meeting = threading.Barrier(number, timeout=60)

    def call(tracking: Tracking) -> None:
        with tracking.asked() as client:
            inside.append(1)
            meeting.wait()
            most.append(len(inside))
            client.search_experiments(max_results=1)
            meeting.wait()
            inside.pop()

    with served() as seen, ThreadPoolExecutor(8) as threads:
        tracking = Tracking(seen.url if is_remote else uri)
        tracking.ping()
        for done in [threads.submit(call, tracking) for _ in range(8)]:
            done.result()
    assert max(most) == number
