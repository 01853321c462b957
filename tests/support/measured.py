"""The values that a simulated provider measures of a job."""

from __future__ import annotations

from bridge.simulator import SimulatedJob
from bridge.simulator.curves import metrics_at
from bridge.simulator.jobs import steps_done
from tests.support.world import NOW


def measured(simulated: SimulatedJob) -> dict[tuple[str, int], float]:
    """Return every value that a provider measured of a job, by metric and step."""
    values: dict[tuple[str, int], float] = {}
    for step in range(1, steps_done(simulated, NOW + 10_000_000) + 1):
        metrics = metrics_at(simulated, step)
        values["train_loss", step] = metrics.train.loss
        if simulated.provider == "mistral":
            if metrics.valid:
                loss = round(metrics.valid.loss, 6)
                values["valid_loss", step] = loss
                values["valid_mean_token_accuracy", step] = 2**loss
            continue
        values["train_mean_token_accuracy", step] = metrics.train.accuracy
        if metrics.valid:
            values["valid_loss", step] = metrics.valid.loss
            values["valid_mean_token_accuracy", step] = metrics.valid.accuracy
        if metrics.full_valid:
            values["full_valid_loss", step] = metrics.full_valid.loss
            values["full_valid_mean_token_accuracy", step] = metrics.full_valid.accuracy
    return values
