"""The bridge, the alternatives and the limit on the same work, in the same run.

The bridge and the limit record all jobs. The script and the Weights & Biases logger are slow and
record a sample, weighed by each provider's share of the jobs; the logger knows only OpenAI. All
results are per job, and their ratios hold on other machines.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from bridge.plan.plan import Plan
from tests.benchmarks import contenders
from tests.benchmarks.provider import Provider
from tests.benchmarks.script import Script
from tests.benchmarks.stores import STORES

LATENCIES: Final = (0, 150)
"""Delay of a provider's reply in milliseconds."""
_MANNERS: Final = {"metrics, params, tags": False, "everything (the default)": True}
_SHARES: Final = {"openai": 5 / 6, "mistral": 1 / 6}
"""Shares of the jobs, which the table shows."""
_SAMPLE: Final = 20
"""OpenAI jobs that the slow ones record each round, with a fifth as many of Mistral."""
_SAMPLE_OVER_HTTP: Final = 7
"""The same over a server, which keeps each of the script's calls waiting: 21 in three rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size of the measurement."""

    jobs: int
    """Jobs of OpenAI; Mistral has a fifth as many."""
    rounds: int
    stores: Sequence[str]
    workers: int
    """Workers of the bridge, for each provider."""
    latencies: Sequence[int]
    """Delay of a provider's reply in milliseconds."""
    is_short: bool = False
    """Whether to measure servers with the last of the delays only."""


@dataclass(frozen=True, slots=True)
class _Slow:
    """The contenders that record a sample."""

    script: Script
    logger: contenders.WandbLogger
    jobs: Mapping[str, int]
    """The number of jobs of each provider in a round."""


def tables(size: Size, say: Callable[[str], None]) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(
        title=f"{size.jobs} OpenAI and {size.jobs // 5} Mistral jobs of 90 steps: ms a job,"
        f" medians of {size.rounds}; {size.workers} workers; script and W&B: {_SAMPLE} and"
        f" {_SAMPLE // 5} a round, over a server {_SAMPLE_OVER_HTTP} and 2; clients are made once"
    )
    for heading in (
        *("tracking store", "latency", "recorded"),
        *("bridge", "limit", "script", "W&B"),
        *("script / bridge", "W&B / bridge", "limit / bridge", "requests a job"),
    ):
        table.add_column(heading, justify="right" if heading != "tracking store" else "left")
    with Provider(jobs=size.jobs, mistral_jobs=size.jobs // 5) as provider:
        plans = contenders.plans_of(provider)
        for store in size.stores:
            with STORES[store]() as uri:
                contenders.bridge(provider, uri, "first calls", full=True)
                openai = _SAMPLE if uri.startswith("sqlite") else _SAMPLE_OVER_HTTP
                slow = _Slow(
                    Script(provider.url, uri),
                    contenders.WandbLogger(provider),
                    {"openai": openai, "mistral": max(openai // 5, 2)},
                )
                slow.script("first calls of the script", [plans[0].job_id, plans[-1].job_id])
                slow.logger([plans[0].job_id])
                is_file = uri.startswith("sqlite")
                for latency in size.latencies[0 if is_file or not size.is_short else -1 :]:
                    say(f"{store}, {latency} ms")
                    provider.latency(latency / 1000)
                    for row in _rows(provider, uri, f"{latency}", plans, slow=slow, size=size):
                        table.add_row(store, f"{latency} ms", *row)
                provider.latency(0.0)
    yield table


def _part(ids: Sequence[str], number: int, turn: int) -> list[str]:
    """Return the jobs of a round, other ones each time while there are any."""
    every = itertools.islice(itertools.cycle(ids), turn * number, (turn + 1) * number)
    return [*every]


def _rows(
    provider: Provider, uri: str, name: str, plans: Sequence[Plan], *, slow: _Slow, size: Size
) -> Iterator[Sequence[str]]:
    jobs = len(plans)
    ids = {kind: [plan.job_id for plan in plans if plan.provider == kind] for kind in _SHARES}
    # Round by round, so that a slow moment of the machine affects all of them.
    found: dict[str, list[float]] = {}

    def note(what: str, seconds: float) -> None:
        found.setdefault(what, []).append(seconds * 1000)

    requests: dict[bool, float] = {}
    for turn in range(size.rounds):
        for full in _MANNERS.values():
            place = f"{name} {full} {turn}"
            provider.asked()
            place = f"bridge {place}"
            seconds = contenders.bridge(provider, uri, place, full=full, workers=size.workers)
            requests[full] = provider.asked() / jobs
            note(f"bridge {full}", seconds / jobs)
            seconds = contenders.limit(plans, uri, f"limit of {place}", full=full)
            note(f"limit {full}", seconds / jobs)
        sample = {kind: _part(ids[kind], each, turn) for kind, each in slow.jobs.items()}
        weighed = [
            slow.script(f"script {name} {turn}", some) / len(some) * share
            for some, share in zip(sample.values(), _SHARES.values(), strict=True)
        ]
        note("script", sum(weighed))
        some = sample["openai"]
        note("W&B", slow.logger(some) / len(some))
    median = {what: statistics.median(times) for what, times in found.items()}
    for options, full in _MANNERS.items():
        own = median[f"bridge {full}"]
        others = [median[f"limit {full}"], median["script"], median["W&B"]]
        yield (
            options,
            *(f"{value:.0f}" for value in (own, *others)),
            *(f"{value / own:.1f}" for value in others[1:]),
            f"{others[0] / own:.2f}",
            f"{requests[full]:.2f}",
        )
