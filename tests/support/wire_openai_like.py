"""Scripted servers that speak variants of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tests.support.wire_server import OpenAIApi, Row


@dataclass
class AzureApi(OpenAIApi):
    """Azure OpenAI: unset keys are missing, and checkpoints come oldest first."""

    kind: ClassVar[str] = "azure"
    words: ClassVar[frozenset[str]] = frozenset(
        {"created", "pending", "running", "succeeded", "cancelled", "failed"}
    )
    public_page: ClassVar[str | None] = None
    wrong: ClassVar[Mapping[str, object]] = {
        name: value
        for name, value in OpenAIApi.wrong.items()
        if name not in {"user_provided_suffix", "method", "metadata"}
    } | {"suffix": 5}

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every key of the specification, except those that are ``None``."""
        row = super().row(job_id, **fields)
        suffix = row.pop("user_provided_suffix")
        for name in ("method", "metadata", "integrations", "organization_id", "error"):
            if name not in fields:
                del row[name]
        return row | {"suffix": fields.get("suffix", suffix), "organisation_id": "org-1"}

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a checkpoint."""
        row = super().checkpoint(step, **metrics)
        return row | {"fine_tuned_model_checkpoint": f"gpt-4.1-2025-04-14.ft-1:ckpt-step-{step}"}


@dataclass
class NebiusApi(OpenAIApi):
    """Nebius Token Factory: every key is present, some of them null."""

    kind: ClassVar[str] = "nebius"
    public_page: ClassVar[str | None] = None

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every documented key."""
        chosen = {"n_epochs": 3, "batch_size": 8, "learning_rate": 1e-5, "warmup_ratio": 0.0}
        lora = {"lora": True, "lora_r": 8, "lora_alpha": 8, "lora_dropout": 0.0}
        row = super().row(job_id, hyperparameters=chosen | lora, method=None)
        return row | {"trained_steps": 10, "total_steps": 30} | fields

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a checkpoint, whose result files are weights."""
        return super().checkpoint(step, **metrics) | {"result_files": [f"file-weights-{step}"]}


@dataclass
class MantleApi(OpenAIApi):
    """Amazon Bedrock's ``bedrock-mantle``: a reinforcement job with a stale row in the list."""

    kind: ClassVar[str] = "bedrock-mantle"
    of_some_jobs: ClassVar[frozenset[str]] = frozenset({"train_mean_reward"})
    public_page: ClassVar[str | None] = None
    trusts_list: ClassVar[bool] = False

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every documented key."""
        chosen = {"n_epochs": 3, "batch_size": 16, "learning_rate_multiplier": 1.0}
        grader = {"type": "lambda", "lambda": {"function": "arn:aws:lambda:us-west-2:1:function:g"}}
        method = {
            "type": "reinforcement",
            "reinforcement": {"grader": grader, "hyperparameters": chosen},
        }
        return super().row(job_id, hyperparameters=chosen, method=method) | fields
