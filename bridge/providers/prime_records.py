"""The used parts of Prime Intellect's wire objects, and their meaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final

from pydantic import Field

from bridge.model import Scalar
from bridge.providers.credentials import scalars
from bridge.providers.records import Identifier, Number, Record, Step
from bridge.providers.times import Moment
from bridge.text import one_line

_WORDS: Final = ("kind", "loss")
_NUMBERS: Final = (
    *("maxSteps", "batchSize", "rolloutsPerExample", "learningRate", "loraAlpha", "seqLen"),
    *("maxTokens", "maxInflightRollouts", "oversamplingFactor", "maxAsyncLevel"),
)
"""The hyperparameters of a run."""
_HIGHEST_COST: Final = 1e9
"""Highest credible price."""


class JobRecord(Record):
    """A run of Hosted Training."""

    wire_name: ClassVar = "job"

    id: Identifier
    name: str | None = None
    status: str | None = None
    base_model: str | None = Field(None, alias="baseModel")
    max_steps: int | None = Field(None, alias="maxSteps", gt=0, lt=2**63)
    created_at: Moment = Field(None, alias="createdAt")
    started_at: Moment = Field(None, alias="startedAt")
    completed_at: Moment = Field(None, alias="completedAt")
    updated_at: Moment = Field(None, alias="updatedAt")
    environments: list[object] | None = None
    error: str | None = Field(None, alias="errorMessage")


class CheckpointRecord(Record):
    """A saved state, without a name to call it by."""

    wire_name: ClassVar = "checkpoint"

    id: str | None = None
    step: Step
    status: str | None = None
    created_at: Moment = Field(None, alias="createdAt")


class Spent(Record):
    """A number of tokens and their cost."""

    tokens: int | None = Field(None, gt=0, lt=2**63)


class UsageRecord(Record):
    """The cost of a run so far."""

    wire_name: ClassVar = "bill"

    training: Spent | None = None
    cost: Number | None = Field(None, alias="total_cost_usd")

    @property
    def text(self) -> str | None:
        """The price with its currency."""
        is_price = self.cost is not None and 0 < self.cost < _HIGHEST_COST
        return f"{self.cost:.2f} USD" if is_price else None


def params(row: Mapping[str, object]) -> dict[str, Scalar]:
    """Return the hyperparameters that are set."""
    given = {name: row.get(name) for name in (*_WORDS, *_NUMBERS)}
    return {
        name: value
        for name, value in scalars(given).items()
        if (isinstance(value, str) and value and name in _WORDS)
        or (isinstance(value, int | float) and name in _NUMBERS)
    }


def environments(record: JobRecord) -> tuple[str, ...]:
    """Return the environments from which a run learns."""
    return tuple(dict.fromkeys(_names(record.environments or ())))


def _names(rows: Iterable[object]) -> Iterator[str]:
    for row in rows:
        given = [row.get(key) for key in ("slug", "name", "id")] if isinstance(row, dict) else [row]
        name = next((each for each in given if isinstance(each, str) and each), None)
        if name:
            yield one_line(name, 250)
