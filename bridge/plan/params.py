"""Which params of a job are new to its run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.model import Scalar
from bridge.plan.metric_names import MetricNames, is_allowed_name
from bridge.text import clean

_MOST_WHOLE: Final = 1e15
"""Beyond this a floating-point number is no longer the whole number that it looks like."""
_LONGEST_PARAM: Final = 6000
"""Characters; MLflow would cut longer ones without a word."""


def new_params(
    wanted: Mapping[str, Scalar], known: Mapping[str, str], names: MetricNames
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the params that MLflow does not have, and a sentence for each that it cannot have."""
    new: dict[str, str] = {}
    refused: list[str] = []
    named = ((name, value) for own, value in wanted.items() for name in names.params(own))
    for name, value in named:
        text = clean(_text(value), _LONGEST_PARAM)
        if not is_allowed_name(name):
            refused.append(f"param {clean(name, 100)!r} has a name that MLflow refuses")
        elif name not in known:
            new[name] = text
        elif not _is_same(known[name], text):
            refused.append(
                f"param {name} is {clean(known[name], 100)} in MLflow, which never changes a"
                f" param, and {clean(text, 100)} at the provider"
            )
    return new, tuple(refused)


def _text(value: Scalar) -> str:
    """Return a param's value; 3 and 3.0 are one, so that runs of both are one group."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < _MOST_WHOLE
    return str(int(value)) if is_whole else str(value)


def _is_same(left: str, right: str) -> bool:
    """Whether two texts are one value: 2 and 2.0 are."""
    try:
        return left == right or float(left) == float(right)
    except ValueError:
        return False
