"""The models that a job leaves at its provider: its usable checkpoints, and its result. Pure.

Each becomes a LoggedModel in MLflow, so that a search over their metrics finds the best one.
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
"""Names sort by step up to this many digits."""
_LONGEST_LABEL: Final = 100
_LONGEST_PARAM: Final = 500
NAME_FIELDS: Final = ("provider", "suffix", "base_model")
"""The parts from which the name of a registered model can be made."""
_NOT_REGISTERED: Final = re.compile(r"[/:\s'\"]+")
_FORBIDDEN: Final = re.compile(r"[/:.%\"'\s]+")
"""The characters that MLflow refuses in the name of a model."""


_MEASURES: Final[Mapping[Meaning, int]] = {
    # A method that has rewards maximises them, whatever its losses do.
    Meaning.VALID_REWARD: 1,
    Meaning.REWARD: 1,
    Meaning.VALID_LOSS: -1,
    Meaning.BATCH_VALID_LOSS: -1,
    Meaning.TRAIN_LOSS: -1,
}
"""The measures of checkpoints, first the one that counts most, and whether more is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """A model that can be called at the provider, and where its metrics are in the run."""

    model: str
    """Its full name there; also what makes it one and the same."""
    name: str
    """In MLflow, which forbids some characters of the full name."""
    step: int
    metrics: tuple[tuple[str, int], ...]
    """MLflow's metric name and step of each of its measurements."""
    about: Mapping[str, str]
    """The known facts, for params, which the UI shows, and for tags, which can be searched."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best checkpoint, and the metric that says so."""

    model: str
    """The model's name at its provider."""
    metric: str
    """The provider's name of the metric."""
    is_highest: bool
    """Whether more of it is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A job's result as a version of a registered model."""

    name: str
    """The registered model's."""
    model: str
    """The full name of the job's result at its provider."""
    source: str
    """Its address, as MLflow writes those of hosted models: ``openai:/ft:gpt-...``."""
    at: int
    """When the job ended, Unix milliseconds: the alias points at the newest."""
    description: str = ""
    """The version's, in Markdown."""


def hosted_models(
    provider: str, snapshot: Snapshot, steps: Mapping[str, Collection[int]]
) -> tuple[HostedModel, ...]:
    """The job's models by ascending step.

    Args:
        provider: the provider's name in the configuration.
        snapshot: what the provider says.
        steps: by MLflow's metric name the steps that are, or are about to be, logged.
    """
    job = snapshot.job
    models = {
        model: HostedModel(
            model=model,
            name=_name(snapshot, checkpoint.step),
            step=checkpoint.step,
            # Not only the checkpoint's own: the step's event may have more.
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
        # Its provider gives checkpoints no names, or no longer shows them.
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
    """Return the checkpoint that is best by the first measure that any of them has.

    If several are equally good it is the newest.
    """
    for meaning, sign in _MEASURES.items():
        scores = [
            (sign * checkpoint.metrics[name], checkpoint.step, checkpoint.model, name)
            for checkpoint in snapshot.checkpoints
            for name in metric_names.named(meaning)
            if checkpoint.model and name in checkpoint.metrics
        ]
        if scores:
            _, _, model, metric = max(scores)
            return Best(model=model or "", metric=metric, is_highest=sign > 0)
    return None


def best_model(snapshot: Snapshot, metric_names: MetricNames) -> str | None:
    """Return the name of the best checkpoint's model."""
    best = best_checkpoint(snapshot, metric_names)
    return best.model if best else None


def registration_of(
    template: str | None, provider: str, kind: str, snapshot: Snapshot
) -> Registration | None:
    """The registration of a job's result; ``None`` without a template or a result.

    Args:
        template: with the fields of ``NAME_FIELDS`` in braces.
        provider: the provider's name in the configuration.
        kind: the provider's type.
        snapshot: what the provider says.
    """
    job = snapshot.job
    model = _full_name(job.fine_tuned_model)
    if template is None or not model:
        return None
    values = {
        "provider": provider,
        "suffix": suffix_of(job) or job.base_model or provider,
        "base_model": job.base_model or provider,
    }
    name = template.format(
        **{key: one_line(value, _LONGEST_LABEL) for key, value in values.items()}
    )
    return Registration(
        name=_NOT_REGISTERED.sub("-", name).strip("-.") or "model",
        model=model,
        source=f"{kind}:/{model}",
        at=job.finished_at or job.created_at or 0,
        description=_description(provider, job),
    )


def _description(provider: str, job: Job) -> str:
    """Return a sentence on where a registered version comes from."""
    base = code(job.base_model)
    origin = f", fine-tuned from {base}" if base else ""
    return f"The result of the job {code(job.id)} at {code(provider)}{origin}."


def suffix_of(job: Job) -> str:
    """Return the suffix that a job's owner chose, without credentials; empty without one."""
    return masked(job.suffix or "")


def label_of(snapshot: Snapshot) -> str:
    """A short name of what a job makes: the suffix its owner gave it, else its id."""
    suffix = one_line(suffix_of(snapshot.job), _LONGEST_LABEL).strip()
    return suffix or snapshot.job.id[:_LONGEST_LABEL]


def _full_name(model: str | None) -> str:
    """Return the part of a model's name that fits the tag by which it is found."""
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
