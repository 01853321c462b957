"""The used parts of OpenAI's wire objects, and their meaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator

from bridge.credential_forms import masked
from bridge.model import CurvePoint, Scalar, numbers
from bridge.providers.credentials import is_credential, scalars
from bridge.providers.measurements import Metric, measurements
from bridge.providers.records import Identifier, Record, Step, is_step
from bridge.providers.times import Moment
from bridge.text import clean, one_line

_UNRESOLVED: Final = ("auto", -1, None)
"""Values of a hyperparameter that the provider has not chosen yet."""
_AXES: Final = frozenset({"step", "total_steps"})
"""Numbers that locate a point rather than measure the training."""
_STARTED: Final = frozenset({"Fine-tuning job started", "Job started."})
"""Messages of OpenAI's and Azure's events at the beginning of training."""
_MOST_METADATA: Final = 16
_LONGEST_KEY: Final = 64
_LONGEST_VALUE: Final = 512


class JobError(Record):
    """The error of a job; null, or an object full of nulls, for a healthy job."""

    code: str | None = None
    message: str | None = None


def _file_ids(files: object) -> object:
    """Return the ids of files; some servers send file objects, or one file instead of a list."""
    rows = files if isinstance(files, list) else [files]
    ids = [row.get("id") or row.get("file_id") if isinstance(row, Mapping) else row for row in rows]
    return tuple(each for each in ids if each not in {None, ""}) if _are_text(ids) else files


def _are_text(ids: list[object]) -> bool:
    return all(each is None or isinstance(each, str) for each in ids)


Files = Annotated[tuple[str, ...], BeforeValidator(_file_ids)]
"""The ids of files."""


class JobRecord(Record):
    """``fine_tuning.job``; only the id is always present."""

    wire_name: ClassVar = "job"

    id: Identifier
    status: str | None = None
    model: str | None = None
    created_at: Moment = None
    started_at: Moment = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    training_file: Files = ()
    validation_file: Files = ()
    result_files: Files = ()
    user_provided_suffix: str | None = None
    suffix: str | None = None
    total_steps: object = None
    seed: int | None = None
    error: JobError | None = None
    hyperparameters: dict[str, object] | None = None
    request_parameters: dict[str, object] | None = None
    """The name of the hyperparameters on other servers."""
    method: dict[str, object] | None = None
    metadata: dict[str, object] | None = None
    integrations: object = None
    eval_id: str | None = None

    @property
    def method_name(self) -> str | None:
        """The provider's word for the training method."""
        kind = (self.method or {}).get("type")
        return kind if isinstance(kind, str) else None


class CheckpointRecord(Record):
    """``fine_tuning.job.checkpoint``."""

    wire_name: ClassVar = "checkpoint"

    id: str | None = None
    created_at: Moment = None
    step_number: Step
    fine_tuned_model_checkpoint: str | None = None
    metrics: dict[str, Metric] | None = None


class EventRecord(Record):
    """``fine_tuning.job.event``: a message, or the metrics of one step."""

    wire_name: ClassVar = "event"

    created_at: Moment = None
    type: str | None = None
    message: str | None = None
    data: dict[str, object] | None = None


def error_text(error: JobError | None) -> str | None:
    """Return the code and message of the failure, if there was one."""
    said = [part for part in (error.code, error.message) if part] if error else []
    return ": ".join(said) or None


def params(record: JobRecord) -> dict[str, Scalar]:
    """Return the resolved hyperparameters, without ``auto`` and -1."""
    kind = record.method_name
    details = (record.method or {}).get(kind) if kind else None
    chosen: dict[str, object] = dict(record.hyperparameters or record.request_parameters or {})
    if isinstance(details, Mapping) and isinstance(details.get("hyperparameters"), Mapping):
        chosen |= {
            name: value
            for name, value in details["hyperparameters"].items()
            if name not in chosen or value not in _UNRESOLVED
        }
    chosen |= {"seed": record.seed, "method": kind}
    return {name: value for name, value in scalars(chosen).items() if value not in _UNRESOLVED}


def metadata(record: JobRecord) -> dict[str, str]:
    """Return the metadata of the job's owner, within the limits that OpenAI documents."""
    noted = {
        one_line(name, _LONGEST_KEY): clean(masked(value), _LONGEST_VALUE)
        for name, value in (record.metadata or {}).items()
        if isinstance(value, str) and not is_credential(name, value)
    }
    return dict(list(noted.items())[:_MOST_METADATA])


def started_at(events: Iterable[EventRecord]) -> int | None:
    """Return the beginning of training in Unix milliseconds, if one of ``events`` contains it."""
    given = (event.created_at for event in events if event.message in _STARTED)
    return min((moment for moment in given if moment is not None), default=None)


def last_moment(events: Iterable[EventRecord]) -> int | None:
    """Return the time of the last of ``events`` in Unix milliseconds."""
    return max((event.created_at for event in events if event.created_at), default=None)


def total_steps(events: Iterable[EventRecord]) -> int | None:
    """Return the job's number of steps, if one of ``events`` contains it."""
    given = (whole((event.data or {}).get("total_steps")) for event in events)
    return max((steps for steps in given if steps is not None), default=None)


def whole(number: object) -> int | None:
    """Return ``number`` as a number of steps, if it is valid."""
    count = numbers({"steps": number})[0].get("steps", 0.0)
    return int(count) if count > 0 and count.is_integer() and is_step(int(count)) else None


def event_points(
    record: EventRecord, method: str | None, skipped: list[str]
) -> Iterator[CurvePoint]:
    """Yield the points of a metric event; ``skipped`` receives sentences about invalid values."""
    data = record.data or {}
    step = data.get("step")
    if record.type not in {"metrics", None} or step is None:
        return
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if isinstance(step, bool) or not isinstance(step, int) or not is_step(step):
        skipped.append(f"event at step {one_line(str(step), 40)}: the step cannot be stored")
        return
    measured = {name: value for name, value in data.items() if name not in _AXES}
    values, broken = measurements(measured, method)
    skipped += [f"event at step {step}: {name} is not a finite number" for name in broken]
    for name, value in values.items():
        yield CurvePoint(name, step, value, record.created_at)
