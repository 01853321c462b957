"""The files that a job trains and validates on, as MLflow's dataset inputs. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from bridge.model import Job
from bridge.text import clean

_DIGEST: Final = 8
"""Characters, as in the digests that MLflow itself makes."""
_LONGEST_NAME: Final = 500
"""Characters of a dataset's name that MLflow takes."""


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """One file in one role."""

    file_id: str
    context: str
    """``training`` or ``validation``."""

    @property
    def digest(self) -> str:
        """Stands for the content: a provider's file never changes under its id."""
        return hashlib.sha256(self.file_id.encode()).hexdigest()[:_DIGEST]

    def source(self, provider: str) -> str:
        """Where it lies, as JSON."""
        return json.dumps({"provider": provider, "file": self.file_id})


def datasets_of(job: Job) -> tuple[DatasetInput, ...]:
    """The job's files, each once: of two roles MLflow keeps the first."""
    inputs: dict[str, DatasetInput] = {}
    for context, file_ids in (
        ("training", job.training_files),
        ("validation", job.validation_files),
    ):
        for name in filter(None, (clean(file_id, _LONGEST_NAME) for file_id in file_ids)):
            inputs.setdefault(name, DatasetInput(name, context))
    return tuple(inputs.values())
