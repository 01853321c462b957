"""Find the run that carries a single job. Reads MLflow and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bridge import errors
from bridge.model import Job
from bridge.plan import tags
from bridge.plan.ownership import Fate, resolve
from bridge.plan.recorded import RecordedRun
from bridge.plan.routing import RUN_KEY, Route, Router
from bridge.text import clean
from bridge.tracking import Tracking

_LONGEST_CLAIM: Final = 500
"""Longest claim in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """The job has a run that does not have everything yet."""

    run: RecordedRun
    route: Route | None = None
    """Place of the run according to the job's metadata and the configuration."""
    claim: str | None = None
    """Claim to make before anything is written, if the run is a user's and has no job yet."""
    has_duplicates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The job has no run."""

    route: Route
    experiment_id: str | None
    """Id of the experiment; ``None``: it has to be created too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Nothing is left to do for the job."""

    run_id: str | None = None
    """Run that owns the job; ``None``: its user deleted it."""
    has_duplicates: bool = False


Found = Existing | Missing | Settled


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinder:
    """Finds the runs of one provider's jobs one by one."""

    tracking: Tracking
    router: Router

    def find(self, job: Job) -> Found:
        """Return the run of a job; deleted runs count too."""
        route = self.router.route(job)
        home = self._experiment(route.experiment)
        others = (self._experiment(name) for name in self.router.experiments)
        places = [place for place in dict.fromkeys([home, *others]) if place]
        owned = resolve(self.tracking.runs(places, self.router.provider, job_id=job.id))
        has_duplicates = bool(owned.jobs_with(Fate.GOES, Fate.WAITS))
        if run := owned.open.get(job.id):
            return Existing(run=run, route=route, has_duplicates=has_duplicates)
        if job.id in owned.settled:
            return Settled(run_id=owned.run_ids.get(job.id), has_duplicates=has_duplicates)
        if route.run_id:
            return self._named(job, route, home)
        return Missing(route=route, experiment_id=home)

    def without(self, job: Job, reason: str) -> Missing:
        """Return the place of a new run for a job that may not continue the run that it names."""
        route = self.router.route(job)
        return _refused(route, reason, self._experiment(route.experiment))

    def _experiment(self, name: str) -> str | None:
        """Return the id of an experiment; ``None`` if it does not exist.

        Raises:
            TrackingDown: the configuration names it, and it cannot be used.
            TrackingError: a job's metadata names it, and it cannot be used.
        """
        is_one_jobs = name not in self.router.experiments
        return self.tracking.experiment(name, create=False, one_job=is_one_jobs)

    def _named(self, job: Job, route: Route, home: str | None) -> Found:
        """Return the run that the job's metadata names, if it may be continued."""
        run = self.tracking.run(route.run_id or "")
        if run is None:
            return _refused(route, "does not exist", home)
        if run.is_deleted:
            # It carried this job when its user deleted it, so no run is wanted.
            return Settled() if run.job_id == job.id else _refused(route, "is deleted", home)
        if reason := self._refusal(job, run):
            return _refused(route, reason, home)
        if run.is_final:
            return Settled(run_id=run.run_id)
        has_job = bool(run.job_id and run.provider)
        return Existing(run=run, route=route, claim=None if has_job else self._own_claim(job))

    def _refusal(self, job: Job, run: RecordedRun) -> str:
        """Return the reason why a run cannot carry a job; empty if it can."""
        if (run.job_id or job.id) != job.id:
            return f"carries another job ({run.job_id})"
        if (run.provider or self.router.provider) != self.router.provider:
            return f"carries a job of {run.provider}"
        try:
            name = self.tracking.experiment_name(run.experiment_id)
        except errors.TrackingDown:
            raise
        except errors.TrackingError:
            return "is in an experiment that cannot be read"
        if name not in self.router.experiments and not self.router.is_open(name):
            return f"is in the experiment {name!r}, which mlflow.open_to_jobs does not allow"
        holder = run.params.get(tags.CLAIM)
        if holder and not (run.job_id and run.provider) and holder != self._own_claim(job):
            return held_by(holder)
        return ""

    def _own_claim(self, job: Job) -> str:
        return clean(f"{job.id} of {self.router.provider}", _LONGEST_CLAIM)


def held_by(holder: str) -> str:
    """Return the reason why a run that another job claimed cannot be continued."""
    return f"carries another job ({clean(holder, _LONGEST_CLAIM)})"


def _refused(route: Route, reason: str, home: str | None) -> Missing:
    sentence = f"its metadata {RUN_KEY} names a run that {reason}: it gets a new run"
    refused = replace(route, run_id=None, refused=(*route.refused, sentence))
    return Missing(route=refused, experiment_id=home)
