"""Scripted provider APIs at the wire, which send exactly what a test puts into them.

There is one class per wire format, all of them listed in ``tests.support.wires``. The contract in
``tests/providers/test_provider_contract.py`` holds for every provider that has one.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar
from urllib.parse import unquote

import httpx

from bridge.http.client import connect
from bridge.http.s3 import Buckets
from bridge.http.signed_urls import SignedUrlFetcher
from bridge.model import JobStatus
from bridge.providers.base import Provider
from bridge.providers.bedrock import Bedrock
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from tests.support.scripted import MOST_REQUESTS, Handler, script
from tests.support.world import NoSleep

Row = dict[str, object]

HOST = "provider.example"
BASE_URL = f"https://{HOST}/v1"
CREATED = 1_760_000_000
"""Creation of all jobs in Unix seconds."""
S3_HOST = "s3.example"


@dataclass
class Api(ABC):
    """A provider's jobs, newest first, and their parts; every value is sent unchanged."""

    kind: ClassVar[str]
    running: ClassVar[str]
    """Word for a job that trains."""
    succeeded: ClassVar[str]
    """Word for a job that has succeeded."""
    words: ClassVar[frozenset[str]]
    """Every word for a status in the provider's specification or documentation."""
    wrong: ClassVar[Mapping[str, object]]
    """A value of an impossible type for each key that the provider reads."""
    root: ClassVar[tuple[str, ...]] = ("fine_tuning", "jobs")
    """Path of the job list."""
    page_size: ClassVar[int | None] = 100
    """Number of jobs per page; ``None``: they come all together."""
    step_key: ClassVar[str] = "step_number"
    """Name of the step in a checkpoint."""
    curve_part: ClassVar[str | None] = "/events"
    """Path that serves only the curve."""
    more_documents: ClassVar[frozenset[str]] = frozenset()
    """Documents that are archived besides the job, its checkpoints and its events."""
    given_files: ClassVar[tuple[str, str | None]] = ("file-1", "file-2")
    """Training and validation file of a row."""
    has_epochs: ClassVar[bool] = True
    """Whether jobs state their number of epochs."""
    file_address: ClassVar[str | None] = "/files/{}/content"
    """Path of a file; ``{}`` is its id. ``None``: the provider has no files."""
    public_root: ClassVar[str] = "/v1/"
    """Path of the public service's base URL."""
    has_flat_rows: ClassVar[bool] = False
    """Whether every number of a checkpoint is a metric."""
    options: ClassVar[Mapping[str, str]] = {}
    """Settings of a provider that only this type has."""
    curve_root: ClassVar[str | None] = None
    """Prefix of the paths that serve curves but are not below a job."""
    of_some_jobs: ClassVar[frozenset[str]] = frozenset()
    """Metrics and params that only jobs of a kind other than ``row``'s have."""
    id_key: ClassVar[str] = "id"
    """Name of the job id in a row."""
    id_prefix: ClassVar[str] = ""
    """Prefix that the bridge adds to the id, so that it identifies exactly one job."""
    longest_id: ClassVar[int] = 250
    status_key: ClassVar[str] = "status"
    """Name of the status in a row."""
    created_key: ClassVar[str] = "created_at"
    """Name of the creation time in a row."""
    ended_key: ClassVar[str] = "finished_at"
    """Name of the end in a row."""
    ended_value: ClassVar[object] = CREATED + 800
    """Value of an end."""
    model_key: ClassVar[str] = "fine_tuned_model"
    """Name of the job's model in a row; several names are separated by spaces.

    Empty: the model has no name.
    """
    failure: ClassVar[Mapping[str, object]] = {}
    """Name of the error in a row, if rows have one."""
    params_key: ClassVar[str] = "hyperparameters"
    """Name of the object that holds a row's params, if they are nested."""
    measures_checkpoints: ClassVar[bool] = True
    """Whether the rows in ``checkpoints`` become checkpoints; if not, they become the curve."""
    measured_document: ClassVar[str] = "checkpoints.jsonl"
    """Name of the archived document."""
    lists: ClassVar[frozenset[str]] = frozenset({"checkpoints.jsonl", "events.jsonl"})
    """Documents with a line for each row."""
    requests_a_page: ClassVar[int] = 1
    ids_have_slashes: ClassVar[bool] = True
    """Whether any text can be an id; if not, the id is the last part of a path."""
    trusts_list: ClassVar[bool] = True
    """Whether a job's row in the list has everything that its own address returns."""
    omits_empty_lists: ClassVar[bool] = False
    """Whether an empty object stands for an empty list of jobs."""
    null_list: ClassVar[Mapping[str, object]] = {
        "object": "list",
        "data": None,
        "total": 0,
        "has_more": False,
    }
    """Null in place of a list."""
    public_page: ClassVar[str | None] = None
    """Page of the public service that shows a job; ``{}`` is its id."""

    jobs: list[object] = field(default_factory=list)
    checkpoints: object = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """Contents by id."""
    requests: list[httpx.Request] = field(default_factory=list)
    between: Callable[[], None] = lambda: None
    """Hook that runs after each page of jobs."""

    @abstractmethod
    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every documented key."""

    @abstractmethod
    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a checkpoint."""

    @abstractmethod
    def page(self, query: Mapping[str, str]) -> object:
        """Return a page of the job list."""

    @abstractmethod
    def detail(self, job: Row) -> object:
        """Return a job's own reply."""

    def fill(self, steps: int) -> None:
        """Add one job with a long history: a measurement at each of its steps."""
        self.jobs = [self.row("a-job")]
        self.checkpoints = [self.checkpoint(n, train_loss=n / 1024) for n in range(steps, 0, -1)]

    def bare(self, job_id: object, **fields: object) -> Row:
        """Return a job with nothing but its id."""
        return {self.id_key: job_id, **fields}

    def ids(self, job_ids: Iterable[str]) -> list[str]:
        """Return the bridge's ids of the jobs in these rows."""
        return [f"{self.id_prefix}{job_id}" for job_id in job_ids]

    def list_of(self, rows: list[object], *, has_more: bool | None) -> Row:
        """Return a list of jobs that says whether more follow."""
        reply: Row = {"object": "list", "data": rows}
        return reply | ({"has_more": True, "total": 10**9} if has_more else {})

    def sent_checkpoints(self) -> object:
        """Return the checkpoints as the API sends them."""
        return self.checkpoints

    def keeps(self, document: bytes) -> bool:
        """Return whether a document has a line for each measurement."""
        return [json.loads(line) for line in document.decode().split("\n")[:-1]] == (
            self.sent_checkpoints()
        )

    def part(self, name: str, query: Mapping[str, str]) -> object:
        """Return the reply for a path below the job, if there is one."""
        del name, query
        return None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests.append(request)
        assert len(self.requests) <= MOST_REQUESTS, "the provider asks without end"
        raw = request.url.raw_path.split(b"?")[0].decode()
        root = "/v1/" if request.url.host == HOST else self.public_root
        assert raw.startswith(root), raw
        segments = [unquote(segment) for segment in raw.removeprefix(root).split("/")]
        answer = self.answer(segments, dict(request.url.params))
        return answer or httpx.Response(404, json={"error": {"message": "nothing here"}})

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer at a path below the base URL, or ``None`` if there is nothing."""
        match path:
            case ["fine_tuning", "jobs"]:
                reply = sent(self.page(query))
                self.between()
                return reply
            case ["fine_tuning", "jobs", job_id]:
                found = self.find(job_id)
                return None if found is None else sent(self.detail(found))
            case ["fine_tuning", "jobs", _, name]:
                part = self.part(name, query)
                return None if part is None else sent(part)
            case ["files", file_id, "content"]:
                content = self.files.get(file_id)
                return self.file() if content is None else httpx.Response(200, content=content)
        return None

    def find(self, job_id: str) -> Row | None:
        """Return the job with this id."""
        for job in self.jobs:
            if isinstance(job, dict) and job.get(self.id_key) == job_id:
                return job
        return None

    def file(self) -> httpx.Response:
        """Return a result file."""
        return httpx.Response(404, json={"error": {"message": "No such File object"}})

    def asked(self, part: str) -> list[httpx.Request]:
        """Return the requests whose path ends with ``part``."""
        return [request for request in self.requests if request.url.path.endswith(part)]

    def provider(
        self, *, curves: bool = True, statuses: Mapping[str, JobStatus] | None = None
    ) -> Provider:
        """Return the product's provider for this API."""
        return over(self, self.kind, curves=curves, statuses=statuses)


def over(
    answer: Handler,
    kind: str,
    *,
    curves: bool = True,
    key: str = "",
    statuses: Mapping[str, JobStatus] | None = None,
) -> Provider:
    """Return a provider over any wire, with a bound on its requests; retries take no time."""
    transport = httpx.MockTransport(script(answer))
    redactor = Redactor([key])
    files = SignedUrlFetcher(
        redactor,
        api=BASE_URL,
        sleep=NoSleep(),
        transport=transport,
        resolve=lambda _host, _port: ["1.1.1.1"],
    )
    http = connect(
        BASE_URL,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        redactor=redactor,
        sleep=NoSleep(),
        transport=transport,
        signed=files,
    )
    if kind == "bedrock":
        buckets = Buckets(
            partial(connect, headers={}, redactor=redactor, sleep=NoSleep(), transport=transport),
            region="us-east-1",
            url=f"https://{S3_HOST}",
        )
        return Bedrock(http, curves=curves, buckets=buckets, statuses=statuses)
    return TYPES[kind](http, curves=curves, statuses=statuses, **options_of(kind))


def options_of(kind: str) -> Mapping[str, str]:
    """Return the settings of the tests' configuration that only one type has."""
    apis = [Api]
    for api in apis:
        if vars(api).get("kind") == kind:
            return api.options
        apis += api.__subclasses__()
    raise KeyError(kind)


def sent(value: object) -> httpx.Response:
    """Return ``value`` as JSON, with bare NaN and Infinity."""
    body = json.dumps(value).encode()
    return httpx.Response(200, headers={"Content-Type": "application/json"}, content=body)


@dataclass
class OpenAIApi(Api):
    """``/fine_tuning/jobs`` as OpenAI has it."""

    kind: ClassVar[str] = "openai"
    failure: ClassVar[Mapping[str, object]] = {
        "error": {"code": "out_of_memory", "message": "It was too large."}
    }
    running: ClassVar[str] = "running"
    succeeded: ClassVar[str] = "succeeded"
    words: ClassVar[frozenset[str]] = frozenset(
        {"validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"}
    )
    public_page: ClassVar[str | None] = "https://platform.openai.com/finetune/{}"
    wrong: ClassVar[Mapping[str, object]] = {
        "status": 7,
        "model": ["m"],
        "created_at": "yesterday",
        "finished_at": {},
        "fine_tuned_model": {"name": "m"},
        "trained_tokens": "many",
        "training_file": {"id": 1},
        "validation_file": 7,
        "result_files": {"id": [1]},
        "user_provided_suffix": 5,
        "seed": "s",
        "error": "broken",
        "hyperparameters": "auto",
        "method": "supervised",
        "metadata": "team=a",
    }

    events: object = field(default_factory=list)
    result: bytes | None = None
    result_type: str = "application/octet-stream"

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every documented key."""
        return {
            "object": "fine_tuning.job",
            "id": job_id,
            "created_at": CREATED,
            "finished_at": None,
            "status": self.running,
            "model": "gpt-4.1-mini-2025-04-14",
            "organization_id": "org-1",
            "training_file": "file-1",
            "validation_file": "file-2",
            "fine_tuned_model": "ft:gpt-4.1-mini-2025-04-14:org::1",
            "result_files": [],
            "trained_tokens": 1000,
            "seed": 42,
            "error": {"code": None, "message": None, "param": None},
            "user_provided_suffix": "a-suffix",
            "hyperparameters": {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8},
            "method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}},
            "integrations": [],
            "metadata": {"team": "a"},
            **fields,
        }

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a checkpoint."""
        return {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt_{step}",
            "created_at": CREATED + 100,
            "step_number": step,
            "fine_tuned_model_checkpoint": f"ft:model:ckpt-step-{step}",
            "metrics": {"step": step, **metrics},
        }

    def fill(self, steps: int) -> None:
        """Add an event at each step, and checkpoints at three of them."""
        self.jobs = [self.row("a-job")]
        self.events = [
            *(self.message(n) for n in range(8)),
            *(self.event(n, train_loss=n / 1024, accuracy=0.5) for n in range(steps, 0, -1)),
            *(self.message(n) for n in range(10, 14)),
        ]
        thirds = (steps, steps * 2 // 3, steps // 3)
        self.checkpoints = [self.checkpoint(n, train_loss=n / 1024) for n in thirds]

    def event(self, step: object, **metrics: object) -> Row:
        """Return a step's metrics as an event."""
        offset = step if isinstance(step, int) and abs(step) < 10**6 else 0
        return {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-{step}",
            "created_at": CREATED + offset,
            "level": "info",
            "message": f"Step {step}",
            "type": "metrics",
            "data": {"step": step, "total_steps": 1000, **metrics},
        }

    def message(self, number: int) -> Row:
        """Return an event without metrics."""
        return {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-message-{number}",
            "created_at": CREATED + 5000,
            "level": "info",
            "message": "a message",
            "type": "message",
            "data": [{}, None][number % 2],
        }

    def page(self, query: Mapping[str, str]) -> object:
        """Return a page of the job list."""
        return _by_cursor(self.jobs, query)

    def detail(self, job: Row) -> object:
        """Return a job's own reply."""
        return job

    def keeps(self, document: bytes) -> bool:
        """Return whether a document has a line for each measurement."""
        return [json.loads(line) for line in document.decode().split("\n")[:-1]] == (
            self.sent_checkpoints()
        )

    def part(self, name: str, query: Mapping[str, str]) -> object:
        """Return a job's checkpoints or events."""
        rows = {"checkpoints": self.checkpoints, "events": self.events}.get(name)
        return _by_cursor(rows, query) if isinstance(rows, list) else rows

    def file(self) -> httpx.Response:
        """Return a result file."""
        if self.result is None:
            return super().file()
        return httpx.Response(200, headers={"Content-Type": self.result_type}, content=self.result)


def _by_cursor(rows: list[object], query: Mapping[str, str]) -> Row:
    start = 0
    if "after" in query:
        ids = [row.get("id") if isinstance(row, dict) else None for row in rows]
        start = ids.index(query["after"]) + 1
    end = start + int(query["limit"])
    return {"object": "list", "data": rows[start:end], "has_more": end < len(rows)}


@dataclass
class MistralApi(Api):
    """``/v1/fine_tuning/jobs`` as Mistral had it."""

    kind: ClassVar[str] = "mistral"
    running: ClassVar[str] = "RUNNING"
    succeeded: ClassVar[str] = "SUCCESS"
    words: ClassVar[frozenset[str]] = frozenset(
        {
            *("QUEUED", "STARTED", "VALIDATING", "VALIDATED", "RUNNING", "FAILED_VALIDATION"),
            *("FAILED", "SUCCESS", "CANCELLED", "CANCELLATION_REQUESTED"),
        }
    )
    given_files: ClassVar[tuple[str, str | None]] = ("a", "b")
    wrong: ClassVar[Mapping[str, object]] = {
        "status": 7,
        "model": ["m"],
        "created_at": "yesterday",
        "modified_at": {},
        "fine_tuned_model": {"name": "m"},
        "suffix": 5,
        "trained_tokens": "many",
        "training_files": {"file": 1},
        "validation_files": "file",
        "metadata": "cheap",
        "hyperparameters": "auto",
    }

    largest_page: int = 100
    total: object = "count"
    """Stated number of jobs; ``count``: the true one, ``None``: missing."""

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every documented key."""
        return {
            "id": job_id,
            "object": "job",
            "job_type": "completion",
            "auto_start": True,
            "model": "open-mistral-7b",
            "status": self.running,
            "created_at": CREATED,
            "modified_at": CREATED + 60,
            "training_files": ["a"],
            "validation_files": ["b"],
            "fine_tuned_model": "ft:open-mistral-7b:1",
            "suffix": "a-suffix",
            "trained_tokens": 1000,
            "integrations": [],
            "metadata": {"cost": 2.6, "cost_currency": "EUR"},
            "hyperparameters": {"training_steps": 10, "warmup_fraction": 0.05, "epochs": None},
            **fields,
        }

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a checkpoint."""
        return {"step_number": step, "created_at": CREATED + 100, "metrics": metrics}

    def page(self, query: Mapping[str, str]) -> object:
        """Return a page of the job list, whose rows have neither events nor checkpoints."""
        size = min(int(query["page_size"]), self.largest_page)
        start = int(query["page"]) * size
        rows = [_without_parts(row) for row in self.jobs[start : start + size]]
        reply: Row = {"object": "list", "data": rows}
        if self.total is not None:
            reply["total"] = len(self.jobs) if self.total == "count" else self.total
        return reply

    def detail(self, job: Row) -> object:
        """Return a job's own reply, the only one with checkpoints."""
        return {"checkpoints": self.checkpoints, "events": [], **job}


def _without_parts(row: object) -> object:
    if not isinstance(row, dict):
        return row
    return {key: value for key, value in row.items() if key not in {"events", "checkpoints"}}
