"""A progress bar of one run, in a terminal or in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlflow.entities import Run

from bridge.plan import tags
from bridge.plan.metric_names import MetricNames
from bridge.providers.registry import TYPES

if TYPE_CHECKING:
    pass


@contextmanager
def bar(*, shown: bool) -> Iterator[Callable[[Run], None]]:
    """Yield a function that shows a run's progress in a terminal or a notebook."""
    if not shown:
        yield lambda _run: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - as above

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=None, losses="")

        def show(run: Run) -> None:
            known = run.data.tags
            total = known.get(tags.TOTAL_STEPS, "")
            losses = _losses(run)
            progress.update(
                task,
                description=f"{run.info.run_name} {known.get(tags.STATE, '')}",
                total=int(total) if total.isdigit() else None,
                completed=_step(run, losses),
                losses="  ".join(f"{name} {value:.4g}" for name, value in losses.items()),
            )

        yield show


def _losses(run: Run) -> Mapping[str, float]:
    """Return the newest losses of a run, under MLflow's names."""
    known = run.data.tags
    kind = TYPES.get(known.get(tags.PROVIDER, ""), TYPES["openai"])
    try:
        names = MetricNames.from_label(known.get(tags.METRIC_NAMES, "provider"), kind.meanings)
    except ValueError:
        return {}
    return {
        name: run.data.metrics[name] for name in names.losses.charts if name in run.data.metrics
    }


def _step(run: Run, losses: Mapping[str, float]) -> int:
    # The protocol buffer is the only public form that keeps a metric's step.
    steps = [each.step for each in run.data.to_proto().metrics if each.key in losses]
    return max(steps, default=0)
