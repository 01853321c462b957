"""Together's objects: jobs, events and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from bridge.model import JobStatus
from bridge.simulator.datasets import Role, examples
from bridge.simulator.jobs import Outcome, SimulatedJob, life, status, steps_done
from bridge.simulator.messages import JsonObject
from bridge.simulator.seeded import alnum, uuid4

_ACCOUNT = "simulated"
LEARNING_RATE = 1e-5
"""Default learning rate."""
WARMUP = 0.05
"""Share of the steps in which the learning rate rises."""
MIN_RATIO = 0.1
"""Ratio of the last learning rate to the highest."""
_LORA_RANK = 64
_MAX_SEQ_LENGTH = 8192
_NANODOLLARS_PER_TOKEN = 480
_WORDS = {
    JobStatus.VALIDATING: "pending",
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "error",
    JobStatus.CANCELLED: "cancelled",
}


def model_name(job: SimulatedJob) -> str:
    """Return the name of the model that a job makes, known from the beginning."""
    parts = (f"{_ACCOUNT}/{_original(job).rpartition('/')[2]}", job.suffix, job.id)
    return ":".join(part for part in parts if part)


def _original(job: SimulatedJob) -> str:
    """Return Together's own model from which all training started."""
    account, _, name = job.base_model.partition("/")
    return name.split(":")[0] if account == _ACCOUNT else job.base_model


def row(job: SimulatedJob, now: float) -> JsonObject:
    """Return the job as the list shows it: without some keys, and without events."""
    return {
        "id": job.id,
        "status": _word(job, now),
        "created_at": iso(job.created_at),
        "updated_at": iso(min(now, _ended_at(job))),
        "started_at": iso(job.created_at),
        "user_id": f"user-{_ACCOUNT}",
        "owner_address": "",
        "suffix": job.suffix or "",
        "packing": True,
        "max_seq_length": _MAX_SEQ_LENGTH,
        "random_seed": job.seed,
        "events": [],
        **_shared(job, now),
    }


def detail(job: SimulatedJob, now: float) -> JsonObject:
    """Return the job's own reply, which has more keys than its row but lacks some of them."""
    epochs = sum(1 for step in job.epoch_ends if step <= steps_done(job, now))
    return {
        "id": job.id,
        "status": _word(job, now),
        "created_at": iso(job.created_at),
        "updated_at": iso(min(now, _ended_at(job))),
        "started_at": iso(job.created_at),
        "user_id": f"user-{_ACCOUNT}",
        "job_id": uuid4(job.id, "job"),
        "model_output_path": "",
        "trainingfile_numlines": examples(job, "training").count(b"\n"),
        "trainingfile_size": len(examples(job, "training")),
        "eval_steps": job.eval_every if job.validation else 0,
        "train_on_inputs": "auto",
        "param_count": 8_030_261_248,
        "epochs_completed": epochs,
        "queue_depth": 0,
        "wandb_url": "",
        "events": events(job, now),
        **_shared(job, now),
    }


def _shared(job: SimulatedJob, now: float) -> JsonObject:
    """Return the fields that the list row and the job's own reply share."""
    tokens = job.batch_size * _MAX_SEQ_LENGTH * job.total_steps
    is_known = status(job, now) is not JobStatus.VALIDATING
    original = _original(job)
    return {
        "training_file": file_id(job, "training"),
        "validation_file": file_id(job, "validation") if job.validation else "",
        "model": original,
        "model_output_name": model_name(job),
        "from_checkpoint": "" if original == job.base_model else job.base_model,
        "n_epochs": job.n_epochs,
        "n_checkpoints": len(job.epoch_ends),
        "n_evals": len(job.epoch_ends) if job.validation else 0,
        "batch_size": job.batch_size,
        "learning_rate": job.learning_rate or LEARNING_RATE,
        "lr_scheduler": {
            "lr_scheduler_type": "cosine",
            "lr_scheduler_args": {"min_lr_ratio": MIN_RATIO, "num_cycles": 0.5},
        },
        "warmup_ratio": WARMUP,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "training_method": (
            {"method": "dpo", "dpo_beta": 0.1}
            if job.method == "dpo"
            else {"method": "sft", "train_on_inputs": "auto"}
        ),
        "training_type": {
            "type": "Lora",
            "lora_r": _LORA_RANK,
            "lora_alpha": 2 * _LORA_RANK,
            "lora_dropout": 0.0,
            "lora_trainable_modules": "all-linear",
        },
        "token_count": tokens if is_known else 0,
        "total_price": tokens * _NANODOLLARS_PER_TOKEN if is_known else 0,
        "wandb_project_name": "",
        "progress": {"estimate_available": False, "seconds_remaining": 0},
    }


def _word(job: SimulatedJob, now: float) -> str:
    """Return the status; some statuses follow the last step."""
    current = status(job, now)
    if current is JobStatus.RUNNING and now >= job.stopped_at:
        match job.outcome:
            case Outcome.SUCCEEDED:
                return "uploading"
            case Outcome.CANCELLED:
                return "cancel_requested"
    return _WORDS[current]


def _ended_at(job: SimulatedJob) -> float:
    return job.settled_at + job.late_seconds


def events(job: SimulatedJob, now: float) -> list[JsonObject]:
    """Return the events of a job up to ``now``, oldest first."""
    past = sorted(_history(job), key=lambda each: each[0])
    return [_event(job, *each) for each in past if each[0] <= now]


def _history(job: SimulatedJob) -> Iterator[tuple[float, str, str, int]]:
    """Yield time, type, message and step of all events in a job's life."""
    yield job.created_at, "job_pending", "Fine tune request created", 0
    for at, new in life(job):
        match new:
            case JobStatus.RUNNING:
                yield job.validated_at, "job_start", f"Job started at {iso(job.validated_at)}", 0
                yield at, "training_start", f"Training started for {_original(job)}", 0
            case JobStatus.FAILED:
                yield at, "job_error", job.failure.message, job.last_step
            case JobStatus.CANCELLED:
                yield job.stopped_at, "cancel_requested", "Cancel requested", job.last_step
                yield at, "job_stopped", "Job was cancelled", job.last_step
            case JobStatus.SUCCEEDED:
                stopped, last = job.stopped_at, job.last_step
                yield stopped, "training_complete", f"Training completed at {iso(stopped)}", last
                yield stopped, "model_uploading", "Uploading output model", last
                yield at, "model_upload_complete", "Model upload complete", last
                yield at, "job_complete", f"Job finished at {iso(at)}", last
    for step in job.epoch_ends:
        if step <= job.last_step:
            at = job.step_at(step)
            yield at, "epoch_complete", f"Epoch completed, at step {step}", step
            if step < job.total_steps:
                yield at, "checkpoint_save", f"Checkpoint saved, at step {step}", step


def _event(job: SimulatedJob, at: float, kind: str, message: str, step: int) -> JsonObject:
    is_training = at >= job.started_at and job.last_step > 0
    saved = kind == "checkpoint_save"
    return {
        "object": "fine-tune-event",
        "created_at": iso(at),
        "level": "error" if kind == "job_error" else "info",
        "message": message,
        "type": kind,
        "param_count": 0,
        "token_count": 0,
        "total_steps": job.total_steps if is_training else 0,
        "wandb_url": "",
        "step": step,
        "checkpoint_path": _path(job, step, "model") if saved else "",
        "model_path": "",
        "training_offset": 0,
        "hash": "",
    }


def checkpoints(job: SimulatedJob, now: float) -> Iterator[JsonObject]:
    """Yield the model and its adapter for each epoch, the last ones once the job is done."""
    done = steps_done(job, now)
    for step in job.epoch_ends:
        is_last = step == job.total_steps
        at = job.settled_at if is_last else job.step_at(step)
        if step > done or at > now:
            continue
        for part in ("model", "adapter"):
            name = f"{job.suffix or 'model'}{'-adapter' if part == 'adapter' else ''}-{step}"
            yield {
                "step": step,
                "created_at": iso(at),
                "path": _path(job, step, part),
                "checkpoint_type": f"{'Final' if is_last else 'Intermediate'} {part}, step {step}",
                "checkpoint": part,
                "object_id": f"ml_{alnum(24, job.id, step, part)}",
                "object_name": f"{_ACCOUNT}/{name}",
                "object_revision_id": f"rv_{alnum(24, job.id, step, part, 'revision')}",
            }


def _path(job: SimulatedJob, step: int, part: str) -> str:
    return f"s3://{_ACCOUNT}/{job.id}/step-{step}{'_adapter' if part == 'adapter' else ''}"


def file_id(job: SimulatedJob, role: Role) -> str:
    """Return the id of one of a job's files."""
    return f"file-{uuid4(job.id, role)}"


def iso(seconds: float) -> str:
    """Return Unix seconds as Together writes them, to the millisecond."""
    moment = datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
