"""What MLflow has of a job. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bridge.plan import tags as run_tags
from bridge.plan.datasets import DatasetInput

FINAL_RUN_STATUS: Final = frozenset({"FINISHED", "FAILED", "KILLED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What MLflow has of a job."""

    run_id: str
    status: str
    start_time: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    steps: Mapping[str, frozenset[int]]
    """The steps that are logged, by MLflow's metric name."""
    datasets: frozenset[DatasetInput] = frozenset()
    models: Mapping[str, str] = field(default_factory=dict)
    """Ids of its complete models by their full names."""

    @property
    def is_adopted(self) -> bool:
        """Whether a user created the run."""
        return self.tags.get(run_tags.BRIDGE) != run_tags.OWNED

    @property
    def is_final(self) -> bool:
        """Whether all of it is there. The status of a user's run does not say that."""
        if self.is_adopted:
            return self.tags.get(run_tags.BRIDGE) == run_tags.COMPLETED
        return self.status in FINAL_RUN_STATUS

    def has(self, name: str, step: int) -> bool:
        """Whether the metric that MLflow calls ``name`` is logged at ``step``."""
        return step in self.steps.get(name, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run that carries a job, as one search shows it."""

    run_id: str
    experiment_id: str
    job_id: str
    provider: str
    name: str
    status: str
    is_deleted: bool
    start_time: int
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    newest: Mapping[str, tuple[int, int]]
    """Of each metric the highest step and its Unix milliseconds."""
    datasets: frozenset[DatasetInput] = frozenset()
    outputs: Mapping[str, int] = field(default_factory=dict)
    """The step of each LoggedModel that is its output, by id."""

    @property
    def is_ours(self) -> bool:
        """Whether the bridge created it."""
        return self.tags.get(run_tags.BRIDGE) == run_tags.OWNED

    @property
    def is_final(self) -> bool:
        """Whether MLflow has everything."""
        return self.recorded({}).is_final

    def recorded(self, steps: Mapping[str, frozenset[int]]) -> Recorded:
        """What MLflow has of the job; ``steps`` by metric."""
        return Recorded(
            run_id=self.run_id,
            status=self.status,
            start_time=self.start_time,
            tags=self.tags,
            params=self.params,
            steps=steps,
            datasets=self.datasets,
        )
