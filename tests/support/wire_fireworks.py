"""Fireworks' API, scripted: see ``tests.support.wire_server``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import httpx

from tests.support.moments import time
from tests.support.wire_server import CREATED, Api, Row, sent

ACCOUNT = "accounts/acme"
SUPERVISED = "supervisedFineTuningJobs"
PREFERENCE = "dpoJobs"
REINFORCEMENT = "reinforcementFineTuningJobs"
COLLECTIONS = (SUPERVISED, PREFERENCE, REINFORCEMENT)
STORAGE = "storage.example"
"""The host of signed URLs."""


def name_of(job_id: object, collection: str = SUPERVISED) -> object:
    """Return the resource name of a job."""
    return f"{ACCOUNT}/{collection}/{job_id}" if isinstance(job_id, str) and job_id else job_id


@dataclass
class FireworksApi(Api):
    """Three collections of jobs, of which ``jobs`` is that of supervised ones.

    ``checkpoints`` are the lines of the metrics file of every job.
    """

    kind: ClassVar[str] = "fireworks"
    running: ClassVar[str] = "JOB_STATE_RUNNING"
    succeeded: ClassVar[str] = "JOB_STATE_COMPLETED"
    words: ClassVar[frozenset[str]] = frozenset(
        f"JOB_STATE_{word}"
        for word in (
            *("UNSPECIFIED", "CREATING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "DELETING"),
            *("WRITING_RESULTS", "VALIDATING", "DELETING_CLEANING_UP", "PENDING", "EXPIRED"),
            *("RE_QUEUEING", "CREATING_INPUT_DATASET", "IDLE", "CANCELLING", "EARLY_STOPPED"),
            "PAUSED",
        )
    )
    root: ClassVar[tuple[str, ...]] = (SUPERVISED,)
    page_size: ClassVar[int | None] = 200
    requests_a_page: ClassVar[int] = len(COLLECTIONS)
    id_key: ClassVar[str] = "name"
    id_prefix: ClassVar[str] = f"{SUPERVISED}/"
    longest_id: ClassVar[int] = 250 - len(f"{ACCOUNT}/{SUPERVISED}/")
    status_key: ClassVar[str] = "state"
    created_key: ClassVar[str] = "createTime"
    ended_key: ClassVar[str] = "completedTime"
    ended_value: ClassVar[object] = "2025-10-09T09:06:40Z"
    model_key: ClassVar[str] = "outputModel"
    failure: ClassVar[Mapping[str, object]] = {"status": {"code": "INTERNAL", "message": "oom"}}
    step_key: ClassVar[str] = "step"
    curve_part: ClassVar[str | None] = None
    measures_checkpoints: ClassVar[bool] = False
    measured_document: ClassVar[str] = "metrics.jsonl"
    lists: ClassVar[frozenset[str]] = frozenset({"checkpoints.jsonl"})
    more_documents: ClassVar[frozenset[str]] = frozenset({"metrics.jsonl"})
    file_address: ClassVar[str] = "/datasets/{}:getDownloadEndpoint"
    public_page: ClassVar[str | None] = (
        "https://app.fireworks.ai/dashboard/fine-tuning/supervised/{}"
    )
    omits_empty_lists: ClassVar[bool] = True
    null_list: ClassVar[Mapping[str, object]] = {
        **dict.fromkeys(COLLECTIONS),
        "nextPageToken": "",
    }
    given_files: ClassVar[tuple[str, str | None]] = (
        f"{ACCOUNT}/datasets/file-1",
        f"{ACCOUNT}/datasets/file-2",
    )
    wrong: ClassVar[Mapping[str, object]] = {
        "state": 7,
        "status": "OK",
        "displayName": 5,
        "createTime": "yesterday",
        "completedTime": ["noon"],
        "updateTime": {},
        "dataset": {"id": "file-1"},
        "evaluationDataset": [],
        "baseModel": ["m"],
        "warmStartFrom": 5,
        "outputModel": {"name": "m"},
        "estimatedCost": "cheap",
        "trainingConfig": "default",
        "metricsFileSignedUrl": 7,
    }

    others: dict[str, list[object]] = field(default_factory=dict)
    """Jobs of the other collections."""
    storage: dict[str, httpx.Response] = field(default_factory=dict)
    """Files behind signed URLs other than metrics and datasets, by path."""
    fetched: list[httpx.Request] = field(default_factory=list)
    """Requests that signed URLs received."""

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a supervised job with every key that is read, and some more."""
        return {
            "name": name_of(job_id),
            "displayName": "a-suffix",
            "createTime": time(CREATED),
            "completedTime": None,
            "updateTime": time(CREATED + 60),
            "dataset": f"{ACCOUNT}/datasets/file-1",
            "evaluationDataset": f"{ACCOUNT}/datasets/file-2",
            "state": self.running,
            "status": {"code": "OK", "message": ""},
            "createdBy": "owner@example.com",
            "outputModel": f"{ACCOUNT}/models/a-model",
            "baseModel": "accounts/fireworks/models/llama-v3p1-8b-instruct",
            "warmStartFrom": "",
            "earlyStop": False,
            "epochs": 3,
            "learningRate": 0.0001,
            "loraRank": 8,
            "maxContextLength": 8192,
            "batchSize": 0,
            "batchSizeSamples": 32,
            "isTurbo": False,
            "jobProgress": {"percent": 50, "epoch": 1},
            "estimatedCost": {"currencyCode": "USD", "units": "3", "nanos": 250_000_000},
            "trainingConfig": None,
            **fields,
        }

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a line of the metrics file."""
        return {"step": step, "timestamp": CREATED + 100.5, "data": metrics}

    def bare(self, job_id: object, **fields: object) -> Row:
        """Return a job with nothing but its id."""
        return super().bare(name_of(job_id), **fields)

    def list_of(self, rows: list[object], *, has_more: bool | None) -> Row:
        """Return a list of jobs, for any collection."""
        return {**dict.fromkeys(COLLECTIONS, rows), "nextPageToken": "again" if has_more else ""}

    def page(self, query: Mapping[str, str], collection: str = SUPERVISED) -> object:
        """Return a page of a collection: newest first only if the request asks for it."""
        rows = self.jobs if collection == SUPERVISED else self.others.get(collection, [])
        if query.get("orderBy") != "createTime desc":
            rows = rows[::-1]
        size = min(int(query.get("pageSize", 50)), 200)
        names = [row.get("name") if isinstance(row, dict) else None for row in rows]
        after = base64.b64decode(query.get("pageToken", "")).decode("utf-8", "surrogateescape")
        start = int(after.partition(" ")[0]) + 1 if after else 0
        # A cursor points at a row, wherever newer rows have pushed it.
        if after and after.partition(" ")[2] in names:
            start = names.index(after.partition(" ")[2]) + 1
        end = start + size
        return {
            collection: [self._shown(row) for row in rows[start:end]],
            "nextPageToken": _token(end - 1, names[end - 1]) if end < len(rows) else "",
            "totalSize": len(rows),
        }

    def detail(self, job: Row) -> object:
        """Return a job's own reply."""
        return self._shown(job)

    def saved(self) -> list[Row]:
        """Return the rows under ``checkpoints``, which have neither step nor metrics."""
        name = f"{ACCOUNT}/{SUPERVISED}/a-job/checkpoints/{{}}"
        return [
            {"name": name.format(number), "createTime": time(CREATED + number), "promotable": True}
            for number in range(2 if self.checkpoints else 0)
        ]

    def _shown(self, row: object) -> object:
        if not isinstance(row, dict) or not self.checkpoints or "metricsFileSignedUrl" in row:
            return row
        return row | {"metricsFileSignedUrl": f"https://{STORAGE}/metrics?Signature=s3cr3t"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request to the API or to a signed URL."""
        if request.headers["host"] != STORAGE:
            return super().__call__(request)
        self.fetched.append(request)
        path = request.url.path
        if path in self.storage:
            return self.storage[path]
        if path == "/metrics" and isinstance(self.checkpoints, list):
            lines = [f"{json.dumps(line)}\n" for line in self.checkpoints]
            return httpx.Response(200, content="".join(lines).encode())
        content = self.files.get(request.url.params.get("file", ""))
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer at a path below the account, or ``None`` if there is nothing."""
        if path[0] == "accounts":
            path = path[2:]  # as in the public base URL
        match path:
            case [collection] if collection in COLLECTIONS:
                reply = sent(self.page(query, collection))
                if collection == SUPERVISED:
                    self.between()
                return reply
            case [collection, job_id] if collection == PREFERENCE and ":" in job_id:
                return sent({"signedUrl": f"https://{STORAGE}/metrics?Signature=s3cr3t"})
            case [collection, job_id] if collection in COLLECTIONS:
                found = self.find(job_id, collection)
                return None if found is None else sent(self.detail(found))
            case [_, _, "checkpoints"]:
                return sent({"checkpoints": self.saved(), "nextPageToken": ""})
            case ["datasets", dataset]:
                name = dataset.removesuffix(":getDownloadEndpoint")
                if dataset == name or name not in self.files:
                    return None
                url = httpx.URL(f"https://{STORAGE}/data", params={"file": name})
                return sent({"filenameToSignedUrls": {"data.jsonl": str(url)}})
        return None

    def find(self, job_id: str, collection: str = SUPERVISED) -> Row | None:
        """Return the job with this id."""
        rows = self.jobs if collection == SUPERVISED else self.others.get(collection, [])
        for row in rows:
            if isinstance(row, dict) and row.get("name") == name_of(job_id, collection):
                return row
        return None


def _token(index: int, name: object) -> str:
    text = f"{index} {name}".encode("utf-8", "surrogateescape")
    return base64.b64encode(text).decode()
