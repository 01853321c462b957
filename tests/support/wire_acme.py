"""Acme's API, scripted, for the provider in ``tests/plugin``: see ``tests.support.wire_server``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import httpx

from tests.support.moments import iso
from tests.support.wire_server import CREATED, Api, Row, sent


@dataclass
class AcmeApi(Api):
    """``/trainings`` and below."""

    kind: ClassVar[str] = "acme"
    running: ClassVar[str] = "learning"
    succeeded: ClassVar[str] = "graduated"
    words: ClassVar[frozenset[str]] = frozenset(
        {"waiting", "reading", "learning", "resting", "graduated", "failed", "expelled"}
    )
    root: ClassVar[tuple[str, ...]] = ("trainings",)
    id_key: ClassVar[str] = "uid"
    status_key: ClassVar[str] = "phase"
    ended_key: ClassVar[str] = "ended_at"
    model_key: ClassVar[str] = "model"
    failure: ClassVar[Mapping[str, object]] = {"problem": "it was too large"}
    step_key: ClassVar[str] = "step"
    params_key: ClassVar[str] = "settings"
    curve_part: ClassVar[str | None] = "/measurements"
    file_address: ClassVar[str] = "/lessons/{}/raw"
    lists: ClassVar[frozenset[str]] = frozenset({"checkpoints.jsonl"})
    more_documents: ClassVar[frozenset[str]] = frozenset({"measurements.jsonl"})
    null_list: ClassVar[Mapping[str, object]] = {"items": None, "next": None}
    wrong: ClassVar[Mapping[str, object]] = {
        "phase": 7,
        "created_at": "yesterday",
        "ended_at": "noon",
        "parent_model": ["m"],
        "model": {"name": "m"},
        "label": 5,
        "lesson": {"id": "file-1"},
        "exam": [],
        "tokens": "many",
        "problem": 7,
        "settings": "default",
    }

    measurements: list[object] = field(default_factory=list)

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a training with every key."""
        return {
            "uid": job_id,
            "phase": self.running,
            "created_at": iso(CREATED),
            "ended_at": None,
            "parent_model": "acme-small",
            "model": "acme-small+1",
            "label": "a-suffix",
            "lesson": "file-1",
            "exam": "file-2",
            "tokens": 1000,
            "problem": "",
            "settings": {"rounds": 3, "pace": 0.5},
            **fields,
        }

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a snapshot."""
        time = iso(CREATED + 100)
        return {"step": step, "created_at": time, "model": f"acme+{step}", "metrics": metrics}

    def fill(self, steps: int) -> None:
        """Add a training with a measurement at each step and three snapshots."""
        super().fill(3)
        self.checkpoints = [self.checkpoint(n, train_loss=n / 1024) for n in (steps, steps // 2)]
        self.measurements = [
            {"step": n, "created_at": iso(CREATED + n), "metrics": {"train_loss": n / 1024}}
            for n in range(steps, 0, -1)
        ]

    def list_of(self, rows: list[object], *, has_more: bool | None) -> Row:
        """Return a page, and whether more follow."""
        return {"items": rows} | ({"next": "again"} if has_more else {})

    def page(self, query: Mapping[str, str]) -> object:
        """Return a page of the trainings."""
        return _page(self.jobs, query)

    def detail(self, job: Row) -> object:
        """Return a training's own reply."""
        return job

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer at a path below the base URL."""
        match path:
            case ["trainings"]:
                reply = sent(self.page(query))
                self.between()
                return reply
            case ["trainings", job_id]:
                found = self.find(job_id)
                return None if found is None else sent(found)
            case ["trainings", _, "snapshots"]:
                return sent(_page(self.checkpoints, query))
            case ["trainings", _, "measurements"]:
                return sent(_page(self.measurements, query))
            case ["lessons", file_id, "raw"] if file_id in self.files:
                return httpx.Response(200, content=self.files[file_id])
        return None


def _page(rows: object, query: Mapping[str, str]) -> Row:
    """Return a page; page names count from the oldest row, so newer rows shift no page."""
    if not isinstance(rows, list):
        return {"items": rows}
    start = len(rows) - int(query.get("page", len(rows)))
    end = start + int(query["size"])
    return {"items": rows[start:end], "next": str(len(rows) - end) if end < len(rows) else None}
