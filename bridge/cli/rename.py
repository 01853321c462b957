"""``ftbridge backfill --rename``: apply the configured names to runs in MLflow.

Reads MLflow only, so that jobs that a provider no longer has are renamed too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial

from rich.table import Table

from bridge import log
from bridge.bootstrap.factories import recording_options_of, redactor_of, router_of
from bridge.cli.terminal.console import described, out, print_json, safe
from bridge.errors import BridgeError, TrackingDown
from bridge.model import Meaning
from bridge.plan import tags
from bridge.plan.metric_names import Losses, MetricNames, preset_of
from bridge.plan.recorded import RecordedRun
from bridge.plan.rename import History, Renaming, make_renaming
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.tracking import Tracking


@dataclass(slots=True)
class Renamed:
    """The result for one provider's runs."""

    provider: str
    runs: int = 0
    unchanged: int = 0
    points: int = 0
    job_ids: set[str] = field(default_factory=set)
    """Jobs of all these runs."""
    conflicts: list[tuple[str, str]] = field(default_factory=list)
    """Job ids, each with a sentence about what was not copied."""
    failures: list[tuple[str, BridgeError]] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """Return the result for a JSON document."""
        return {
            "provider": self.provider,
            "renamed": self.runs,
            "unchanged": self.unchanged,
            "points": self.points,
            "conflicts": [{"job": job_id, "what": what} for job_id, what in self.conflicts],
            "failures": [{"job": job_id, **described(error)} for job_id, error in self.failures],
        }


def rename(
    settings: Settings,
    environ: Mapping[str, str],
    job_ids: tuple[str, ...],
    *,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Copy the metrics to the configured names; return the exit code.

    Raises:
        TrackingDown: MLflow cannot be read.
    """
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    known = _Experiments(tracking)
    done = [
        _renamed(settings, provider, known, job_ids, dry_run=dry_run)
        for provider in settings.providers
    ]
    if not (dry_run or job_ids or any(each.failures or each.conflicts for each in done)):
        _show_names(settings, known)
    unknown = [job_id for job_id in job_ids if not any(job_id in each.job_ids for each in done)]
    is_well = not unknown and not any(each.failures or each.conflicts for each in done)
    if as_json:
        document = {
            "ok": is_well,
            "dry_run": dry_run,
            "providers": [each.document() for each in done],
            "unknown_jobs": unknown,
        }
        print_json(document, redactor)
    else:
        _show(done, unknown, dry_run=dry_run)
    return 0 if is_well else 1


class _Experiments:
    """Experiments in MLflow, each of which is read once, however many providers share it."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.id_of = cache(partial(tracking.experiment, create=False))
        self.local_names = cache(lambda place: preset_of(tracking.local_metric_names(place)))
        self.is_named_otherwise = cache(
            lambda place, label: tracking.is_named_otherwise([place], label)
        )


def _renamed(
    settings: Settings,
    provider: ProviderSettings,
    known: _Experiments,
    job_ids: tuple[str, ...],
    *,
    dry_run: bool,
) -> Renamed:
    done = Renamed(provider.name)
    tracking = known.tracking
    wanted = dict(_wanted_names(settings, provider, known))
    runs = [
        run
        for run in tracking.runs(list(wanted), provider.name)
        if not run.is_deleted and (not job_ids or run.job_id in job_ids)
    ]

    def work(run: RecordedRun) -> Renaming | BridgeError:
        try:
            return _rename(run, wanted[run.experiment_id], tracking, dry_run=dry_run)
        except TrackingDown:
            raise
        except BridgeError as error:
            return error

    with ThreadPoolExecutor(settings.poll.workers) as pool:
        for run, result in zip(runs, pool.map(work, runs), strict=True):
            done.job_ids.add(run.job_id)
            if isinstance(result, BridgeError):
                done.failures.append((run.job_id, result))
                continue
            done.conflicts += [(run.job_id, what) for what in result.conflicts]
            done.points += len(result.points)
            done.runs += not result.is_empty
            done.unchanged += result.is_empty
    return done


def _show_names(settings: Settings, known: _Experiments) -> None:
    """Record the names in the experiments, and show the losses of all providers in their views."""
    shown: dict[str, tuple[str, Losses]] = {}
    for provider in settings.providers:
        for place, names in _wanted_names(settings, provider, known):
            _, losses = shown.get(place, ("", Losses()))
            shown[place] = names.label, losses | names.losses
    for place, (label, losses) in shown.items():
        known.tracking.name_experiment(place, label, losses)


def _wanted_names(
    settings: Settings, provider: ProviderSettings, known: _Experiments
) -> Iterator[tuple[str, MetricNames]]:
    """Yield a provider's experiments, each with the metric names that its runs should have."""
    options = recording_options_of(settings, provider)
    for name in router_of(settings, provider).experiments:
        if place := known.id_of(name):
            local = options.is_auto and known.local_names(place)
            yield place, (options.named(local) if local else options).metric_names


def is_due(settings: Settings, tracking: Tracking) -> str | None:
    """Return the names that some runs lack; ``None`` if every run has its names."""
    known = _Experiments(tracking)
    for provider in settings.providers:
        is_auto = recording_options_of(settings, provider).is_auto
        for place, names in _wanted_names(settings, provider, known):
            # Without local runs, other names have no use.
            is_asked_for = not is_auto or names.label != "provider"
            if is_asked_for and known.is_named_otherwise(place, names.label):
                return names.label
    return None


def _rename(
    run: RecordedRun, metric_names: MetricNames, tracking: Tracking, *, dry_run: bool
) -> Renaming:
    nothing = Renaming(points=(), params={}, renamed={}, conflicts=())
    label = run.tags.get(tags.METRIC_NAMES, MetricNames().label)
    if label == metric_names.label:
        return nothing
    try:
        old = MetricNames.from_label(label, metric_names.meanings)
    except ValueError:
        return replace(nothing, conflicts=(f"its tag {tags.METRIC_NAMES} is unreadable",))
    history = tracking.history(run)
    renaming = make_renaming(
        history,
        run.params,
        old,
        metric_names,
        total_steps=_total_steps(run, history),
        epochs=_epochs(run, old),
    )
    if not dry_run:
        tracking.rename(run, renaming, None if renaming.conflicts else metric_names.label)
    return renaming


def _total_steps(run: RecordedRun, history: History) -> int | None:
    """Return the job's number of steps; without a tag, a finished job's last logged step."""
    with contextlib.suppress(KeyError, ValueError):
        return int(run.tags[tags.TOTAL_STEPS])
    if run.status != "FINISHED":
        return None
    return max((point.step for curve in history.values() for point in curve), default=None)


def _epochs(run: RecordedRun, metric_names: MetricNames) -> float | None:
    for name in map(metric_names.param, metric_names.named(Meaning.EPOCHS)):
        with contextlib.suppress(KeyError, ValueError):
            return float(run.params[name])
    return None


def _show(done: list[Renamed], unknown: list[str], *, dry_run: bool) -> None:
    title = "Nothing was written (--dry-run)" if dry_run else None
    table = Table(title=title, title_justify="left")
    table.add_column("provider", style="bold")
    for heading in ("renamed", "unchanged", "points"):
        table.add_column(heading, justify="right")
    for each in done:
        table.add_row(each.provider, f"{each.runs:,}", f"{each.unchanged:,}", f"{each.points:,}")
    console = out()
    console.print(table)
    for each in done:
        for job_id, error in each.failures:
            console.print(f"[red]✗[/red] {safe(f'{each.provider} {job_id}: {error}', 800)}")
        for job_id, what in each.conflicts:
            console.print(f"[yellow]![/yellow] {safe(f'{each.provider} {job_id}: {what}', 800)}")
    for job_id in unknown:
        console.print(f"[red]✗[/red] {safe(job_id)}: no run carries it")
    if any(each.runs for each in done) and not dry_run:
        console.print("MLflow deletes no metric: the old names remain beside the new ones.")
