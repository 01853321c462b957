"""``ftbridge show``: show one job. Reads MLflow only."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.table import Table

from bridge import log
from bridge.bootstrap.factories import now_ms, redactor_of
from bridge.cli.jobs import table
from bridge.cli.terminal.console import out, print_json, safe, saying
from bridge.errors import BridgeError
from bridge.listing.curves import Curve, chart
from bridge.listing.job_lines import Filter, JobLine, JobList
from bridge.plan import tags
from bridge.settings.model import Settings
from bridge.text import one_line
from bridge.tracking import Tracking

_HEIGHT: Final = 12
"""Height of the chart in lines."""
_WIDEST: Final = 100
"""Width of the chart in characters."""
_SEVERAL: Final = 5
"""Number of other jobs that are named if a name matches several."""


def show(settings: Settings, environ: Mapping[str, str], job: str, *, as_json: bool = False) -> int:
    """Show a job; return the exit code.

    Args:
        settings: the configuration.
        environ: the environment.
        job: its id, or part of its name; the newest of several.
        as_json: whether to print JSON.

    Raises:
        BridgeError: MLflow has no such job, or cannot be read.
    """
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    job_list = JobList(settings, tracking)
    with saying("Reading MLflow", plain=as_json):
        found = job_list.lines(Filter(name=job, limit=_SEVERAL + 1))
        if not found:
            raise BridgeError(
                f"MLflow has no job with {one_line(job, 100)} in its name or id",
                "List those that it has: ftbridge jobs",
            )
        line = next((each for each in found if each.job_id == job), found[0])
        curves = _curves(job_list, line)
        checkpoints = _checkpoints(tracking, line)
    if as_json:
        print_json(_document(line, curves, checkpoints), redactor)
        return 0
    for part in _shown(line, curves, checkpoints):
        out().print(part)
    others = [each.name for each in found if each is not line]
    if others and line.job_id != job:
        named = ", ".join(safe(name, 80) for name in others[:_SEVERAL])
        out().print(f"\nThe newest of several. Also in MLflow: {named}")
    return 0


def _document(
    line: JobLine, curves: Mapping[str, Curve], checkpoints: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    return line.document() | {
        "curves": {name: [list(point) for point in curve] for name, curve in curves.items()},
        "checkpoints": checkpoints,
        "missing": [what for _, what in _missing(line)],
    }


def _curves(job_list: JobList, line: JobLine) -> dict[str, Curve]:
    """Return the curves of the losses by MLflow's names, the training loss first."""
    names = [name for name in (line.train_metric, line.valid_metric) if name]
    return {name: curve for name in names if (curve := job_list.curve(line, name))}


def _checkpoints(tracking: Tracking, line: JobLine) -> list[dict[str, object]]:
    """Return the models that the provider serves, by step."""
    run = line.seen.run
    best = run.tags.get(tags.BEST_CHECKPOINT)
    models = tracking.ready_models(run).items() if run.outputs else ()
    found: list[dict[str, object]] = [
        {"step": run.outputs.get(model_id), "model": model, "best": model == best}
        for model, model_id in models
    ]
    return sorted(found, key=lambda each: str(each["step"]).zfill(12))


def _missing(line: JobLine) -> Iterator[tuple[str, str]]:
    """Yield what went wrong with the job or is missing in MLflow, each with its color."""
    known = line.seen.run.tags
    if error := known.get(tags.ERROR):
        yield "red", error
    if incomplete := known.get(tags.INCOMPLETE):
        yield "yellow", f"Not in MLflow: {incomplete}"
    if line.state in {"running", "paused", "queued", "validating"}:
        yield (
            "cyan",
            "The job is still open: ftbridge run follows it; ftbridge backfill updates it once",
        )


def _shown(
    line: JobLine, curves: Mapping[str, Curve], checkpoints: Sequence[Mapping[str, object]]
) -> Iterator[Table | str]:
    known = line.seen.run.tags
    yield table([line], {line.seen.run.run_id: next(iter(curves.values()), ())}, now_ms())
    for color, what in _missing(line):
        yield f"[{color}]{safe(what, 800)}[/{color}]"
    yield ""
    facts = (
        ("job", f"{line.job_id} at {line.provider}"),
        ("base model", known.get(tags.BASE_MODEL)),
        ("model", known.get(tags.MODEL)),
        ("run", line.url),
        ("provider's page", line.job_url),
    )
    for name, fact in facts:
        if fact:
            yield f"{name:16} {safe(fact, 300)}"
    yield from _drawn(line, curves)
    if checkpoints:
        yield ""
        models = Table(box=None, padding=(0, 2, 0, 0))
        models.add_column("step", justify="right")
        models.add_column("checkpoint", overflow="fold")
        for each in checkpoints:
            mark = " [green](best)[/green]" if each["best"] else ""
            models.add_row(str(each["step"] or "·"), f"{safe(str(each['model']))}{mark}")
        yield models


def _drawn(line: JobLine, curves: Mapping[str, Curve]) -> Iterator[str]:
    marks = {line.train_metric: "·", line.valid_metric: "●"}
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    drawn = {marks[name]: curve for name, curve in curves.items()}
    lines = chart(drawn, width=width, height=_HEIGHT)
    if lines:
        yield ""
        yield "   ".join(f"{marks[name]} {safe(name)}" for name in curves)
        yield from lines  # contains only digits and the marks
