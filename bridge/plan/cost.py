"""The cost of a job, computed from its trained tokens if its provider does not report it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from bridge.model import Snapshot

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a million trained tokens."""

    amount: Decimal
    currency: str
    """Currency code, such as USD."""

    @classmethod
    def parsed(cls, text: str) -> Price:
        """Return the price in a text such as ``5 USD``."""
        amount, currency = text.split()
        return cls(Decimal(amount), currency)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


def with_cost(snapshot: Snapshot, prices: Mapping[str, Price]) -> Snapshot:
    """Return the snapshot with the job's cost, if it can be computed.

    Args:
        snapshot: the provider's data; a cost in it is kept.
        prices: prices by the beginning of a base model's name; the longest match counts.
    """
    job = snapshot.job
    if job.cost or not job.trained_tokens or not job.base_model:
        return snapshot
    # Training a fine-tuned model further costs what its own base model costs.
    model = job.base_model.removeprefix("ft:")
    prefix = max((each for each in prices if model.startswith(each)), key=len, default=None)
    if prefix is None:
        return snapshot
    price = prices[prefix]
    cost = price.amount * job.trained_tokens / _MILLION
    text = f"{cost:.2f} {price.currency} (computed: {price} per million tokens)"
    return replace(snapshot, job=replace(job, cost=text))
