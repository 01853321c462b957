"""A simulated world on a clock, and the official SDKs that read it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from mistralai.client import Mistral

from bridge.simulator import (
    Simulator,
)
from tests.support.simulated import (
    LONG_AFTER,
    MISTRAL_JOBS,
    OPENAI_JOBS,
    World,
)
from tests.support.world import Clock


@pytest.fixture
def world() -> Iterator[World]:
    """Return a simulator of all jobs, long after they have ended."""
    clock = Clock(LONG_AFTER)
    headers = {"Authorization": "Bearer any"}
    with (
        Simulator(jobs=(*OPENAI_JOBS, *MISTRAL_JOBS), clock=clock) as simulator,
        httpx.Client(headers=headers) as http,
    ):
        yield World(clock, simulator, http)


@pytest.fixture
def openai_sdk(world: World) -> Iterator[openai.OpenAI]:
    """Return OpenAI's client for the simulator."""
    with openai.OpenAI(base_url=world.simulator.openai_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def mistral_sdk(world: World) -> Iterator[Mistral]:
    """Return Mistral's client for the simulator."""
    url = world.simulator.mistral_url.removesuffix("/v1")  # this client appends the version
    with Mistral(server_url=url, api_key="any") as client:
        yield client
