"""Nebius Token Factory: its differences from OpenAI's API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from bridge import errors
from bridge.model import Meaning
from bridge.providers.registry import TYPES
from bridge.simulator import Outcome, Simulator
from tests.support.scripted import answer
from tests.support.wire_openai_like import NebiusApi
from tests.support.wire_server import over
from tests.support.world import KEY, NOW, Clock, job

DOCUMENTED = Path(__file__).parents[1] / "golden" / "nebius" / "documented"
JOBS = (
    job("ftjob-nebius-1", "nebius"),
    job("ftjob-nebius-2", "nebius", outcome=Outcome.FAILED, ends_at_step=7),
    job("ftjob-nebius-3", "nebius", method="dpo", validation=False),
)


def test_its_result_files_hold_weights_and_are_not_read() -> None:
    """Result files are not read, because they hold weights."""
    api = NebiusApi()
    api.jobs = [api.row("a-job", status="succeeded", result_files=["file-weights"])]
    api.checkpoints = [api.checkpoint(30, train_loss=0.5)]
    provider = api.provider()
    snapshot = provider.read(provider.job("a-job"), logged={}, keep=True)
    assert not api.asked("/content")
    assert snapshot.skipped == ()
    assert len(snapshot.checkpoints) == 1


@pytest.mark.parametrize(
    ("reported", "expected"),
    [(30, 30), (30.0, 30), (0, None), (-1, None), (None, None), ("30", None), (True, None)],
)
def test_the_job_tells_its_steps(reported: object, expected: int | None) -> None:
    """The number of steps comes from the job itself, even while it runs."""
    api = NebiusApi()
    api.jobs = [api.row("a-job", total_steps=reported)]
    provider = api.provider()
    job = provider.job("a-job")
    assert job.total_steps == expected
    snapshot = provider.read(job, logged={})
    assert snapshot.job.total_steps == expected


def test_what_events_tell_of_steps_comes_first() -> None:
    """The number of steps in an event counts before that in the job."""
    api = NebiusApi()
    api.jobs = [api.row("a-job", total_steps=30)]
    api.events = [api.event(1, train_loss=0.5)]
    provider = api.provider()
    snapshot = provider.read(provider.job("a-job"), logged={})
    assert snapshot.job.total_steps == 1000


def test_its_hyperparameters_are_params() -> None:
    """Hyperparameters become params, with the meaning that other providers' have."""
    api = NebiusApi()
    api.jobs = [api.row("a-job")]
    params = api.provider().job("a-job").params
    assert (params["lora"], params["lora_r"], params["learning_rate"]) == (True, 8, 1e-5)
    assert TYPES["nebius"].meanings["warmup_ratio"] is Meaning.WARMUP


def test_its_errors_are_reported() -> None:
    """FastAPI's form of an error is understood."""
    body = {"detail": [{"type": "missing", "loc": ["query", "a"], "msg": "Field required"}]}
    with pytest.raises(errors.Refused, match="Field required"):
        next(over(answer(422, body), "nebius").pages())


@pytest.mark.parametrize("seconds", [0.0, 25.0, 36.5, 44.9, 45.0, 1000.0])
def test_openais_client_reads_the_simulator(clock: Clock, seconds: float) -> None:
    """OpenAI's client reads the simulator, whose keys are those of Nebius' documentation."""
    clock.now = NOW + seconds
    with (
        Simulator(jobs=JOBS, clock=clock, api_key=KEY) as simulator,
        openai.OpenAI(base_url=simulator.base_urls["nebius"], api_key=KEY, max_retries=0) as client,
    ):
        jobs = client.fine_tuning.jobs
        listed = list(jobs.list(limit=2))
        assert [each.id for each in listed] == [each.id for each in JOBS]
        for each in listed:
            assert jobs.retrieve(each.id) == each
            assert each.to_dict().keys() == documented("job").keys()
            found = list(jobs.checkpoints.list(each.id, limit=2))
            assert bool(found) == (each.status == "succeeded")
            for row in found:
                assert row.to_dict().keys() == documented("checkpoints")["data"][0].keys()
            reported = [event.data for event in jobs.list_events(each.id, limit=7)]
            steps = [row["step"] for row in reported if isinstance(row, dict) and "step" in row]
            trained = each.to_dict()["trained_steps"]
            assert isinstance(trained, int)
            assert steps == list(range(trained, 0, -1))


def documented(name: str) -> Any:  # noqa: ANN401 - JSON
    """Return a document made from the specification."""
    return json.loads((DOCUMENTED / f"{name}.json").read_text())


def test_the_simulator_s_errors_are_its_own() -> None:
    """The simulator answers in FastAPI's form for a missing job and a missing key."""
    with Simulator(jobs=JOBS, api_key=KEY) as simulator:
        url = f"{simulator.base_urls['nebius']}/fine_tuning/jobs"
        headers = {"Authorization": f"Bearer {KEY}"}
        missing = httpx.get(f"{url}/ftjob-none", headers=headers)
        refused = httpx.get(url, headers={"Authorization": "Bearer another"})
    assert (missing.status_code, refused.status_code) == (404, 401)
    assert all(isinstance(reply.json()["detail"], str) for reply in (missing, refused))
