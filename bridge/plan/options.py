"""How jobs are recorded. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.model import Meaning
from bridge.plan.metric_names import MetricNames


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """What of a job becomes part of its run, as configured for one provider."""

    provider_type: str = ""
    """The ``type`` of the provider in the configuration."""
    metric_names: MetricNames = field(default_factory=MetricNames)
    models: bool = True
    """Whether checkpoints and results become LoggedModels."""
    datasets: bool = True
    """Whether files become dataset inputs."""
    archive: bool = True
    """Whether the replies about an ended job become artifacts."""
    archive_datasets: bool = False
    """Whether its training and validation files become artifacts too."""
    register: str | None = None
    """Template of the registered model's name; ``None``: nothing is registered."""

    @property
    def archives_files(self) -> bool:
        """Whether a job's files are archived."""
        return self.archive and self.archive_datasets

    @property
    def losses(self) -> tuple[str, ...]:
        """What runs are compared by: validation loss, then training loss, as MLflow names them."""
        losses = (Meaning.VALID_LOSS, Meaning.BATCH_VALID_LOSS, Meaning.TRAIN_LOSS)
        names = [name for loss in losses for name in self.metric_names.named(loss)]
        return tuple(map(self.metric_names.metric, names))
