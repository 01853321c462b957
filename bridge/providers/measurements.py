"""Numbers that stand for "not measured", which some servers write instead of leaving them out.

-1 stands in result files and checkpoints of Azure where no evaluation took place; a pair of zeros
stands in Mistral's. A loss may really be -1 where it is a preference's or a policy's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator

from bridge.model import numbers
from bridge.providers.records import Number

_ABSENT: Final = frozenset({"", "-", "n/a", "na", "nan", "none", "null"})
"""Texts that stand for no number."""
_NOT_MEASURED: Final = -1.0
_LOSS: Final = re.compile(r"loss", re.IGNORECASE)
_NEVER_NEGATIVE: Final = re.compile(
    r"accuracy|perplexity|ppl|grad_?norm|learning_?rate|tokens", re.IGNORECASE
)
_POLICY: Final = re.compile(
    r"reward|(^|[/_.])(kl|pg|dpo|kto|orpo|grpo|ppo|policy|preference|logps|advantages?)([/_.]|$)",
    re.IGNORECASE,
)
"""Metrics that only trainers have whose losses may be negative."""
_SUPERVISED: Final = frozenset({"", "sft", "supervised", "classifier", "completion"})
_EVALUATED: Final = re.compile(r"(.*(?:valid|eval).*?)loss(.*)", re.IGNORECASE)
_ACCURACIES: Final = ("mean_token_accuracy", "token_accuracy", "accuracy")


def _measured(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in _ABSENT else value


Metric = Annotated[Number | None, BeforeValidator(_measured)]
"""A JSON number, or what stands for none."""


def measurements(
    values: Mapping[str, object], method: str | None = None
) -> tuple[dict[str, float], list[str]]:
    """Flatten ``values`` to the finite numbers that were measured, as ``numbers`` does.

    Args:
        values: by name, as the server sent them.
        method: how the job trains, in the provider's words; ``None``: it does not say.
    """
    finite, broken = numbers(values)
    unmeasured = _placeholders(finite, method)
    return {name: value for name, value in finite.items() if name not in unmeasured}, broken


def _placeholders(finite: Mapping[str, float], method: str | None) -> set[str]:
    """Return the names of the numbers that stand for nothing."""
    found: set[str] = set()
    if _NOT_MEASURED in finite.values():
        has_own_sign = (method or "").lower() not in _SUPERVISED or any(map(_POLICY.search, finite))
        for name, value in finite.items():
            if value == _NOT_MEASURED and (
                _NEVER_NEGATIVE.search(name) or (_LOSS.search(name) and not has_own_sign)
            ):
                found.add(name)
    for name, value in finite.items():
        # A loss of zero without any accuracy is not a result.
        match = _EVALUATED.fullmatch(name) if value == 0 else None
        if match is not None:
            pair = {f"{match[1]}{accuracy}{match[2]}" for accuracy in _ACCURACIES} & finite.keys()
            if pair and all(finite[other] == 0 for other in pair):
                found |= {name, *pair}
    return found
