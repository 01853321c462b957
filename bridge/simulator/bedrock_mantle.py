"""Amazon Bedrock's ``bedrock-mantle``: OpenAI's routes with jobs of reinforcement fine-tuning.

Each step's metrics are an event with the keys of the recorded one. Rows of the job list are stale,
as the samples warn: a job that has ended is still running there. Checkpoints appear when they are
saved, and are refused before training begins. The rest is as at OpenAI.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bridge.simulator import openai_objects
from bridge.simulator.curves import metrics_at
from bridge.simulator.jobs import SimulatedJob, has_started, status, steps_done
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.openai import Dialect, answer_in
from bridge.simulator.seeded import alnum, gauss, uuid4

_UNKNOWN: Final = ("user_provided_suffix", "usage_metrics", "shared_with_openai", "integrations")
_GRADER: Final = "arn:aws:lambda:us-west-2:000000000000:function:simulated-grader"
_LENGTH: Final = 220.0
"""Number of tokens in an answer at the beginning of training."""


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    return answer_in(_MANTLE, jobs, now, request)


def unauthorized(_key: str) -> Reply:
    """Return the reply to a missing or wrong key."""
    return _refused(401, "Invalid bearer token", code="invalid_api_key").reply


def _job(job: SimulatedJob, now: float) -> JsonObject:
    document = dict(openai_objects.job_object(job, now))
    for name in _UNKNOWN:
        document.pop(name, None)
    made = openai_objects.made_models(job, now, model_name)
    chosen: dict[str, object] = {
        "n_epochs": job.n_epochs,
        "batch_size": job.batch_size,
        "learning_rate_multiplier": job.learning_rate or 1.0,
    }
    grader = {"type": "lambda", "lambda": {"function": _GRADER}}
    return document | {
        "hyperparameters": None,
        "method": {
            "type": "reinforcement",
            "reinforcement": {"grader": grader, "hyperparameters": chosen},
        },
        "fine_tuned_model": next(iter(made), None),
        "result_files": [],
    }


def _listed(job: SimulatedJob, now: float) -> JsonObject:
    """Return the job as it was before it ended."""
    row = dict(_job(job, now))
    if status(job, now).is_final:
        row |= {"status": "running", "finished_at": None, "fine_tuned_model": None}
    return row


def model_name(job: SimulatedJob, step: int) -> str:
    """Return the model saved at ``step``, which can be called."""
    name = f"ft:{job.original_model}:simulated:{alnum(8, job.id, 'model')}"
    return name if step == job.total_steps else f"{name}:ckpt-step-{step}"


def _checkpoints(job: SimulatedJob, now: float) -> list[JsonObject]:
    """Return a checkpoint for each finished epoch, newest first."""
    if not has_started(job, now):
        raise _refused(400, "Checkpoints are not available before training starts")
    return [
        {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt-{uuid4(job.id, 'checkpoint', step)}",
            "created_at": int(job.step_at(step)),
            "fine_tuned_model_checkpoint": model_name(job, step),
            "fine_tuning_job_id": job.id,
            "metrics": {"step": step, "critic_rewards_mean": _measured(job, step)[_REWARD]},
            "step_number": step,
        }
        for step in reversed(job.epoch_ends)
        if step <= steps_done(job, now)
    ]


_REWARD: Final = "critic_rewards_mean"


def _events(job: SimulatedJob, now: float) -> list[JsonObject]:
    """Return OpenAI's events with other metrics."""
    return [_event(job, row) for row in openai_objects.event_objects(job, now)]


def _event(job: SimulatedJob, row: JsonObject) -> JsonObject:
    about = {**row, "id": f"ftevent-{uuid4(row['id'])}"}
    data = row["data"]
    if row["type"] != "metrics" or not isinstance(data, dict):
        return about
    measured = _measured(job, data["step"])
    given = ", ".join(f"{name}={value:.4f}" for name, value in measured.items())
    message = f"Step {data['step']}/{job.total_steps}: {given}"
    steps = {"step": data["step"], "total_steps": job.total_steps}
    return about | {"message": message, "data": steps | measured}


def _measured(job: SimulatedJob, step: int) -> dict[str, float]:
    """Return the metrics of one step, in which the reward rises as a loss would fall."""
    score = metrics_at(job, step).train
    progress = step / job.total_steps
    return {
        _REWARD: score.accuracy,
        "critic_advantages_mean": 0.02 * gauss(job.seed, "advantages", step),
        "actor_pg_loss": 0.01 * gauss(job.seed, "loss", step),
        "actor_entropy": 0.1 + 0.2 * score.loss,
        "actor_grad_norm": 0.5 + 0.1 * abs(gauss(job.seed, "gradient", step)),
        "response_length_mean": _LENGTH * (1 + 0.3 * progress),
    }


def _models(jobs: Iterable[SimulatedJob], now: float) -> list[JsonObject]:
    del now
    return [
        {"object": "model", "id": name, "created": 0, "owned_by": "simulated"}
        for name in sorted({job.base_model for job in jobs})
    ]


def _refused(
    http_status: int, message: str, *, param: str | None = None, code: str | None = None
) -> RefusedError:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return RefusedError(json_reply({"error": error}, http_status))


_MANTLE: Final = Dialect(
    job=_job,
    checkpoints=_checkpoints,
    events=_events,
    models=_models,
    refused=_refused,
    tells_ends=True,
    listed=_listed,
)
