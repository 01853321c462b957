"""The read side of Prime Intellect's Hosted Training: runs, metrics, checkpoints and a bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from bridge.model import JobStatus
from bridge.simulator.curves import metrics_at
from bridge.simulator.jobs import SimulatedJob, has_started, newest_first, status, steps_done
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.seeded import alnum

_PAGE_SIZE = 20
_TOKENS_PER_STEP = 2_000_000
_COST_PER_TOKEN = 4e-7
_SPREAD = 0.2
"""Distance of the best and the worst reward of a step from the mean."""
_WORDS: Mapping[JobStatus, str] = {
    JobStatus.VALIDATING: "QUEUED",
    JobStatus.QUEUED: "PENDING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSED: "PAUSED",
    JobStatus.SUCCEEDED: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "STOPPED",
}


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.method != "GET":
        raise RefusedError(json_reply({"detail": "Method Not Allowed"}, 405))
    known = newest_first(jobs, now)
    match request.path.strip("/").split("/"):
        case ["rft", "runs"]:
            return json_reply(_page(known, now, request.query))
        case ["rft", "runs", job_id]:
            return json_reply({"run": _run(_find(known, job_id), now)})
        case ["rft", "runs", job_id, "metrics"]:
            return json_reply({"metrics": _metrics(_find(known, job_id), now, request.query)})
        case ["rft", "runs", job_id, "checkpoints"]:
            return json_reply({"checkpoints": _checkpoints(_find(known, job_id), now)})
        case ["rft", "runs", job_id, "progress"]:
            return json_reply({"latestStep": steps_done(_find(known, job_id), now)})
        case ["billing", "runs", job_id, "usage"]:
            return json_reply(_usage(_find(known, job_id), now))
        case _:
            raise RefusedError(json_reply({"detail": "Not Found"}, 404))


def unauthorized(key: str) -> Reply:  # noqa: ARG001 - the same for a missing and a wrong key
    """Return the reply to a missing or wrong key."""
    return json_reply({"detail": "Invalid or missing API key"}, 401)


def _page(jobs: list[SimulatedJob], now: float, query: Mapping[str, str]) -> JsonObject:
    size, number = _whole("limit", _PAGE_SIZE, query), _whole("page", 1, query)
    return {
        "runs": [_run(job, now) for job in jobs[(number - 1) * size : number * size]],
        "total": len(jobs),
        "page": number,
        "limit": size,
        "total_pages": -(-len(jobs) // size),
    }


def _run(job: SimulatedJob, now: float) -> JsonObject:
    current = status(job, now)
    failed = current is JobStatus.FAILED
    return {
        "id": job.id,
        "name": job.suffix,
        "userId": "simulated-user",
        "teamId": None,
        "rftClusterId": "simulated-cluster",
        "status": _WORDS[current],
        "kind": "SHARED_RFT_HOSTED",
        "loss": "rl",
        "rolloutsPerExample": 8,
        "seqLen": 8192,
        "maxSteps": job.total_steps,
        "maxTokens": 2048,
        "batchSize": job.batch_size,
        "learningRate": job.learning_rate or 1e-5,
        "loraAlpha": 16,
        "baseModel": job.base_model,
        "environments": [{"id": "reverse-text", "slug": "simulated/reverse-text"}],
        "createdAt": _time(job.created_at),
        "startedAt": _time(job.started_at) if has_started(job, now) else None,
        "completedAt": _time(job.settled_at) if current.is_final else None,
        "updatedAt": _time(min(now, job.settled_at)),
        "errorMessage": job.failure.message if failed else None,
        "failureAnalysis": None,
    }


def _metrics(job: SimulatedJob, now: float, query: Mapping[str, str]) -> list[JsonObject]:
    """Return the rows of some steps, under the open trainer's metric names and without time."""
    last = min(steps_done(job, now), _whole("max_step", job.total_steps, query))
    rows = [_row(job, step) for step in range(max(1, _whole("min_step", 1, query)), last + 1)]
    return rows[: _whole("limit", len(rows), query)]


def _row(job: SimulatedJob, step: int) -> JsonObject:
    mean = metrics_at(job, step).train.accuracy
    return {
        "step": step,
        "reward/all/mean": round(mean, 6),
        "reward/all/min": round(max(0.0, mean - _SPREAD), 6),
        "reward/all/max": round(min(1.0, mean + _SPREAD), 6),
        "effective_batch_size/all": float(job.batch_size),
        "time/step": job.seconds_per_step,
        "metrics": {"reverse-text": {"exact": round(mean**2, 6)}},
    }


def _checkpoints(job: SimulatedJob, now: float) -> list[JsonObject]:
    reached = [step for step in job.epoch_ends if step <= steps_done(job, now)]
    return [
        {
            "id": alnum(12, job.id, step).lower(),
            "rftRunId": job.id,
            "step": step,
            "storageUrl": f"s3://simulated/{job.id}/step_{step}",
            "status": "READY",
            "sizeBytes": 1_000_000,
            "createdAt": _time(job.step_at(step)),
            "uploadedAt": _time(job.step_at(step)),
        }
        for step in reached
    ]


def _usage(job: SimulatedJob, now: float) -> JsonObject:
    tokens = steps_done(job, now) * _TOKENS_PER_STEP
    spent = {"tokens": tokens, "input_tokens": 0, "output_tokens": 0}
    cost = round(tokens * _COST_PER_TOKEN, 4)
    return {
        "run_id": job.id,
        "training": {**spent, "cost_usd": cost},
        "inference": {"tokens": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0},
        "total_tokens": tokens,
        "total_cost_usd": cost,
        "pricing": {"training_per_mtok": _COST_PER_TOKEN * 1e6},
        "record_count": steps_done(job, now),
    }


def _find(jobs: Iterable[SimulatedJob], job_id: str) -> SimulatedJob:
    for job in jobs:
        if job.id == job_id:
            return job
    raise RefusedError(json_reply({"detail": "Run not found"}, 404))


def _whole(name: str, default: int, query: Mapping[str, str]) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        detail = [{"type": "int_parsing", "loc": ["query", name], "msg": "Input should be an int"}]
        raise RefusedError(json_reply({"detail": detail}, 422))
    return int(text)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
