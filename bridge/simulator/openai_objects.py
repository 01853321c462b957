"""Jobs, checkpoints, events and files as OpenAI writes them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from bridge.model import JobStatus
from bridge.simulator.curves import StepMetrics, metrics_at
from bridge.simulator.datasets import Role, examples, roles
from bridge.simulator.jobs import SimulatedJob, has_started, life_until, status, steps_done
from bridge.simulator.messages import JsonObject
from bridge.simulator.seeded import alnum

FileRole = Role | Literal["result"]

_ID_LENGTH = 24
_HASH_LENGTH = 8
_KEPT_EPOCHS = 3
_AUTO_LEARNING_RATE = 2.0
_TOKENS_PER_EXAMPLE = 180
_STATUS = {JobStatus.VALIDATING: "validating_files"}
"""OpenAI's words that differ from the simulator's."""


_BEFORE_EVENT = 2.0
"""Seconds by which a checkpoint is dated before the event of its step, in recordings up to 15."""


def job_object(job: SimulatedJob, now: float) -> JsonObject:
    """Return the job as GET and list show it."""
    current = status(job, now)
    done = current is JobStatus.SUCCEEDED
    failure = job.failure if current is JobStatus.FAILED else None
    hyperparameters = _hyperparameters(job, now)
    document: dict[str, object] = {
        "object": "fine_tuning.job",
        "id": job.id,
        "model": job.base_model,
        "created_at": int(job.created_at),
        # Remains null for a job that failed or was cancelled, as in recordings.
        "finished_at": int(job.settled_at) if done else None,
        "fine_tuned_model": model_name(job, job.total_steps) if done else None,
        "organization_id": "org-simulated",
        "result_files": [_file_id(job, "result")] if done else [],
        "status": _STATUS.get(current, current.value),
        "validation_file": _file_id(job, "validation") if job.validation else None,
        "training_file": _file_id(job, "training"),
        "hyperparameters": None if job.method == "dpo" else hyperparameters,
        "trained_tokens": _trained_tokens(job) if done else None,
        # Jobs without errors also have the object, full of nulls.
        "error": {
            "code": failure and failure.code,
            "message": failure and failure.message,
            "param": failure and failure.param,
        },
        "user_provided_suffix": job.suffix,
        "seed": job.seed,
        "estimated_finish": None,
        "integrations": [],
    }
    if not job.plain_result_file:  # Old jobs lack the newer keys.
        beta = {"beta": 0.1} if job.method == "dpo" else {}
        document["metadata"] = dict(job.metadata) if job.metadata else None
        document["usage_metrics"] = None
        document["shared_with_openai"] = False
        document["method"] = {
            "type": job.method,
            job.method: {"hyperparameters": {**hyperparameters, **beta}},
        }
    return document


def _hyperparameters(job: SimulatedJob, now: float) -> dict[str, object]:
    if not has_started(job, now):
        return dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")
    return {
        "n_epochs": job.n_epochs,
        "batch_size": job.batch_size,
        "learning_rate_multiplier": job.learning_rate or _AUTO_LEARNING_RATE,
    }


def checkpoint_objects(job: SimulatedJob, now: float) -> list[JsonObject]:
    """Return the checkpoints, newest first: none while the job runs, then all in one batch."""
    if status(job, now) is not JobStatus.SUCCEEDED or now < job.settled_at + job.late_seconds:
        return []
    return [_checkpoint(job, step) for step in reversed(_kept_steps(job))]


def _kept_steps(job: SimulatedJob) -> tuple[int, ...]:
    return job.epoch_ends[-_KEPT_EPOCHS:]


def _checkpoint(job: SimulatedJob, step: int) -> JsonObject:
    metrics = metrics_at(job, step)
    values: dict[str, object] = {
        "step": step,
        "train_loss": metrics.train.loss,
        "train_mean_token_accuracy": metrics.train.accuracy,
    }
    if metrics.valid:  # The keys are absent without validation, and full_valid_* are always absent.
        values["valid_loss"] = metrics.valid.loss
        values["valid_mean_token_accuracy"] = metrics.valid.accuracy
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt_{alnum(_ID_LENGTH, job.id, 'checkpoint', step)}",
        "created_at": int(max(job.started_at, job.step_at(step) - _BEFORE_EVENT)),
        "fine_tuned_model_checkpoint": model_name(job, step),
        "fine_tuning_job_id": job.id,
        "metrics": values,
        "step_number": step,
    }


def model_objects(jobs: Iterable[SimulatedJob], now: float) -> list[JsonObject]:
    """Return the base models and results of jobs, with the date of an announced end."""
    return [
        {
            "object": "model",
            "id": name,
            "created": int(job.created_at),
            "owned_by": "simulated",
            "shutdown_date": _day(job.shutdown_at),
        }
        for job in jobs
        for name in (job.original_model, *made_models(job, now, model_name))
    ]


def made_models(
    job: SimulatedJob, now: float, name: Callable[[SimulatedJob, int], str]
) -> tuple[str, ...]:
    """Return the job's result, if it exists."""
    is_done = status(job, now) is JobStatus.SUCCEEDED
    return (name(job, job.total_steps),) if is_done else ()


def _day(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()


def model_name(job: SimulatedJob, step: int) -> str:
    """Return the model saved at ``step``, with a hash, and with the step unless it is the last."""
    digest = alnum(_HASH_LENGTH, job.id, "model", step)
    name = f"ft:{job.original_model}:simulated:{job.suffix or ''}:{digest}"
    return name if step == job.total_steps else f"{name}:ckpt-step-{step}"


_NO_DATA: JsonObject = {}


class _Told(NamedTuple):
    at: float
    message: str
    data: JsonObject | None = _NO_DATA
    level: str = "info"
    type: str = "message"


def event_objects(job: SimulatedJob, now: float) -> list[JsonObject]:
    """Return the events, newest first; metrics appear as soon as their step is done."""
    given = [event for event in _tell(job, now) if event.at <= now]
    return [
        {
            "object": "fine_tuning.job.event",
            # An event keeps its position, and therefore its id.
            "id": f"ftevent-{alnum(_ID_LENGTH, job.id, 'event', place)}",
            "created_at": int(event.at),
            "level": event.level,
            "message": event.message,
            "data": event.data,
            "type": event.type,
        }
        for place, event in reversed(list(enumerate(given)))
    ]


def _tell(job: SimulatedJob, now: float) -> Iterator[_Told]:
    """Yield all events of the statuses up to ``now``, oldest first."""
    for at, new_status in life_until(job, now):
        match new_status:
            case JobStatus.VALIDATING:
                yield _Told(at, f"Created fine-tuning job: {job.id}")
                files = f"training file: {_file_id(job, 'training')}"
                if job.validation:
                    files += f" and validation file: {_file_id(job, 'validation')}"
                yield _Told(at, f"Validating {files}")
            case JobStatus.QUEUED:
                yield _Told(at, "Files validated, moving job to queued state")
            case JobStatus.RUNNING:
                yield _Told(at, "Fine-tuning job started", data=None)
                for step in range(1, steps_done(job, now) + 1):
                    yield _step_event(job, metrics_at(job, step))
            case JobStatus.SUCCEEDED:
                yield from _closing_events(job)
            case JobStatus.FAILED:
                yield _Told(at, job.failure.message, level="error")
            case _:  # No recording has OpenAI's messages for these.
                yield _Told(at, f"The job was {new_status.value}")


def _closing_events(job: SimulatedJob) -> Iterator[_Told]:
    at = job.settled_at + job.late_seconds
    for step in _kept_steps(job)[:-1]:
        name = model_name(job, step)
        yield _Told(at, f"Checkpoint created at step {step} with Snapshot ID: {name}")
    yield _Told(at, f"New fine-tuned model created: {model_name(job, job.total_steps)}")
    yield _Told(at, "The job has successfully completed")


def _step_event(job: SimulatedJob, metrics: StepMetrics) -> _Told:
    message = f"Step {metrics.step}/{job.total_steps}: training loss={metrics.train.loss:.2f}"
    data: dict[str, object] = {
        "step": metrics.step,
        "train_loss": metrics.train.loss,
        "total_steps": job.total_steps,
        "train_mean_token_accuracy": metrics.train.accuracy,
    }
    if metrics.valid:
        message += f", validation loss={metrics.valid.loss:.2f}"
        data["valid_loss"] = metrics.valid.loss
        data["valid_mean_token_accuracy"] = metrics.valid.accuracy
    if metrics.full_valid:
        message += f", full validation loss={metrics.full_valid.loss:.2f}"
        data["full_valid_loss"] = metrics.full_valid.loss
        data["full_valid_mean_token_accuracy"] = metrics.full_valid.accuracy
    return _Told(job.step_at(metrics.step), message, data, type="metrics")


def file_ids(job: SimulatedJob, now: float) -> Mapping[str, FileRole]:
    """Return the files that exist at ``now`` by their role in the job."""
    there: list[FileRole] = [*roles(job)]
    if status(job, now) is JobStatus.SUCCEEDED:
        there.append("result")
    return {_file_id(job, role): role for role in there}


def file_object(job: SimulatedJob, role: FileRole) -> JsonObject:
    """Return the description of a file."""
    is_result = role == "result"
    return {
        "object": "file",
        "id": _file_id(job, role),
        "purpose": "fine-tune-results" if is_result else "fine-tune",
        "filename": "step_metrics.csv" if is_result else f"{role}.jsonl",
        "bytes": len(file_content(job, role)),
        "created_at": int(job.settled_at if is_result else job.created_at),
        "status": "processed",
        "status_details": None,
    }


def file_content(job: SimulatedJob, role: FileRole) -> bytes:
    """Return a file's content."""
    return _result_file(job) if role == "result" else examples(job, role)


def _result_file(job: SimulatedJob) -> bytes:
    """Return one row per step, rounded to five decimals."""
    rows = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    for step in range(1, job.last_step + 1):
        metrics = metrics_at(job, step)
        row = [str(step)]
        for score in (metrics.train, metrics.valid):
            row += [str(round(score.loss, 5)), str(round(score.accuracy, 5))] if score else ["", ""]
        rows.append(",".join(row))
    text = "".join(f"{row}\n" for row in rows).encode()
    return text if job.plain_result_file else base64.b64encode(text)


def _file_id(job: SimulatedJob, role: FileRole) -> str:
    return f"file-{alnum(_ID_LENGTH, job.id, role)}"


def _trained_tokens(job: SimulatedJob) -> int:
    return job.total_steps * job.batch_size * _TOKENS_PER_EXAMPLE
