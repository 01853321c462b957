"""The read side of Together AI's fine-tuning API: all jobs at once, metrics by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from bridge.simulator import together_objects as objects
from bridge.simulator.curves import metrics_at
from bridge.simulator.datasets import Role, examples, roles
from bridge.simulator.jobs import SimulatedJob, newest_first, steps_done
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.seeded import gauss

_FILTERS = ("global_step_from", "global_step_to", "logged_at_from", "logged_at_to", "resolution")
_ENDS = (("from", -math.inf), ("to", math.inf))


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.method != "GET":
        raise _refused("Method not allowed", 405)
    known = newest_first(jobs, now)
    match request.path.strip("/").split("/"):
        case ["fine-tunes"]:
            return json_reply({"data": [objects.row(job, now) for job in known]})
        case ["fine-tunes", job_id]:
            return json_reply(objects.detail(_find(known, job_id), now))
        case ["fine-tunes", job_id, "events"]:
            return json_reply({"data": objects.events(_find(known, job_id), now)})
        case ["fine-tunes", job_id, "checkpoints"]:
            return json_reply({"data": list(objects.checkpoints(_find(known, job_id), now))})
        case ["fine-tunes", job_id, "metrics"]:
            return json_reply({"metrics": _metrics(_find(known, job_id), now, request.query)})
        case ["files", file_id]:
            return json_reply(_file(*_find_file(known, file_id)))
        case ["files", file_id, "content"]:
            content = examples(*_find_file(known, file_id))
            return Reply(headers={"Content-Type": "application/octet-stream"}, body=content)
        case _:
            raise _refused("Not found", 404)


def unauthorized(key: str) -> Reply:  # noqa: ARG001 - the same for a missing and a wrong key
    """Return the reply to a missing or wrong key."""
    return _refused("Invalid API key provided", 401, "invalid_api_key").reply


def _metrics(job: SimulatedJob, now: float, query: Mapping[str, str]) -> list[JsonObject]:
    """Return the rows of metrics that the query selects, oldest first."""
    limits = {name: _limit(name, query[name]) for name in _FILTERS if name in query}
    first, last = (limits.get(f"global_step_{end}", default) for end, default in _ENDS)
    since, until = (limits.get(f"logged_at_{end}", default) for end, default in _ENDS)
    steps = [
        step
        for step in range(1, steps_done(job, now) + 1)
        if first <= step <= last and since <= job.step_at(step) <= until
    ]
    wanted = max(1, int(limits.get("resolution", len(steps) or 1)))
    sampled = set(steps[:: math.ceil(len(steps) / wanted) or 1])
    rows: list[JsonObject] = []
    for step in steps:
        rows += [_training(job, step)] if step in sampled else []
        rows += _evaluation(job, step)
    return rows


def _training(job: SimulatedJob, step: int) -> JsonObject:
    progress = step / job.total_steps
    return {
        **_axes(job, step),
        "train/epoch": round(job.n_epochs * progress, 6),
        "train/loss": metrics_at(job, step).train.loss,
        "train/grad_norm": math.exp(0.3 * gauss(job.seed, "norm", step)),
        "train/learning_rate": _rate(job, progress),
    }


def _evaluation(job: SimulatedJob, step: int) -> list[JsonObject]:
    measured = metrics_at(job, step)
    score = measured.full_valid or measured.valid
    return [{**_axes(job, step), "eval/loss": score.loss}] if score else []


def _axes(job: SimulatedJob, step: int) -> JsonObject:
    return {"timestamp": round(job.step_at(step) * 1000) * 10**6, "train/global_step": step}


def _rate(job: SimulatedJob, progress: float) -> float:
    """Return the learning rate: a short rise, then half a cosine."""
    highest = job.learning_rate or objects.LEARNING_RATE
    if progress < objects.WARMUP:
        return highest * progress / objects.WARMUP
    share = (1 + math.cos(math.pi * (progress - objects.WARMUP) / (1 - objects.WARMUP))) / 2
    return highest * (objects.MIN_RATIO + (1 - objects.MIN_RATIO) * share)


def _limit(name: str, text: str) -> float:
    try:
        if name.startswith("logged_at"):
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return int(text)
    except ValueError:
        raise _refused(f"Invalid value for {name}", 400) from None


def _file(job: SimulatedJob, role: Role) -> JsonObject:
    """Return the description of a file."""
    return {
        "id": objects.file_id(job, role),
        "object": "file",
        "bytes": len(examples(job, role)),
        "created_at": int(job.created_at),
        "filename": f"{role}.jsonl",
        "purpose": "fine-tune",
        "FileType": "jsonl",
        "Processed": True,
        "processing_status": "COMPLETED",
    }


def _find(jobs: Iterable[SimulatedJob], job_id: str) -> SimulatedJob:
    for job in jobs:
        if job.id == job_id:
            return job
    raise _refused("Fine-tune job not found", 404)


def _find_file(jobs: Iterable[SimulatedJob], file_id: str) -> tuple[SimulatedJob, Role]:
    for job in jobs:
        for role in roles(job):
            if objects.file_id(job, role) == file_id:
                return job, role
    raise _refused("File not found", 404)


def _refused(message: str, code: int, kind: str | None = None) -> RefusedError:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": kind}
    return RefusedError(json_reply({"error": error}, code))
