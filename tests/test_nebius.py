"""Nebius Token Factory: where it differs from OpenAI, whose jobs it speaks."""

from __future__ import annotations

import httpx
import pytest

from bridge import errors
from bridge.model import Meaning
from bridge.providers import TYPES
from tests.support.wire_openai_like import NebiusApi
from tests.support.wire_server import over


def test_its_result_files_hold_weights_and_are_not_read() -> None:
    """Neither a job's nor a checkpoint's."""
    api = NebiusApi()
    api.jobs = [api.row("a-job", status="succeeded", result_files=["file-weights"])]
    api.checkpoints = [api.checkpoint(30, train_loss=0.5)]
    provider = api.provider()
    snapshot = provider.read(provider.job("a-job"), is_logged=lambda _name, _step: False, keep=True)
    assert not api.asked("/content")
    assert snapshot.skipped == ()
    assert len(snapshot.checkpoints) == 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [(30, 30), (30.0, 30), (0, None), (-1, None), (None, None), ("30", None), (True, None)],
)
def test_the_job_tells_its_steps(told: object, expected: int | None) -> None:
    """Before any event does, and a running job too."""
    api = NebiusApi()
    api.jobs = [api.row("a-job", total_steps=told)]
    provider = api.provider()
    job = provider.job("a-job")
    assert job.total_steps == expected
    snapshot = provider.read(job, is_logged=lambda _name, _step: False)
    assert snapshot.job.total_steps == expected


def test_what_events_tell_of_steps_comes_first() -> None:
    """They are of the training itself."""
    api = NebiusApi()
    api.jobs = [api.row("a-job", total_steps=30)]
    api.events = [api.event(1, train_loss=0.5)]
    provider = api.provider()
    snapshot = provider.read(provider.job("a-job"), is_logged=lambda _name, _step: False)
    assert snapshot.job.total_steps == 1000


def test_its_hyperparameters_are_params() -> None:
    """With their meaning, where others have the same."""
    api = NebiusApi()
    api.jobs = [api.row("a-job")]
    params = api.provider().job("a-job").params
    assert (params["lora"], params["lora_r"], params["learning_rate"]) == (True, 8, 1e-5)
    assert TYPES["nebius"].meanings["warmup_ratio"] is Meaning.WARMUP


def test_its_errors_are_told() -> None:
    """As FastAPI words them."""
    body = {"detail": [{"type": "missing", "loc": ["query", "a"], "msg": "Field required"}]}
    transport = httpx.MockTransport(lambda _request: httpx.Response(422, json=body))
    with pytest.raises(errors.Refused, match="Field required"):
        next(over(transport, "nebius").pages())
