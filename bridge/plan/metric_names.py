"""The names of metrics and params: the provider's own, or those of local trainers. Pure.

MLflow draws curves on the same chart only if their names are the same.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge.model import Meaning
from bridge.plan.presets import EPOCH, OF_PARAMS, PRESETS
from bridge.text import one_line

LONGEST_NAME: Final = 250
"""Longest name in characters that MLflow keeps."""
_ALLOWED_NAME: Final = re.compile(r"[\w.\- /:]+")

_WITH_AVERAGE: Final = frozenset({"loss", "train_runtime"})
"""If a run has either of these, its ``train_loss`` is the average that transformers logs at the
end."""

Names = Mapping[str, str]
"""A mapping from a provider's names to MLflow's; other names are unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The losses for comparing runs, under MLflow's names."""

    valid: tuple[str, ...] = ()
    """Loss over the whole validation set, lowest for the best checkpoint."""
    batch_valid: tuple[str, ...] = ()
    """Loss over one batch of the validation set."""
    train: tuple[str, ...] = ()

    def __or__(self, other: Losses) -> Losses:
        """Return the losses of both, each name once."""
        return Losses(
            valid=_once(*self.valid, *other.valid),
            batch_valid=_once(*self.batch_valid, *other.batch_valid),
            train=_once(*self.train, *other.train),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """All losses, the most meaningful first."""
        return (*self.valid, *self.batch_valid, *self.train)

    @property
    def charts(self) -> tuple[str, ...]:
        """The curves that hosted and local runs have in common."""
        return (*self.train, *(self.valid or self.batch_valid))


@dataclass(frozen=True, slots=True)
class MetricNames:
    """The mapping from one provider's names to MLflow's."""

    metrics: Names = field(default_factory=dict)
    param_names: Names = field(default_factory=dict)
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    """Meanings of the provider's names."""
    label: str = "provider"
    """The preset's name, or the mapping as compact JSON, for a tag and for ``from_label``."""
    epoch: str | None = None
    """Metric for the epoch of a step; ``None``: the epoch is not logged."""

    @classmethod
    def of(cls, wanted: str | Mapping[str, str], meanings: Mapping[str, Meaning]) -> MetricNames:
        """Return the names of a preset or a mapping for one provider."""
        if not isinstance(wanted, str):
            names = dict(wanted)
            label = json.dumps(names, sort_keys=True, separators=(",", ":"))
            return cls(names, names, dict(meanings), label)
        preset = PRESETS[wanted]
        known = {name: what for name, what in meanings.items() if what in preset}
        return cls(
            metrics={name: preset[what] for name, what in known.items() if what not in OF_PARAMS},
            param_names={name: preset[what] for name, what in known.items() if what in OF_PARAMS},
            meanings=dict(meanings),
            label=wanted,
            epoch=EPOCH.get(wanted),
        )

    @classmethod
    def from_label(cls, label: str, meanings: Mapping[str, Meaning]) -> MetricNames:
        """Return the names with this label.

        Raises:
            ValueError: the label is invalid.
        """
        if label in PRESETS:
            return cls.of(label, meanings)
        try:
            found = json.loads(label)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(
            isinstance(name, str) and is_allowed_name(name) for name in found.values()
        ):
            raise ValueError(f"{one_line(label, 100)!r} is not a preset or a mapping of names")
        return cls.of(found, meanings)

    def metric(self, name: str) -> str:
        """Return MLflow's name of the provider's metric ``name``."""
        return self.metrics.get(name, name)

    def param(self, name: str) -> str:
        """Return MLflow's name of the provider's param ``name``."""
        return self.param_names.get(name, name)

    @property
    def losses(self) -> Losses:
        """The losses for comparing runs."""

        def names(meaning: Meaning) -> tuple[str, ...]:
            return _once(*map(self.metric, self.named(meaning)))

        return Losses(
            valid=names(Meaning.VALID_LOSS),
            batch_valid=names(Meaning.BATCH_VALID_LOSS),
            train=names(Meaning.TRAIN_LOSS),
        )

    def named(self, meaning: Meaning) -> tuple[str, ...]:
        """Return the provider's names for ``meaning``."""
        return tuple(name for name, what in self.meanings.items() if what is meaning)


def epoch_of(step: int, total_steps: int | None, epochs: float | None) -> float | None:
    """Return the number of epochs completed after ``step``; ``None`` if unknown."""
    if total_steps is None or epochs is None or not (math.isfinite(epochs) and epochs > 0):
        return None
    if total_steps <= 0 or not 0 <= step <= total_steps:
        return None
    return round(step / total_steps * epochs, 4)


def shared_charts(metric_names: MetricNames, runs: Sequence[frozenset[str]]) -> Counter[str]:
    """Count the local runs that share each metric with a provider's jobs.

    Args:
        metric_names: the names of the provider's metrics in MLflow.
        runs: the names of each local run's metrics.
    """
    hosted = {
        metric_names.metric(name)
        for name, what in metric_names.meanings.items()
        if what not in OF_PARAMS
    }
    training = {metric_names.metric(name) for name in metric_names.named(Meaning.TRAIN_LOSS)}
    shared: Counter[str] = Counter()
    for run in runs:
        curves = run - {"train_loss"} if run & _WITH_AVERAGE else run
        # Without a training curve, a name such as eval_loss may be a single result.
        if curves & training:
            shared.update(curves & hosted)
    return shared


def closest_preset(
    neighbours: Sequence[tuple[MetricNames, Sequence[frozenset[str]]]],
) -> str | None:
    """Return the preset that shares the most charts; ``None`` if the present names do.

    Args:
        neighbours: the present names of each provider, with the metric names of each local run in
            the same experiment.
    """

    def shared(preset: str | None) -> int:
        return sum(
            shared_charts(
                MetricNames.of(preset, metric_names.meanings) if preset else metric_names, runs
            ).total()
            for metric_names, runs in neighbours
        )

    best = max(PRESETS, key=shared)
    return best if shared(best) > shared(None) else None


def collisions(mapping: Mapping[str, str], meanings: Mapping[str, Meaning]) -> list[str]:
    """Return a sentence for each name that a mapping gives to two metrics or params of a provider.

    Mixed curves cannot be separated again, so such a mapping is refused.

    Args:
        mapping: from a provider's names to others.
        meanings: the meanings of the provider's names; other names belong to other providers.
    """
    found: list[str] = []
    for are_params in (False, True):
        sources: dict[str, list[str]] = {}
        for name, meaning in meanings.items():
            if (meaning in OF_PARAMS) is are_params:
                sources.setdefault(mapping.get(name, name), []).append(name)
        found += [
            f"{' and '.join(sorted(names))} would both be called {one_line(target, 100)}"
            for target, names in sorted(sources.items())
            if len(names) > 1
        ]
    return found


_USUAL: Final[Mapping[str, Meaning]] = {
    "train_loss": Meaning.TRAIN_LOSS,
    "valid_loss": Meaning.VALID_LOSS,
}
"""The losses' names at most providers, which local runs may use too."""


def preset_of(runs: Sequence[frozenset[str]]) -> str:
    """Return the preset that puts hosted curves on the charts of local runs.

    Args:
        runs: the names of each local run's metrics.
    """
    return closest_preset([(MetricNames.of("provider", _USUAL), runs)]) or "provider"


def is_allowed_name(name: str) -> bool:
    """Return whether MLflow accepts ``name`` for a metric or a param."""
    return (
        len(name) <= LONGEST_NAME
        and _ALLOWED_NAME.fullmatch(name) is not None
        and posixpath.normpath(name) == name
        and not name.startswith(("/", ".."))
        and name != "."
    )


def _once(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
