"""The used parts of Together's wire objects, and their meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final

from bridge.model import Scalar
from bridge.providers.credentials import scalars
from bridge.providers.records import Identifier, Number, Record, Step
from bridge.providers.times import Moment

_PARAMS: Final = (
    *("n_epochs", "batch_size", "learning_rate", "warmup_ratio", "weight_decay", "max_grad_norm"),
    *("n_evals", "n_checkpoints", "eval_steps", "max_seq_length", "packing", "train_on_inputs"),
    *("random_seed", "from_checkpoint", "from_hf_model", "hf_model_revision"),
)
_GROUPS: Final = {"training_method": "method", "training_type": "type", "lr_scheduler": None}
"""Objects of a job that contain params, each with the name of the param for its type."""
_SCHEDULE: Final = "lr_scheduler_args"
_UNRESOLVED: Final = ("auto", "max", "")
"""Words for a value that the provider chooses, or for no value."""

_NANODOLLARS: Final = 10**9
"""Units of Together's prices in a dollar."""
_HIGHEST_PRICE: Final = 1e9
"""Highest credible price in dollars."""
_SOURCE: Final = re.compile(r"(?P<name>.+?)(:\d+)?", re.DOTALL)
"""A job's id or its model's name, possibly with a step."""


class JobRecord(Record):
    """A job; in lists with fewer keys than in its own reply."""

    wire_name: ClassVar = "job"

    id: Identifier
    status: str | None = None
    model: str | None = None
    model_output_name: str | None = None
    from_checkpoint: str | None = None
    created_at: Moment = None
    updated_at: Moment = None
    finished_at: Moment = None
    completed_at: Moment = None
    ended_at: Moment = None
    suffix: str | None = None
    training_file: str | None = None
    validation_file: str | None = None
    token_count: int | None = None
    total_price: Number | None = None
    n_epochs: int | None = None
    wandb_url: object = None
    batch_size: object = None
    learning_rate: object = None
    warmup_ratio: object = None
    weight_decay: object = None
    max_grad_norm: object = None
    n_evals: object = None
    n_checkpoints: object = None
    eval_steps: object = None
    max_seq_length: object = None
    packing: object = None
    train_on_inputs: object = None
    random_seed: object = None
    from_hf_model: object = None
    hf_model_revision: object = None
    training_method: dict[str, object] | None = None
    training_type: dict[str, object] | None = None
    lr_scheduler: dict[str, object] | None = None

    @property
    def ended_when(self) -> int | None:
        """End of the job in Unix milliseconds, if a field contains it."""
        return self.finished_at or self.completed_at or self.ended_at


class CheckpointRecord(Record):
    """A saved model or its adapter; a step may have a row for each."""

    wire_name: ClassVar = "checkpoint"

    step: Step
    created_at: Moment = None
    checkpoint_type: str | None = None
    checkpoint: str | None = None
    object_id: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether this is the job's result, judged by the type, which is a label for people."""
        return "final" in (self.checkpoint_type or "").lower()


def params(job: JobRecord) -> dict[str, Scalar]:
    """Return the resolved hyperparameters under the innermost of their names."""
    chosen: dict[str, object] = {name: getattr(job, name) for name in _PARAMS}
    for name, kind in _GROUPS.items():
        group = _object(getattr(job, name))
        own = {name: group.get(kind)} if kind else {}
        chosen |= {key: value for key, value in group.items() if key != kind} | own
    chosen |= _object(chosen.get(_SCHEDULE))
    return {name: value for name, value in scalars(chosen).items() if value not in _UNRESOLVED}


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def source(record: JobRecord) -> str | None:
    """Return the job id or model name from which a job continues."""
    match = _SOURCE.fullmatch(record.from_checkpoint or "")
    return match["name"] if match else None


def price(record: JobRecord) -> str | None:
    """Return the cost of the job, which is unknown until its data is counted."""
    dollars = (record.total_price or 0) / _NANODOLLARS
    return f"{dollars:.2f} USD" if 0 < dollars < _HIGHEST_PRICE else None
