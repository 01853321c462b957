"""The used parts of Bedrock's wire objects, and their meaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from pydantic import Field

from bridge.model import JobStatus, Scalar, numbers
from bridge.providers.credentials import scalars
from bridge.providers.records import Identifier, Record
from bridge.providers.statuses import Words
from bridge.providers.statuses import status_of as status_of_word
from bridge.providers.times import Moment

_NOT_STARTED: Final = "NotStarted"
STATUSES: Final = Words(
    {
        # The status of a stage, because the job's own status is InProgress until its end.
        _NOT_STARTED: JobStatus.QUEUED,
        "InProgress": JobStatus.RUNNING,
        "Stopping": JobStatus.RUNNING,
        "Completed": JobStatus.SUCCEEDED,
        "Failed": JobStatus.FAILED,
        "Stopped": JobStatus.CANCELLED,
    }
)


class Stage(Record):
    """A stage of a job: validation, data processing, training."""

    status: str | None = None
    creation_time: Moment = Field(None, alias="creationTime")
    last_modified_time: Moment = Field(None, alias="lastModifiedTime")


class Stages(Record):
    """The stages of a job."""

    validation: Stage | None = Field(None, alias="validationDetails")
    training: Stage | None = Field(None, alias="trainingDetails")


class Place(Record):
    """A location in S3."""

    uri: str | None = Field(None, alias="s3Uri")


class Validators(Record):
    """The validation files."""

    validators: list[Place] | None = None


class JobRecord(Record):
    """A job, as a row of the list or in its own reply; only the ARN is always present."""

    wire_name: ClassVar = "job"

    arn: Identifier = Field(alias="jobArn")
    status: str | None = None
    stages: Stages | None = Field(None, alias="statusDetails")
    name: str | None = Field(None, alias="jobName")
    base_model: str | None = Field(None, alias="baseModelArn")
    listed_model: str | None = Field(None, alias="customModelArn")
    output_model: str | None = Field(None, alias="outputModelArn")
    created_at: Moment = Field(None, alias="creationTime")
    changed_at: Moment = Field(None, alias="lastModifiedTime")
    ended_at: Moment = Field(None, alias="endTime")
    failure: str | None = Field(None, alias="failureMessage")
    kind: str | None = Field(None, alias="customizationType")
    hyperparameters: dict[str, object] | None = Field(None, alias="hyperParameters")
    customization: dict[str, object] | None = Field(None, alias="customizationConfig")
    training_data: Place | None = Field(None, alias="trainingDataConfig")
    validation_data: Validators | None = Field(None, alias="validationDataConfig")
    output: Place | None = Field(None, alias="outputDataConfig")
    training_metrics: dict[str, object] | None = Field(None, alias="trainingMetrics")
    validation_metrics: list[dict[str, object]] | None = Field(None, alias="validationMetrics")


def job_id_of(arn: str) -> str:
    """Return the last part of an ARN, which is unique among the jobs of an account in a region."""
    return arn.rpartition("/")[2]


def status_of(record: JobRecord, words: Mapping[str, JobStatus]) -> JobStatus:
    """Return the status; a waiting job is one in progress whose training has not started."""
    status = status_of_word(
        record.status,
        words,
        has_ended=record.ended_at is not None,
        has_failed=bool(record.failure),
        has_model=bool(record.output_model or record.listed_model),
    )
    stages = record.stages or Stages()
    if status is not JobStatus.RUNNING or stages.training is None:
        return status
    if stages.training.status != _NOT_STARTED:
        return status
    is_validated = stages.validation is None or stages.validation.status != "InProgress"
    return JobStatus.QUEUED if is_validated else JobStatus.VALIDATING


def started_at(record: JobRecord) -> int | None:
    """Return the beginning of training in Unix milliseconds, if it has begun."""
    training = record.stages.training if record.stages else None
    has_begun = training is not None and training.status not in {None, _NOT_STARTED}
    return training.creation_time if training and has_begun else None


def trained_until(record: JobRecord, changed_at: int | None) -> int | None:
    """Return the end of training, or its last known time, in Unix milliseconds.

    Args:
        record: the job.
        changed_at: time of the last change of its files.
    """
    training = record.stages.training if record.stages else None
    is_over = STATUSES.get(record.status or "", JobStatus.UNKNOWN).is_final
    stage = training.last_modified_time if training else None
    given = (stage, record.ended_at) if is_over else (changed_at, stage)
    known = [moment for moment in (*given, record.changed_at) if moment is not None]
    return next((moment for moment in known if moment > (started_at(record) or 0)), None)


def model_of(arn: str | None) -> str | None:
    """Return a foundation model's id, by which it is called, or another model's ARN."""
    if not arn:
        return None
    _, found, name = arn.partition(":foundation-model/")
    return name if found else arn


def params(record: JobRecord) -> dict[str, Scalar]:
    """Return the hyperparameters, including those of the customization's own object."""
    chosen: dict[str, object] = dict(_leaves(record.customization or {}))
    chosen |= record.hyperparameters or {}
    return scalars(chosen) | ({"method": record.kind} if record.kind else {})


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif isinstance(value, str | int | float):
            yield name, value


def epochs(chosen: Mapping[str, Scalar]) -> float | None:
    """Return the number of epochs, which is text like all hyperparameters."""
    given = chosen.get("epochCount")
    try:
        value = float(given) if isinstance(given, str | int | float) else None
    except (ValueError, OverflowError):
        return None
    return numbers({"epochs": value})[0].get("epochs")


def uris(places: Iterable[Place | None]) -> tuple[str, ...]:
    """Return the addresses of the datasets."""
    return tuple(place.uri for place in places if place and place.uri)


def final_losses(record: JobRecord) -> dict[str, float]:
    """Return the final losses of a job, one for each validation file."""
    losses, _ = numbers(record.training_metrics or {})
    validated = record.validation_metrics or []
    for number, metrics in enumerate(validated):
        suffix = f".{number}" if len(validated) > 1 else ""
        found, _ = numbers(metrics)
        losses |= {f"{name}{suffix}": value for name, value in found.items()}
    return losses
