"""The objects of Fireworks' fine-tuning API: jobs, checkpoints, and the lines of a metrics file.

Unset fields contain their type's zero, as servers write protocol buffers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from bridge.model import JobStatus
from bridge.simulator.curves import metrics_at
from bridge.simulator.jobs import SimulatedJob, has_started, life_until, status, steps_done
from bridge.simulator.messages import JsonObject
from bridge.simulator.seeded import alnum

ACCOUNT: Final = "accounts/acme"
COLLECTIONS = {"supervised": "supervisedFineTuningJobs", "dpo": "dpoJobs"}
_LEARNING_RATE = 1e-4
_LORA_RANK = 8
_TOKENS_PER_EXAMPLE = 180
_COST_PER_TOKEN = 5e-7
_NANOS = 10**9
_STATES: Mapping[JobStatus, str] = {
    JobStatus.VALIDATING: "VALIDATING",
    JobStatus.QUEUED: "PENDING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSED: "PAUSED",
    JobStatus.SUCCEEDED: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "CANCELLED",
}


def model_name(job: SimulatedJob) -> str:
    """Return the model that a job makes."""
    return f"{ACCOUNT}/models/{job.suffix or job.id}"


def job_object(job: SimulatedJob, now: float, sign: Callable[[str], str]) -> JsonObject:
    """Return the job as GET and list show it."""
    shared, training = _shared(job, now), _training(job)
    if job.method == "dpo":
        loss = {"method": "DPO", "klBeta": 0.1}
        return {**shared, "trainingConfig": training, "lossConfig": loss}
    return {
        **shared,
        **training,
        "evaluationDataset": _dataset_name(job, "validation") if job.validation else "",
        "earlyStop": False,
        "isTurbo": False,
        "updateTime": _time(_changed_at(job, now)),
        "jobProgress": _progress(job, now),
        "metricsFileSignedUrl": sign(f"metrics/{job.id}") if has_started(job, now) else "",
        "estimatedCost": _cost(job),
    }


def _shared(job: SimulatedJob, now: float) -> JsonObject:
    """Return the fields that jobs of all collections have."""
    current = status(job, now)
    failed = current is JobStatus.FAILED
    return {
        "name": _name(job),
        "displayName": job.suffix or "",
        "createTime": _time(job.created_at),
        "completedTime": _time(job.settled_at) if current.is_final else None,
        "dataset": _dataset_name(job, "training"),
        "state": f"JOB_STATE_{_state(job, now)}",
        "status": {
            "code": "INVALID_ARGUMENT" if failed else "OK",
            "message": job.failure.message if failed else "",
        },
        "createdBy": "somebody@example.com",
        "trainerLogsSignedUrl": "",
        "wandbConfig": None,
    }


def _training(job: SimulatedJob) -> JsonObject:
    """Return the models and the parameters of the training."""
    made = job.base_model.startswith(f"{ACCOUNT}/")
    return {
        "outputModel": model_name(job),
        "baseModel": "" if made else job.base_model,
        "warmStartFrom": job.base_model if made else "",
        "epochs": job.n_epochs,
        "learningRate": job.learning_rate or _LEARNING_RATE,
        "loraRank": _LORA_RANK,
        "maxContextLength": 8192,
        "batchSize": 0,
        "batchSizeSamples": job.batch_size,
        "gradientAccumulationSteps": 0,
        "learningRateWarmupSteps": 0,
        "optimizerWeightDecay": 0,
    }


def _name(job: SimulatedJob) -> str:
    return f"{ACCOUNT}/{collection_of(job)}/{job.id}"


def _dataset_name(job: SimulatedJob, role: str) -> str:
    return f"{ACCOUNT}/datasets/{dataset_of(job, role)}"


def checkpoint_objects(job: SimulatedJob, now: float) -> list[JsonObject]:
    """Return one checkpoint for each epoch, oldest first, with neither its step nor a metric."""
    return [
        {
            "name": f"{_name(job)}/checkpoints/{alnum(10, job.id, step)}",
            "createTime": _time(job.step_at(step)),
            "updateTime": _time(job.step_at(step)),
            "checkpointType": "CHECKPOINT_TYPE_INFERENCE_LORA",
            "promotable": True,
        }
        for step in job.epoch_ends
        if step <= steps_done(job, now)
    ]


def metrics_file(job: SimulatedJob, now: float) -> bytes:
    """Return a line for each step, and another if the step was evaluated."""
    lines: list[JsonObject] = []
    for step in range(1, steps_done(job, now) + 1):
        measured = metrics_at(job, step)
        lines.append(
            {
                "step": step,
                "train/step": step,
                "train/loss": measured.train.loss,
                "train/lr": job.learning_rate or _LEARNING_RATE,
                "train/total_tokens": job.batch_size * _TOKENS_PER_EXAMPLE,
            }
        )
        if measured.valid:
            lines.append({"step": step, "eval/loss": measured.valid.loss})
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def _state(job: SimulatedJob, now: float) -> str:
    current = status(job, now)
    saves = current is JobStatus.RUNNING and steps_done(job, now) == job.total_steps
    return "WRITING_RESULTS" if saves else _STATES[current]


def _changed_at(job: SimulatedJob, now: float) -> float:
    """Return the time of the job's last change."""
    changed = life_until(job, now)[-1].at
    steps = steps_done(job, now)
    return max(changed, job.step_at(steps)) if steps else changed


def _progress(job: SimulatedJob, now: float) -> JsonObject | None:
    if not has_started(job, now):
        return None
    steps = steps_done(job, now)
    epoch = sum(1 for end in job.epoch_ends if end <= steps)
    return {"percent": 100 * steps // job.total_steps, "epoch": min(epoch, job.n_epochs - 1)}


def _cost(job: SimulatedJob) -> JsonObject:
    tokens = job.total_steps * job.batch_size * _TOKENS_PER_EXAMPLE
    units, nanos = divmod(round(tokens * _COST_PER_TOKEN * _NANOS), _NANOS)
    return {"currencyCode": "USD", "units": str(units), "nanos": nanos}


def collection_of(job: SimulatedJob) -> str:
    """Return the collection of a job."""
    return COLLECTIONS[job.method]


def dataset_of(job: SimulatedJob, role: str) -> str:
    """Return the id of a job's dataset."""
    return f"{job.id}-{role}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
