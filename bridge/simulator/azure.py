"""Azure OpenAI: OpenAI's routes at two addresses, with Microsoft's objects and errors.

Unset fields are missing, checkpoints and events come oldest first as in the specification's
examples, and names of models have dots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from bridge.model import JobStatus
from bridge.simulator import openai_objects
from bridge.simulator.jobs import SimulatedJob, has_started, status
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.openai import Dialect, answer_in
from bridge.simulator.seeded import uuid4

_V1: Final = "/openai/v1"
_CLASSIC: Final = "/openai"
_WAITING: Final = {JobStatus.VALIDATING: "pending", JobStatus.QUEUED: "pending"}
"""Microsoft's words that differ from OpenAI's."""
_OTHER_NAMES: Final = {"user_provided_suffix": "suffix", "organization_id": "organisation_id"}
_UNKNOWN: Final = ("method", "metadata", "usage_metrics", "shared_with_openai", "integrations")
_MESSAGES: Final = {
    "Files validated, moving job to queued state": (
        "Job enqueued. Waiting for jobs ahead to complete."
    ),
    "Fine-tuning job started": "Job started.",
    "The job has successfully completed": "Job succeeded.",
}


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the resource's endpoint.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.path.startswith(f"{_V1}/"):
        base = _V1
    elif request.path.startswith(f"{_CLASSIC}/") and request.query.get("api-version"):
        base = _CLASSIC
    else:
        raise _refused(404, "Resource not found")
    path = request.path.removeprefix(base)
    return answer_in(_AZURE, jobs, now, replace(request, path=path))


def unauthorized(_key: str) -> Reply:
    """Return the reply to a missing or wrong key."""
    return _refused(
        401, "Access denied due to invalid subscription key or wrong API endpoint."
    ).reply


def key_of(request: Request) -> str:
    """Return the key from its header, else the bearer token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return request.headers.get("api-key", token if scheme.lower() == "bearer" else "")


def _job(job: SimulatedJob, now: float) -> JsonObject:
    current = status(job, now)
    document = dict(openai_objects.job_object(job, now))
    for name in _UNKNOWN:
        document.pop(name, None)
    document |= {
        "status": _WAITING.get(current, current.value),
        "error": document["error"] if current is JobStatus.FAILED else None,
        "hyperparameters": _hyperparameters(job, now),
        "fine_tuned_model": next(iter(openai_objects.made_models(job, now, model_name)), None),
    }
    return {
        _OTHER_NAMES.get(name, name): value
        for name, value in document.items()
        if value not in (None, [])
    }


def _hyperparameters(job: SimulatedJob, now: float) -> JsonObject:
    if not has_started(job, now):
        return {"n_epochs": -1, "batch_size": -1, "learning_rate_multiplier": 1.0}
    return {
        "n_epochs": job.n_epochs,
        "batch_size": job.batch_size,
        "learning_rate_multiplier": job.learning_rate or 1.0,
    }


def model_name(job: SimulatedJob, step: int) -> str:
    """Return the model saved at ``step``."""
    suffix = f"-{job.suffix}" if job.suffix else ""
    name = f"{job.original_model}.ft-{_hex(job.id, 'model')}{suffix}"
    return name if step == job.total_steps else f"{name}:ckpt-step-{step}"


def _checkpoints(job: SimulatedJob, now: float) -> list[JsonObject]:
    rows = openai_objects.checkpoint_objects(job, now)
    return [
        {
            **row,
            "id": f"ftchkpt-{_hex(job.id, 'checkpoint', row['step_number'])}",
            "fine_tuned_model_checkpoint": model_name(job, int(str(row["step_number"]))),
        }
        for row in reversed(rows)
    ]


def _events(job: SimulatedJob, now: float) -> list[JsonObject]:
    rows = openai_objects.event_objects(job, now)
    return [
        {name: value for name, value in row.items() if value not in (None, {})}
        | {"message": _MESSAGES.get(str(row["message"]), row["message"])}
        for row in reversed(rows)
    ]


def _models(jobs: Iterable[SimulatedJob], now: float) -> list[JsonObject]:
    return [
        {"object": "model", "id": name, "status": "succeeded", "created_at": int(job.created_at)}
        | ({"deprecation": {"inference": int(job.shutdown_at)}} if job.shutdown_at else {})
        for job in jobs
        for name in (job.original_model, *openai_objects.made_models(job, now, model_name))
    ]


def _hex(*name: object) -> str:
    return uuid4(*name).replace("-", "")


def _refused(
    http_status: int, message: str, *, param: str | None = None, code: str | None = None
) -> RefusedError:
    del param, code
    words = {400: "invalidPayload", 404: "notFound"}
    error = {
        "code": words.get(http_status, str(http_status)),
        "message": message,
        "innererror": {"code": "simulated"},
    }
    return RefusedError(json_reply({"error": error}, http_status))


_AZURE: Final = Dialect(
    job=_job,
    checkpoints=_checkpoints,
    events=_events,
    models=_models,
    refused=_refused,
    tells_ends=False,
)
