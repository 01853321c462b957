"""Fireworks' fine-tuning API, read only: collections of jobs, and files behind signed URLs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from bridge.simulator.datasets import examples, roles
from bridge.simulator.fireworks_objects import (
    ACCOUNT,
    COLLECTIONS,
    checkpoint_objects,
    collection_of,
    dataset_of,
    job_object,
    metrics_file,
)
from bridge.simulator.jobs import (
    SimulatedJob,
    newest_first,
    steps_done,
)
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.seeded import alnum

FILES: Final = "/fireworks-files"
"""Path of signed URLs, which in reality lead to another host."""

_LISTS = (*COLLECTIONS.values(), "reinforcementFineTuningJobs")
_PAGE_SIZE, _LARGEST_PAGE = 50, 200
_VALID_FOR = 3600
"""Validity of a signed URL in seconds."""


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    if request.method != "GET":
        raise _refused(12, "Method Not Allowed", 501)
    known = newest_first(jobs, now)
    sign = _signer(request, now)
    match request.path.strip("/").replace(":", "/:").split("/"):
        case [collection] if collection in _LISTS:
            rows = [job for job in known if collection_of(job) == collection]
            return json_reply(_page(collection, rows, now, request.query, sign))
        case [collection, job_id]:
            return json_reply(job_object(_find(known, collection, job_id), now, sign))
        case [collection, job_id, "checkpoints"]:
            job = _find(known, collection, job_id)
            return json_reply({"checkpoints": checkpoint_objects(job, now), "nextPageToken": ""})
        case ["dpoJobs", job_id, ":getMetricsFileEndpoint"]:
            job = _find(known, "dpoJobs", job_id)
            return json_reply({"signedUrl": sign(f"metrics/{job.id}")})
        case ["datasets", dataset, ":getDownloadEndpoint"]:
            return json_reply({"filenameToSignedUrls": {"data.jsonl": sign(f"datasets/{dataset}")}})
        case _:
            raise _refused(5, "Not Found", 404)


def file(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the file behind a signed URL, whose path begins after ``FILES``.

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
            return _content(metrics_file(job, now))
        for role in roles(job):
            if wanted == f"datasets/{dataset_of(job, role)}":
                return _content(examples(job, role))
    raise RefusedError(_storage_error("NoSuchKey", 404))


def unauthorized(key: str) -> Reply:  # noqa: ARG001 - the same for a missing and a wrong key
    """Return the reply to a missing or wrong key."""
    return json_reply({"code": 16, "message": "The API key you provided is invalid."}, 401)


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
        collection: [job_object(job, now, sign) for job in ordered[start : start + size]],
        "nextPageToken": _token(ids[start + size - 1]) if more else "",
        "totalSize": len(ids),
    }


def _find(jobs: Iterable[SimulatedJob], collection: str, job_id: str) -> SimulatedJob:
    for job in jobs:
        if (job.id, collection_of(job)) == (job_id, collection):
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
