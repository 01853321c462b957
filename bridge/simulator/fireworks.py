"""The read side of Fireworks' fine-tuning API: collections of jobs, and files behind signed URLs.

Fields that nobody set are there with their type's zero, as servers write protocol buffers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from bridge.model import JobStatus
from bridge.simulator.curves import metrics_at
from bridge.simulator.datasets import examples, roles
from bridge.simulator.jobs import (
    SimulatedJob,
    has_started,
    life_until,
    newest_first,
    status,
    steps_done,
)
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.seeded import alnum

ACCOUNT: Final = "accounts/acme"
FILES: Final = "/fireworks-files"
"""Where signed URLs lead; another host in reality."""

_COLLECTIONS = {"supervised": "supervisedFineTuningJobs", "dpo": "dpoJobs"}
_LISTS = (*_COLLECTIONS.values(), "reinforcementFineTuningJobs")
_PAGE_SIZE, _LARGEST_PAGE = 50, 200
_LEARNING_RATE = 1e-4
_LORA_RANK = 8
_TOKENS_PER_EXAMPLE = 180
_COST_PER_TOKEN = 5e-7
_NANOS = 10**9
_VALID_FOR = 3600
"""Seconds."""
_STATES: Mapping[JobStatus, str] = {
    JobStatus.VALIDATING: "VALIDATING",
    JobStatus.QUEUED: "PENDING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSED: "PAUSED",
    JobStatus.SUCCEEDED: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "CANCELLED",
}


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """The reply to ``request``, whose path counts from the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.method != "GET":
        raise _refused(12, "Method Not Allowed", 501)
    known = newest_first(jobs, now)
    sign = _signer(request, now)
    match request.path.strip("/").replace(":", "/:").split("/"):
        case [collection] if collection in _LISTS:
            rows = [job for job in known if _collection(job) == collection]
            return json_reply(_page(collection, rows, now, request.query, sign))
        case [collection, job_id]:
            return json_reply(_object(_find(known, collection, job_id), now, sign))
        case [collection, job_id, "checkpoints"]:
            job = _find(known, collection, job_id)
            return json_reply({"checkpoints": _checkpoints(job, now), "nextPageToken": ""})
        case ["dpoJobs", job_id, ":getMetricsFileEndpoint"]:
            job = _find(known, "dpoJobs", job_id)
            return json_reply({"signedUrl": sign(f"metrics/{job.id}")})
        case ["datasets", dataset, ":getDownloadEndpoint"]:
            return json_reply({"filenameToSignedUrls": {"data.jsonl": sign(f"datasets/{dataset}")}})
        case _:
            raise _refused(5, "Not Found", 404)


def file(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """The file that a signed URL leads to, whose path counts from ``FILES``.

    Raises:
        RefusedError: the reply is an error.
    """
    if "authorization" in request.headers:
        raise RefusedError(_storage_error("InvalidArgument", 400))
    expires = request.query.get("Expires", "")
    wanted = request.path.strip("/")
    if request.query.get("Signature") != _signature(wanted, expires) or int(expires) < now:
        raise RefusedError(_storage_error("AccessDenied", 403))
    for job in newest_first(jobs, now):
        if wanted == f"metrics/{job.id}" and steps_done(job, now):
            return _content(_metrics(job, now))
        for role in roles(job):
            if wanted == f"datasets/{_dataset(job, role)}":
                return _content(examples(job, role))
    raise RefusedError(_storage_error("NoSuchKey", 404))


def unauthorized(key: str) -> Reply:  # noqa: ARG001 - the same for a missing and a wrong key
    """The reply to a missing or wrong key."""
    return json_reply({"code": 16, "message": "The API key you provided is invalid."}, 401)


def model_name(job: SimulatedJob) -> str:
    """The model that a job makes."""
    return f"{ACCOUNT}/models/{job.suffix or job.id}"


def _object(job: SimulatedJob, now: float, sign: Callable[[str], str]) -> JsonObject:
    """The job as GET and list show it."""
    current = status(job, now)
    failed = current is JobStatus.FAILED
    done = current.is_final
    shared = {
        "name": f"{ACCOUNT}/{_collection(job)}/{job.id}",
        "displayName": job.suffix or "",
        "createTime": _time(job.created_at),
        "completedTime": _time(job.settled_at) if done else None,
        "dataset": f"{ACCOUNT}/datasets/{_dataset(job, 'training')}",
        "state": f"JOB_STATE_{_state(job, now)}",
        "status": {
            "code": "INVALID_ARGUMENT" if failed else "OK",
            "message": job.failure.message if failed else "",
        },
        "createdBy": "somebody@example.com",
        "trainerLogsSignedUrl": "",
        "wandbConfig": None,
    }
    made = job.base_model.startswith(f"{ACCOUNT}/")
    training = {
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
    if job.method == "dpo":
        loss = {"method": "DPO", "klBeta": 0.1}
        return {**shared, "trainingConfig": training, "lossConfig": loss}
    started = has_started(job, now)
    evaluation = f"{ACCOUNT}/datasets/{_dataset(job, 'validation')}" if job.validation else ""
    return {
        **shared,
        **training,
        "evaluationDataset": evaluation,
        "earlyStop": False,
        "isTurbo": False,
        "updateTime": _time(_changed_at(job, now)),
        "jobProgress": _progress(job, now),
        "metricsFileSignedUrl": sign(f"metrics/{job.id}") if started else "",
        "estimatedCost": _cost(job),
    }


def _page(
    collection: str,
    jobs: list[SimulatedJob],
    now: float,
    query: Mapping[str, str],
    sign: Callable[[str], str],
) -> JsonObject:
    order = query.get("orderBy") or "name"
    field, _, direction = order.partition(" ")
    keys: Mapping[str, Callable[[SimulatedJob], tuple[object, ...]]] = {
        "name": lambda job: (job.id,),
        "createTime": lambda job: (job.created_at, job.id),
    }
    if field not in keys or direction not in {"", "desc"}:
        raise _refused(3, f"invalid order_by: {order}", 400)
    ordered = sorted(jobs, key=keys[field], reverse=direction == "desc")
    size = min(_number(query, "pageSize") or _PAGE_SIZE, _LARGEST_PAGE)
    ids = [job.id for job in ordered]
    after = _cursor(query.get("pageToken") or "")
    start = ids.index(after) + 1 if after in ids else 0
    more = start + size < len(ids)
    return {
        collection: [_object(job, now, sign) for job in ordered[start : start + size]],
        "nextPageToken": _token(ids[start + size - 1]) if more else "",
        "totalSize": len(ids),
    }


def _checkpoints(job: SimulatedJob, now: float) -> list[JsonObject]:
    """One for each epoch, oldest first: neither the step nor a metric is told."""
    return [
        {
            "name": f"{ACCOUNT}/{_collection(job)}/{job.id}/checkpoints/{alnum(10, job.id, step)}",
            "createTime": _time(job.step_at(step)),
            "updateTime": _time(job.step_at(step)),
            "checkpointType": "CHECKPOINT_TYPE_INFERENCE_LORA",
            "promotable": True,
        }
        for step in job.epoch_ends
        if step <= steps_done(job, now)
    ]


def _metrics(job: SimulatedJob, now: float) -> bytes:
    """A line for each step, and one more where the step was evaluated."""
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
    """When anything about the job last changed."""
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


def _collection(job: SimulatedJob) -> str:
    return _COLLECTIONS[job.method]


def _dataset(job: SimulatedJob, role: str) -> str:
    return f"{job.id}-{role}"


def _find(jobs: Iterable[SimulatedJob], collection: str, job_id: str) -> SimulatedJob:
    for job in jobs:
        if (job.id, _collection(job)) == (job_id, collection):
            return job
    raise _refused(5, f"{ACCOUNT}/{collection}/{job_id} not found", 404)


def _signer(request: Request, now: float) -> Callable[[str], str]:
    host = request.headers.get("host", "")
    expires = str(int(now) + _VALID_FOR)

    def sign(path: str) -> str:
        query = f"Expires={expires}&Signature={_signature(path, expires)}"
        return f"http://{host}{FILES}/{path}?{query}"

    return sign


def _signature(path: str, expires: str) -> str:
    return alnum(32, path, expires)


def _token(job_id: str) -> str:
    return base64.urlsafe_b64encode(job_id.encode()).decode()


def _cursor(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise _refused(3, "invalid page token", 400) from None


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "0")
    if not text.isdecimal():
        raise _refused(3, f"parsing field {name!r}: invalid number", 400)
    return int(text)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _content(body: bytes) -> Reply:
    return Reply(headers={"Content-Type": "application/octet-stream"}, body=body)


def _refused(code: int, message: str, status_code: int) -> RefusedError:
    error = {"code": code, "message": message, "details": []}
    return RefusedError(json_reply(error, status_code))


def _storage_error(code: str, status_code: int) -> Reply:
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
    return Reply(
        status=status_code, headers={"Content-Type": "application/xml"}, body=body.encode()
    )
