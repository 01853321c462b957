"""Which run carries a job: asks MLflow where the ledger does not say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bridge import errors
from bridge.model import Job
from bridge.plan import tags
from bridge.plan.ownership import resolve
from bridge.plan.recorded import RunState
from bridge.plan.routing import RUN_KEY, Route, Router
from bridge.text import clean
from bridge.tracking import Tracking

_LONGEST_CLAIM: Final = 500
"""Characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """A job's run, or where it is to be created."""

    experiment_id: str | None
    """``None``: it does not exist yet, and nothing is to be written."""
    route: Route | None = None
    """What the job's metadata and the configuration want for a new run."""
    run: RunState | None = None
    is_settled: bool = False
    """Whether nothing is left to do for the job."""
    run_id: str | None = None
    """The run of a settled job; ``None``: it has none, or only deleted ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinder:
    """Finds the runs of one provider's jobs one by one."""

    tracking: Tracking
    router: Router
    metrics: tuple[str, ...]
    """What the runs of a new experiment are compared by."""

    def experiment(self, name: str, *, is_dry: bool) -> str | None:
        """The id of an experiment, which is created unless nothing is to be written.

        Raises:
            TrackingDown: the configuration names it, and it cannot be had.
            TrackingError: only a job's metadata does.
        """
        one_job = name not in self.router.experiments
        return self.tracking.experiment(
            name, create=not is_dry, metrics=self.metrics, one_job=one_job
        )

    def find(self, job: Job, *, is_dry: bool) -> Carrier:
        """The run of a job, among deleted ones too.

        A run is created only after a search that did not find one.
        """
        route = self.router.route(job)
        home = self.experiment(route.experiment, is_dry=is_dry)
        others = (self.tracking.experiment(name, create=False) for name in self.router.experiments)
        places = [place for place in dict.fromkeys([home, *others]) if place]
        found = resolve(self.tracking.runs(places, self.router.provider, job_id=job.id))
        if not is_dry:
            self.tracking.delete(found.losers)
        run = found.open.get(job.id)
        is_settled = job.id in found.settled
        if run is None and not is_settled and route.run_id:
            return self._adopted(job, route, home, is_dry=is_dry)
        return Carrier(
            route=route,
            experiment_id=home,
            run=run,
            is_settled=is_settled,
            run_id=found.run_ids.get(job.id),
        )

    def unsettled(self, carrier: Carrier) -> Carrier:
        """The same with its run, as if that had not everything; settled only without any."""
        if carrier.run is None and carrier.run_id is not None:
            run = self.tracking.run(carrier.run_id)
            if run is not None and not run.is_deleted:
                carrier = replace(carrier, run=run, experiment_id=run.experiment_id)
        return replace(carrier, is_settled=carrier.run is None)

    def _adopted(self, job: Job, route: Route, home: str | None, *, is_dry: bool) -> Carrier:
        """The run that the job's metadata names, if it may be continued."""
        run = self.tracking.run(route.run_id or "")
        if run and run.is_deleted and run.job_id == job.id:
            return Carrier(route=route, experiment_id=home, is_settled=True)
        problem = self._problem(job, run, is_dry=is_dry)
        if run is None or problem:
            refused = f"its metadata {RUN_KEY} names a run that {problem}: it gets one of its own"
            route = Route(
                experiment=route.experiment,
                parent_run_id=route.parent_run_id,
                refused=(*route.refused, refused),
            )
            return Carrier(route=route, experiment_id=home)
        return Carrier(
            route=route,
            experiment_id=run.experiment_id,
            run=run,
            is_settled=run.is_final,
            run_id=run.run_id,
        )

    def _problem(self, job: Job, run: RunState | None, *, is_dry: bool) -> str:
        """Why a run cannot carry a job; empty if it can."""
        if run is None:
            return "does not exist"
        if run.is_deleted:
            return "is deleted"
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
        if run.job_id and run.provider:
            return ""
        # Several jobs may be looked at now, here and elsewhere, and the run carries none yet.
        own = clean(f"{job.id} of {self.router.provider}", _LONGEST_CLAIM)
        found = run.params.get(tags.CLAIM)
        holder = found or (own if is_dry else self.tracking.claim(run.run_id, own))
        return "" if holder == own else f"carries another job ({clean(holder, _LONGEST_CLAIM)})"
