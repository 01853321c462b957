"""The read side of Mistral's former fine-tuning API: jobs by page, checkpoints in the detail."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from bridge.model import JobStatus
from bridge.simulator.curves import metrics_at
from bridge.simulator.datasets import Role, examples, roles
from bridge.simulator.jobs import Outcome, SimulatedJob, life, newest_first, steps_done
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.seeded import uuid4

_PAGE_SIZE = 100
_LEARNING_RATE = 1e-4
_SEQ_LEN = 8192
_COST_PER_TOKEN = 2e-6
_DECIMALS = 6


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.method != "GET":
        raise RefusedError(json_reply({"detail": "Method Not Allowed"}, 405))
    known = newest_first(jobs, now)
    match request.path.strip("/").split("/"):
        case ["fine_tuning", "jobs"]:
            wanted = [job for job in known if _wanted(job, now, request.query)]
            page = _natural("page", 0, request.query)
            size = _natural("page_size", _PAGE_SIZE, request.query)
            rows = [_row(job, now) for job in wanted[page * size : (page + 1) * size]]
            return json_reply({"data": rows, "object": "list", "total": len(wanted)})
        case ["fine_tuning", "jobs", job_id]:
            return json_reply(_detail(_find(known, job_id), now))
        case ["files", file_id]:
            return json_reply(_file(*_find_file(known, file_id)))
        case ["files", file_id, "content"]:
            content = examples(*_find_file(known, file_id))
            return Reply(headers={"Content-Type": "application/octet-stream"}, body=content)
        case _:
            raise RefusedError(json_reply({"message": "no Route matched with those values"}, 404))


def unauthorized(key: str) -> Reply:  # noqa: ARG001 - Mistral does not tell missing from wrong
    """Return the reply to a missing or wrong key."""
    return json_reply({"detail": "Unauthorized"}, 401)


def _row(job: SimulatedJob, now: float) -> JsonObject:
    """Return the job as a list shows it."""
    past = _statuses(job, now)
    modified_at, status = past[-1]
    done = status == "SUCCESS"
    tokens_per_step = job.batch_size * _SEQ_LEN
    tokens = tokens_per_step * job.total_steps
    return {
        "id": job.id,
        "auto_start": job.outcome is not Outcome.WAITING,
        "hyperparameters": {
            "training_steps": job.total_steps,
            "learning_rate": job.learning_rate or _LEARNING_RATE,
            "weight_decay": 0.1,
            "warmup_fraction": 0.05,
            "epochs": float(job.n_epochs),
            "seq_len": _SEQ_LEN,
            "fim_ratio": None,
        },
        "model": job.base_model,
        "status": status,
        "job_type": "completion",
        "created_at": int(job.created_at),
        "modified_at": int(modified_at),
        "training_files": [_file_id(job, "training")],
        "validation_files": [_file_id(job, "validation")] if job.validation else [],
        "object": "job",
        "fine_tuned_model": model_name(job) if done else None,
        "suffix": job.suffix,
        "integrations": [],
        "trained_tokens": tokens if done else None,
        "repositories": [],
        "metadata": {
            "expected_duration_seconds": int(job.step_at(job.total_steps) - job.started_at),
            "cost": round(tokens * _COST_PER_TOKEN, 4),
            "cost_currency": "EUR",
            "train_tokens_per_step": tokens_per_step,
            "train_tokens": tokens,
            "data_tokens": tokens // job.n_epochs,
            "estimated_start_time": None,
        },
    }


def _detail(job: SimulatedJob, now: float) -> JsonObject:
    """Return the job as GET shows it, oldest event and newest checkpoint first."""
    events = [
        {"name": "status-updated", "data": {"status": status}, "created_at": int(at)}
        for at, status in _statuses(job, now)
    ]
    steps = range(steps_done(job, now), 0, -1)
    return {
        **_row(job, now),
        "events": events,
        "checkpoints": [_checkpoint(job, step) for step in steps],
    }


def _checkpoint(job: SimulatedJob, step: int) -> JsonObject:
    metrics = metrics_at(job, step)
    # As at Mistral, zeros mean "not evaluated", and the accuracy is 2 to the power of the loss.
    valid_loss = round(metrics.valid.loss, _DECIMALS) if metrics.valid else 0.0
    return {
        "metrics": {
            "train_loss": round(metrics.train.loss, _DECIMALS),
            "valid_loss": valid_loss,
            "valid_mean_token_accuracy": (
                round(2**valid_loss, _DECIMALS) if metrics.valid else 0.0
            ),
        },
        "step_number": step,
        "created_at": int(job.step_at(step)),
    }


def _file(job: SimulatedJob, role: Role) -> JsonObject:
    """Return the description of a file."""
    content = examples(job, role)
    return {
        "id": _file_id(job, role),
        "object": "file",
        "bytes": len(content),
        "created_at": int(job.created_at),
        "filename": f"{role}.jsonl",
        "purpose": "fine-tune",
        "sample_type": "instruct",
        "num_lines": content.count(b"\n"),
        "mimetype": "application/jsonl",
        "source": "upload",
        "signature": None,
        "deleted": False,
    }


def _file_id(job: SimulatedJob, role: Role) -> str:
    return uuid4(job.id, role)


def _statuses(job: SimulatedJob, now: float) -> list[tuple[float, str]]:
    """Return the statuses up to ``now`` in Mistral's words, oldest first."""
    past: list[tuple[float, str]] = []
    for at, status in life(job):
        match status:
            case JobStatus.VALIDATING:
                past += [(at, "QUEUED"), (at + job.validating_seconds / 2, "VALIDATING")]
            case JobStatus.QUEUED:
                past.append((at, "VALIDATED"))
                if job.outcome is not Outcome.WAITING:
                    past.append((at, "QUEUED"))
            case JobStatus.RUNNING:
                past.append((at, "RUNNING"))
            case JobStatus.SUCCEEDED:
                past.append((at, "SUCCESS"))
            case JobStatus.FAILED:
                past.append((at, "FAILED" if job.last_step else "FAILED_VALIDATION"))
            case _:
                past += [(job.stopped_at, "CANCELLATION_REQUESTED"), (at, "CANCELLED")]
    return [(at, word) for at, word in past if at <= now]


def model_name(job: SimulatedJob) -> str:
    """Return the model that a job makes."""
    date = datetime.fromtimestamp(job.created_at, UTC).strftime("%Y%m%d")
    parts = ("ft", job.original_model, "simulated", date, job.suffix, job.id.split("-")[0])
    return ":".join(part for part in parts if part)


def _wanted(job: SimulatedJob, now: float, query: Mapping[str, str]) -> bool:
    """Return whether ``job`` passes the filters of the query; filters on wandb match nothing."""
    is_what = {
        "model": job.base_model,
        "status": _statuses(job, now)[-1][1],
        "suffix": job.suffix,
        "wandb_project": None,
        "wandb_name": None,
    }
    if any(query.get(name) not in (None, "", value) for name, value in is_what.items()):
        return False
    earliest = _unix("created_after", -math.inf, query)
    latest = _unix("created_before", math.inf, query)
    return earliest <= int(job.created_at) <= latest


def _unix(name: str, default: float, query: Mapping[str, str]) -> float:
    if not (text := query.get(name)):
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = "Input should be a valid datetime"
        raise _invalid("datetime_parsing", ("query", name), message) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _natural(name: str, default: int, query: Mapping[str, str]) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        message = "Input should be greater than or equal to 0"
        raise _invalid("greater_than_equal", ("query", name), message)
    return int(text)


def _find(jobs: Iterable[SimulatedJob], job_id: str) -> SimulatedJob:
    for job in jobs:
        if job.id == job_id:
            return job
    raise _not_found("Job", "job_id", job_id)


def _find_file(jobs: Iterable[SimulatedJob], file_id: str) -> tuple[SimulatedJob, Role]:
    for job in jobs:
        for role in roles(job):
            if _file_id(job, role) == file_id:
                return job, role
    raise _not_found("File", "file_id", file_id)


def _not_found(kind: str, name: str, identifier: str) -> RefusedError:
    try:
        uuid.UUID(identifier)
    except ValueError:
        return _invalid("uuid_parsing", ("path", name), "Input should be a valid UUID")
    return RefusedError(json_reply({"detail": f"{kind} not found"}, 404))


def _invalid(kind: str, where: tuple[str, str], message: str) -> RefusedError:
    detail = {"type": kind, "loc": where, "msg": message, "ctx": {}}
    return RefusedError(json_reply({"detail": [detail]}, 422))
