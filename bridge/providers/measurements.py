"""Numbers that mean "not measured", which some servers write instead of omitting the value.

Azure's result files and checkpoints contain -1 if no evaluation took place, and Mistral's a pair of
zeros. A loss of preference or policy training may really be -1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator

from bridge.model import numbers
from bridge.providers.records import Number

_ABSENT: Final = frozenset({"", "-", "n/a", "na", "nan", "none", "null"})
"""Texts that stand for a missing number."""
_NOT_MEASURED: Final = -1.0
_LOSS: Final = re.compile(r"loss", re.IGNORECASE)
_NEVER_NEGATIVE: Final = re.compile(
    r"accuracy|perplexity|ppl|grad_?norm|learning_?rate|tokens", re.IGNORECASE
)
_POLICY: Final = re.compile(
    r"reward|(^|[/_.])(kl|pg|dpo|kto|orpo|grpo|ppo|policy|preference|logps|advantages?)([/_.]|$)",
    re.IGNORECASE,
)
"""Metrics of training methods whose losses may be negative."""
_SUPERVISED: Final = frozenset({"", "sft", "supervised", "classifier", "completion"})
_EVALUATED: Final = re.compile(r"(.*(?:valid|eval).*?)loss(.*)", re.IGNORECASE)
_ACCURACIES: Final = ("mean_token_accuracy", "token_accuracy", "accuracy")


def _measured(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in _ABSENT else value


Metric = Annotated[Number | None, BeforeValidator(_measured)]
"""A JSON number, or a text for a missing one."""


def measurements(
    values: Mapping[str, object], method: str | None = None
) -> tuple[dict[str, float], list[str]]:
    """Flatten ``values`` to the finite numbers that were measured, as ``numbers`` does.

    Args:
        values: values by name, as the server sent them.
        method: the provider's word for the training method; ``None`` if unknown.
    """
    finite, broken = numbers(values)
    unmeasured = _placeholders(finite, method)
    return {name: value for name, value in finite.items() if name not in unmeasured}, broken


def _placeholders(finite: Mapping[str, float], method: str | None) -> set[str]:
    """Return the names of the numbers that mean "not measured"."""
    found: set[str] = set()
    if _NOT_MEASURED in finite.values():
        has_own_sign = (method or "").lower() not in _SUPERVISED or any(map(_POLICY.search, finite))
        for name, value in finite.items():
            if value == _NOT_MEASURED and (
                _NEVER_NEGATIVE.search(name) or (_LOSS.search(name) and not has_own_sign)
            ):
                found.add(name)
    for name, value in finite.items():
        # A loss of zero with an accuracy of zero is not a result.
        match = _EVALUATED.fullmatch(name) if value == 0 else None
        if match is not None:
            pair = {f"{match[1]}{accuracy}{match[2]}" for accuracy in _ACCURACIES} & finite.keys()
            if pair and all(finite[other] == 0 for other in pair):
                found |= {name, *pair}
    return found
