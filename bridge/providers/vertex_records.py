"""The used parts of Vertex AI's wire objects, and their meaning.

The JSON comes from protocol buffers: 64-bit integers are text, and an unset field may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from pydantic import Field

from bridge.credential_forms import masked
from bridge.model import Scalar, numbers
from bridge.providers.credentials import is_credential, scalars
from bridge.providers.records import Identifier, Record, Step
from bridge.providers.times import Moment
from bridge.text import one_line

JOBS: Final = "tuningJobs"
_SPECS: Final[Mapping[str, str]] = {
    "supervisedTuningSpec": "supervised",
    "preferenceOptimizationSpec": "preference",
    "reinforcementTuningSpec": "reinforcement",
    "distillationSpec": "distillation",
    "distillationSamplingSpec": "distillation sampling",
    "fullFineTuningSpec": "full fine-tuning",
    "partnerModelTuningSpec": "partner model",
    "veoTuningSpec": "veo",
    "veoLoraTuningSpec": "veo lora",
}
"""Kinds of jobs, by the key that identifies each."""
_CHOSEN: Final = (
    *("tuningMode", "exportLastCheckpointOnly"),
    *("baseTeacherModel", "tunedTeacherModelSource", "studentModel"),
)
"""Params of a spec that are not among its hyperparameters."""
_CODES: Final[Mapping[int, str]] = dict(
    enumerate(
        (
            *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
            *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
            *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
            "UNAUTHENTICATED",
        )
    )
)
"""Canonical error codes of Google's APIs."""
_MOST_LABELS: Final = 16


class Status(Record):
    """The error of a job."""

    code: int = 0
    message: str | None = None


class PreTunedModel(Record):
    """A model of another job, from which this job continues."""

    tuned_model: str | None = Field(None, alias="tunedModelName")
    base_model: str | None = Field(None, alias="baseModel")


class CheckpointRecord(Record):
    """A saved state, perhaps served at an endpoint."""

    wire_name: ClassVar = "checkpoint"

    id: str | None = Field(None, alias="checkpointId")
    step: Step
    endpoint: str | None = None


class TunedModel(Record):
    """The result of a job; the model may be named long before it exists."""

    model: str | None = None
    endpoint: str | None = None
    checkpoints: list[object] | None = None


def evaluations_of(row: Mapping[str, object]) -> str | None:
    """Return the names of the runs that evaluate a job's checkpoints."""
    runs = row.get("evaluateDatasetRuns")
    names = [
        str(each["evaluationRun"])
        for each in (runs if isinstance(runs, list) else ())
        if isinstance(each, Mapping) and isinstance(each.get("evaluationRun"), str)
    ]
    return ", ".join(dict.fromkeys(names)) or None


class JobRecord(Record):
    """A tuning job of any kind."""

    wire_name: ClassVar = "job"

    name: Identifier
    state: str | None = None
    display_name: str | None = Field(None, alias="tunedModelDisplayName")
    created_at: Moment = Field(None, alias="createTime")
    started_at: Moment = Field(None, alias="startTime")
    ended_at: Moment = Field(None, alias="endTime")
    base_model: str | None = Field(None, alias="baseModel")
    pre_tuned: PreTunedModel | None = Field(None, alias="preTunedModel")
    tuned: TunedModel | None = Field(None, alias="tunedModel")
    experiment: str | None = None
    labels: dict[str, str] | None = None
    error: Status | None = None

    @property
    def id(self) -> str:
        """The job's id, the last part of its name."""
        return self.name.rpartition(f"/{JOBS}/")[2]

    @property
    def trained_from(self) -> str | None:
        """Model that training starts from; one that another job made has precedence."""
        made = self.pre_tuned or PreTunedModel()
        return made.tuned_model or self.base_model or made.base_model or None


def error_text(status: Status | None) -> str | None:
    """Return the code and sentence of the error, if there is one."""
    if status is None or not (status.code or status.message):
        return None
    code = _CODES.get(status.code, str(status.code)) if status.code else None
    return ": ".join(part for part in (code, status.message) if part)


def spec_of(row: Mapping[str, object]) -> tuple[str | None, Mapping[str, object]]:
    """Return the kind of a job and its spec; an unknown kind has no name."""
    for key, value in row.items():
        if key.endswith("Spec") and key != "encryptionSpec" and isinstance(value, Mapping):
            return _SPECS.get(key), value
    return None, {}


def params_of(row: Mapping[str, object]) -> dict[str, Scalar]:
    """Return the hyperparameters that are set, for any kind of job."""
    method, spec = spec_of(row)
    wanted = spec.get("hyperParameters")
    chosen = dict(wanted) if isinstance(wanted, Mapping) else {}
    chosen |= {name: spec[name] for name in _CHOSEN if name in spec}
    chosen["customBaseModel"] = row.get("customBaseModel")
    found: dict[str, Scalar] = {
        name: value for name, value in scalars(chosen).items() if value != ""
    }
    return found | ({"method": method} if method else {})


def epochs_of(chosen: Mapping[str, object]) -> float | None:
    """Return the number of epochs, which partners write in different forms."""
    count = chosen.get("epochCount")
    return whole(count) if isinstance(count, str) else numbers({"n": count})[0].get("n")


def dataset_of(row: Mapping[str, object], *names: str) -> tuple[str, ...]:
    """Return the address of the first of some datasets that the job names."""
    _, spec = spec_of(row)
    found = (spec.get(name) for name in names)
    return tuple(uri for uri in found if isinstance(uri, str) and uri)[:1]


def count_of(row: Mapping[str, object], name: str) -> int | None:
    """Return a count from the statistics of a job's data, for any kind of job."""
    stats = row.get("tuningDataStats")
    kinds = list(stats.values()) if isinstance(stats, Mapping) else []
    parts = [kind for kind in kinds if isinstance(kind, Mapping)]
    # Those of a distillation are nested one level deeper.
    parts += [kind["trainingDatasetStats"] for kind in parts if "trainingDatasetStats" in kind]
    found = (whole(part.get(name)) for part in parts if isinstance(part, Mapping))
    return next((number for number in found if number is not None), None)


def whole(value: object) -> int | None:
    """Return a positive integer, which may be written as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < 2**63 else None


def labels_of(record: JobRecord) -> dict[str, str]:
    """Return the labels that its owner gave a job."""
    labels = sorted(
        (name, text)
        for name, text in (record.labels or {}).items()
        if not is_credential(name, text)
    )
    return {one_line(name, 64): one_line(masked(text), 512) for name, text in labels[:_MOST_LABELS]}
