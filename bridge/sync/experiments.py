"""The experiments that a provider's jobs go to, and how jobs are recorded in each."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.plan import tags
from bridge.plan.options import RecordingOptions
from bridge.plan.recorded import RecordedRun
from bridge.plan.routing import Router
from bridge.tracking import Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiments:
    """The experiments of one provider's jobs."""

    tracking: Tracking
    router: Router
    options: RecordingOptions
    labels: dict[str, str] = field(default_factory=dict)
    """The names that experiments have chosen, by the experiment's id and name."""

    def open(self, name: str, *, create: bool, is_dry: bool) -> str | None:
        """Return the id of an experiment, which gets its views and, if it is missing, is created.

        Args:
            name: the experiment's.
            create: whether to create it.
            is_dry: whether nothing is written.
        """
        one_job = name not in self.router.experiments
        options = self.options
        label = self.labels.get(name)
        if options.is_auto and label is None:
            found = self.tracking.experiment(name, create=False, one_job=one_job)
            options = self.options_in(found, remember=not is_dry)
            if found:
                self.labels[name] = options.metric_names.label
        elif options.is_auto and label:
            options = options.named(label)
        return self.tracking.experiment(
            name,
            create=create and not is_dry,
            # One that is there already gets its views too.
            losses=None if is_dry else options.losses,
            one_job=one_job,
        )

    def options_in(self, experiment_id: str | None, *, remember: bool) -> RecordingOptions:
        """Return how jobs are recorded in an experiment.

        Args:
            experiment_id: the experiment's; ``None``: a new one.
            remember: whether it remembers the names that it chooses.
        """
        if not self.options.is_auto or experiment_id is None:
            return self.options
        label = self.labels.get(experiment_id)
        if label is None:
            label = self.tracking.metric_names(experiment_id, remember=remember)
            self.labels[experiment_id] = label
        return self.options.named(label)

    def options_of(self, run: RecordedRun, *, remember: bool) -> RecordingOptions:
        """Return how a job is recorded whose run has names already: it keeps them."""
        label = run.tags.get(tags.METRIC_NAMES)
        if self.options.is_auto and label:
            return self.options.named(label)
        return self.options_in(run.experiment_id, remember=remember)
