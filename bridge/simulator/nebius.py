"""Nebius Token Factory: OpenAI's routes, with the steps in the job itself and more hyperparameters.

The keys are those of the published OpenAPI document. The rest is as in the simulation of OpenAI:
each step's metrics are an event, and checkpoints appear at the end of their job. Errors are
FastAPI's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bridge.simulator import openai_objects
from bridge.simulator.jobs import SimulatedJob, steps_done
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.openai import Dialect, answer_in
from bridge.simulator.seeded import alnum

_UNKNOWN: Final = (
    *("user_provided_suffix", "fine_tuned_model", "metadata", "usage_metrics"),
    "shared_with_openai",
)
_LEARNING_RATE: Final = 1e-5
_LORA_RANK: Final = 8


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    return answer_in(_NEBIUS, jobs, now, request)


def unauthorized(_key: str) -> Reply:
    """Return the reply to a missing or wrong key."""
    return _refused(401, "Unauthorized").reply


def _job(job: SimulatedJob, now: float) -> JsonObject:
    document = dict(openai_objects.job_object(job, now))
    for name in _UNKNOWN:
        document.pop(name, None)
    chosen = _hyperparameters(job)
    files = [_weights(job, job.total_steps)] if document["result_files"] else []
    return document | {
        "suffix": job.suffix,
        "hyperparameters": chosen,
        "method": {"type": job.method, job.method: {"hyperparameters": chosen}},
        "result_files": files,
        "trained_steps": steps_done(job, now),
        "total_steps": job.total_steps,
    }


def _hyperparameters(job: SimulatedJob) -> JsonObject:
    return {
        "batch_size": job.batch_size,
        "learning_rate": job.learning_rate or _LEARNING_RATE,
        "n_epochs": job.n_epochs,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "packing": True,
        "max_grad_norm": 1.0,
        "context_length": 8192,
        "lora": True,
        "lora_r": _LORA_RANK,
        "lora_alpha": _LORA_RANK,
        "lora_dropout": 0.0,
    }


def _checkpoints(job: SimulatedJob, now: float) -> list[JsonObject]:
    """Return OpenAI's checkpoints, named by id."""
    return [
        {
            **row,
            "fine_tuned_model_checkpoint": row["id"],
            "result_files": [_weights(job, int(str(row["step_number"])))],
        }
        for row in openai_objects.checkpoint_objects(job, now)
    ]


def _weights(job: SimulatedJob, step: int) -> str:
    """Return a file without content, because nothing is trained."""
    return f"file-{alnum(24, job.id, 'weights', step)}"


def _models(jobs: Iterable[SimulatedJob], now: float) -> list[JsonObject]:
    del now
    return [
        {"object": "model", "id": name, "created": 0, "owned_by": "simulated"}
        for name in sorted({job.base_model for job in jobs})
    ]


def _refused(
    http_status: int, message: str, *, param: str | None = None, code: str | None = None
) -> RefusedError:
    del param, code
    return RefusedError(json_reply({"detail": message}, http_status))


_NEBIUS: Final = Dialect(
    job=_job,
    checkpoints=_checkpoints,
    events=openai_objects.event_objects,
    models=_models,
    refused=_refused,
    tells_ends=True,
)
