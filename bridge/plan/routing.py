"""The experiment of a job, and the run that its owner created for it. Pure.

A job's own metadata has precedence, then the configuration's first matching route, then the
provider's experiment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from bridge.model import Job
from bridge.text import clean

EXPERIMENT_KEY: Final = "mlflow_experiment"
RUN_KEY: Final = "mlflow_run_id"
PARENT_KEY: Final = "mlflow_parent_run_id"

_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")
_LONGEST_EXPERIMENT: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that sends jobs that fit all its shell patterns to an experiment."""

    experiment: str
    provider: str = "*"
    base_model: str = "*"
    suffix: str = "*"

    def fits(self, provider: str, job: Job) -> bool:
        """Return whether the rule applies to a job."""
        return (
            fnmatchcase(provider, self.provider)
            and fnmatchcase(job.base_model or "", self.base_model)
            and fnmatchcase(job.suffix or "", self.suffix)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The place of a job's run."""

    experiment: str
    run_id: str | None = None
    """Run that the job's owner created for it."""
    parent_run_id: str | None = None
    refused: tuple[str, ...] = ()
    """A sentence for each request in the job's metadata that is not followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """The routes of one provider's jobs."""

    provider: str
    experiment: str
    """Experiment of jobs without a matching rule."""
    rules: tuple[Rule, ...] = ()
    open_to_jobs: tuple[str, ...] = ()
    """Patterns of further experiments that a job's metadata may name, or whose runs it may
    continue."""
    runs: Mapping[str, str] = field(default_factory=dict)
    """Runs that jobs continue at the caller's request, by job id."""

    @property
    def experiments(self) -> tuple[str, ...]:
        """All experiments that the configuration names for this provider."""
        ruled = (
            rule.experiment for rule in self.rules if fnmatchcase(self.provider, rule.provider)
        )
        return tuple(dict.fromkeys([self.experiment, *ruled]))

    def is_open(self, experiment: str) -> bool:
        """Return whether a job's metadata may name an experiment."""
        return any(fnmatchcase(experiment, pattern) for pattern in self.open_to_jobs)

    def route(self, job: Job) -> Route:
        """Return the place of a job's run."""
        experiment, no_experiment = self._wanted(job)
        run_id, no_run = _run_id(job, RUN_KEY)
        parent_run_id, no_parent = _run_id(job, PARENT_KEY)
        return Route(
            experiment=experiment or self._ruled(job),
            run_id=self.runs.get(job.id) or run_id,
            parent_run_id=parent_run_id,
            refused=tuple(filter(None, (no_experiment, no_run, no_parent))),
        )

    def _wanted(self, job: Job) -> tuple[str | None, str]:
        """Return the experiment that a job's metadata names, or the reason why it is not used."""
        wanted = job.metadata.get(EXPERIMENT_KEY)
        if not wanted or wanted in self.experiments:
            return wanted or None, ""
        shown = clean(wanted, 100)
        if clean(wanted, _LONGEST_EXPERIMENT) != wanted or not wanted.strip():
            return None, f"its metadata {EXPERIMENT_KEY} {shown!r} is not a name of an experiment"
        if not self.is_open(wanted):
            refusal = f"its metadata {EXPERIMENT_KEY} names {shown!r}"
            return None, f"{refusal}, which mlflow.open_to_jobs does not allow"
        return wanted, ""

    def _ruled(self, job: Job) -> str:
        fitting: Iterable[str] = (r.experiment for r in self.rules if r.fits(self.provider, job))
        return next(iter(fitting), self.experiment)


def _run_id(job: Job, key: str) -> tuple[str | None, str]:
    """Return the run that a job's metadata names, or the reason why it is not used."""
    wanted = job.metadata.get(key)
    if not wanted:
        return None, ""
    if _RUN_ID.fullmatch(wanted) is None:
        return None, f"its metadata {key} {clean(wanted, 100)!r} is not a run id"
    return wanted, ""
