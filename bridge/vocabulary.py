"""Metric names: the provider's own, or those that local trainers use; and what MLflow allows.

Charts in MLflow lie on one another only where the names are the same.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bridge.model import Meaning

LONGEST_NAME: Final = 250
"""Characters of a name that MLflow keeps."""
_ALLOWED_NAME: Final = re.compile(r"[\w.\- /:]+")

PRESETS: Final[Mapping[str, Mapping[Meaning, str]]] = {
    "provider": {},
    # transformers.Trainer, and TRL, Axolotl, Unsloth, LLaMA-Factory on top of it. The loss of a
    # step is `loss`: their `train_loss` is one average, logged when training has ended.
    "huggingface": {
        Meaning.TRAIN_LOSS: "loss",
        Meaning.VALID_LOSS: "eval_loss",
        Meaning.BATCH_VALID_LOSS: "eval_batch_loss",
        Meaning.TRAIN_ACCURACY: "mean_token_accuracy",
        Meaning.VALID_ACCURACY: "eval_mean_token_accuracy",
        Meaning.BATCH_VALID_ACCURACY: "eval_batch_mean_token_accuracy",
    },
    "lightning": {
        Meaning.TRAIN_LOSS: "train_loss",
        Meaning.VALID_LOSS: "val_loss",
        Meaning.BATCH_VALID_LOSS: "val_batch_loss",
    },
    "torchtune": {
        Meaning.TRAIN_LOSS: "loss",
        Meaning.VALID_LOSS: "val_loss",
        Meaning.BATCH_VALID_LOSS: "val_batch_loss",
    },
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """From a provider's metric names to MLflow's."""

    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, wanted: str | Mapping[str, str], meanings: Mapping[str, Meaning]) -> Vocabulary:
        """The names of a preset, or of a mapping from a provider's names, for one provider."""
        if not isinstance(wanted, str):
            return cls(dict(wanted))
        preset = PRESETS[wanted]
        return cls({name: preset[what] for name, what in meanings.items() if what in preset})

    def metric(self, name: str) -> str:
        """What MLflow calls the provider's metric ``name``."""
        return self.names.get(name, name)


def is_allowed_name(name: str) -> bool:
    """Whether MLflow accepts ``name`` for a metric or a param."""
    return (
        len(name) <= LONGEST_NAME
        and _ALLOWED_NAME.fullmatch(name) is not None
        and posixpath.normpath(name) == name
        and not name.startswith(("/", ".."))
        and name != "."
    )
