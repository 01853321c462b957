"""The used parts of Fireworks' wire objects, and their meaning.

The JSON comes from protocol buffers: an unset field may be absent, null, or its type's zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from pydantic import Field

from bridge.model import JobStatus, Scalar, numbers
from bridge.providers.credentials import scalars
from bridge.providers.records import Identifier, Record
from bridge.providers.statuses import Words
from bridge.providers.times import Moment
from bridge.text import one_line

HYPERPARAMETERS: Final = (
    "epochs",
    "learningRate",
    "learningRateWarmupSteps",
    "loraRank",
    "batchSize",
    "batchSizeSamples",
    "gradientAccumulationSteps",
    "maxContextLength",
    "optimizerWeightDecay",
    "earlyStop",
)
"""Keys of supervised jobs, and of ``trainingConfig`` in other jobs."""
STATUSES: Final = Words(
    {
        "JOB_STATE_UNSPECIFIED": JobStatus.UNKNOWN,
        "JOB_STATE_CREATING": JobStatus.QUEUED,
        "JOB_STATE_PENDING": JobStatus.QUEUED,
        "JOB_STATE_RE_QUEUEING": JobStatus.QUEUED,
        "JOB_STATE_CREATING_INPUT_DATASET": JobStatus.VALIDATING,
        "JOB_STATE_VALIDATING": JobStatus.VALIDATING,
        "JOB_STATE_RUNNING": JobStatus.RUNNING,
        # A round of reinforcement passes through these states.
        "JOB_STATE_ROLLOUT": JobStatus.RUNNING,
        "JOB_STATE_EVALUATION": JobStatus.RUNNING,
        "JOB_STATE_POLICY_UPDATE": JobStatus.RUNNING,
        "JOB_STATE_WRITING_RESULTS": JobStatus.RUNNING,
        "JOB_STATE_CANCELLING": JobStatus.RUNNING,
        "JOB_STATE_IDLE": JobStatus.PAUSED,
        "JOB_STATE_PAUSED": JobStatus.PAUSED,
        "JOB_STATE_COMPLETED": JobStatus.SUCCEEDED,
        # There is a model: training stopped when it no longer helped.
        "JOB_STATE_EARLY_STOPPED": JobStatus.SUCCEEDED,
        "JOB_STATE_FAILED": JobStatus.FAILED,
        "JOB_STATE_FAILED_CLEANING_UP": JobStatus.FAILED,
        "JOB_STATE_EXPIRED": JobStatus.FAILED,
        "JOB_STATE_CANCELLED": JobStatus.CANCELLED,
        # Its earlier end is no longer known.
        "JOB_STATE_DELETING": JobStatus.CANCELLED,
        "JOB_STATE_DELETING_CLEANING_UP": JobStatus.CANCELLED,
        "JOB_STATE_DELETED": JobStatus.CANCELLED,
        "JOB_STATE_ARCHIVED": JobStatus.CANCELLED,
    }
)
_FINE: Final = "OK"
"""Status code of a job without errors."""
_UNSPECIFIED: Final = "METHOD_UNSPECIFIED"
_HIGHEST_COST: Final = 1e9
"""Highest credible price."""
_NANO: Final = 1e-9


class Status(Record):
    """The state of a job: a code and a sentence."""

    code: str | None = None
    message: str | None = None


class Cost(Record):
    """An amount of money: whole units as text, and billionths."""

    currency: str | None = Field(None, alias="currencyCode")
    units: str | None = None
    nanos: int | None = None


class Config(Record):
    """The model that a job starts from, and the model that it makes."""

    base_model: str | None = Field(None, alias="baseModel")
    warm_start_from: str | None = Field(None, alias="warmStartFrom")
    output_model: str | None = Field(None, alias="outputModel")


class JobRecord(Config):
    """A job of any of the three kinds."""

    wire_name: ClassVar = "job"

    name: Identifier
    state: str | None = None
    status: Status | None = None
    display_name: str | None = Field(None, alias="displayName")
    created_at: Moment = Field(None, alias="createTime")
    completed_at: Moment = Field(None, alias="completedTime")
    complete_time: Moment = Field(None, alias="completeTime")
    end_time: Moment = Field(None, alias="endTime")
    finish_time: Moment = Field(None, alias="finishTime")
    updated_at: Moment = Field(None, alias="updateTime")
    dataset: str | None = None
    evaluation_dataset: str | None = Field(None, alias="evaluationDataset")
    cost: Cost | None = Field(None, alias="estimatedCost")
    training: Config | None = Field(None, alias="trainingConfig")
    metrics_file: str | None = Field(None, alias="metricsFileSignedUrl")

    @property
    def ended_when(self) -> int | None:
        """End of the job, under any of the names that protocol buffers have for it."""
        return self.completed_at or self.complete_time or self.end_time or self.finish_time

    @property
    def trained_from(self) -> str | None:
        """Model that training starts from; one that another job made has precedence."""
        configs = self._configs
        made = (config.warm_start_from for config in configs)
        bought = (config.base_model for config in configs)
        return next(filter(None, made), None) or next(filter(None, bought), None)

    @property
    def trained_into(self) -> str | None:
        """Name of the resulting model, known from the job's beginning."""
        return next(filter(None, (config.output_model for config in self._configs)), None)

    @property
    def _configs(self) -> tuple[Config, ...]:
        return (self, self.training) if self.training else (self,)


def error_text(status: Status | None) -> str | None:
    """Return the code and sentence of the error, if there is one."""
    if status is None or status.code in {_FINE, "", None}:
        return None
    return ": ".join(part for part in (status.code, status.message) if part)


def params(row: Mapping[str, object]) -> dict[str, Scalar]:
    """Return the hyperparameters that are set; a zero leaves the choice to Fireworks."""
    training = row.get("trainingConfig")
    places = (row, training) if isinstance(training, Mapping) else (row,)
    chosen = {name: place[name] for place in places for name in HYPERPARAMETERS if name in place}
    loss = row.get("lossConfig")
    if isinstance(loss, Mapping):
        chosen |= {f"lossConfig.{name}": value for name, value in loss.items()}
    return {
        name: value for name, value in scalars(chosen).items() if value and value != _UNSPECIFIED
    }


def cost_text(cost: Cost | None) -> str | None:
    """Return the price with its currency."""
    if cost is None or (cost.units is None and cost.nanos is None):
        return None
    try:
        amount = int(cost.units or 0) + (cost.nanos or 0) * _NANO
    except (ValueError, OverflowError):
        return None
    if not 0 < amount < _HIGHEST_COST:
        return None
    return one_line(f"{amount:.2f} {cost.currency or ''} (estimated)", 60)


def epochs_of(chosen: Mapping[str, object]) -> float | None:
    """Return the number of epochs."""
    return numbers(chosen)[0].get("epochs")
