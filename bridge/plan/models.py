"""The models of a job at its provider: its usable checkpoints and its result. Pure.

Each becomes a LoggedModel in MLflow, so that a search by metric finds the best one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bridge.credential_forms import masked
from bridge.model import Job, Meaning, Snapshot
from bridge.plan.description.markdown import code
from bridge.plan.metric_names import MetricNames
from bridge.text import clean, one_line

_STEP_DIGITS: Final = 6
"""Number of digits of a step up to which names sort by step."""
_LONGEST_LABEL: Final = 100
_LONGEST_PARAM: Final = 500
NAME_FIELDS: Final = ("provider", "suffix", "base_model")
"""Fields for the name of a registered model."""
_NOT_REGISTERED: Final = re.compile(r"[/:\s'\"]+")
_FORBIDDEN: Final = re.compile(r"[/:.%\"'\s]+")
"""Characters that MLflow refuses in the name of a model."""


_MEASURES: Final[Mapping[Meaning, bool]] = {
    # A method with rewards maximises them, whatever its losses do.
    Meaning.VALID_REWARD: True,
    Meaning.REWARD: True,
    Meaning.VALID_LOSS: False,
    Meaning.BATCH_VALID_LOSS: False,
    Meaning.TRAIN_LOSS: False,
}
"""Measures of checkpoints in order of precedence, and whether more is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """A model that the provider serves, and the place of its metrics in the run."""

    model: str
    """Full name at the provider, which identifies the model."""
    name: str
    """Name in MLflow, which forbids some characters of the full name."""
    step: int
    metrics: tuple[tuple[str, int], ...]
    """Metric name in MLflow and step of each measurement."""
    about: Mapping[str, str]
    """Known facts, for params, which the UI shows, and for tags, which can be searched."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best checkpoint, and the metric that decides it."""

    model: str
    """Name of the model at its provider."""
    metric: str
    """Name of the metric at the provider."""
    is_highest: bool
    """Whether higher values are better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A job's result as a version of a registered model."""

    name: str
    """Name of the registered model."""
    model: str
    """Full name of the job's result at its provider."""
    source: str
    """URI in MLflow's form for hosted models: ``openai:/ft:gpt-...``."""
    at: int
    """End of the job, Unix milliseconds; the alias points to the newest."""
    description: str = ""
    """Description of the version in Markdown."""


def hosted_models(
    provider: str, snapshot: Snapshot, steps: Mapping[str, Collection[int]]
) -> tuple[HostedModel, ...]:
    """Return the job's models by ascending step.

    Args:
        provider: the provider's name in the configuration.
        snapshot: the provider's data.
        steps: the steps that are or will be logged, by MLflow's metric name.
    """
    job = snapshot.job
    models = {
        model: HostedModel(
            model=model,
            name=_name(snapshot, checkpoint.step),
            step=checkpoint.step,
            # Not only the checkpoint's own metrics: the event of its step may have more.
            metrics=tuple(
                (name, checkpoint.step) for name in sorted(steps) if checkpoint.step in steps[name]
            ),
            about=_about(provider, snapshot, model, checkpoint.step, checkpoint.id),
        )
        for checkpoint in snapshot.checkpoints
        if (model := _full_name(checkpoint.model))
    }
    result = _full_name(job.fine_tuned_model)
    if result and job.status.is_final and result not in models:
        # The provider does not name checkpoints, or no longer lists them.
        newest = {name: max(logged) for name, logged in steps.items() if logged}
        step = max(newest.values(), default=0)
        models[result] = HostedModel(
            model=result,
            name=_name(snapshot, step),
            step=step,
            metrics=tuple(sorted(newest.items())),
            about=_about(provider, snapshot, result, step, None),
        )
    return tuple(sorted(models.values(), key=lambda model: model.step))


def best_checkpoint(snapshot: Snapshot, metric_names: MetricNames) -> Best | None:
    """Return the best checkpoint by the first measure that any has, the newest of equals."""
    for meaning, is_highest in _MEASURES.items():
        scores = [
            (value if is_highest else -value, checkpoint.step, checkpoint.model, name)
            for checkpoint in snapshot.checkpoints
            for name in metric_names.named(meaning)
            if checkpoint.model and (value := checkpoint.metrics.get(name)) is not None
        ]
        if scores:
            _, _, model, metric = max(scores)
            return Best(model=model or "", metric=metric, is_highest=is_highest)
    return None


def best_model(snapshot: Snapshot, metric_names: MetricNames) -> str | None:
    """Return the model name of the best checkpoint."""
    best = best_checkpoint(snapshot, metric_names)
    return best.model if best else None


def registration_of(
    template: str | None, provider: str, kind: str, snapshot: Snapshot
) -> Registration | None:
    """Return the registration of a job's result; ``None`` without a template or a result.

    Args:
        template: a name with the fields of ``NAME_FIELDS`` in braces.
        provider: the provider's name in the configuration.
        kind: the provider's type.
        snapshot: what the provider says.
    """
    job = snapshot.job
    model = _full_name(job.fine_tuned_model)
    if template is None or not model:
        return None
    base_model = job.base_model or provider
    values = (provider, suffix_of(job) or base_model, base_model)
    fields = zip(NAME_FIELDS, values, strict=True)
    name = template.format(**{key: one_line(value, _LONGEST_LABEL) for key, value in fields})
    return Registration(
        name=_NOT_REGISTERED.sub("-", name).strip("-.") or "model",
        model=model,
        source=f"{kind}:/{model}",
        at=job.finished_at or job.created_at or 0,
        description=_description(provider, job),
    )


def _description(provider: str, job: Job) -> str:
    """Return a sentence about the origin of a registered version."""
    base = code(job.base_model)
    origin = f", fine-tuned from {base}" if base else ""
    return f"The result of the job {code(job.id)} at {code(provider)}{origin}."


def suffix_of(job: Job) -> str:
    """Return the suffix that the job's owner chose, without credentials; empty without one."""
    return masked(job.suffix or "")


def label_of(snapshot: Snapshot) -> str:
    """Return a short name of a job's result: the suffix that its owner chose, else its id."""
    suffix = one_line(suffix_of(snapshot.job), _LONGEST_LABEL).strip()
    return suffix or snapshot.job.id[:_LONGEST_LABEL]


def _full_name(model: str | None) -> str:
    """Return the part of a model's name that fits into the tag that identifies it."""
    return clean(model or "", _LONGEST_PARAM)


def _name(snapshot: Snapshot, step: int) -> str:
    label = _FORBIDDEN.sub("-", label_of(snapshot)).strip("-") or "model"
    return f"{label}-step-{step:0{_STEP_DIGITS}d}"


def _about(
    provider: str, snapshot: Snapshot, model: str, step: int, checkpoint_id: str | None
) -> dict[str, str]:
    def parts() -> Iterator[tuple[str, str | None]]:
        yield "fine_tuned_model", model
        yield "fine_tuning_provider", provider
        yield "fine_tuning_job_id", snapshot.job.id
        yield "fine_tuning_checkpoint_id", checkpoint_id
        yield "fine_tuning_step", str(step)
        yield "base_model", snapshot.job.base_model

    known = {key: clean(value or "", _LONGEST_PARAM) for key, value in parts()}
    return {key: value for key, value in known.items() if value}
