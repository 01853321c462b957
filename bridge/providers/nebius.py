"""Nebius Token Factory: OpenAI's jobs, with the steps in the job itself and more hyperparameters.

Wire format: the published OpenAPI document, 2026-05-06. Its result files contain weights and are
not read. Not verified against the live service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bridge.model import Meaning
from bridge.providers.openai import OpenAI


class Nebius(OpenAI):
    """Jobs of Nebius Token Factory."""

    base_url: ClassVar = "https://api.tokenfactory.nebius.com/v1"
    key_variable: ClassVar = "NEBIUS_API_KEY"
    header_variables: ClassVar[Mapping[str, str]] = {}
    pages_url: ClassVar[str | None] = None
    has_result_files: ClassVar[bool] = False
    meanings: ClassVar[Mapping[str, Meaning]] = {
        **OpenAI.meanings,
        "warmup_ratio": Meaning.WARMUP,
        "learning_rate": Meaning.LEARNING_RATE,
        "lora_r": Meaning.RANK,
        "context_length": Meaning.CONTEXT,
    }
