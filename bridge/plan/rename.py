"""The changes that let a run look as if it had been logged under other names. Pure.

MLflow renames and deletes neither metrics nor params: the history is copied under the new names,
and the old ones stay beside it.
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
"""Result files are rounded to five decimals: two values this close are one."""
_OTHER_CURVE: Final = "the run has another of that name"

History = Mapping[str, Sequence[MetricPoint]]
"""All points of a run, at least one for each of MLflow's metric names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """The additions to one run. Applied twice it is the same as once."""

    points: tuple[MetricPoint, ...]
    """By ascending step, so that an interrupted write leaves curves without holes."""
    params: Mapping[str, str]
    renamed: Mapping[str, str]
    """The metrics of which something is copied: from the old name to the new one."""
    conflicts: tuple[str, ...]
    """A sentence for each curve or param that is not copied because it would mix two things."""

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
    """Return the difference between a run that was logged under ``old`` and one under ``new``.

    Args:
        history: the run's metrics.
        params: the run's params.
        old: the names under which both were logged.
        new: the names that they are to have too.
        total_steps: of the job; with ``epochs``, for the epoch of a step.
        epochs: of the job.
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
    """The curves of a run, with the points that it is to get."""

    curves: dict[str, Sequence[MetricPoint]]
    added: list[MetricPoint]

    def objection(self, curve: Sequence[MetricPoint], name: str) -> str:
        """Return why a curve may not go under ``name``; empty where it may."""
        return _other_curve(curve, self.curves.get(name, ()))

    def add(self, curve: Sequence[MetricPoint], name: str) -> bool:
        """Add the points of a curve that ``name`` lacks; return whether it lacked any."""
        existing = self.curves.get(name, ())
        missing = list(_missing(curve, existing, name))
        self.added += missing
        self.curves[name] = [*existing, *missing]
        return bool(missing)


@dataclass(frozen=True, slots=True)
class _Change:
    """From one set of names to another, for metrics or for params."""

    old: Names
    new: Names
    known: tuple[str, ...]
    """Names that the provider is known to use, the usual ones first."""
    method: str
    """The job's training method; empty if it is unknown."""

    def pairs(self, logged: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield each logged name that gets another one, with that."""
        logged = sorted(logged)
        for name in logged:
            own = self._own_name(name, logged)
            if own is not None and (target := self.new.get(own, own)) != name:
                yield name, target

    def objection(self, target: str) -> str:
        """Return why nothing may get the name ``target``; empty where it may."""
        if not is_allowed_name(target):
            return "MLflow refuses that name"
        # A metric that moves away leaves its rows there.
        own = self._own_name(target, ())
        if own is None or self.new.get(own, own) == target:
            return ""
        return f"until now that name is for {_shown(own)}"

    def _own_name(self, name: str, logged: Sequence[str]) -> str | None:
        """Return the provider's name of what was logged as ``name``, if it is the provider's."""
        mapped = [own for own, logged_as in self.old.items() if logged_as == name]
        # A name that has moved away may still be there: as a copy, or as a metric of the user's.
        possible = mapped if name in self.old else [*mapped, name]
        # A mapping may serve several providers.
        known = [own for own in self.known if own in possible]
        # Two names of one meaning: a job has one of them, depending on its method.
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
        objection = change.objection(target) or ("it has another value there" if is_other else "")
        if objection:
            conflicts.append(f"param {source} is not copied to {_shown(target)}: {objection}")
        elif target not in params:
            copied[target] = value
    return copied, tuple(conflicts)


def _other_curve(own: Sequence[MetricPoint], other: Sequence[MetricPoint]) -> str:
    """Return an objection unless ``other`` agrees with ``own``, as a copy or a later look does."""
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
    """Yield the points under ``name`` that are not there yet, one for each step."""
    steps = {point.step for point in existing}
    for point in own:
        if point.step not in steps:
            steps.add(point.step)
            yield MetricPoint(name, point.step, point.value, point.timestamp)


def _epochs(
    curves: History, name: str, total_steps: int | None, epochs: float | None
) -> Iterator[MetricPoint]:
    """Yield the epoch at each step that has a metric, at the time of the earliest."""
    moments: dict[int, int] = {}
    for curve in curves.values():
        for point in curve:
            moments[point.step] = min(point.timestamp, moments.get(point.step, point.timestamp))
    for step, moment in moments.items():
        if (epoch := epoch_of(step, total_steps, epochs)) is not None:
            yield MetricPoint(name, step, epoch, moment)


def _shown(name: str) -> str:
    return clean(name, 100)
