"""The experiments of a provider's jobs, and the options for recording jobs in each."""

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
    """Labels of the experiments' metric names, by the experiment's id and name."""

    def open(self, name: str, *, create: bool, is_dry: bool) -> str | None:
        """Return the id of an experiment, after adding missing views or creating it.

        Args:
            name: name of the experiment.
            create: whether to create it if it is missing.
            is_dry: whether to write nothing.
        """
        one_job = name not in self.router.experiments
        options = self.options
        if label := self.labels.get(name):
            options = options.named(label)
        elif options.is_auto:
            found = self.tracking.experiment(name, create=False, one_job=one_job)
            options = self.options_in(found, remember=not is_dry)
            if found:
                self.labels[name] = options.metric_names.label
        return self.tracking.experiment(
            name,
            create=create and not is_dry,
            # An existing experiment gets the views too.
            losses=None if is_dry else options.losses,
            one_job=one_job,
        )

    def options_in(self, experiment_id: str | None, *, remember: bool) -> RecordingOptions:
        """Return the options for recording jobs in an experiment.

        Args:
            experiment_id: id of the experiment; ``None``: a new one.
            remember: whether to store the choice of names in the experiment.
        """
        if not self.options.is_auto or experiment_id is None:
            return self.options
        label = self.labels.get(experiment_id)
        if label is None:
            label = self.tracking.metric_names(experiment_id, remember=remember)
            self.labels[experiment_id] = label
        return self.options.named(label)

    def options_of(self, run: RecordedRun, *, remember: bool) -> RecordingOptions:
        """Return the options for recording a job, whose run keeps the names that it has."""
        label = run.tags.get(tags.METRIC_NAMES)
        if self.options.is_auto and label:
            return self.options.named(label)
        return self.options_in(run.experiment_id, remember=remember)
