"""Amazon Bedrock's control plane: model customization jobs with the members of AWS's service model.

Bedrock has no preference tuning, so such jobs are reinforcement jobs here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bridge.model import JobStatus
from bridge.simulator.bedrock_files import OUTPUT, data_uri, iso
from bridge.simulator.curves import metrics_at
from bridge.simulator.jobs import SimulatedJob, has_started, life_until, newest_first, status
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply

_ACCOUNT: Final = "000000000000"
_REGION: Final = "us-east-1"
_JOBS: Final = "/model-customization-jobs"
_SMALLEST_BATCH: Final = 16
"""Metric of the reward in a reinforcement job."""
_LARGEST_PAGE: Final = 1000
_STATUSES: Final[Mapping[JobStatus, str]] = {
    JobStatus.SUCCEEDED: "Completed",
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Stopped",
}
_LISTED: Final = (
    *("jobArn", "baseModelArn", "jobName", "status", "statusDetails", "creationTime"),
    *("lastModifiedTime", "endTime", "customizationType"),
)
"""Keys of a job in a row of the list."""


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the control plane's reply to ``request``, whose path begins after the host.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.method != "GET":
        raise _refused(404, "UnknownOperationException", "")
    known = newest_first(jobs, now)
    if request.path.rstrip("/") == _JOBS:
        return json_reply(_page(known, now, request.query))
    wanted = request.path.removeprefix(f"{_JOBS}/")
    for job in known:
        if wanted in {arn_of(job), job.suffix}:
            return json_reply(_job(job, now))
    raise _refused(404, "ResourceNotFoundException", "The provided job identifier is not found")


def unauthorized(_key: str) -> Reply:
    """Return the reply to missing or wrong credentials."""
    return _error(
        403, "UnrecognizedClientException", "The security token included in the request is invalid."
    )


def key_of(request: Request) -> str:
    """Return the bearer key, or the access key of a signature."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme == "AWS4-HMAC-SHA256":
        return rest.partition("Credential=")[2].partition("/")[0]
    return rest.strip() if scheme.lower() == "bearer" else ""


def arn_of(job: SimulatedJob) -> str:
    """Return the job's ARN."""
    model = job.original_model.rpartition("/")[2]
    return f"arn:aws:bedrock:{_REGION}:{_ACCOUNT}:model-customization-job/{model}/{job.id}"


def model_arn(job: SimulatedJob) -> str:
    """Return the ARN of the model that the job makes."""
    return arn_of(job).replace(":model-customization-job/", ":custom-model/")


def _page(jobs: Sequence[SimulatedJob], now: float, query: Mapping[str, str]) -> dict[str, object]:
    size = int(query.get("maxResults", "10"))
    if not 1 <= size <= _LARGEST_PAGE:
        raise _refused(400, "ValidationException", "maxResults is out of range")
    # Without both keys the order is arbitrary.
    is_sorted = query.get("sortBy") == "CreationTime" and query.get("sortOrder") == "Descending"
    ordered = list(jobs) if is_sorted else sorted(jobs, key=lambda job: job.id)
    start = next(
        (n + 1 for n, job in enumerate(ordered) if job.id == query.get("nextToken", "")), 0
    )
    shown = ordered[start : start + size]
    page: dict[str, object] = {
        "modelCustomizationJobSummaries": [_summary(job, now) for job in shown]
    }
    return page | ({"nextToken": shown[-1].id} if start + size < len(ordered) else {})


def _summary(job: SimulatedJob, now: float) -> JsonObject:
    whole = _job(job, now)
    row: dict[str, object] = {name: whole[name] for name in _LISTED if name in whole}
    if "outputModelArn" in whole:
        row |= {"customModelArn": whole["outputModelArn"], "customModelName": job.suffix or job.id}
    return row


def _job(job: SimulatedJob, now: float) -> dict[str, object]:
    current = status(job, now)
    is_reinforced = job.method != "supervised"
    name = job.suffix or job.id
    document: dict[str, object] = {
        "jobArn": arn_of(job),
        "jobName": name,
        "outputModelName": name,
        "clientRequestToken": job.id,
        "roleArn": f"arn:aws:iam::{_ACCOUNT}:role/simulated",
        "status": _STATUSES.get(current, "InProgress"),
        "statusDetails": _stages(job, now),
        "creationTime": iso(job.created_at),
        "lastModifiedTime": iso(life_until(job, now)[-1].at),
        "baseModelArn": _base_model(job),
        "customizationType": "REINFORCEMENT_FINE_TUNING" if is_reinforced else "FINE_TUNING",
        "hyperParameters": {} if is_reinforced else _hyperparameters(job),
        "trainingDataConfig": {"s3Uri": data_uri(job, "training")},
        "validationDataConfig": {
            "validators": [{"s3Uri": data_uri(job, "validation")}] if job.validation else []
        },
        "outputDataConfig": {"s3Uri": OUTPUT},
    }
    if is_reinforced:
        document["customizationConfig"] = {"rftConfig": _reinforcement(job)}
    return document | _ending(job, current)


def _reinforcement(job: SimulatedJob) -> JsonObject:
    grader = f"arn:aws:lambda:{_REGION}:{_ACCOUNT}:function:simulated"
    return {
        "graderConfig": {"lambdaGrader": {"lambdaArn": grader}},
        "hyperParameters": {
            "epochCount": job.n_epochs,
            "batchSize": max(job.batch_size, _SMALLEST_BATCH),
        },
    }


def _ending(job: SimulatedJob, current: JobStatus) -> dict[str, object]:
    """Return the fields that a job has only after its end."""
    ending: dict[str, object] = {}
    if current.is_final:
        ending["endTime"] = iso(job.settled_at)
    if current is JobStatus.FAILED:
        ending["failureMessage"] = job.failure.message
    if current is JobStatus.SUCCEEDED:
        last = metrics_at(job, job.total_steps)
        ending["outputModelArn"] = model_arn(job)
        ending["trainingMetrics"] = {"trainingLoss": last.train.loss}
        ending["validationMetrics"] = [{"validationLoss": last.valid.loss}] if last.valid else []
    return ending


def _base_model(job: SimulatedJob) -> str:
    if job.base_model.startswith("arn:"):
        return job.base_model
    return f"arn:aws:bedrock:{_REGION}::foundation-model/{job.base_model}"


def _hyperparameters(job: SimulatedJob) -> dict[str, str]:
    """Return the hyperparameters, all as text according to the service model."""
    return {
        "epochCount": str(job.n_epochs),
        "batchSize": str(job.batch_size),
        "learningRate": str(job.learning_rate or 0.00001),
        "learningRateWarmupSteps": "0",
    }


def _stages(job: SimulatedJob, now: float) -> JsonObject:
    """Return the stages: validation, data processing while the job waits, training."""
    ended = status(job, now).is_final

    def stage(begins: float, ends: float, last: str) -> JsonObject:
        if now < begins:
            return {"status": "NotStarted"}
        is_over = ended or now >= ends
        moment = min(ends, job.settled_at) if is_over else begins
        word = (last if ended else "Completed") if is_over else "InProgress"
        return {
            "status": word,
            "creationTime": iso(begins),
            "lastModifiedTime": iso(moment),
        }

    word = _STATUSES.get(status(job, now), "Completed")
    trains = has_started(job, now)
    return {
        "validationDetails": stage(
            job.created_at, job.validated_at, word if job.fails_validation else "Completed"
        ),
        "dataProcessingDetails": stage(job.validated_at, job.started_at, "Completed"),
        "trainingDetails": (
            stage(job.started_at, job.stopped_at, word) if trains else {"status": "NotStarted"}
        ),
    }


def _refused(http_status: int, kind: str, message: str) -> RefusedError:
    return RefusedError(_error(http_status, kind, message))


def _error(http_status: int, kind: str, message: str) -> Reply:
    reply = json_reply({"message": message}, http_status)
    return Reply(
        status=http_status,
        headers={**reply.headers, "x-amzn-ErrorType": kind},
        body=reply.body,
    )
