"""The read side of Vertex AI's tuning jobs, and of the TensorBoards with their metrics.

In the JSON of protocol buffers: 64-bit integers are text, and fields that are zero are missing. Any
project and location is accepted.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from bridge.model import JobStatus
from bridge.simulator.curves import StepMetrics, metrics_at
from bridge.simulator.jobs import SimulatedJob, has_started, newest_first, status, steps_done
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.seeded import digits

PROJECT_NUMBER: Final = "123456789012"
_LOCATION = "us-central1"
_PLACE = f"projects/{PROJECT_NUMBER}/locations/{_LOCATION}"
_BOARD = f"{_PLACE}/tensorboards/4611686018427387904"
_PAGE_SIZE = 100
_SAMPLE = 1000
"""Size of the random sample of a series' points, if not all are requested."""
_TOKENS_PER_EXAMPLE = 180

_Metric = Callable[[StepMetrics], float | None]
_STATES: Mapping[JobStatus, str] = {
    JobStatus.VALIDATING: "PENDING",
    JobStatus.QUEUED: "QUEUED",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSED: "PAUSED",
    JobStatus.SUCCEEDED: "SUCCEEDED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "CANCELLED",
}
_SPECS: Mapping[str, str] = {
    "supervised": "supervisedTuning",
    "dpo": "preferenceOptimization",
    "reinforcement": "reinforcementTuning",
}
_METRICS: Mapping[str, Mapping[str, _Metric]] = {
    "supervised": {
        "/train_total_loss": lambda step: step.train.loss,
        "/train_fraction_of_correct_next_step_preds": lambda step: step.train.accuracy,
        "/eval_total_loss": lambda step: step.valid.loss if step.valid else None,
        "/eval_fraction_of_correct_next_step_preds": (
            lambda step: step.valid.accuracy if step.valid else None
        ),
    },
    "dpo": {
        "/preference_optimization_train_loss": lambda step: step.train.loss,
        "/eval_total_loss": lambda step: step.valid.loss if step.valid else None,
    },
    "reinforcement": {
        "/train_mean_reward": lambda step: step.train.accuracy,
        "/eval_mean_reward": lambda step: step.valid.accuracy if step.valid else None,
    },
}


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.method != "GET":
        raise _refused(405, "METHOD_NOT_ALLOWED", "Method not allowed.")
    known = newest_first(jobs, now)
    match request.path.strip("/").split("/"):
        case ["v1beta1", "projects", _, "locations", _, "tuningJobs"]:
            return json_reply(_page(known, now, request.query))
        case ["v1beta1", "projects", _, "locations", _, "tuningJobs", job_id]:
            return json_reply(_object(_find(known, job_id), now))
        case ["v1", *parts]:
            return json_reply(_curves(known, now, "/".join(parts), request.query))
        case _:
            raise _refused(404, "NOT_FOUND", "Requested entity was not found.")


def unauthorized(key: str) -> Reply:  # noqa: ARG001 - the same for a missing and a wrong token
    """Return the reply to a missing or wrong token."""
    return _refused(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login"
        " cookie or other valid authentication credential.",
    ).reply


def model_name(job: SimulatedJob) -> str:
    """Return the model that a job makes."""
    return f"{_PLACE}/models/{digits(19, job.id, 'model')}@1"


def _page(jobs: list[SimulatedJob], now: float, query: Mapping[str, str]) -> JsonObject:
    size = int(query.get("pageSize") or _PAGE_SIZE)
    ids = [job.id for job in jobs]
    after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
    start = ids.index(after) + 1 if after in ids else 0
    rows = [_object(job, now) for job in jobs[start : start + size]]
    page: dict[str, object] = {"tuningJobs": rows} if rows else {}
    if start + size < len(jobs):
        last = ids[start + size - 1]
        page["nextPageToken"] = base64.urlsafe_b64encode(last.encode()).decode()
    return page


def _object(job: SimulatedJob, now: float) -> JsonObject:
    """Return the job as GET and list show it."""
    current = status(job, now)
    started = has_started(job, now)
    stats = _stats(job)
    kind = _SPECS[job.method]
    shown: dict[str, object] = {
        "name": f"{_PLACE}/tuningJobs/{job.id}",
        "tunedModelDisplayName": job.suffix,
        "labels": dict(job.metadata) if job.metadata else None,
        "state": f"JOB_STATE_{_STATES[current]}",
        "createTime": _time(job.created_at),
        "startTime": _time(job.started_at) if started else None,
        "endTime": _time(job.settled_at) if current.is_final else None,
        "updateTime": _time(min(now, job.settled_at)),
        f"{kind}Spec": _spec(job),
        "experiment": _experiment(job) if started else None,
        "tuningDataStats": {f"{kind}DataStats": stats} if started else None,
        "tunedModel": _tuned_model(job, now),
        "error": (
            {"code": 3, "message": job.failure.message} if current is JobStatus.FAILED else None
        ),
    }
    made = job.base_model.startswith("projects/")
    shown |= (
        {"preTunedModel": {"tunedModelName": job.base_model, "baseModel": "gemini-2.5-flash"}}
        if made
        else {"baseModel": job.base_model}
    )
    return {name: value for name, value in shown.items() if value is not None}


def _spec(job: SimulatedJob) -> JsonObject:
    chosen: dict[str, object] = {
        "epochCount": str(job.n_epochs),
        "learningRateMultiplier": job.learning_rate or 1,
        "adapterSize": "ADAPTER_SIZE_FOUR",
    }
    if job.method == "reinforcement":
        chosen |= {"batchSize": str(job.batch_size), "samplesPerPrompt": "8"}
    spec = {
        "trainingDatasetUri": f"gs://simulated/{job.id}/training.jsonl",
        "hyperParameters": chosen,
    }
    valid = {"validationDatasetUri": f"gs://simulated/{job.id}/validation.jsonl"}
    return spec | (valid if job.validation else {})


def _stats(job: SimulatedJob) -> JsonObject:
    examples = job.batch_size * job.total_steps // job.n_epochs
    said = {"role": "user", "parts": [{"text": "Where is my order? (simulated)"}]}
    return {
        "tuningDatasetExampleCount": str(examples),
        "totalBillableTokenCount": str(examples * _TOKENS_PER_EXAMPLE),
        "tuningStepCount": str(job.total_steps),
        "userDatasetExamples": [said],
    }


def _tuned_model(job: SimulatedJob, now: float) -> JsonObject | None:
    """Return the model as trained so far, with a checkpoint and an endpoint for each epoch."""
    done = status(job, now) is JobStatus.SUCCEEDED
    reached = [step for step in job.epoch_ends if step <= steps_done(job, now)]
    checkpoints = [
        {
            "checkpointId": str(number),
            "epoch": str(number),
            "step": str(step),
            "endpoint": _endpoint(job, step),
        }
        for number, step in enumerate(reached, 1)
    ]
    if not checkpoints:
        return None
    whole = {"endpoint": _endpoint(job, reached[-1])} if done else {}
    return {"model": model_name(job), "checkpoints": checkpoints, **whole}


def _endpoint(job: SimulatedJob, step: int) -> str:
    return f"{_PLACE}/endpoints/{digits(19, job.id, 'endpoint', step)}"


def _experiment(job: SimulatedJob) -> str:
    return f"{_PLACE}/metadataStores/default/contexts/tuning-experiment-{job.id}"


def _curves(
    jobs: Iterable[SimulatedJob], now: float, name: str, query: Mapping[str, str]
) -> JsonObject:
    """Return the resource at the name of an experiment, or in the TensorBoard."""
    for job in jobs:
        if not has_started(job, now):
            continue
        run = f"{_BOARD}/experiments/tuning-experiment-{job.id}/runs/tuning-run-{job.id}"
        if name == _experiment(job):
            return {
                "name": name,
                "displayName": f"tuning-experiment-{job.id}",
                "createTime": _time(job.started_at),
                "schemaTitle": "system.Experiment",
                "schemaVersion": "0.0.1",
                "metadata": {"backing_tensorboard_resource": _BOARD},
            }
        if name == run.rpartition("/")[0]:
            return {"tensorboardRuns": [{"name": run, "displayName": run.rpartition("/")[2]}]}
        if name == f"{run}/timeSeries":
            rows = [_series(job, run, metric, now) for metric in _METRICS[job.method]]
            return {"tensorboardTimeSeries": [row for row in rows if row]}
        for metric in _METRICS[job.method]:
            if name == f"{run}/timeSeries/{_series_id(metric)}:read":
                return {"timeSeriesData": _data(job, metric, now, query)}
    raise _refused(404, "NOT_FOUND", "Requested entity was not found.")


def _series_id(metric: str) -> str:
    return digits(19, metric)


def _series(job: SimulatedJob, run: str, metric: str, now: float) -> JsonObject | None:
    values = _values(job, metric, now)
    if not values:
        return None
    newest = values[-1]["wallTime"]
    return {
        "name": f"{run}/timeSeries/{_series_id(metric)}",
        "displayName": metric,
        "valueType": "SCALAR",
        "createTime": values[0]["wallTime"],
        "updateTime": newest,
        "pluginName": "scalars",
        "metadata": {"maxStep": values[-1]["step"], "maxWallTime": newest},
    }


def _data(job: SimulatedJob, metric: str, now: float, query: Mapping[str, str]) -> JsonObject:
    values = _values(job, metric, now)
    most = int(query.get("maxDataPoints") or _SAMPLE)
    if 0 < most < len(values):
        # As at the service: a random sample in the order of steps.
        chosen = sorted(random.sample(range(len(values)), most))
        values = [values[index] for index in chosen]
    return {
        "tensorboardTimeSeriesId": _series_id(metric),
        "valueType": "SCALAR",
        "values": values,
    }


def _values(job: SimulatedJob, metric: str, now: float) -> list[dict[str, object]]:
    measure = _METRICS[job.method][metric]
    found = ((step, measure(metrics_at(job, step))) for step in range(1, steps_done(job, now) + 1))
    return [
        {
            "wallTime": _time(job.step_at(step)),
            "step": str(step),
            "scalar": {"value": round(value, 6)},
        }
        for step, value in found
        if value is not None
    ]


def _find(jobs: Iterable[SimulatedJob], job_id: str) -> SimulatedJob:
    for job in jobs:
        if job.id == job_id:
            return job
    raise _refused(404, "NOT_FOUND", f"TuningJob {job_id} was not found.")


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='microseconds')}Z"


def _refused(code: int, name: str, message: str) -> RefusedError:
    error = {"code": code, "message": message, "status": name}
    return RefusedError(json_reply({"error": error}, code))
