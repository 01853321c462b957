"""Helpers that the simulator tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema
import yaml

from bridge.simulator import (
    Failure,
    Outcome,
    Reply,
    Request,
    SimulatedJob,
    Simulator,
)
from bridge.simulator import mistral as mistral_api
from bridge.simulator import openai as openai_api
from tests.support.world import Clock

Json = dict[str, Any]


START = 1_790_000_000.0


STEPS = 30


VALIDATED, STARTED, STOPPED, SETTLED = START + 10, START + 15, START + 30, START + 33


LONG_AFTER = START + 1000


MOMENTS = (0.0, 4.0, 7.0, 12.0, 15.0, 15.5, 22.3, 30.0, 31.0, 33.0, 1000.0)
"""Seconds after START that cover all statuses of the jobs below, and their borders."""


SCHEMAS = yaml.safe_load((Path(__file__).parents[1] / "simulator" / "schemas.yaml").read_text())


OPENAI = SimulatedJob(
    provider="openai",
    id="ftjob-000000000000000000000000",
    created_at=START,
    base_model="gpt-4.1-mini-2025-04-14",
    suffix="support-bot",
    validating_seconds=10,
    queued_seconds=5,
    total_steps=STEPS,
    seconds_per_step=0.5,
    finishing_seconds=3,
    n_epochs=5,
    eval_every=4,
    seed=7,
)


MISTRAL = replace(
    OPENAI,
    provider="mistral",
    id="00000000-0000-4000-8000-000000000000",
    base_model="open-mistral-7b",
)


VARIANTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"validation": False, "suffix": None, "n_epochs": 1},
    {"outcome": Outcome.FAILED},
    {"outcome": Outcome.FAILED, "ends_at_step": 12, "failure": Failure("server_error", "Oh no.")},
    {"outcome": Outcome.CANCELLED, "ends_at_step": 20, "learning_rate": 0.5},
    {"outcome": Outcome.CANCELLED},
    {"outcome": Outcome.WAITING},
)


OPENAI_VARIANTS: tuple[Mapping[str, Any], ...] = (
    {"outcome": Outcome.PAUSED, "ends_at_step": 9},
    {"method": "dpo", "metadata": {"team": "search", "ticket": ""}},
    {"plain_result_file": True},
)


OPENAI_JOBS = tuple(
    replace(OPENAI, id=f"ftjob-{n:024}", seed=n, **changes)
    for n, changes in enumerate((*VARIANTS, *OPENAI_VARIANTS), 1)
)


MISTRAL_JOBS = tuple(
    replace(MISTRAL, id=f"00000000-0000-4000-8000-{n:012}", seed=n, **changes)
    for n, changes in enumerate(VARIANTS, 1)
)


@dataclass(frozen=True)
class World:
    """A running simulator with a client."""

    clock: Clock
    simulator: Simulator
    http: httpx.Client

    def openai(self, path: str, **query: str | int) -> Json:
        """Return OpenAI's reply."""
        return self._get(self.simulator.openai_url + path, query)

    def mistral(self, path: str, **query: str | int) -> Json:
        """Return Mistral's reply."""
        return self._get(self.simulator.mistral_url + path, query)

    def events(self, job: SimulatedJob) -> list[Json]:
        """Return the newest hundred events of an OpenAI job."""
        return cast(
            "list[Json]", self.openai(f"/fine_tuning/jobs/{job.id}/events", limit=100)["data"]
        )

    def metrics(self, job: SimulatedJob) -> dict[int, Json]:
        """Return the metrics among the events, by step."""
        rows = [event["data"] for event in self.events(job) if event["type"] == "metrics"]
        return {row["step"]: row for row in rows}

    def checkpoints(self, job: SimulatedJob) -> list[Json]:
        """Return the checkpoints of a job of either provider."""
        if job.provider == "mistral":
            return cast("list[Json]", self.mistral(f"/fine_tuning/jobs/{job.id}")["checkpoints"])
        path = f"/fine_tuning/jobs/{job.id}/checkpoints"
        return cast("list[Json]", self.openai(path)["data"])

    def _get(self, url: str, query: Mapping[str, str | int]) -> Json:
        return cast("Json", self.http.get(url, params=query).raise_for_status().json())


def conforms(document: object, schema: str) -> None:
    """Fail unless ``document`` fits ``schema``."""
    jsonschema.Draft202012Validator(
        {**SCHEMAS, "$ref": f"#/$defs/{schema}"},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    ).validate(document)


def ids(jobs: Sequence[SimulatedJob]) -> list[str]:
    """Return the ids of ``jobs``, in order."""
    return [job.id for job in jobs]


def histories(job: SimulatedJob, now: float) -> list[list[Json]]:
    """Return all lists of ``job`` that grow, newest first."""
    if job.provider == "openai":
        base = f"/fine_tuning/jobs/{job.id}"
        return [
            render(job, now, f"{base}/events", {"limit": "100"})["data"],
            render(job, now, f"{base}/checkpoints")["data"],
        ]
    detail = render(job, now, f"/fine_tuning/jobs/{job.id}")
    return [detail["events"][::-1], detail["checkpoints"]]


def render(
    job: SimulatedJob, now: float, path: str, query: Mapping[str, str] | None = None
) -> Json:
    """Return the document that ``job``'s provider answers with, without a server."""
    request = Request(method="GET", path=path, query=query or {})
    answer = openai_api.answer if job.provider == "openai" else mistral_api.answer
    return cast("Json", json.loads(answer([job], now, request).body))


def intercepted(reply: Reply | Callable[[Request], Reply | None]) -> Simulator:
    """Return a simulator that answers every request with ``reply``."""
    hook = reply if callable(reply) else lambda _request: reply
    return Simulator(jobs=[OPENAI], clock=Clock(LONG_AFTER), intercept=hook)
