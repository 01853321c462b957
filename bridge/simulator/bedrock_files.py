"""The S3 bucket with the metrics of Bedrock's simulated jobs.

The files grow while a job trains, which is not documented; their folders have one of the two known
layouts for odd seeds and the other for even seeds. Any signature is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Final, NamedTuple

from bridge.simulator.curves import metrics_at
from bridge.simulator.datasets import Role, examples, roles
from bridge.simulator.jobs import SimulatedJob, newest_first, steps_done
from bridge.simulator.messages import RefusedError, Reply, Request

BUCKET: Final = "simulated-fine-tuning"
OUTPUT: Final = f"s3://{BUCKET}/output"


class _File(NamedTuple):
    content: bytes
    changed_at: float


def objects(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return S3's reply to ``request``: names below a prefix, or one file.

    Raises:
        RefusedError: the reply is an error.
    """
    if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        raise _denied("AccessDenied", "Access Denied", 403)
    bucket, _, key = request.path.strip("/").partition("/")
    if bucket != BUCKET:
        raise _denied("NoSuchBucket", "The specified bucket does not exist", 404)
    files = dict(_files(newest_first(jobs, now), now))
    if "list-type" in request.query:
        return _xml(200, _listing(files, request.query.get("prefix", "")))
    if key not in files:
        raise _denied("NoSuchKey", "The specified key does not exist.", 404)
    return Reply(headers={"Content-Type": "binary/octet-stream"}, body=files[key].content)


def data_uri(job: SimulatedJob, role: Role) -> str:
    """Return the address of a training or validation file."""
    return f"s3://{BUCKET}/data/{job.id}-{role}.jsonl"


def iso(at: float) -> str:
    """Return a time in AWS's notation."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _files(jobs: Iterable[SimulatedJob], now: float) -> Iterator[tuple[str, _File]]:
    """Yield the objects in the bucket with their keys."""
    for job in jobs:
        for role in roles(job):
            key = data_uri(job, role).removeprefix(f"s3://{BUCKET}/")
            yield key, _File(examples(job, role), job.created_at)
        done = steps_done(job, now)
        if not done:
            continue
        folder = f"output/model-customization-job-{job.id}"
        changed_at = job.step_at(done)
        training = _File(_training(job, done), changed_at)
        yield f"{folder}/training_artifacts/step_wise_training_metrics.csv", training
        if job.validation:
            inner = "validation/" if job.seed % 2 else ""
            place = f"validation_artifacts/post_fine_tuning_validation/{inner}"
            validation = _File(_validation(job, done), changed_at)
            yield f"{folder}/{place}validation_metrics.csv", validation


def _training(job: SimulatedJob, done: int) -> bytes:
    is_reinforced = job.method != "supervised"
    names = "train_reward_mean,policy_entropy" if is_reinforced else "training_loss,perplexity"
    lines = [f"step_number,epoch_number,{names}"]
    for step in range(1, done + 1):
        score = metrics_at(job, step).train
        first, second = (
            (score.accuracy, 0.1 + 0.2 * score.loss)
            if is_reinforced
            else (score.loss, math.exp(score.loss))
        )
        lines.append(f"{step},{_epoch(job, step)},{first!r},{second!r}")
    return _text(lines)


def _validation(job: SimulatedJob, done: int) -> bytes:
    losses = ((step, metrics_at(job, step).valid) for step in range(1, done + 1))
    rows = [f"{step},{_epoch(job, step)},{score.loss!r}" for step, score in losses if score]
    return _text(["step_number,epoch_number,validation_loss", *rows])


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _epoch(job: SimulatedJob, step: int) -> int:
    return sum(1 for end in job.epoch_ends if end < step)


def _listing(files: Mapping[str, _File], prefix: str) -> str:
    names = sorted(name for name in files if name.startswith(prefix))
    rows = "".join(
        f"<Contents><Key>{escape(name)}</Key>"
        f"<LastModified>{iso(files[name].changed_at)}</LastModified>"
        f"<Size>{len(files[name].content)}</Size></Contents>"
        for name in names
    )
    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(names)}</KeyCount>"
        f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
    )


def _xml(http_status: int, document: str) -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{document}'.encode()
    return Reply(status=http_status, headers={"Content-Type": "application/xml"}, body=body)


def _denied(code: str, message: str, http_status: int) -> RefusedError:
    document = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return RefusedError(_xml(http_status, document))
