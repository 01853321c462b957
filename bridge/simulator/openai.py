"""The read side of OpenAI's fine-tuning API: routes, cursor paging and error bodies.

Other providers use a dialect of it: the same routes with other objects and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from bridge.simulator.jobs import SimulatedJob, newest_first
from bridge.simulator.messages import JsonObject, RefusedError, Reply, Request, json_reply
from bridge.simulator.openai_objects import (
    FileRole,
    checkpoint_objects,
    event_objects,
    file_content,
    file_ids,
    file_object,
    job_object,
    model_objects,
)

_JOBS_LIMIT = 20
_CHECKPOINTS_LIMIT = 10
_EVENTS_LIMIT = 20
_MAX_LIMIT = 100
_SHOWN_OF_KEY = 4

_T = TypeVar("_T")


class Refusal(Protocol):
    """Returns an error."""

    def __call__(
        self, http_status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> RefusedError:
        """Return the error with a message."""


class Dialect(NamedTuple):
    """The differences between the servers that implement OpenAI's API."""

    job: Callable[[SimulatedJob, float], JsonObject]
    checkpoints: Callable[[SimulatedJob, float], list[JsonObject]]
    events: Callable[[SimulatedJob, float], list[JsonObject]]
    models: Callable[[Iterable[SimulatedJob], float], list[JsonObject]]
    refused: Refusal
    tells_ends: bool
    """Whether a list of checkpoints contains the ids of its first and last."""
    listed: Callable[[SimulatedJob, float], JsonObject] | None = None
    """Returns a row of the job list, if it differs from the job."""


def answer(jobs: Iterable[SimulatedJob], now: float, request: Request) -> Reply:
    """Return the reply to ``request``, whose path begins after the API's base URL.

    Raises:
        RefusedError: the reply is an error.
    """
    return answer_in(_OPENAI, jobs, now, request)


def answer_in(
    dialect: Dialect, jobs: Iterable[SimulatedJob], now: float, request: Request
) -> Reply:
    """Return the reply of a server with a dialect.

    Raises:
        RefusedError: the reply is an error.
    """
    refused = dialect.refused
    if request.method != "GET":
        raise refused(405, f"Not allowed to {request.method} on /v1{request.path}. (simulated)")
    known = newest_first(jobs, now)
    match request.path.strip("/").split("/"):
        case ["fine_tuning", "jobs"]:
            wanted = [job for job in known if _has_metadata(job, request.query)]
            page, has_more = _page(wanted, _job_id, request, _JOBS_LIMIT, refused)
            shown_as = dialect.listed or dialect.job
            return _list([shown_as(job, now) for job in page], has_more=has_more)
        case ["fine_tuning", "jobs", job_id]:
            return json_reply(dialect.job(_find(known, job_id, refused), now))
        case ["fine_tuning", "jobs", job_id, "checkpoints"]:
            rows = dialect.checkpoints(_find(known, job_id, refused), now)
            shown, has_more = _page(rows, _row_id, request, _CHECKPOINTS_LIMIT, refused)
            ends = {
                "first_id": _row_id(shown[0]) if shown else None,
                "last_id": _row_id(shown[-1]) if shown else None,
            }
            return _list(shown, has_more=has_more, more=ends if dialect.tells_ends else None)
        case ["fine_tuning", "jobs", job_id, "events"]:
            rows = dialect.events(_find(known, job_id, refused), now)
            shown, has_more = _page(rows, _row_id, request, _EVENTS_LIMIT, refused)
            return _list(shown, has_more=has_more)
        case ["models"]:
            return json_reply({"object": "list", "data": dialect.models(known, now)})
        case ["files", file_id]:
            return json_reply(file_object(*_find_file(known, file_id, now, refused)))
        case ["files", file_id, "content"]:
            content = file_content(*_find_file(known, file_id, now, refused))
            return Reply(headers={"Content-Type": "application/octet-stream"}, body=content)
        case _:
            raise refused(404, f"Invalid URL ({request.method} /v1{request.path})")


def unauthorized(key: str) -> Reply:
    """Return the reply to a missing (empty) or wrong key."""
    if not key:
        return _error(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    shown = key[-_SHOWN_OF_KEY:] if len(key) > 2 * _SHOWN_OF_KEY else ""
    return _error(401, f"Incorrect API key provided: ***{shown}.", code="invalid_api_key")


def _page(
    items: Sequence[_T],
    item_id: Callable[[_T], str],
    request: Request,
    default: int,
    refused: Refusal,
) -> tuple[Sequence[_T], bool]:
    """Return the items after the cursor, and whether there are more."""
    limit = request.query.get("limit", str(default))
    if not limit.isdecimal():
        raise refused(400, f"'{limit}' is not of type 'integer' - 'limit'", param="limit")
    start = 0
    if after := request.query.get("after"):
        ids = [item_id(item) for item in items]
        if after not in ids:
            raise refused(400, f"Invalid cursor: {after}", param="after")
        start = ids.index(after) + 1
    end = start + min(max(int(limit), 1), _MAX_LIMIT)
    return items[start:end], end < len(items)


def _list(rows: Sequence[JsonObject], *, has_more: bool, more: JsonObject | None = None) -> Reply:
    return json_reply({"object": "list", "data": rows, "has_more": has_more, **(more or {})})


def _job_id(job: SimulatedJob) -> str:
    return job.id


def _row_id(row: JsonObject) -> str:
    return str(row["id"])


def _find(jobs: Iterable[SimulatedJob], job_id: str, refused: Refusal) -> SimulatedJob:
    for job in jobs:
        if job.id == job_id:
            return job
    message = f"Could not find fine tune: {job_id}"
    raise refused(404, message, param="fine_tune_id", code="fine_tune_not_found")


def _has_metadata(job: SimulatedJob, query: Mapping[str, str]) -> bool:
    """Return whether ``job`` passes the filters ``metadata[key]=value`` and ``metadata=null``."""
    noted = job.metadata or {}
    if query.get("metadata") == "null" and noted:
        return False
    wanted = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in query.items()
        if name.startswith("metadata[")
    }
    return wanted.items() <= noted.items()


def _find_file(
    jobs: Iterable[SimulatedJob], file_id: str, now: float, refused: Refusal
) -> tuple[SimulatedJob, FileRole]:
    for job in jobs:
        if role := file_ids(job, now).get(file_id):
            return job, role
    raise refused(404, f"No such File object: {file_id}", param="id")


def _refused(
    http_status: int, message: str, *, param: str | None = None, code: str | None = None
) -> RefusedError:
    return RefusedError(_error(http_status, message, param=param, code=code))


def _error(
    http_status: int, message: str, *, param: str | None = None, code: str | None = None
) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json_reply({"error": error}, http_status)


_OPENAI = Dialect(
    job=job_object,
    checkpoints=checkpoint_objects,
    events=event_objects,
    models=model_objects,
    refused=_refused,
    tells_ends=True,
)
