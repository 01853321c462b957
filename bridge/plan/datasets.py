"""The training and validation files of a job, as MLflow's dataset inputs. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from bridge.model import Job
from bridge.text import clean

_DIGEST: Final = 8
"""Length of a digest in characters, as in MLflow's own digests."""
_LONGEST_NAME: Final = 500
"""Longest name of a dataset in characters that MLflow accepts."""


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A file in one role."""

    file_id: str
    context: str
    """``training`` or ``validation``."""

    @property
    def digest(self) -> str:
        """Digest of the id; a provider's file never changes under its id."""
        return hashlib.sha256(self.file_id.encode()).hexdigest()[:_DIGEST]

    def source(self, provider: str) -> str:
        """Return the location of the file as JSON."""
        return json.dumps({"provider": provider, "file": self.file_id})


def datasets_of(job: Job) -> tuple[DatasetInput, ...]:
    """Return the job's files, each once, because MLflow keeps only the first of two roles."""
    inputs: dict[str, DatasetInput] = {}
    for context, file_ids in (
        ("training", job.training_files),
        ("validation", job.validation_files),
    ):
        for name in filter(None, (clean(file_id, _LONGEST_NAME) for file_id in file_ids)):
            inputs.setdefault(name, DatasetInput(name, context))
    return tuple(inputs.values())
