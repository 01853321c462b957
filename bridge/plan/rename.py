"""What a run needs so that it looks as if it had been logged under other names. Pure.

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

History = Mapping[str, Sequence[MetricPoint]]
"""All points of a run, at least one for each of MLflow's metric names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """What is written to one run. Applied twice it is the same as once."""

    points: tuple[MetricPoint, ...]
    """By ascending step, so that an interrupted write leaves curves without holes."""
    params: Mapping[str, str]
    renamed: Mapping[str, str]
    """The metrics of which something is copied: from the old name to the new one."""
    conflicts: tuple[str, ...]
    """What is not copied because it would mix two things, a sentence each."""

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
    """The difference between a run that was logged under ``old`` and the same under ``new``.

    Args:
        history: the run's metrics.
        params: the run's params.
        old: the names under which both were logged.
        new: the names that they are to have too.
        total_steps: of the job; with ``epochs``, for the epoch of a step.
        epochs: of the job.
    """
    conflicts: list[str] = []
    points: list[MetricPoint] = []
    renamed: dict[str, str] = {}
    change = _Change(old.metrics, new.metrics, frozenset(old.meanings), "metric")
    for target, source in change.copies(history, conflicts):
        if not _is_one_curve(history[source], history.get(target, ())):
            conflicts.append(
                f"metric {source} is not copied to {target}: the run has another of that name"
            )
        elif missing := list(_missing(history[source], history.get(target, ()), target)):
            points += missing
            renamed[source] = target
    if new.epoch and new.epoch != old.epoch:
        epoch = _epochs(history, new.epoch, total_steps, epochs)
        points += _new_epochs(new.epoch, epoch, history.get(new.epoch, ()), change, conflicts)
    return Renaming(
        points=tuple(sorted(points, key=lambda point: (point.step, point.name))),
        params=dict(_new_params(params, old, new, conflicts)),
        renamed=renamed,
        conflicts=tuple(conflicts),
    )


@dataclass(frozen=True, slots=True)
class _Change:
    """From one set of names to another, for metrics or for params."""

    old: Names
    new: Names
    known: frozenset[str]
    """Names that the provider is known to use."""
    noun: str

    def copies(self, present: Iterable[str], conflicts: list[str]) -> Iterator[tuple[str, str]]:
        """Each new name with the old one that it is copied from, where that mixes nothing."""
        wanted: dict[str, dict[tuple[str, ...], str]] = {}
        for source in sorted(present):
            holds = self._holds(source)
            if self._is_mixed(source):
                conflicts.append(
                    f"{self.noun} {source} is not copied: it holds {_and(holds)}, which get"
                    " different names"
                )
                continue
            for target in self._targets(source):
                # A param may be there under two names: either is as good.
                wanted.setdefault(target, {}).setdefault(holds, source)
        for target, by_content in sorted(wanted.items()):
            sources = [*by_content.values()]
            reason = self._objection(target, sources)
            if reason:
                conflicts.append(
                    f"{self.noun} {_and(sources)} is not copied to {_shown(target)}: {reason}"
                )
            else:
                yield target, sources[0]

    def _objection(self, target: str, sources: Sequence[str]) -> str:
        if len(sources) > 1:
            return f"one name is for one {self.noun}"
        if not is_allowed_name(target):
            return "MLflow refuses that name"
        return self.earlier_use(target)

    def earlier_use(self, name: str) -> str:
        """What ``name`` was for, if that moves away from it. What it holds stays there."""
        if not self._targets(name):
            return ""
        return f"until now that name is for {_and(self._holds(name))}"

    def _holds(self, name: str) -> tuple[str, ...]:
        """The provider's names for what was logged as ``name``."""
        renamed = [own for own, names in self.old.items() if name in names]
        # A name that the mapping moves away holds nothing of its own any more.
        candidates = renamed if name in self.old else [*renamed, name]
        # A mapping may speak of several providers.
        known = [own for own in candidates if own in self.known]
        return tuple(known or renamed or candidates)

    def _is_mixed(self, name: str) -> bool:
        """Whether what is in ``name`` would have to be told apart, which nobody can."""
        return len({frozenset(self._renamed(own)) for own in self._holds(name)}) > 1

    def _targets(self, name: str) -> list[str]:
        """The new names of what was logged as ``name``; none where it keeps it."""
        targets = {new for own in self._holds(name) for new in self._renamed(own)}
        return sorted(targets - {name})

    def _renamed(self, own: str) -> tuple[str, ...]:
        return self.new.get(own, (own,))


def _is_one_curve(own: Sequence[MetricPoint], other: Sequence[MetricPoint]) -> bool:
    """Whether ``other`` agrees with ``own``, as an earlier copy of it or a later look does."""
    if not other:
        return True
    values: dict[int, list[float]] = {}
    for point in own:
        values.setdefault(point.step, []).append(point.value)
    agreeing = {
        point.step
        for point in other
        if any(
            math.isclose(value, point.value, abs_tol=_ROUNDING)
            for value in values.get(point.step, ())
        )
    }
    return bool(agreeing) and agreeing == values.keys() & {point.step for point in other}


def _missing(
    own: Iterable[MetricPoint], existing: Iterable[MetricPoint], name: str
) -> Iterator[MetricPoint]:
    """The points under ``name`` that are not there yet, one for each step."""
    steps = {point.step for point in existing}
    for point in own:
        if point.step not in steps:
            steps.add(point.step)
            yield MetricPoint(name, point.step, point.value, point.timestamp)


def _new_epochs(
    name: str,
    epoch: Sequence[MetricPoint],
    existing: Sequence[MetricPoint],
    change: _Change,
    conflicts: list[str],
) -> Iterator[MetricPoint]:
    objection = change.earlier_use(name)
    if not _is_one_curve(epoch, existing):
        objection = "the run has another of that name"
    if not objection:
        yield from _missing(epoch, existing, name)
    elif epoch:
        conflicts.append(f"metric {name} is not added: {objection}")


def _epochs(
    curves: History, name: str, total_steps: int | None, epochs: float | None
) -> list[MetricPoint]:
    """The epoch at each step that has a metric, at the time of the earliest."""
    moments: dict[int, int] = {}
    for curve in curves.values():
        for point in curve:
            moments[point.step] = min(point.timestamp, moments.get(point.step, point.timestamp))
    return [
        MetricPoint(name, step, epoch, moment)
        for step, moment in moments.items()
        if (epoch := epoch_of(step, total_steps, epochs)) is not None
    ]


def _new_params(
    params: Mapping[str, str], old: MetricNames, new: MetricNames, conflicts: list[str]
) -> Iterator[tuple[str, str]]:
    change = _Change(old.param_names, new.param_names, frozenset(old.meanings), "param")
    for target, source in change.copies(params, conflicts):
        if target not in params:
            yield target, params[source]
        elif params[target] != params[source]:
            conflicts.append(
                f"param {source} is not copied to {target}: it has another value there"
            )


def _and(names: Sequence[str]) -> str:
    return " and ".join(map(_shown, names))


def _shown(name: str) -> str:
    return clean(name, 100)
