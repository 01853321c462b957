"""The cost of a job from its trained tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import Snapshot
from bridge.plan.cost import Price, with_cost
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import make_plan
from tests.support.in_memory import START, snapshot_of

PRICES = {
    "gpt-4.1": Price.parsed("25 USD"),
    "gpt-4.1-mini": Price.parsed("5 USD"),
    "open": Price.parsed("0.48 EUR"),
}
JOB = replace(
    snapshot_of("a", 0.5).job, trained_tokens=172_800, base_model="gpt-4.1-mini-2025-04-14"
)


@pytest.mark.parametrize(
    ("base_model", "cost"),
    [
        ("gpt-4.1-mini-2025-04-14", "0.86 USD (computed: 5 USD per million tokens)"),
        ("gpt-4.1-2025-04-14", "4.32 USD (computed: 25 USD per million tokens)"),
        ("ft:gpt-4.1-mini:org::abc", "0.86 USD (computed: 5 USD per million tokens)"),
        ("open-mistral-7b", "0.08 EUR (computed: 0.48 EUR per million tokens)"),
        ("a-gpt-4.1", None),
        (None, None),
    ],
)
def test_the_longest_beginning_counts(base_model: str | None, cost: str | None) -> None:
    """The longest matching name of a model counts, for snapshots with a date and after ``ft:``."""
    snapshot = Snapshot(job=replace(JOB, base_model=base_model))
    assert with_cost(snapshot, PRICES).job.cost == cost


def test_what_the_provider_says_counts() -> None:
    """The provider's cost counts, and nothing is computed before the tokens are counted."""
    known = Snapshot(job=replace(JOB, cost="1.00 USD"))
    assert with_cost(known, PRICES) is known
    for tokens in (None, 0):
        waiting = Snapshot(job=replace(JOB, trained_tokens=tokens))
        assert with_cost(waiting, PRICES) is waiting


def test_a_run_says_that_its_cost_is_computed() -> None:
    """A computed cost is called computed, in its tag and in the description."""
    options = RecordingOptions(prices=PRICES)
    plan = make_plan("openai", Snapshot(job=JOB), None, options, now=START + 10**6)
    assert plan.tags["fine_tuning_cost"] == "0.86 USD (computed: 5 USD per million tokens)"
    assert (
        "cost `0.86 USD (computed: 5 USD per million tokens)`" in plan.tags["mlflow.note.content"]
    )
