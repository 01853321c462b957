"""The cost of a job from its trained tokens, where its provider does not say it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from bridge.model import Snapshot

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million trained tokens."""

    amount: Decimal
    currency: str
    """Code such as USD."""

    @classmethod
    def parsed(cls, text: str) -> Price:
        """Return the price that is written as ``5 USD``."""
        amount, currency = text.split()
        return cls(Decimal(amount), currency)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


def with_cost(snapshot: Snapshot, prices: Mapping[str, Price]) -> Snapshot:
    """Return a snapshot whose job says what it costs, as far as that can be computed.

    Args:
        snapshot: what the provider says. A cost that it gives counts.
        prices: by the beginning of a base model's name. The longest that fits counts.
    """
    job = snapshot.job
    if job.cost or not job.trained_tokens or not job.base_model:
        return snapshot
    # A model that was fine-tuned before costs what its own base model does.
    model = job.base_model.removeprefix("ft:")
    prefix = max((each for each in prices if model.startswith(each)), key=len, default=None)
    if prefix is None:
        return snapshot
    price = prices[prefix]
    cost = price.amount * job.trained_tokens / _MILLION
    text = f"{cost:.2f} {price.currency} (computed: {price} per million tokens)"
    return replace(snapshot, job=replace(job, cost=text))
