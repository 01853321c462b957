"""The points and params of a job that are new to its run, and the times of points. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from bridge.model import CurvePoint, MetricPoint, Scalar, Snapshot
from bridge.plan.metric_names import MetricNames, epoch_of, is_allowed_name
from bridge.plan.run_state import is_time
from bridge.text import clean


def all_metric_names(snapshot: Snapshot, metric_names: MetricNames) -> set[str]:
    """Return MLflow's names of the metrics in a snapshot."""
    named = {metric_names.metric(point.name) for point in _all_points(snapshot)}
    return named | ({metric_names.epoch} if metric_names.epoch else set())


Steps = Mapping[str, Collection[int]]
"""Logged steps by MLflow's metric name."""


def new_points(
    snapshot: Snapshot,
    metric_names: MetricNames,
    steps: Steps,
    *,
    fallback: int,
    now: int,
    newest: Mapping[str, tuple[int, int]] | None = None,
) -> tuple[tuple[MetricPoint, ...], tuple[str, ...]]:
    """Return the points that MLflow lacks, by step, and sentences about what was left out.

    Args:
        snapshot: all points of the provider.
        metric_names: the names of metrics in MLflow.
        steps: the logged steps.
        fallback: the time of points that have none, Unix milliseconds.
        now: Unix milliseconds.
        newest: the highest step of each metric in MLflow, and its time.
    """
    moments = _Moments(snapshot, (newest or {}).values(), now)
    chosen: dict[tuple[int, str], MetricPoint] = {}
    refused: set[str] = set()
    untimed: set[int] = set()
    for point in _all_points(snapshot):
        name = metric_names.metric(point.name)
        if not is_allowed_name(name):
            refused.add(name)
            continue
        if (point.step, name) in chosen or point.step in steps.get(name, ()):
            continue
        timestamp = moments.at(point.step)
        if timestamp is None:
            untimed.add(point.step)
            timestamp = moments.before(point.step, fallback)
        chosen[point.step, name] = MetricPoint(name, point.step, point.value, timestamp)
    chosen |= _epochs(snapshot, metric_names, chosen.keys(), steps, moments)
    return tuple(chosen[key] for key in sorted(chosen)), tuple(_sentences(refused, untimed))


def _sentences(refused: set[str], untimed: set[int]) -> Iterator[str]:
    for name in sorted(refused):
        yield f"metric {clean(name, 100)!r} has a name that MLflow refuses"
    if untimed:
        more = f" (and of {len(untimed) - 1} more)" if len(untimed) > 1 else ""
        yield (
            f"the time of step {min(untimed)} is missing or in the future{more}:"
            " logged at the time of the step before, or at the job's start"
        )


class _Moments:
    """The times of steps: along a curve, time does not run backwards."""

    def __init__(self, snapshot: Snapshot, logged: Iterable[tuple[int, int]], now: int) -> None:
        moments: dict[int, int] = {}
        for point in snapshot.curve:
            if point.created_at is not None and is_time(point.created_at, now):
                # The earliest time of all points, so that it does not depend on what is logged
                # already.
                known = moments.get(point.step, point.created_at)
                moments[point.step] = min(point.created_at, known)
        # A checkpoint is dated when it is saved, perhaps long after its step.
        for checkpoint in snapshot.checkpoints:
            if checkpoint.created_at is not None and is_time(checkpoint.created_at, now):
                moments.setdefault(checkpoint.step, checkpoint.created_at)
        bounds = dict(moments)
        for step, moment in logged:
            bounds[step] = min(moment, bounds.get(step, moment))
        # No step was trained after a later step.
        latest: int | None = None
        for step in sorted(bounds, reverse=True):
            latest = bounds[step] if latest is None else min(latest, bounds[step])
            if step in moments:
                moments[step] = latest
        self._moments = moments
        self._steps = sorted(moments)

    def at(self, step: int) -> int | None:
        """Return the time of a step in Unix milliseconds, if known."""
        return self._moments.get(step)

    def before(self, step: int, start: int) -> int:
        """Return the time of the last known step before ``step``, or ``start`` without one."""
        place = bisect.bisect_left(self._steps, step)
        return self._moments[self._steps[place - 1]] if place else start


def _epochs(
    snapshot: Snapshot,
    metric_names: MetricNames,
    chosen: Collection[tuple[int, str]],
    steps: Steps,
    moments: _Moments,
) -> dict[tuple[int, str], MetricPoint]:
    """Return the epoch at each new step, an axis for comparing hosted and local runs."""
    name = metric_names.epoch
    if name is None:
        return {}
    job = snapshot.job
    return {
        (step, name): MetricPoint(name, step, epoch, moment)
        for step in {step for step, _ in chosen}
        if (moment := moments.at(step)) is not None
        and (epoch := epoch_of(step, job.total_steps, job.epochs)) is not None
        and (step, name) not in chosen
        and step not in steps.get(name, ())
    }


def _all_points(snapshot: Snapshot) -> Iterator[CurvePoint]:
    """Yield the points of checkpoints before the curve, because they have precedence."""
    for checkpoint in snapshot.checkpoints:
        for name, value in checkpoint.metrics.items():
            yield CurvePoint(name, checkpoint.step, value, checkpoint.created_at)
    yield from snapshot.curve


_MOST_WHOLE: Final = 1e15
"""Largest integer up to which floating-point numbers represent every integer exactly."""
_LONGEST_PARAM: Final = 6000
"""Longest value of a param in characters; MLflow silently cuts longer ones."""


def new_params(
    wanted: Mapping[str, Scalar], known: Mapping[str, str], names: MetricNames
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the params that MLflow lacks, and a sentence for each that it cannot store."""
    new: dict[str, str] = {}
    refused: list[str] = []
    for own, value in wanted.items():
        name = names.param(own)
        text = clean(_text(value), _LONGEST_PARAM)
        if not is_allowed_name(name):
            refused.append(f"param {clean(name, 100)!r} has a name that MLflow refuses")
        elif name not in known:
            new[name] = text
        elif not _is_same(known[name], text):
            refused.append(
                f"param {name} is {clean(known[name], 100)} in MLflow, which never changes a"
                f" param, and {clean(text, 100)} at the provider"
            )
    return new, tuple(refused)


def _text(value: Scalar) -> str:
    """Return a param's value as text, the same for 3 and 3.0 so that runs group together."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < _MOST_WHOLE
    return str(int(value)) if is_whole else str(value)


def _is_same(left: str, right: str) -> bool:
    """Return whether two texts are the same value, such as 2 and 2.0."""
    try:
        return left == right or float(left) == float(right)
    except ValueError:
        return False
