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
    """The part of a run that takes further requests to read."""

    steps: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The logged steps of each metric, by MLflow's name."""
    models: Mapping[str, str] | None = None
    """Ids of the complete LoggedModels by the models' full names; ``None``: not read."""

    def is_up_to(self, newest: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether nothing was logged since, judged by the newest points of a search."""
        return {name: max(steps) for name, steps in self.steps.items()} == {
            name: step for name, (step, _) in newest.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run that carries a job or may carry one, as a search shows it, except for ``logged``."""

    run_id: str
    experiment_id: str
    job_id: str
    provider: str
    name: str
    status: str
    """MLflow's run status."""
    is_deleted: bool
    start_time: int
    """Start of the run, Unix milliseconds."""
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    newest: Mapping[str, tuple[int, int]]
    """Highest step of each metric, and its time in Unix milliseconds."""
    datasets: frozenset[DatasetInput] = frozenset()
    outputs: Mapping[str, int] = field(default_factory=dict)
    """Step of each LoggedModel among the run's outputs, by model id."""
    logged: Logged | None = None
    """Logged steps and models; ``None``: not read, because nothing is to be added."""

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
        """Whether MLflow has everything, which a user's run does not show by its status."""
        if self.is_adopted:
            return self.tags.get(run_tags.BRIDGE) == run_tags.COMPLETED
        # The run of a job that ended long ago looks final while a part is awaited.
        is_awaited = run_tags.name_in(self.tags, run_tags.INCOMPLETE_SINCE) in self.tags
        return self.status in FINAL_RUN_STATUS and not is_awaited

    @property
    def steps(self) -> Mapping[str, frozenset[int]]:
        """Logged steps by MLflow's metric name, if they were read."""
        return self.logged.steps if self.logged else {}

    @property
    def models(self) -> Mapping[str, str]:
        """Ids of the complete LoggedModels by the models' full names, if they were read."""
        return (self.logged.models if self.logged else None) or {}


def steps_with(
    recorded: RecordedRun | None, points: tuple[MetricPoint, ...]
) -> dict[str, frozenset[int]]:
    """Return the steps that are logged once the points are written, by MLflow's metric name."""
    steps = {name: set(logged) for name, logged in (recorded.steps if recorded else {}).items()}
    for point in points:
        steps.setdefault(point.name, set()).add(point.step)
    return {name: frozenset(logged) for name, logged in steps.items()}
