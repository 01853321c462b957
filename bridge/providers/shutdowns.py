"""When a server ends the models that jobs have made, as far as its list of models tells.

OpenAI gives a model a ``shutdown_date``, Azure a ``deprecation`` with a time for ``inference``, and
Mistral a ``deprecation`` that is a time. A fine-tuned model without a date of its own goes with the
model that training began with.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator

from bridge.http import Http
from bridge.model import Job
from bridge.wire import Identifier, Record, read_rows

_MODELS: Final = "/models"


def _of_inference(told: object) -> object:
    """The time that counts where one is told for each use of a model."""
    return told.get("inference") if isinstance(told, Mapping) else told


class ModelRecord(Record):
    """A model in the list; most have no date."""

    wire_name: ClassVar = "model"

    id: Identifier
    shutdown_date: datetime | None = None
    deprecation: Annotated[datetime | None, BeforeValidator(_of_inference)] = None

    @property
    def shutdown(self) -> int | None:
        """Unix milliseconds."""
        moment = self.shutdown_date or self.deprecation
        if moment is None:
            return None
        return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


class Shutdowns:
    """The dates, asked for once at the most until they are forgotten. Thread-safe."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._lock = threading.Lock()
        self._dates: Mapping[str, int] | None = None

    def forget(self) -> None:
        """Ask anew when a date is wanted again: they are announced at any time."""
        with self._lock:
            self._dates = None

    def of(self, job: Job) -> int | None:
        """When the model that a finished job has made is shut down, Unix milliseconds."""
        if job.fine_tuned_model is None or not job.status.is_final:
            return None
        with self._lock:
            if self._dates is None:
                self._dates = self._read()
            dates = self._dates
        told = (dates.get(model) for model in _origins(job))
        return next((date for date in told if date is not None), None)

    def _read(self) -> dict[str, int]:
        rows = self._http.hint(_MODELS).get("data")
        records, _ = read_rows(ModelRecord, rows if isinstance(rows, list) else [])
        return {record.id: date for record, _ in records if (date := record.shutdown) is not None}


def _origins(job: Job) -> Iterator[str]:
    """The model that a job has made, then those that it descends from."""
    for model in filter(None, (job.fine_tuned_model, job.base_model)):
        yield model
        # OpenAI: ft:gpt-4.1-2025-04-14:org::id. Azure: gpt-4.1-2025-04-14.ft-id.
        yield model.removeprefix("ft:").split(":")[0].split(".ft-")[0]
