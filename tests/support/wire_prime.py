"""Prime Intellect's API, scripted: see ``tests.support.wire_server``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import httpx

from tests.support.moments import iso
from tests.support.wire_server import CREATED, Api, Row, sent


@dataclass
class PrimeApi(Api):
    """``/rft/runs`` and below. ``checkpoints`` are the rows of metrics."""

    kind: ClassVar[str] = "prime"
    running: ClassVar[str] = "RUNNING"
    succeeded: ClassVar[str] = "COMPLETED"
    words: ClassVar[frozenset[str]] = frozenset(
        {"QUEUED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "STOPPED", "PAUSED"}
    )
    root: ClassVar[tuple[str, ...]] = ("rft", "runs")
    page_size: ClassVar[int | None] = 20
    step_key: ClassVar[str] = "step"
    created_key: ClassVar[str] = "createdAt"
    ended_key: ClassVar[str] = "completedAt"
    model_key: ClassVar[str] = ""
    failure: ClassVar[Mapping[str, object]] = {"errorMessage": "It was too large."}
    curve_part: ClassVar[str | None] = "/metrics"
    curve_root: ClassVar[str | None] = "billing"
    measures_checkpoints: ClassVar[bool] = False
    measured_document: ClassVar[str] = "metrics.jsonl"
    lists: ClassVar[frozenset[str]] = frozenset()
    more_documents: ClassVar[frozenset[str]] = frozenset({"metrics.jsonl"})
    file_address: ClassVar[str | None] = None
    given_files: ClassVar[tuple[str, str | None]] = ("acme/reverse-text", None)
    public_root: ClassVar[str] = "/api/v1/"
    has_flat_rows: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False
    public_page: ClassVar[str | None] = "https://app.primeintellect.ai/dashboard/training/{}"
    null_list: ClassVar[Mapping[str, object]] = {"runs": None, "total": 0, "total_pages": 0}
    wrong: ClassVar[Mapping[str, object]] = {
        "name": 7,
        "status": 7,
        "baseModel": ["m"],
        "maxSteps": "many",
        "createdAt": "yesterday",
        "startedAt": {},
        "completedAt": "noon",
        "updatedAt": "soon",
        "environments": "all",
        "errorMessage": ["broken"],
    }

    saved: list[object] = field(default_factory=list)
    """Rows at ``/checkpoints``."""
    usage: object = None
    most_rows: int | None = None
    """Number of metrics rows per page."""
    newest_rows_first: bool = False

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a run with every key that is read, and some more."""
        return {
            "id": job_id,
            "name": "a-suffix",
            "userId": "user-1",
            "teamId": None,
            "status": self.running,
            "kind": "SHARED_RFT_HOSTED",
            "loss": "rl",
            "maxSteps": 1000,
            "batchSize": 128,
            "rolloutsPerExample": 8,
            "learningRate": 1e-5,
            "loraAlpha": 16,
            "baseModel": "Qwen/Qwen3-4B-Instruct-2507",
            "environments": [{"id": "env-1", "slug": "acme/reverse-text", "args": {}}],
            "wandbProject": None,
            "createdAt": iso(CREATED),
            "startedAt": iso(CREATED + 30),
            "completedAt": None,
            "updatedAt": iso(CREATED + 60),
            "errorMessage": None,
            "failureAnalysis": None,
            **fields,
        }

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a row of metrics."""
        return {"step": step, "createdAt": iso(CREATED + 100), **metrics}

    def list_of(self, rows: list[object], *, has_more: bool | None) -> Row:
        """Return a page, and whether more follow."""
        return {"runs": rows} | ({"total": 10**9, "total_pages": 10**7} if has_more else {})

    def page(self, query: Mapping[str, str]) -> object:
        """Return a page of the runs."""
        size, number = int(query["limit"]), int(query["page"])
        return {
            "runs": self.jobs[(number - 1) * size : number * size],
            "total": len(self.jobs),
            "page": number,
            "limit": size,
            "total_pages": -(-len(self.jobs) // size),
        }

    def detail(self, job: Row) -> object:
        """Return a run's own reply."""
        return {"run": job}

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer at a path below the base URL."""
        match path:
            case ["rft", "runs"]:
                reply = sent(self.page(query))
                self.between()
                return reply
            case ["rft", "runs", job_id]:
                found = self.find(job_id)
                return None if found is None else sent(self.detail(found))
            case ["rft", "runs", _, "checkpoints"]:
                return sent({"checkpoints": self.saved})
            case ["rft", "runs", _, "metrics"]:
                return sent({"metrics": self._rows(query)})
            case ["billing", "runs", _, "usage"] if self.usage is not None:
                return sent(self.usage)
        return None

    def _rows(self, query: Mapping[str, str]) -> object:
        if not isinstance(self.checkpoints, list):
            return self.checkpoints
        least, most = (
            int(query[name]) if name in query else None for name in ("min_step", "max_step")
        )
        rows = [row for row in self.checkpoints if _is_between(row, least, most)]
        if self.newest_rows_first:
            rows.reverse()
        return rows[: self.most_rows]


def _is_between(row: object, least: int | None, most: int | None) -> bool:
    step = row.get("step") if isinstance(row, dict) else None
    if not isinstance(step, int | float):
        return True
    return not ((least is not None and step < least) or (most is not None and step > most))
