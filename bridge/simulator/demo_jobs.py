"""The jobs of the demo: a history, and some that train during the demo.

The demo has two providers, few enough for one chart; ``ftbridge simulate`` has jobs of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bridge.simulator.jobs import Outcome, Provider, SimulatedJob
from bridge.simulator.openai_objects import model_name
from bridge.simulator.seeded import alnum, digits, uuid4

_HOUR = 3600.0
_MODELS = {
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "mistral-7b": "open-mistral-7b",
    "ministral-3b": "ministral-3b-latest",
}
_OTHERS: Final[Mapping[Provider, str]] = {
    "azure": _MODELS["gpt-4.1"],
    "nebius": "meta-llama/Llama-3.1-8B-Instruct",
    "together": "Qwen/Qwen2.5-7B-Instruct",
    "vertex": "gemini-2.5-flash",
    "prime": "Qwen/Qwen3-4B-Instruct-2507",
    "fireworks": "accounts/fireworks/models/qwen3-8b",
    "bedrock": "amazon.nova-2-lite-v1:0:256k",
    "bedrock-mantle": "openai.gpt-oss-20b",
}


def all_jobs(now: float) -> tuple[SimulatedJob, ...]:
    """Return the demo's jobs, and two of each other provider: one from yesterday, one training."""
    return (*demo_jobs(now), *(job for provider in _OTHERS for job in _two_of(provider, now)))


def demo_jobs(now: float) -> tuple[SimulatedJob, ...]:
    """Return five jobs of the last days and four that end some 90 seconds after ``now``."""
    return (*_history(now), *_live(now))


def _support_bot(now: float) -> SimulatedJob:
    return replace(
        _job("openai", "support-bot", now - 52 * _HOUR, now, model="gpt-4.1-mini"),
        validating_seconds=47,
        queued_seconds=15,
        total_steps=240,
        seconds_per_step=7.5,
        finishing_seconds=12,
        batch_size=4,
        learning_rate=1.8,
        eval_every=10,
        seed=11,
    )


def _history(now: float) -> tuple[SimulatedJob, ...]:
    """Return one job of each outcome, for comparison in charts."""
    return (
        _support_bot(now),
        replace(
            _job("openai", "invoice-parser", now - 20 * _HOUR, now, model="gpt-4.1-mini"),
            validating_seconds=41,
            outcome=Outcome.FAILED,
            seed=13,
        ),
        replace(
            _job("openai", "ticket-router", now - 6 * _HOUR, now, model="gpt-4.1-mini"),
            total_steps=180,
            seconds_per_step=6,
            outcome=Outcome.CANCELLED,
            ends_at_step=70,
            learning_rate=4.0,
            seed=14,
        ),
        replace(
            _job("mistral", "changelog-writer", now - 31 * _HOUR, now, model="mistral-7b"),
            validating_seconds=6,
            queued_seconds=4,
            total_steps=100,
            seconds_per_step=2,
            finishing_seconds=30,
            n_epochs=4,
            seed=15,
        ),
        replace(
            _job("mistral", "release-notes", now - 3 * _HOUR, now, model="ministral-3b"),
            validating_seconds=6,
            outcome=Outcome.WAITING,
            seed=16,
        ),
    )


def _live(now: float) -> tuple[SimulatedJob, ...]:
    """Return two jobs of each provider; the first continues from a model of the history."""
    first = _support_bot(now)
    return (
        replace(
            _job("openai", "support-bot-v2", now, now, model="gpt-4.1-mini"),
            base_model=model_name(first, first.total_steps),
            validating_seconds=2,
            queued_seconds=1,
            total_steps=120,
            seconds_per_step=0.5,
            learning_rate=2.4,
            eval_every=5,
            seed=21,
        ),
        replace(
            _job("mistral", "code-review", now, now, model="mistral-7b"),
            validating_seconds=2,
            queued_seconds=1,
            total_steps=100,
            seconds_per_step=0.6,
            eval_every=5,
            seed=22,
        ),
        replace(
            _job("openai", "sql-writer", now + 3, now, model="gpt-4.1"),
            validating_seconds=2,
            queued_seconds=3,
            total_steps=150,
            seconds_per_step=0.5,
            n_epochs=5,
            learning_rate=1.2,
            seed=23,
        ),
        replace(
            _job("mistral", "faq-bot", now + 5, now, model="ministral-3b"),
            validating_seconds=3,
            queued_seconds=2,
            total_steps=75,
            seconds_per_step=0.9,
            learning_rate=4e-5,
            seed=24,
        ),
    )


def _two_of(provider: Provider, now: float) -> tuple[SimulatedJob, SimulatedJob]:
    past = SimulatedJob(
        provider=provider,
        id=_id(provider, "contract-summary", now),
        created_at=now - 26 * _HOUR,
        base_model=_OTHERS[provider],
        suffix="contract-summary",
        total_steps=120,
        seconds_per_step=4,
        seed=31,
    )
    live = replace(
        past,
        id=_id(provider, "tone-of-voice", now),
        created_at=now,
        suffix="tone-of-voice",
        validating_seconds=2,
        queued_seconds=1,
        seconds_per_step=0.6,
        method="supervised" if provider in {"nebius", "bedrock", "bedrock-mantle"} else "dpo",
        seed=32,
    )
    return past, live


def _job(
    provider: Provider, name: str, created_at: float, now: float, *, model: str
) -> SimulatedJob:
    """Return a job of the demo that starts at ``now``; callers change the rest with ``replace``."""
    return SimulatedJob(
        provider=provider,
        id=_id(provider, name, now),
        created_at=created_at,
        base_model=_MODELS[model],
        suffix=name,
    )


def _id(provider: Provider, name: str, now: float) -> str:
    # The time makes the jobs of each demo new, because jobs that are known to have ended are not
    # read.
    match provider:
        case "bedrock-mantle":
            return f"ftjob-{uuid4(name, provider, now)}"
        case "openai" | "nebius":
            return f"ftjob-{alnum(24, name, now)}"
        case "azure":
            return f"ftjob-{uuid4(name, now).replace('-', '')}"
        case "mistral":
            return uuid4(name, now)
        case "together":
            return f"ft-{uuid4(name, now)}"
        case "vertex":
            return digits(19, name, now)
        case "prime":
            return alnum(24, name, now).lower()
        case "bedrock":
            return alnum(12, name, provider, now).lower()
        case "fireworks":
            return alnum(8, name, now).lower()
