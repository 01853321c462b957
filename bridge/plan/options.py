"""The options for recording jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bridge.plan.cost import Price
from bridge.plan.metric_names import Losses, MetricNames


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """The parts of a job to record in its run, as configured for one provider."""

    provider_type: str = ""
    """The ``type`` of the provider in the configuration."""
    metric_names: MetricNames = field(default_factory=MetricNames)
    is_auto: bool = False
    """Whether each experiment decides the metric names of its runs."""
    models: bool = True
    """Whether checkpoints and results become LoggedModels."""
    datasets: bool = True
    """Whether files become dataset inputs."""
    archive: bool = True
    """Whether the replies about an ended job become artifacts."""
    archive_datasets: bool = False
    """Whether its training and validation files become artifacts too."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """Training prices by the beginning of a base model's name."""
    register: str | None = None
    """Template of the registered model's name; ``None``: no registration."""

    @property
    def archives_files(self) -> bool:
        """Whether a job's files are archived."""
        return self.archive and self.archive_datasets

    def named(self, label: str) -> RecordingOptions:
        """Return the options with other metric names; an invalid label means the provider's own."""
        meanings = self.metric_names.meanings
        try:
            names = MetricNames.from_label(label, meanings)
        except ValueError:
            names = MetricNames.of("provider", meanings)
        return replace(self, metric_names=names)

    @property
    def losses(self) -> Losses:
        """The losses by which runs are compared."""
        return self.metric_names.losses
