"""The handlers of a daemon's events, as its configuration assembles them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.bootstrap.bridge import assemble
from bridge.daemon.handlers import handlers_of
from bridge.daemon.http_server import listening
from bridge.daemon.metrics import Metrics
from bridge.daemon.status import DaemonStatus
from bridge.redaction import Redactor
from bridge.settings.daemon import Address
from bridge.settings.load import load
from bridge.sync.events import PassEnded
from bridge.sync.report import Report
from tests.daemon.test_delivery import Service
from tests.support.config_file import write_config
from tests.support.passes import AWAY
from tests.support.ports import free_port
from tests.support.processes import wait_until


@contextlib.contextmanager
def ended(
    folder: Path,
    uri: str,
    report: Report,
    providers: Mapping[str, Mapping[str, str]],
    **more: object,
) -> Iterator[Metrics]:
    """End a pass of a daemon with this configuration, and return the daemon's metrics."""
    entries = {name: {"base_url": "http://127.0.0.1:9", **keys} for name, keys in providers.items()}
    settings = load(write_config(folder, uri, entries, mlflow={}, **more), {})
    picture = DaemonStatus(["openai"], Redactor(), time.time)
    metrics = Metrics(["openai"], picture.view)
    with contextlib.ExitStack() as stack, assemble(settings, {}, threading.Event()) as bridge:
        for handler in handlers_of(bridge, picture, metrics, stack):
            handler(PassEnded(report, 1.0))
        yield metrics


def test_a_webhook_and_a_service_both_hear_of_an_event(uri: str, tmp_path: Path) -> None:
    """A webhook and a service that are both configured get the same message."""
    pytest.importorskip("apprise")
    service = Service([200, 200])
    with listening(Address("127.0.0.1", 0), service) as at:
        notify = {"webhook": f"http://{at}/", "url": f"json://{at}/", "on": ["outage"]}
        report = Report(provider="openai", stopped=AWAY)
        with ended(tmp_path, uri, report, {"openai": {}}, notify=notify):
            wait_until(lambda: len(service.heard) == 2)
    assert {"event" in heard for heard in service.heard} == {True, False}


def test_shutdowns_are_known_although_an_experiment_is_missing(uri: str, tmp_path: Path) -> None:
    """The next shutdown is known, although another provider's experiment does not exist yet."""
    client = MlflowClient(uri)
    day = datetime.now(UTC).date() + timedelta(days=9)
    tags = {"fine_tuning_provider": "openai", "fine_tuned_model_shutdown": str(day)}
    client.create_run(client.create_experiment("hosted-fine-tunes"), tags=tags)
    providers = {"openai": {}, "mistral": {"experiment": "not-there-yet"}}
    report = Report(provider="openai")
    with ended(tmp_path, uri, report, providers, listen="127.0.0.1:0") as metrics:
        families = text_string_to_metric_families(metrics.exposition().decode())
        known = {
            sample.name: sample.value
            for family in families
            for sample in family.samples
            if sample.labels.get("provider") == "openai"
        }
    begins = datetime.fromisoformat(f"{day}T00:00Z").timestamp()
    assert known["ftbridge_next_shutdown_timestamp_seconds"] == begins


def test_a_heartbeat_follows_a_pass(uri: str, tmp_path: Path) -> None:
    """The configured heartbeat is requested after a successful pass."""
    asked: list[str] = []

    async def service(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await Response()(scope, receive, send)

    with listening(Address("127.0.0.1", 0), service) as at:
        heartbeat = {"url": f"http://{at}/alive", "allow_http": True}
        with ended(tmp_path, uri, Report(provider="openai"), {"openai": {}}, heartbeat=heartbeat):
            wait_until(lambda: asked == ["/alive"])


def test_the_page_has_no_link_to_a_database(uri: str, tmp_path: Path) -> None:
    """The page links to MLflow's UI only if it is a server: a database has no address."""
    at = f"127.0.0.1:{free_port()}"
    with (
        ended(tmp_path, uri, Report(provider="openai"), {"openai": {}}, listen=at),
        httpx.Client(trust_env=False) as client,
    ):
        page = client.get(f"http://{at}/").text
    assert "/metrics" in page
    assert ">MLflow</a>" not in page
