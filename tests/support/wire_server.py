"""Scripted provider APIs at the wire: whatever a test puts into them is what they send.

One class per wire format, in ``WIRES``: the contract of ``tests/test_provider_contract.py`` holds
for every provider that has one.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import unquote

import httpx

from bridge.http import connect
from bridge.providers import TYPES, Provider
from bridge.untrusted import Redactor
from tests.support.world import NoSleep

Row = dict[str, object]

BASE_URL = "https://provider.example/v1"
CREATED = 1_760_000_000
"""When all jobs were created, Unix seconds."""
MOST_REQUESTS = 300
"""No test has reason to ask as often: a provider that does would ask for ever."""


@dataclass
class Api(ABC):
    """A provider's jobs, newest first, and their parts; every value is sent as it is."""

    kind: ClassVar[str]
    running: ClassVar[str]
    """The word for a job that trains."""
    succeeded: ClassVar[str]
    """The word for a job that is done."""
    wrong: ClassVar[Mapping[str, object]]
    """For each key that the provider reads, a value of a type that it cannot have."""

    jobs: list[object] = field(default_factory=list)
    checkpoints: object = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """Contents by id."""
    requests: list[httpx.Request] = field(default_factory=list)
    between: Callable[[], None] = lambda: None
    """Called after each page of jobs."""

    @abstractmethod
    def row(self, job_id: object, **fields: object) -> Row:
        """A job with every key that is documented."""

    @abstractmethod
    def checkpoint(self, step: object, **metrics: object) -> Row:
        """A checkpoint."""

    @abstractmethod
    def page(self, query: Mapping[str, str]) -> object:
        """A page of the job list."""

    @abstractmethod
    def detail(self, job: Row) -> object:
        """A job's own reply."""

    def part(self, name: str, query: Mapping[str, str]) -> object:
        """What lies below a job, if anything does."""
        del name, query
        return None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests.append(request)
        assert len(self.requests) <= MOST_REQUESTS, "the provider asks without end"
        raw = request.url.raw_path.split(b"?")[0].decode()
        assert raw.startswith("/v1/"), raw
        query = dict(request.url.params)
        match [unquote(segment) for segment in raw.removeprefix("/v1/").split("/")]:
            case ["fine_tuning", "jobs"]:
                reply = sent(self.page(query))
                self.between()
                return reply
            case ["fine_tuning", "jobs", job_id]:
                for job in self.jobs:
                    if isinstance(job, dict) and job.get("id") == job_id:
                        return sent(self.detail(job))
            case ["fine_tuning", "jobs", _, name] if (part := self.part(name, query)) is not None:
                return sent(part)
            case ["files", file_id, "content"]:
                content = self.files.get(file_id)
                return self.file() if content is None else httpx.Response(200, content=content)
        return httpx.Response(404, json={"error": {"message": "nothing here"}})

    def file(self) -> httpx.Response:
        """A result file."""
        return httpx.Response(404, json={"error": {"message": "No such File object"}})

    def asked(self, part: str) -> list[httpx.Request]:
        """The requests whose path ends with ``part``."""
        return [request for request in self.requests if request.url.path.endswith(part)]

    def provider(self, *, curves: bool = True) -> Provider:
        """The product's reader of this API."""
        return over(httpx.MockTransport(self), self.kind, curves=curves)


def over(transport: httpx.BaseTransport, kind: str, *, curves: bool = True) -> Provider:
    """A provider over any transport; a retry costs no time."""
    http = connect(BASE_URL, headers={}, redactor=Redactor(), sleep=NoSleep(), transport=transport)
    return TYPES[kind](http, curves=curves)


def sent(value: object) -> httpx.Response:
    """``value`` as JSON, with bare NaN and Infinity where it has them."""
    body = json.dumps(value).encode()
    return httpx.Response(200, headers={"Content-Type": "application/json"}, content=body)


@dataclass
class OpenAIApi(Api):
    """``/fine_tuning/jobs`` as OpenAI has it."""

    kind: ClassVar[str] = "openai"
    running: ClassVar[str] = "running"
    succeeded: ClassVar[str] = "succeeded"
    wrong: ClassVar[Mapping[str, object]] = {
        "status": 7,
        "model": ["m"],
        "created_at": "yesterday",
        "finished_at": {},
        "fine_tuned_model": {"name": "m"},
        "trained_tokens": "many",
        "training_file": {"id": "file-1"},
        "validation_file": [],
        "result_files": "file-1",
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
        """A job with every key that is documented."""
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
        """A checkpoint."""
        return {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt_{step}",
            "created_at": CREATED + 100,
            "step_number": step,
            "fine_tuned_model_checkpoint": f"ft:model:ckpt-step-{step}",
            "metrics": {"step": step, **metrics},
        }

    def event(self, step: object, **metrics: object) -> Row:
        """A step's metrics as an event."""
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
        """An event without metrics."""
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
        """A page of the job list."""
        return _by_cursor(self.jobs, query)

    def detail(self, job: Row) -> object:
        """A job's own reply."""
        return job

    def part(self, name: str, query: Mapping[str, str]) -> object:
        """A job's checkpoints or events."""
        rows = {"checkpoints": self.checkpoints, "events": self.events}.get(name)
        return _by_cursor(rows, query) if isinstance(rows, list) else rows

    def file(self) -> httpx.Response:
        """A result file."""
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
    """What is said of the number of jobs; ``count``: the truth. ``None``: nothing."""

    def row(self, job_id: object, **fields: object) -> Row:
        """A job with every key that is documented."""
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
        """A checkpoint."""
        return {"step_number": step, "created_at": CREATED + 100, "metrics": metrics}

    def page(self, query: Mapping[str, str]) -> object:
        """A page of the job list: its rows have neither events nor checkpoints."""
        size = min(int(query["page_size"]), self.largest_page)
        start = int(query["page"]) * size
        rows = [_without_parts(row) for row in self.jobs[start : start + size]]
        reply: Row = {"object": "list", "data": rows}
        if self.total is not None:
            reply["total"] = len(self.jobs) if self.total == "count" else self.total
        return reply

    def detail(self, job: Row) -> object:
        """A job's own reply, the only one with checkpoints."""
        return {"checkpoints": self.checkpoints, "events": [], **job}


def _without_parts(row: object) -> object:
    if not isinstance(row, dict):
        return row
    return {key: value for key, value in row.items() if key not in {"events", "checkpoints"}}


WIRES: Mapping[str, type[Api]] = {"openai": OpenAIApi, "mistral": MistralApi}
"""One for each of ``bridge.providers.TYPES``."""
