"""The events of a pass.

A handler is called from the thread that makes the pass; several passes run at once, each in a
separate thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bridge.plan.ownership import Deletion, Ownership
from bridge.sync.outcome import Outcome
from bridge.sync.report import Report


@dataclass(frozen=True, slots=True)
class PassBegan:
    """A pass over a provider begins."""

    provider: str


@dataclass(frozen=True, slots=True)
class RunsRead:
    """MLflow has these runs: all of a provider if ``owned.is_complete``, else open ones."""

    provider: str
    owned: Ownership


@dataclass(frozen=True, slots=True)
class JobsChosen:
    """More jobs need to be read; others are left untouched."""

    provider: str
    jobs: int
    settled: tuple[str, ...] = ()
    """Ids of selected jobs with nothing left to do."""
    unselected: tuple[str, ...] = ()
    """Ids of listed jobs that are not selected."""


@dataclass(frozen=True, slots=True)
class JobDone:
    """The sync of a job ended."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RunDeleted:
    """A run was deleted because another run owns its job."""

    provider: str
    deletion: Deletion


@dataclass(frozen=True, slots=True)
class PassEnded:
    """A pass has ended; ``seconds`` is its duration."""

    report: Report
    seconds: float


@dataclass(frozen=True, slots=True)
class NextPass:
    """The next pass over a provider begins at this time, Unix seconds."""

    provider: str
    at: float


Event = PassBegan | RunsRead | JobsChosen | JobDone | RunDeleted | PassEnded | NextPass
Handler = Callable[[Event], None]
