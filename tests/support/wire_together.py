"""Together AI's API, scripted: see ``tests.support.wire_server``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

import httpx

from tests.support.moments import iso
from tests.support.wire_server import CREATED, Api, Row, sent

OWN_METRICS = "metrics"
"""Key that holds the metrics of a scripted checkpoint, which another address serves."""


@dataclass
class TogetherApi(Api):
    """``/fine-tunes`` and below."""

    kind: ClassVar[str] = "together"
    running: ClassVar[str] = "running"
    succeeded: ClassVar[str] = "completed"
    words: ClassVar[frozenset[str]] = frozenset(
        {
            *("pending", "queued", "running", "compressing", "uploading", "cancel_requested"),
            *("cancelled", "error", "completed"),
        }
    )
    root: ClassVar[tuple[str, ...]] = ("fine-tunes",)
    page_size: ClassVar[int | None] = None
    step_key: ClassVar[str] = "step"
    curve_part: ClassVar[str | None] = None
    more_documents: ClassVar[frozenset[str]] = frozenset({"metrics.jsonl"})
    given_files: ClassVar[tuple[str, str | None]] = ("file-1", "file-2")
    model_key: ClassVar[str] = "model_output_name"
    public_page: ClassVar[str | None] = "https://api.together.ai/fine-tuning/{}"
    wrong: ClassVar[Mapping[str, object]] = {
        "status": 7,
        "model": ["m"],
        "model_output_name": {"name": "m"},
        "from_checkpoint": 5,
        "created_at": "yesterday",
        "updated_at": {},
        "suffix": 5,
        "training_file": {"id": "file-1"},
        "validation_file": [],
        "n_epochs": "three",
        "token_count": "many",
        "total_price": "much",
        "training_method": "sft",
        "training_type": ["Lora"],
        "lr_scheduler": "cosine",
    }

    events: object = field(default_factory=list)
    metrics: list[object] = field(default_factory=list)
    """Rows of metrics besides those of the checkpoints."""

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every key that the documentation of the list names."""
        return {
            "id": job_id,
            "status": self.running,
            "created_at": iso(CREATED),
            "updated_at": iso(CREATED + 60),
            "user_id": "user-1",
            "owner_address": "owner@example.com",
            "total_price": 1_500_000_000,
            "token_count": 1000,
            "events": [],
            "training_file": "file-1",
            "validation_file": "file-2",
            "packing": True,
            "max_seq_length": 8192,
            "model": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
            "model_output_name": "acme/Meta-Llama-3.1-8B-Instruct-Reference:a-suffix:1",
            "suffix": "a-suffix",
            "n_epochs": 3,
            "n_evals": 3,
            "n_checkpoints": 3,
            "batch_size": 8,
            "training_type": {"type": "Lora", "lora_r": 64, "lora_alpha": 128},
            "training_method": {"method": "sft", "train_on_inputs": "auto"},
            "learning_rate": 1e-5,
            "lr_scheduler": {
                "lr_scheduler_type": "cosine",
                "lr_scheduler_args": {"min_lr_ratio": 0.1, "num_cycles": 0.5},
            },
            "warmup_ratio": 0.05,
            "max_grad_norm": 1.0,
            "weight_decay": 0.0,
            "random_seed": 42,
            "from_checkpoint": "",
            "progress": {"estimate_available": False, "seconds_remaining": 0},
            **fields,
        }

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a checkpoint with the metrics of its step."""
        return {
            "step": step,
            "created_at": iso(CREATED + 100),
            "path": f"s3://bucket/step-{step}",
            "checkpoint_type": "Intermediate checkpoint",
            OWN_METRICS: metrics,
        }

    def sent_checkpoints(self) -> object:
        """Return the checkpoints as the API sends them: without metrics."""
        if not isinstance(self.checkpoints, list):
            return self.checkpoints
        return [
            {key: value for key, value in row.items() if key != OWN_METRICS}
            if isinstance(row, dict)
            else row
            for row in self.checkpoints
        ]

    def page(self, query: Mapping[str, str]) -> object:
        """Return all jobs."""
        del query
        return {"data": self.jobs}

    def detail(self, job: Row) -> object:
        """Return a job's own reply."""
        return {"job_id": "", "param_count": 0, "queue_depth": 0, **job}

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer at a path below the base URL."""
        match path:
            case ["fine-tunes"]:
                reply = sent(self.page(query))
                self.between()
                return reply
            case ["fine-tunes", job_id]:
                found = self.find(job_id)
                return None if found is None else sent(self.detail(found))
            case ["fine-tunes", job_id, "events"]:
                own = (self.find(job_id) or {}).get("events")
                return sent({"data": own or self.events})
            case ["fine-tunes", _, "checkpoints"]:
                return sent({"data": self.sent_checkpoints()})
            case ["fine-tunes", _, "metrics"]:
                start = int(query.get("global_step_from", "0"))
                return sent({"metrics": [row for row in self.measured() if _reaches(row, start)]})
        return super().answer(path, query)

    def measured(self) -> list[object]:
        """Return all rows of metrics."""
        checkpoints = self.checkpoints if isinstance(self.checkpoints, list) else []
        rows = [_row_of(row) for row in checkpoints if isinstance(row, dict)]
        return [*(row for row in rows if row is not None), *self.metrics]


def _row_of(checkpoint: Row) -> object:
    """Return the row of metrics at a checkpoint's step, or ``None`` if there is none."""
    metrics = checkpoint.get(OWN_METRICS)
    if not isinstance(metrics, dict) or not metrics:
        return metrics or None
    time = checkpoint.get("created_at")
    if isinstance(time, str) and time.endswith("Z"):
        time = int(datetime.fromisoformat(time).timestamp()) * 10**9
    return {"timestamp": time, "train/global_step": checkpoint.get("step"), **metrics}


def _reaches(row: object, start: int) -> bool:
    step = row.get("train/global_step") if isinstance(row, dict) else None
    return start <= 0 or not isinstance(step, int | float) or step >= start
