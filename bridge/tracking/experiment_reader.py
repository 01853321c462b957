"""The experiments in MLflow, and the metric names of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from bridge import errors
from bridge.plan import tags
from bridge.plan.metric_names import Losses
from bridge.tracking import experiments, views
from bridge.tracking.client import TrackingClient, quoted

_OTHER_EXPERIMENTS: Final = 50
"""Number of experiments that are searched for local runs, as a server may have thousands."""


class ExperimentReader(TrackingClient):
    """The experiments of a tracking store. Writes only their descriptions, views and tags."""

    def experiment(
        self,
        name: str,
        *,
        create: bool,
        losses: Losses | None = None,
        one_job: bool = False,
    ) -> str | None:
        """Return the id of an active experiment, or ``None`` if it neither exists nor is created.

        Args:
            name: name of the experiment.
            create: whether to create it, with a description.
            losses: metrics that the experiment's views show for comparison; ``None``: an existing
                experiment is not changed.
            one_job: whether only one job uses it, so that a failure costs no other job.
        """
        if not create and self.is_missing:
            return None
        with self.asked(one_job=one_job) as client:
            found = client.get_experiment_by_name(name)
            if found is None and create:
                shown = losses if losses and losses.columns else experiments.LOSSES
                return experiments.create(client, name, self.file, shown)
            if found is not None and found.lifecycle_stage == "active" and losses:
                experiments.furnish(client, found, losses)
        if found is None:
            return None
        if found.lifecycle_stage == "deleted":
            kind = errors.TrackingError if one_job else errors.TrackingDown
            raise kind(
                f"The MLflow experiment {name!r} is deleted",
                f"Restore it (mlflow experiments restore -x {found.experiment_id})"
                " or configure another name",
            )
        return str(found.experiment_id)

    def page(self, experiment_id: str) -> str:
        """Return the address of an experiment's charts, in the bridge's view, in MLflow's UI."""
        with self.asked() as client:
            known = client.get_experiment(experiment_id).tags
        # With an unknown view, the UI would open an overview without runs.
        view = views.CHARTS if views.tag_of(views.CHARTS) in known else None
        return self.link(experiment_id, view=view)

    def experiment_name(self, experiment_id: str) -> str:
        """Return the name of an experiment."""
        with self.asked(one_job=True) as client:
            return str(client.get_experiment(experiment_id).name)

    def metric_names(self, experiment_id: str, *, remember: bool) -> str:
        """Return the label of the names under which an experiment's hosted runs are logged.

        Args:
            experiment_id: id of the experiment.
            remember: whether to store the decision for an experiment without hosted runs.
        """
        with self.asked() as client:
            return experiments.label_of(client, experiment_id, remember=remember)

    def name_experiment(self, experiment_id: str, label: str, losses: Losses) -> None:
        """Store the metric names of an experiment's runs, and show only these in its views."""
        with self.asked() as client:
            experiments.set_tag(client, experiment_id, experiments.METRIC_NAMES, label)
            found = client.get_experiment(experiment_id)
            experiments.furnish(client, found, losses, only=True)

    def local_metric_names(self, experiment_id: str) -> list[frozenset[str]]:
        """Return the metric names of each of the newest local runs."""
        with self.asked() as client:
            return experiments.local_metric_names(client, experiment_id)

    def other_experiments(self, names: Collection[str]) -> dict[str, str]:
        """Return the ids of the latest changed experiments other than ``names``, by name."""
        if self.is_missing:
            return {}
        with self.asked() as client:
            found = client.search_experiments(
                max_results=_OTHER_EXPERIMENTS, order_by=["last_update_time DESC"]
            )
        return {each.name: each.experiment_id for each in found if each.name not in names}

    def is_named_otherwise(self, experiment_ids: Sequence[str], label: str) -> bool:
        """Return whether any run has metric names other than those of ``label``."""
        wanted = quoted(label)
        if not experiment_ids or wanted is None:
            return False
        with self.asked() as client:
            term = f"tags.{tags.METRIC_NAMES} != {wanted}"
            return bool(client.search_runs(list(experiment_ids), term, max_results=1))
