"""Several accounts of one provider in one process."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from bridge.bootstrap.factories import open_provider, redactor_of
from bridge.errors import Stopped
from bridge.settings.load import load
from bridge.simulator import Simulator
from tests.support.config_file import write_config
from tests.support.processes import invoke
from tests.support.recorded import active_runs
from tests.support.world import Clock, job

ACCOUNTS = {
    "openai-research": ("key-of-research", {"OpenAI-Organization": "org-r"}),
    "openai-support": ("key-of-support", {"OpenAI-Project": "proj-s"}),
}
HEADERS = ("openai-organization", "openai-project")


def test_two_accounts_of_a_provider_stay_apart(uri: str, tmp_path: Path) -> None:
    """Each account is asked only with its key and headers, and has only its own jobs.

    Both have a job of the same id, which cannot happen, and still nothing is mixed up.
    """
    with (
        Simulator(jobs=[job("ftjob-a", suffix="r")], clock=Clock()) as research,
        Simulator(jobs=[job("ftjob-a", suffix="s"), job("ftjob-b")], clock=Clock()) as support,
    ):
        simulators = dict(zip(ACCOUNTS, (research, support), strict=True))
        providers = {
            name: {"api_key": key, "headers": headers, "base_url": simulators[name].openai_url}
            for name, (key, headers) in ACCOUNTS.items()
        }
        path = write_config(tmp_path, uri, providers)
        assert invoke("backfill", "--config", path).exit_code == 0
        again = invoke("backfill", "--config", path, "--json")
        only_one = invoke("backfill", "--config", path, "--provider", "openai-support", "--json")
    for name, (key, headers) in ACCOUNTS.items():
        wanted = {header.lower(): value for header, value in headers.items()}
        for request in simulators[name].requests:
            assert request.headers["authorization"] == f"Bearer {key}"
            assert {h: v for h, v in request.headers.items() if h.lower() in HEADERS} == wanted
    reported = {
        (run.data.tags["fine_tuning_provider"], run.data.tags["fine_tuning_job_id"]): run.info
        for run in active_runs(uri)
    }
    assert {key: info.run_name for key, info in reported.items()} == {
        ("openai-research", "ftjob-a"): "openai-research/r-tjob-a",
        ("openai-support", "ftjob-a"): "openai-support/s-tjob-a",
        ("openai-support", "ftjob-b"): "openai-support/about-tjob-b-tjob-b",
    }
    assert len(reported) == len(active_runs(uri))
    for done in (again, only_one):
        assert done.exit_code == 0
        assert '"new": 0,\n        "updated": 0,' in done.stdout


@pytest.mark.parametrize("rate", [None, 0.1])
def test_an_account_has_a_pace_of_its_own(tmp_path: Path, rate: float | None) -> None:
    """An account with a pace lets a second request wait, unless the daemon is to stop."""
    stopping = threading.Event()
    stopping.set()
    with Simulator(jobs=[job("ftjob-a")], clock=Clock()) as simulator:
        entry = {"base_url": simulator.openai_url, "requests_per_second": rate}
        path = write_config(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", {"openai": entry})
        settings = load(path, {})
        redactor = redactor_of(settings, {})
        with open_provider(
            settings, settings.providers[0], redactor, stopping=stopping
        ) as provider:
            provider.job("ftjob-a")
            waits = pytest.raises(Stopped) if rate else contextlib.nullcontext()
            with waits:
                provider.job("ftjob-a")
    assert len(simulator.requests) == (1 if rate else 2)
