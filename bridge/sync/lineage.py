"""Links between runs and the runs whose models they start from, made at the end of a pass.

A job may be recorded before the job whose model it starts from, even in an earlier pass. So base
models of unknown origin are remembered until a run made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.sync.outcome import Synced
from bridge.tracking import Tracking


class Lineage:
    """The lineage of one provider's runs."""

    def __init__(self, provider: str, tracking: Tracking) -> None:
        self._provider = provider
        self._tracking = tracking
        self._children: dict[str, set[str]] = {}
        """Runs without a parent yet, by base model."""
        self._bases: set[str] = set()
        """Base models of earlier runs without a parent yet."""
        self._makers: dict[str, str] = {}
        """Runs of this pass, by the models that they made."""
        self._unmade: set[str] = set()
        """Base models that no known run made, nearly always the provider's own."""

    def learn(self, run: RecordedRun) -> None:
        """Record a run that MLflow has already.

        Neither the run nor its models are remembered, because few models of a long history are
        ever trained further, and MLflow can be searched for those.
        """
        if base_model := _unlinked(run):
            self._bases.add(base_model)

    def learn_outcome(self, outcome: Synced) -> None:
        """Record a run that this pass wrote or completed."""
        if outcome.before is not None and not outcome.before.is_deleted:
            self._learn_child(outcome.before)
            known, run_id = outcome.before.tags, outcome.before.run_id
            self._makers |= {known[name]: run_id for name in tags.MADE_MODELS if name in known}
        if outcome.run_id is None:
            return
        if base_model := outcome.plan.tags.get(tags.BASE_MODEL):
            self._children.setdefault(base_model, set()).add(outcome.run_id)
        self._makers |= {model.model: outcome.run_id for model in outcome.plan.models}

    def owned_by(self, winners: Mapping[str, str]) -> None:
        """Replace runs that this pass created in vain with the runs that own their jobs."""
        self._makers = {model: winners.get(run, run) for model, run in self._makers.items()}
        self._children = {
            base_model: {winners.get(run, run) for run in runs}
            for base_model, runs in self._children.items()
        }

    def write(self, experiment_ids: Sequence[str]) -> None:
        """Link each run that starts from another run's model with that run.

        Raises:
            TrackingError: MLflow refused it; the next pass tries again.
        """
        for model in self._bases | (self._makers.keys() & self._unmade):
            if self._maker(experiment_ids, model):
                for run in self._tracking.runs(experiment_ids, self._provider, base_model=model):
                    self._learn_child(run)
                self._unmade.discard(model)
            self._bases.discard(model)
        for base_model in list(self._children):
            if maker := self._maker(experiment_ids, base_model):
                for child in sorted(self._children[base_model] - {maker}):
                    self._tracking.relate(child, maker)
            del self._children[base_model]
        self._makers.clear()

    def _learn_child(self, run: RecordedRun) -> None:
        if base_model := _unlinked(run):
            self._children.setdefault(base_model, set()).add(run.run_id)

    def _maker(self, experiment_ids: Sequence[str], model: str) -> str | None:
        if model not in self._makers and model not in self._unmade:
            if maker := self._tracking.source_run(experiment_ids, model):
                self._makers[model] = maker
            else:
                self._unmade.add(model)
        return self._makers.get(model)


def _unlinked(run: RecordedRun) -> str | None:
    """Return the base model of a run that points at no other yet."""
    is_linked = run.is_deleted or tags.FROM_RUN in run.tags
    return None if is_linked else run.tags.get(tags.BASE_MODEL)
