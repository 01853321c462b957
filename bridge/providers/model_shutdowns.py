"""The shutdown times of jobs' models, from a server's list of models.

OpenAI gives a model a ``shutdown_date``, Azure a ``deprecation`` with a time for ``inference``, and
Mistral a ``deprecation`` that is a time. A fine-tuned model without a date ends with the model that
training started from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator

from bridge.http.client import ApiClient, JsonObject
from bridge.providers.parts import Parts
from bridge.providers.records import Identifier, Record, read_rows
from bridge.providers.times import Moment

_MODELS: Final = "/models"
_PART: Final = "models"
_DATES: Final = frozenset({"shutdown_date", "deprecation"})


def _of_inference(given: object) -> object:
    """Return the relevant time if each use of a model has one."""
    return given.get("inference") if isinstance(given, Mapping) else given


class ModelRecord(Record):
    """A model in the list; most have no date."""

    wire_name: ClassVar = "model"

    id: Identifier
    shutdown_date: Moment = None
    deprecation: Annotated[Moment, BeforeValidator(_of_inference)] = None

    @property
    def shutdown(self) -> int | None:
        """Time of the shutdown, Unix milliseconds."""
        return self.shutdown_date or self.deprecation


def read_shutdowns(http: ApiClient) -> dict[str, int] | None:
    """Return the shutdown times in a server's list of models, Unix milliseconds.

    Empty if the server has no such list; ``None`` if it cannot be read now.
    """
    parts = Parts(lambda: None)
    reply = parts.one(_PART, lambda: http.get_object(_MODELS, keep=_kept))
    if reply is None:
        return None if parts.is_awaited(_PART) else {}
    rows = reply.get("data")
    dated = [row for row in rows if _is_dated(row)] if isinstance(rows, list) else []
    records, _ = read_rows(ModelRecord, dated)
    return {record.id: date for record, _ in records if (date := record.shutdown) is not None}


def _kept(each: JsonObject) -> JsonObject | None:
    """Return an object of the reply, unless it is a model without a date.

    An account's list contains every model that its jobs ever made, and few have a date.
    """
    is_model = "id" in each and "data" not in each
    return None if is_model and not _is_dated(each) else each


def _is_dated(row: object) -> bool:
    return isinstance(row, dict) and any(map(row.get, _DATES))


def shutdown_of(
    dates: Mapping[str, int], model: str | None, base_model: str | None = None
) -> int | None:
    """Return the shutdown time of a fine-tuned model in Unix milliseconds."""
    given = (dates.get(origin) for origin in _origins(model, base_model))
    return None if model is None else next((date for date in given if date is not None), None)


def _origins(*models: str | None) -> Iterator[str]:
    """Yield the models by name, each with the base model in its name."""
    for model in filter(None, models):
        yield model
        # OpenAI: ft:gpt-4.1-2025-04-14:org::id. Azure: gpt-4.1-2025-04-14.ft-id.
        yield model.removeprefix("ft:").split(":")[0].split(".ft-")[0]
