"""A simulated provider on a clock that tests turn, and the bridge's passes over it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from bridge.http import connect
from bridge.providers import TYPES
from bridge.simulator import SimulatedJob, Simulator
from bridge.sync import Sync
from bridge.tracking import Tracking
from bridge.untrusted import Redactor
from bridge.vocabulary import Vocabulary

KEY = "a-key-that-must-not-show"
NOW = 1_760_000_000.0
"""Where tests begin: a moment in 2025, Unix seconds."""


@dataclass(slots=True)
class Clock:
    """Unix seconds, turned by hand."""

    now: float = NOW

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now

    def ms(self) -> int:
        """Unix milliseconds."""
        return int(self.now * 1000)


@dataclass(slots=True)
class NoSleep:
    """Takes the place of ``time.sleep`` and notes what was asked of it."""

    asked: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        """Do not wait."""
        self.asked.append(seconds)


def job(
    job_id: str, provider: Literal["openai", "mistral"] = "openai", **changes: object
) -> SimulatedJob:
    """A short job that begins when the clock does."""
    settings: dict[str, object] = {
        "created_at": NOW,
        "base_model": "gpt-4.1-mini-2025-04-14" if provider == "openai" else "open-mistral-7b",
        "suffix": f"about-{job_id[-6:]}",
        "total_steps": 12,
        "eval_every": 4,
    }
    return SimulatedJob(provider=provider, id=job_id, **(settings | changes))  # type: ignore[arg-type] # as the test says


def make_sync(
    simulator: Simulator,
    tracking: Tracking,
    executor: ThreadPoolExecutor,
    clock: Clock,
    *,
    kind: Literal["openai", "mistral"] = "openai",
    metric_names: str | dict[str, str] = "provider",
    vocabulary: Vocabulary | None = None,
    curves: bool = True,
) -> Sync:
    """Passes over one side of a simulator; a retry costs no time."""
    url = simulator.openai_url if kind == "openai" else simulator.mistral_url
    http = connect(
        url,
        headers={"Authorization": f"Bearer {KEY}"},
        redactor=Redactor([KEY]),
        sleep=NoSleep(),
    )
    return Sync(
        name=kind,
        provider=TYPES[kind](http, curves=curves),
        tracking=tracking,
        experiment="hosted-fine-tunes",
        vocabulary=vocabulary or Vocabulary.of(metric_names, TYPES[kind].meanings),
        executor=executor,
        now=clock.ms,
    )
