"""The record of a job in MLflow. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bridge.model import MetricPoint
from bridge.plan import tags as run_tags
from bridge.plan.datasets import DatasetInput

FINAL_RUN_STATUS: Final = frozenset({"FINISHED", "FAILED", "KILLED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The part of a run that costs further requests to read."""

    steps: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The logged steps of each metric, by MLflow's name."""
    models: Mapping[str, str] | None = None
    """Ids of the complete LoggedModels by the models' full names; ``None``: not read."""

    def is_up_to(self, newest: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether nobody logged beyond it, by the newest points that a search shows."""
        return {name: max(steps) for name, steps in self.steps.items()} == {
            name: step for name, (step, _) in newest.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run that carries a job, or may carry one: as a search shows it, but for ``logged``."""

    run_id: str
    experiment_id: str
    job_id: str
    provider: str
    name: str
    status: str
    """MLflow's word."""
    is_deleted: bool
    start_time: int
    """Start of the run, Unix milliseconds."""
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    newest: Mapping[str, tuple[int, int]]
    """The highest step of each metric, and its time in Unix milliseconds."""
    datasets: frozenset[DatasetInput] = frozenset()
    outputs: Mapping[str, int] = field(default_factory=dict)
    """The step of each LoggedModel that the run has as output, by model id."""
    logged: Logged | None = None
    """``None``: not read, because nothing is to be added to the run."""

    @property
    def is_ours(self) -> bool:
        """Whether the bridge created the run."""
        return self.tags.get(run_tags.BRIDGE) == run_tags.OWNED

    @property
    def is_adopted(self) -> bool:
        """Whether a user created the run."""
        return not self.is_ours

    @property
    def is_final(self) -> bool:
        """Whether MLflow has everything. The status of a user's run does not say that."""
        if self.is_adopted:
            return self.tags.get(run_tags.BRIDGE) == run_tags.COMPLETED
        # A job that ended long ago looks final while a part of it is awaited.
        is_awaited = run_tags.name_in(self.tags, run_tags.INCOMPLETE_SINCE) in self.tags
        return self.status in FINAL_RUN_STATUS and not is_awaited

    @property
    def steps(self) -> Mapping[str, frozenset[int]]:
        """The logged steps of each metric, by MLflow's name, as far as they are read."""
        return self.logged.steps if self.logged else {}

    @property
    def models(self) -> Mapping[str, str]:
        """Ids of the complete LoggedModels by the models' full names, as far as they are read."""
        return (self.logged.models if self.logged else None) or {}


def steps_with(
    recorded: RecordedRun | None, points: tuple[MetricPoint, ...]
) -> dict[str, frozenset[int]]:
    """Return the steps that are logged once the points are, by MLflow's metric name."""
    steps = {name: set(logged) for name, logged in (recorded.steps if recorded else {}).items()}
    for point in points:
        steps.setdefault(point.name, set()).add(point.step)
    return {name: frozenset(logged) for name, logged in steps.items()}
