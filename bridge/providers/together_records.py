"""Together's wire objects, as far as they are used, and what their parts mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from bridge.model import JobStatus, Scalar
from bridge.providers.credentials import scalars
from bridge.providers.measurements import Metric, measurements
from bridge.providers.records import Identifier, Number, Record, Step, is_step, read_rows
from bridge.providers.times import Moment

STEP: Final = "train/global_step"
"""Of the rows of evaluations too."""
_TIME: Final = "timestamp"
_AXIS: Final = re.compile(r"(.*[/_])?(step|epoch|timestamp)")
"""Numbers that say where a row lies, not how the training went."""

_PARAMS: Final = (
    *("n_epochs", "batch_size", "learning_rate", "warmup_ratio", "weight_decay", "max_grad_norm"),
    *("n_evals", "n_checkpoints", "eval_steps", "max_seq_length", "packing", "train_on_inputs"),
    *("random_seed", "from_checkpoint", "from_hf_model", "hf_model_revision"),
)
_GROUPS: Final = {"training_method": "method", "training_type": "type", "lr_scheduler": None}
"""Objects within a job that hold params, each with its key for what the object itself names."""
_SCHEDULE: Final = "lr_scheduler_args"
_UNRESOLVED: Final = ("auto", "max", "")
"""What stands for a value that the provider chooses, or for none."""

_NANODOLLARS: Final = 10**9
"""In a dollar."""
_HIGHEST_PRICE: Final = 1e9
"""Dollars. More is no price."""
_ENDS: Final[Mapping[str, JobStatus]] = {
    "job_complete": JobStatus.SUCCEEDED,
    "job_completed": JobStatus.SUCCEEDED,
    "job_error": JobStatus.FAILED,
    "job_user_error": JobStatus.FAILED,
    "job_failed": JobStatus.FAILED,
    "job_stopped": JobStatus.CANCELLED,
    "job_cancelled": JobStatus.CANCELLED,
    "job_canceled": JobStatus.CANCELLED,
}
"""The types of the events that end a job."""
_FAILURES: Final = frozenset(
    {kind for kind, status in _ENDS.items() if status is JobStatus.FAILED} | {"billing_limit"}
)
_SOURCE: Final = re.compile(r"(?P<name>.+?)(:\d+)?", re.DOTALL)
"""A job's id or its model's name, perhaps with a step."""


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
        """When the job ended, if a field says so; Unix milliseconds."""
        return self.finished_at or self.completed_at or self.ended_at


class CheckpointRecord(Record):
    """A saved model, or the adapter beside it: then a step has two rows."""

    wire_name: ClassVar = "checkpoint"

    step: Step
    created_at: Moment = None
    checkpoint_type: str | None = None
    checkpoint: str | None = None
    object_id: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether this is the job's result; the type is a label for people."""
        return "final" in (self.checkpoint_type or "").lower()


class EventRecord(Record):
    """Something that happened to a job."""

    wire_name: ClassVar = "event"

    created_at: Moment = None
    type: str | None = None
    level: str | None = None
    message: str | None = None
    total_steps: int | None = None

    @property
    def kind(self) -> str:
        """The type as the present API writes it: before, it was in capital letters."""
        return (self.type or "").strip().lower().replace("-", "_")

    @property
    def is_error(self) -> bool:
        """Whether it tells of a failure."""
        return self.kind in _FAILURES or (self.level or "").lower().endswith("error")


class MetricsRecord(Record):
    """A row of metrics, parted into its axes and its values."""

    wire_name: ClassVar = "row of metrics"

    step: Step
    timestamp: Moment = None
    metrics: dict[str, Metric]


@dataclass(slots=True)
class Measured:
    """What was measured at one step."""

    at: int | None = None
    """Unix milliseconds."""
    values: dict[str, float] = field(default_factory=dict)


def measured(rows: Iterable[object], method: str, skipped: list[str]) -> dict[int, Measured]:
    """The metrics by step. Training and evaluation are rows of their own; the first has the time.

    A loss may be negative where ``method`` is a preference's. ``skipped`` takes a sentence for each
    value that is left out.
    """
    found: dict[int, Measured] = {}
    records, unreadable = read_rows(MetricsRecord, map(_parted, rows))
    skipped += unreadable
    for record, problems in records:
        finite, broken = measurements(record.metrics, method)
        skipped += [f"step {record.step}: {problem}" for problem in problems]
        skipped += [f"step {record.step}: {name} is not a finite number" for name in broken]
        place = found.setdefault(record.step, Measured(record.timestamp))
        place.values |= finite
    return found


def _parted(row: object) -> object:
    if not isinstance(row, dict):
        return row
    values = {name: value for name, value in row.items() if not _AXIS.fullmatch(name)}
    return {"step": row.get(STEP), "timestamp": row.get(_TIME), "metrics": values}


def params(job: JobRecord) -> dict[str, Scalar]:
    """Hyperparameters under the innermost of their names, once they are resolved."""
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
    """What a job goes on from: another job's id, or the name of its model."""
    match = _SOURCE.fullmatch(record.from_checkpoint or "")
    return match["name"] if match else None


def price(record: JobRecord) -> str | None:
    """What the job costs; nothing is known of it before its data is counted."""
    dollars = (record.total_price or 0) / _NANODOLLARS
    return f"{dollars:.2f} USD" if 0 < dollars < _HIGHEST_PRICE else None


def total_steps(events: Iterable[EventRecord]) -> int | None:
    """How many steps the job has, if one of ``events`` tells."""
    told = (event.total_steps for event in events)
    return max((steps for steps in told if steps and steps > 0 and is_step(steps)), default=None)


def first(events: Iterable[EventRecord], kind: str) -> int | None:
    """When something first happened; Unix milliseconds."""
    times = (event.created_at for event in events if event.kind == kind and event.created_at)
    return min(times, default=None)


def end_of(events: Iterable[EventRecord]) -> tuple[JobStatus, int | None] | None:
    """How a job ended and when, if one of ``events`` says so; Unix milliseconds."""
    ends = [event for event in events if event.kind in _ENDS]
    if not ends:
        return None
    newest = max(ends, key=lambda event: event.created_at or 0)
    return _ENDS[newest.kind], newest.created_at


def failure(events: Iterable[EventRecord]) -> str | None:
    """What the newest error says: the job has no field for it."""
    errors = [event for event in events if event.is_error and event.message]
    # One that ended the job says more than a warning before it.
    return max(errors, key=_weight).message if errors else None


def _weight(event: EventRecord) -> tuple[bool, int]:
    return event.kind in _FAILURES, event.created_at or 0
