"""Fine-tuning jobs as values that all providers share: frozen, no I/O.

Times are Unix milliseconds, as in MLflow. ``None`` means that the provider did not say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Scalar = str | int | float | bool


class JobStatus(StrEnum):
    """The stages of a job's life, in words that all providers share."""

    VALIDATING = "validating"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ENDED = "ended"
    """The job is over, but the provider's word for its outcome is unknown."""
    UNKNOWN = "unknown"
    """The bridge does not know the provider's word: the job counts as running."""

    @property
    def is_final(self) -> bool:
        """Whether the job has ended and will not change again."""
        return self in _FINAL

    @property
    def has_started(self) -> bool:
        """Whether there may be checkpoints and metrics to read."""
        return self not in _WAITING


_FINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.ENDED})
_WAITING = frozenset({JobStatus.VALIDATING, JobStatus.QUEUED})


class Meaning(StrEnum):
    """The meaning of a metric or a param, whatever name a provider or a trainer gives it."""

    TRAIN_LOSS = "training loss of a step"
    VALID_LOSS = "loss over the whole validation set"
    BATCH_VALID_LOSS = "loss over one batch of the validation set"
    TRAIN_ACCURACY = "mean token accuracy of a training step"
    VALID_ACCURACY = "mean token accuracy over the whole validation set"
    BATCH_VALID_ACCURACY = "mean token accuracy over one batch of the validation set"
    REWARD = "mean reward of a training step"
    VALID_REWARD = "mean reward over the whole validation set"
    EPOCHS = "number of passes over the training set"
    STEPS = "number of training steps"
    GRADIENT = "norm of the gradient in a step"
    STEP_RATE = "learning rate of a step"
    BATCH_SIZE = "examples in a step"
    WARMUP = "share of the steps in which the learning rate warms up"
    LEARNING_RATE = "highest learning rate"
    RANK = "rank of the adapter"
    CONTEXT = "maximum number of tokens in an example"
    SEED = "seed of the random numbers"
    METHOD = "training method: supervised, by preferences, by rewards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One hosted fine-tuning job, as its provider describes it."""

    id: str
    status: JobStatus
    provider_status: str
    """The provider's own word for the status."""
    created_at: int | None = None
    started_at: int | None = None
    """Time at which training began."""
    finished_at: int | None = None
    base_model: str | None = None
    fine_tuned_model: str | None = None
    suffix: str | None = None
    """Name that the job's owner chose."""
    trained_tokens: int | None = None
    error: str | None = None
    """Reason of the failure in the provider's words."""
    params: Mapping[str, Scalar] = field(default_factory=dict)
    """Resolved hyperparameters, never ``auto``."""
    total_steps: int | None = None
    epochs: float | None = None
    training_files: tuple[str, ...] = ()
    """The provider's ids of the files."""
    validation_files: tuple[str, ...] = ()
    result_files: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Metadata that the job's owner attached to it."""
    cost: str | None = None
    """Cost with its currency, in the provider's words."""
    page: str | None = None
    """Address of the job's page at the provider."""
    wandb_run: str | None = None
    """Address of the job's run at Weights & Biases."""
    evaluation: str | None = None
    """The provider's names of the job's graders or evaluations."""
    model_shutdown: int | None = None
    """Time at which the provider shuts down the job's model."""
    skipped: tuple[str, ...] = ()
    """Sentences about the parts of the provider's reply that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A saved state of the model, with the metrics measured at its step."""

    step: int
    created_at: int | None
    metrics: Mapping[str, float]
    id: str | None = None
    model: str | None = None
    """Model name for inference, if the provider names its checkpoints."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One value of one metric at one step, under the provider's name and time."""

    name: str
    step: int
    value: float
    created_at: int | None


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of one metric at one step, as MLflow gets it."""

    name: str
    step: int
    value: float
    timestamp: int


@dataclass(frozen=True, slots=True)
class MissingPart:
    """A part of a provider's data that could not be read completely."""

    name: str
    """Name: checkpoints, events, result file ..."""
    reason: str
    """Sentence without its period."""
    is_lasting: bool
    """Whether it is refused or unreadable for good; otherwise the next pass may read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The result of reading one job once."""

    job: Job
    checkpoints: tuple[Checkpoint, ...] = ()
    """By ascending step."""
    curve: tuple[CurvePoint, ...] = ()
    """Points in addition to the checkpoints. If two share name and step, the first is exact."""
    documents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The provider's unchanged replies by file name; empty unless requested."""
    skipped: tuple[str, ...] = ()
    """Sentences about what could not be read, including the job's."""
    missing: tuple[MissingPart, ...] = ()
    """The parts that are missing or incomplete."""
    is_whole: bool = False
    """Whether a job that succeeded without checkpoints will not get any later."""

    @property
    def newest_checkpoint(self) -> Checkpoint | None:
        """The checkpoint with the highest step."""
        return self.checkpoints[-1] if self.checkpoints else None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a provider's job list, in the provider's order."""

    jobs: tuple[Job, ...]
    unreadable: tuple[str, ...] = ()
    """A sentence for each row that is not a job because it has no id."""
    cut: MissingPart | None = None
    """Reason why the list ends here although more follows."""


LoggedSteps = Mapping[str, frozenset[int]]
"""The logged steps, by the provider's name of the metric."""


def numbers(values: Mapping[str, object]) -> tuple[dict[str, float], list[str]]:
    """Flatten ``values`` to its finite numbers; nested names are joined with dots.

    The entries of a list are named by their names, as graders are, or else by their positions.
    Returns the numbers, and the names of those that are NaN or infinite. Text, booleans and nulls
    are not metrics and are passed over.
    """
    finite: dict[str, float] = {}
    broken: list[str] = []
    for name, value in _leaves(values.items()):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            finite[name] = number
        else:
            broken.append(name)
    return finite, broken


def _leaves(
    items: Iterable[tuple[object, object]], prefix: str = ""
) -> Iterator[tuple[str, object]]:
    for key, value in items:
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value.items(), f"{name}.")
        elif isinstance(value, list):
            yield from _leaves(_entries(value), f"{name}.")
        else:
            yield name, value


def _entries(rows: list[object]) -> Iterable[tuple[object, object]]:
    names = [row.get("name") if isinstance(row, Mapping) else None for row in rows]
    named = {name for name in names if isinstance(name, str) and name}
    # Two entries with one name would hide each other.
    return zip(names, rows, strict=True) if len(named) == len(rows) else enumerate(rows)
