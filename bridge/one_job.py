"""One job: read it, decide, write what is new. Runs in a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bridge import errors
from bridge.ledger import RunState
from bridge.model import IsLogged, Job
from bridge.plan import Plan, Recorded, make_plan
from bridge.providers import Provider
from bridge.report import Kind, Outcome
from bridge.tracking import Tracking
from bridge.vocabulary import Vocabulary

Steps = Mapping[str, frozenset[int]]
"""The steps that are logged, by metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSync:
    """Brings one job after the other up to date."""

    name: str
    """The provider's, in the configuration."""
    provider: Provider
    tracking: Tracking
    vocabulary: Vocabulary
    now: Callable[[], int]
    stop_if_asked: Callable[[], None]

    def __call__(
        self,
        job_id: str,
        *,
        listed: Job | None,
        run: RunState | None,
        steps: Steps | None,
        experiment_id: str | None,
        is_dry: bool,
    ) -> Outcome:
        """Read one job and write what is new of it. Raises nothing: the outcome says it.

        Args:
            job_id: the provider's id.
            listed: the job as this pass has listed it, if it has.
            run: the run that carries it, if there is one.
            steps: what is known to be logged in that run.
            experiment_id: where to write; ``None``: nowhere yet, in a dry run.
            is_dry: plan only.
        """
        try:
            self.stop_if_asked()
            recorded = self._recorded(run, steps) if run else None
            snapshot = self.provider.read(
                job_id, listed=listed, is_logged=self._is_logged(recorded)
            )
            if snapshot.job.id != job_id:
                raise errors.BadReply(  # noqa: TRY301 - every way out is an outcome
                    f"The provider answered with another job ({snapshot.job.id})"
                )
            plan = make_plan(self.name, snapshot, recorded, self.vocabulary, now=self.now())
            run_id = plan.run_id
            if experiment_id is not None and not is_dry and not plan.is_empty:
                run_id = self.tracking.apply(experiment_id, plan)
        except errors.NotFound as error:
            return self.failed(job_id, error if listed else errors.JobVanished.of(error))
        except errors.BridgeError as error:
            return self.failed(job_id, error)
        except Exception as error:  # noqa: BLE001 - no job may stop the others, whatever it holds
            return self.failed(job_id, errors.unexpected(error))
        return Outcome(
            provider=self.name,
            job_id=job_id,
            kind=_kind(plan),
            plan=plan,
            run_id=run_id,
            steps=_with_points(recorded, plan),
        )

    def failed(self, job_id: str, error: errors.BridgeError) -> Outcome:
        """The outcome of a job that is lost for this pass."""
        return Outcome(provider=self.name, job_id=job_id, kind=Kind.FAILED, error=error)

    def _recorded(self, run: RunState, steps: Steps | None) -> Recorded:
        """What MLflow has of a job. Its curves are read once, and again if others wrote them."""
        newest = {name: step for name, (step, _) in run.newest.items()}
        if steps is None or {name: max(logged) for name, logged in steps.items()} != newest:
            steps = self.tracking.steps(run)
        return run.recorded(steps)

    def _is_logged(self, recorded: Recorded | None) -> IsLogged:
        if recorded is None:
            return lambda _name, _step: False
        return lambda name, step: recorded.has(self.vocabulary.metric(name), step)


def _kind(plan: Plan) -> Kind:
    if plan.is_new:
        return Kind.NEW
    return Kind.UNCHANGED if plan.is_empty else Kind.UPDATED


def _with_points(recorded: Recorded | None, plan: Plan) -> Steps:
    """The steps that are logged once the plan is applied, by metric."""
    steps = {name: set(logged) for name, logged in (recorded.steps if recorded else {}).items()}
    for point in plan.points:
        steps.setdefault(point.name, set()).add(point.step)
    return {name: frozenset(logged) for name, logged in steps.items()}
