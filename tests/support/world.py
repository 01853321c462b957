"""A simulated provider on a clock that tests turn, with passes of the bridge over it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from bridge.http.client import ApiClient, connect
from bridge.http.s3 import Buckets
from bridge.plan.metric_names import MetricNames
from bridge.plan.options import RecordingOptions
from bridge.plan.routing import Router
from bridge.providers.base import Provider as Reader
from bridge.providers.bedrock import Bedrock
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from bridge.simulator import Reply, Request, SimulatedJob, Simulator, json_reply
from bridge.simulator.jobs import Provider
from bridge.sync.find_run import RunFinder
from bridge.sync.job_sync import JobSync
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking

KEY = "a-key-that-must-not-show"
NOW = 1_760_000_000.0
"""Moment when tests begin, in Unix seconds, a moment in 2025."""


@dataclass(slots=True)
class Clock:
    """A clock in Unix seconds, turned by hand."""

    now: float = NOW

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Turn the clock forward instead of waiting."""
        self.now += seconds

    def ms(self) -> int:
        """Return Unix milliseconds."""
        return int(self.now * 1000)


@dataclass(slots=True)
class NoSleep:
    """Replaces ``time.sleep``, and records the requested waits."""

    asked: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        """Return at once."""
        self.asked.append(seconds)


@dataclass(slots=True)
class BrokenReplies:
    """Breaks this many of a simulator's replies, each in a different way."""

    rate: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - faults, not secrets

    def __call__(self, _: Request) -> Reply | None:
        """Return a broken reply, or ``None``."""
        if self.dice.random() >= self.rate:
            return None
        return self.dice.choice(
            [
                Reply(reset=True),
                json_reply({"error": {"message": "try again"}}, 500),
                json_reply({"error": {"message": "too fast"}}, 429),
                Reply(headers={"Content-Type": "application/json"}, body=b'{"data": [', status=200),
                Reply(headers={"Content-Type": "text/html"}, body=b"<html>", status=200),
            ]
        )


BASE_MODELS: Mapping[Provider, str] = {
    "openai": "gpt-4.1-mini-2025-04-14",
    "azure": "gpt-4.1-mini-2025-04-14",
    "nebius": "meta-llama/Llama-3.1-8B-Instruct",
    "mistral": "open-mistral-7b",
    "together": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
    "vertex": "gemini-2.5-flash",
    "prime": "Qwen/Qwen3-4B-Instruct-2507",
    "fireworks": "accounts/fireworks/models/qwen3-8b",
    "bedrock": "amazon.nova-2-lite-v1:0:256k",
    "bedrock-mantle": "openai.gpt-oss-20b",
}


def job(job_id: str, provider: Provider = "openai", **changes: object) -> SimulatedJob:
    """Return a short job that begins when the clock does."""
    settings: dict[str, object] = {
        "created_at": NOW,
        "base_model": BASE_MODELS[provider],
        "suffix": f"about-{job_id[-6:]}",
        "total_steps": 12,
        "eval_every": 4,
    }
    return SimulatedJob(provider=provider, id=job_id, **(settings | changes))  # type: ignore[arg-type] # as the test says


def over_http(url: str, clock: Clock | None = None, *, signed: bool = False) -> ApiClient:
    """Return a client of a simulated provider; retries take no time, or turn ``clock``."""
    scheme = "AWS4-HMAC-SHA256" if signed else "Bearer"
    return connect(
        url,
        headers={"Authorization": f"{scheme} {KEY}"},
        redactor=Redactor([KEY]),
        sleep=clock.sleep if clock else NoSleep(),
        clock=clock or time.monotonic,
    )


def provider_over(
    kind: Provider, connected: Callable[[str], ApiClient], simulator: Simulator, *, curves: bool
) -> Reader:
    """Return the product's provider for one side of a simulator."""
    http = connected(simulator.base_urls[kind])
    if kind != "bedrock":
        return TYPES[kind](http, curves=curves)
    buckets = Buckets(
        lambda url: over_http(url, signed=True), region="us-east-1", url=simulator.s3_url
    )
    return Bedrock(http, curves=curves, buckets=buckets)


def make_sync(
    simulator: Simulator,
    tracking: Tracking,
    executor: ThreadPoolExecutor,
    clock: Clock,
    *,
    kind: Provider = "openai",
    metric_names: str | dict[str, str] | MetricNames = "provider",
    curves: bool = True,
    router: Router | None = None,
    archive: bool = False,
    archive_datasets: bool = False,
    register: str | None = None,
    retries_take_time: bool = False,
) -> ProviderSync:
    """Make passes over one side of a simulator; retries take no time unless they turn the clock."""
    routes = router or Router(provider=kind, experiment="hosted-fine-tunes", open_to_jobs=("*",))
    job_sync = JobSync(
        name=kind,
        provider=provider_over(
            kind,
            partial(over_http, clock=clock if retries_take_time else None),
            simulator,
            curves=curves,
        ),
        tracking=tracking,
        finder=RunFinder(tracking=tracking, router=routes),
        options=RecordingOptions(
            provider_type=kind,
            metric_names=(
                metric_names
                if isinstance(metric_names, MetricNames)
                else MetricNames.of(metric_names, TYPES[kind].meanings)
            ),
            archive=archive,
            archive_datasets=archive_datasets,
            register=register,
        ),
        now=clock.ms,
    )
    return ProviderSync(job_sync, executor=executor)
