"""A daemon in trouble, as Prometheus, probes, people and programs see it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.simulator import Outcome, Reply, Simulator, all_end_by
from tests.support.config_file import simulated, write_config
from tests.support.mlflow_server import MlflowServer
from tests.support.processes import Started, invoke, started, wait_until
from tests.support.world import KEY, Clock, job

ENVIRON = {
    "FTBRIDGE_LOG_FORMAT": "json",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # finds its outage sooner
}


class Watched:
    """Pages of a running daemon."""

    def __init__(self, process: Started) -> None:
        process.wait_for('"listening"')
        found = re.search(r'"at": "([^"]+)"', process.said)
        assert found, process.said
        self.process = process
        self._url = found[1]
        self._client = httpx.Client(trust_env=False, timeout=30)

    def get(self, path: str) -> httpx.Response:
        """Return a page."""
        return self._client.get(self._url + path)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric, or ``None`` if it is absent."""
        for family in text_string_to_metric_families(self.get("metrics").text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def until(self, name: str, wanted: float, **labels: str) -> None:
        """Wait for a metric's value."""
        wait_until(lambda: self.value(name, **labels) == wanted, f"{name} {wanted}", self.process)

    @property
    def events(self) -> list[str]:
        """Return the logged troubles."""
        lines = [json.loads(line) for line in self.process.said.splitlines()]
        return [
            f"{line['event']} of {line.get('of', line['provider'])}"
            for line in lines
            if line["event"] in {"outage", "recovered"}
        ]


def configured(folder: Path, uri: str, provider: Simulator, hook: Simulator) -> Path:
    """Write the configuration of a daemon that is watched in every way."""
    return write_config(
        folder,
        uri,
        simulated(provider, "openai"),
        listen="127.0.0.1:0",
        heartbeat=f"{hook.url}/alive",
        notify={"webhook": f"{hook.url}/told", "on": ["failed", "outage", "recovered"]},
        poll={"interval": "1s", "idle_interval": "1s"},
    )


@pytest.mark.soak
def test_those_who_watch_see_what_happens(uri: str, tmp_path: Path) -> None:
    """All watchers see the same outages of provider and MLflow, their ends, and a failed job."""
    clock = Clock()
    old = job("ftjob-old", created_at=clock.now - 9000, outcome=Outcome.FAILED, ends_at_step=2)
    live = job("ftjob-live", outcome=Outcome.FAILED, ends_at_step=9)
    clock.now = live.step_at(2)
    with (
        MlflowServer(uri, tmp_path) as mlflow,
        Simulator(intercept=lambda _: Reply(status=200)) as hook,
        contextlib.ExitStack() as stack,
    ):
        provider = Simulator(jobs=[live, old], clock=clock)
        stack.enter_context(provider)
        config = configured(tmp_path, mlflow.url, provider, hook)
        process = stack.enter_context(started("run", "--config", config, env=ENVIRON))
        daemon = Watched(process)

        def reported() -> list[str]:
            return [each.path for each in hook.requests if each.method == "POST"]

        wait_until(lambda: daemon.get("readyz").status_code == 200, "readiness", process)
        assert daemon.value("ftbridge_provider_up", provider="openai") == 1
        assert daemon.value("ftbridge_mlflow_up") == 1
        assert daemon.value("ftbridge_jobs", provider="openai", state="running") == 1
        assert daemon.value("ftbridge_jobs", provider="openai", state="failed") == 1
        wait_until(lambda: [each for each in hook.requests if each.method == "GET"], "heartbeat")
        assert reported() == [], "a job of the history was told of"

        provider.__exit__(None, None, None)
        daemon.until("ftbridge_provider_up", 0, provider="openai")
        assert daemon.value("ftbridge_mlflow_up") == 1
        assert daemon.get("healthz").status_code == 200
        assert "<title>ftbridge: openai down</title>" in daemon.get("").text
        assert "<dd>http://127.0.0.1" in daemon.get("").text
        assert daemon.value("ftbridge_requests_total", provider="openai", result="no_answer")
        asked = httpx.URL(daemon.get("").url)
        config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{asked.port}"))
        assert "! openai: http://127.0.0.1" in invoke("status", "--config", config).stdout
        provider.__enter__()
        daemon.until("ftbridge_provider_up", 1, provider="openai")

        mlflow.kill()
        daemon.until("ftbridge_mlflow_up", 0)
        assert daemon.value("ftbridge_provider_up", provider="openai") == 1
        assert "<title>ftbridge: MLflow down</title>" in daemon.get("").text
        assert f'<a href="{mlflow.url}">' in daemon.get("").text
        mlflow.start()
        daemon.until("ftbridge_mlflow_up", 1)
        wait_until(lambda: daemon.events.count("recovered of openai") == 2, "recovery", process)

        clock.now = all_end_by([live])
        daemon.until("ftbridge_jobs", 2, provider="openai", state="failed")
        daemon.until("ftbridge_jobs", 0, provider="openai", state="running")
        wait_until(lambda: len(reported()) == 5, "the webhook's calls", process)
        process.send(signal.SIGTERM)
        assert process.end() == 0, process.said
    assert daemon.events == [
        "outage of openai",
        "recovered of openai",
        "outage of mlflow",
        "recovered of openai",
    ]
    assert KEY not in process.said
