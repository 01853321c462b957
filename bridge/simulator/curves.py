"""Realistic learning curves that depend only on seed and step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from bridge.simulator.jobs import SimulatedJob
from bridge.simulator.seeded import gauss, uniform

_BATCH_NOISE = 0.10
_EVALUATION_NOISE = 0.03
_FULL_NOISE = 0.005
_OVERFIT_FROM = 0.6
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Score:
    """Loss and token accuracy on one set of examples."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """The metrics of one step."""

    step: int
    train: Score
    valid: Score | None
    """Score on one batch of the validation file, every few steps."""
    full_valid: Score | None
    """Score on the whole validation file, after each epoch."""


@lru_cache(_REMEMBERED)  # cached, because each poll returns all steps again
def metrics_at(job: SimulatedJob, step: int) -> StepMetrics:
    """Return the metrics of ``job`` at ``step``, counted from 1."""
    epoch_over = step in job.epoch_ends
    evaluates = job.validation and (epoch_over or step % job.eval_every == 0)
    progress = step / job.total_steps
    train = _trend(job.seed, progress)
    valid = train + _gap(job.seed, progress)
    return StepMetrics(
        step,
        train=_score(job.seed, "train", step, train, _BATCH_NOISE),
        valid=_score(job.seed, "valid", step, valid, _EVALUATION_NOISE) if evaluates else None,
        full_valid=(
            _score(job.seed, "full", step, valid, _FULL_NOISE) if evaluates and epoch_over else None
        ),
    )


def _trend(seed: int, progress: float) -> float:
    start = 1.8 + 1.2 * uniform(seed, "start")
    floor = 0.25 + 0.35 * uniform(seed, "floor")
    pace = 4 + 3 * uniform(seed, "pace")
    return floor + (start - floor) * math.exp(-pace * progress)


def _gap(seed: int, progress: float) -> float:
    # Overfitting: late in training the validation loss rises a little again.
    overfit = 0.5 * uniform(seed, "overfit") * max(0.0, progress - _OVERFIT_FROM)
    return 0.04 + 0.1 * uniform(seed, "gap") + overfit


def _score(seed: int, name: str, step: int, trend: float, noise: float) -> Score:
    loss = trend * math.exp(noise * gauss(seed, name, "loss", step))
    # Fits OpenAI's reports: about 0.5 at a loss of 3.6, 0.8 at 1.2, 0.95 at 0.3.
    accuracy = math.exp(-0.2 * loss) * (1 + noise * 0.1 * gauss(seed, name, "accuracy", step))
    return Score(loss, min(1.0, accuracy))
