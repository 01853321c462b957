"""The additions that give a run's metrics and params other names. Pure.

MLflow can neither rename nor delete metrics and params, so the history is copied to the new names,
and the old names remain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.model import MetricPoint
from bridge.plan.metric_names import MetricNames, Names, epoch_of, is_allowed_name
from bridge.text import clean

_ROUNDING: Final = 1e-5
"""Relative tolerance within which two values are the same; result files have five decimals."""
_OTHER_CURVE: Final = "the run has another metric of that name"

History = Mapping[str, Sequence[MetricPoint]]
"""All points of a run by MLflow's metric name, at least one for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """The additions to one run. Applying them twice changes nothing."""

    points: tuple[MetricPoint, ...]
    """Points by ascending step, so that an interrupted write leaves no holes in a curve."""
    params: Mapping[str, str]
    renamed: Mapping[str, str]
    """Copied metrics, from the old name to the new one."""
    conflicts: tuple[str, ...]
    """A sentence for each curve or param that is not copied because it would mix two of them."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.points or self.params)


def make_renaming(
    history: History,
    params: Mapping[str, str],
    old: MetricNames,
    new: MetricNames,
    *,
    total_steps: int | None = None,
    epochs: float | None = None,
) -> Renaming:
    """Return the additions that give a run logged under ``old`` the names of ``new``.

    Args:
        history: the run's metrics.
        params: the run's params.
        old: the names under which both were logged.
        new: the additional names.
        total_steps: the job's number of steps, for the epoch of a step.
        epochs: the job's number of epochs.
    """
    method, known = params.get("method", ""), tuple(old.meanings)
    change = _Change(old.metrics, new.metrics, known, method)
    curves = _Curves(dict(history), [])
    renamed: dict[str, str] = {}
    conflicts: list[str] = []
    for source, target in change.pairs(history):
        if objection := change.objection(target) or curves.objection(history[source], target):
            conflicts.append(f"metric {source} is not copied to {_shown(target)}: {objection}")
        elif curves.add(history[source], target):
            renamed[source] = target
    if new.epoch and new.epoch != old.epoch:
        epoch = list(_epochs(history, new.epoch, total_steps, epochs))
        objection = change.objection(new.epoch) or curves.objection(epoch, new.epoch)
        if not objection:
            curves.add(epoch, new.epoch)
        elif epoch:
            conflicts.append(f"metric {new.epoch} is not added: {objection}")
    param_change = _Change(old.param_names, new.param_names, known, method)
    new_params, refused = _new_params(params, param_change)
    return Renaming(
        points=tuple(sorted(curves.added, key=lambda point: (point.step, point.name))),
        params=new_params,
        renamed=renamed,
        conflicts=(*conflicts, *refused),
    )


@dataclass(slots=True)
class _Curves:
    """The curves of a run, including the points to add."""

    curves: dict[str, Sequence[MetricPoint]]
    added: list[MetricPoint]

    def objection(self, curve: Sequence[MetricPoint], name: str) -> str:
        """Return the objection to copying a curve to ``name``; empty if there is none."""
        return _other_curve(curve, self.curves.get(name, ()))

    def add(self, curve: Sequence[MetricPoint], name: str) -> bool:
        """Add the points of a curve that ``name`` lacks; return whether any were missing."""
        existing = self.curves.get(name, ())
        missing = list(_missing(curve, existing, name))
        self.added += missing
        self.curves[name] = [*existing, *missing]
        return bool(missing)


@dataclass(frozen=True, slots=True)
class _Change:
    """A mapping from one set of names to another, for metrics or for params."""

    old: Names
    new: Names
    known: tuple[str, ...]
    """Known names of the provider, the usual ones first."""
    method: str
    """Training method of the job; empty if unknown."""

    def pairs(self, logged: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield each logged name that gets another one, with the new name."""
        logged = sorted(logged)
        for name in logged:
            own = self._own_name(name, logged)
            if own is not None and (target := self.new.get(own, own)) != name:
                yield name, target

    def objection(self, target: str) -> str:
        """Return the objection to the name ``target``; empty if there is none."""
        if not is_allowed_name(target):
            return "MLflow refuses that name"
        # A renamed metric leaves its rows under the old name.
        own = self._own_name(target, ())
        if own is None or self.new.get(own, own) == target:
            return ""
        return f"that name already means {_shown(own)}"

    def _own_name(self, name: str, logged: Sequence[str]) -> str | None:
        """Return the provider's name of the metric or param ``name``, if it is the provider's."""
        mapped = [own for own, logged_as in self.old.items() if logged_as == name]
        # A renamed name may still exist, as a copy or as the user's own metric.
        possible = mapped if name in self.old else [*mapped, name]
        # A mapping may serve several providers.
        known = [own for own in self.known if own in possible]
        # A job has one of two names with one meaning, depending on its method.
        known.sort(key=lambda own: (own not in logged, self.method not in own))
        return next(iter(known or possible), None)


def _new_params(
    params: Mapping[str, str], change: _Change
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the params under their new names, and a sentence for each that is not copied."""
    copied: dict[str, str] = {}
    conflicts: list[str] = []
    for source, target in change.pairs(params):
        value = params[source]
        is_other = {**params, **copied}.get(target, value) != value
        objection = change.objection(target) or (
            "it has a different value there" if is_other else ""
        )
        if objection:
            conflicts.append(f"param {source} is not copied to {_shown(target)}: {objection}")
        elif target not in params:
            copied[target] = value
    return copied, tuple(conflicts)


def _other_curve(own: Sequence[MetricPoint], other: Sequence[MetricPoint]) -> str:
    """Return an objection unless ``other`` agrees with ``own``, as a copy does."""
    values: dict[int, list[float]] = {}
    for point in own:
        values.setdefault(point.step, []).append(point.value)
    shared = {point.step for point in other} & values.keys()
    agreeing = {
        point.step
        for point in other
        if any(
            math.isclose(value, point.value, abs_tol=_ROUNDING)
            for value in values.get(point.step, ())
        )
    }
    return "" if not other or (agreeing and agreeing == shared) else _OTHER_CURVE


def _missing(
    own: Iterable[MetricPoint], existing: Iterable[MetricPoint], name: str
) -> Iterator[MetricPoint]:
    """Yield the missing points under ``name``, one for each step."""
    steps = {point.step for point in existing}
    for point in own:
        if point.step not in steps:
            steps.add(point.step)
            yield MetricPoint(name, point.step, point.value, point.timestamp)


def _epochs(
    curves: History, name: str, total_steps: int | None, epochs: float | None
) -> Iterator[MetricPoint]:
    """Yield the epoch at each step that has a metric, with the step's earliest time."""
    moments: dict[int, int] = {}
    for curve in curves.values():
        for point in curve:
            moments[point.step] = min(point.timestamp, moments.get(point.step, point.timestamp))
    for step, moment in moments.items():
        if (epoch := epoch_of(step, total_steps, epochs)) is not None:
            yield MetricPoint(name, step, epoch, moment)


def _shown(name: str) -> str:
    return clean(name, 100)
