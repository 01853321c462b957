"""``ftbridge backfill --rename``: the configured names for runs that are logged already.

Asks MLflow alone: it works for jobs, too, that their provider no longer tells of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rich.table import Table

from bridge import log
from bridge.bootstrap.factories import recording_options_of, redactor_of, router_of
from bridge.cli.terminal.console import described, out, print_json, safe
from bridge.errors import BridgeError, TrackingDown
from bridge.model import Meaning
from bridge.plan import tags
from bridge.plan.metric_names import Losses, MetricNames, preset_of
from bridge.plan.options import RecordingOptions
from bridge.plan.recorded import RecordedRun
from bridge.plan.rename import History, Renaming, make_renaming
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.tracking import Tracking


@dataclass(slots=True)
class Renamed:
    """What was done to one provider's runs."""

    provider: str
    runs: int = 0
    unchanged: int = 0
    points: int = 0
    job_ids: set[str] = field(default_factory=set)
    """Of all these runs."""
    conflicts: list[tuple[str, str]] = field(default_factory=list)
    """By job id what was not copied."""
    failures: list[tuple[str, BridgeError]] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """For a JSON document."""
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
    """Copy what is logged to the names that the configuration asks for; returns the exit code.

    Raises:
        TrackingDown: MLflow cannot be asked.
    """
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    done = [
        _renamed(settings, provider, tracking, job_ids, dry_run=dry_run)
        for provider in settings.providers
    ]
    if not (dry_run or job_ids or any(each.failures or each.conflicts for each in done)):
        _show_names(settings, tracking)
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


def _renamed(
    settings: Settings,
    provider: ProviderSettings,
    tracking: Tracking,
    job_ids: tuple[str, ...],
    *,
    dry_run: bool,
) -> Renamed:
    done = Renamed(provider.name)
    places = places_of(settings, provider, tracking)
    wanted = {place: wanted_options(settings, provider, tracking, place) for place in places}

    def work(run: RecordedRun) -> tuple[RecordedRun, Renaming | BridgeError]:
        try:
            names = wanted[run.experiment_id].metric_names
            return run, _rename(run, names, tracking, dry_run=dry_run)
        except TrackingDown:
            raise
        except BridgeError as error:
            return run, error

    with ThreadPoolExecutor(settings.poll.workers) as pool:
        for run, result in pool.map(work, _runs(provider, tracking, places, job_ids)):
            done.job_ids.add(run.job_id)
            if isinstance(result, BridgeError):
                done.failures.append((run.job_id, result))
                continue
            done.conflicts += [(run.job_id, what) for what in result.conflicts]
            done.points += len(result.points)
            done.runs += not result.is_empty
            done.unchanged += result.is_empty
    return done


def _show_names(settings: Settings, tracking: Tracking) -> None:
    """Let the experiments remember the names, and their views show the losses of all providers."""
    shown: dict[str, tuple[str, Losses]] = {}
    for provider in settings.providers:
        for place in places_of(settings, provider, tracking):
            names = wanted_options(settings, provider, tracking, place).metric_names
            _, losses = shown.get(place, ("", Losses()))
            shown[place] = names.label, losses | names.losses
    for place, (label, losses) in shown.items():
        tracking.name_experiment(place, label, losses)


def places_of(settings: Settings, provider: ProviderSettings, tracking: Tracking) -> list[str]:
    """Return the ids of the experiments that the configuration names for a provider."""
    names = router_of(settings, provider).experiments
    found = (tracking.experiment(name, create=False) for name in names)
    return [place for place in found if place]


def wanted_options(
    settings: Settings, provider: ProviderSettings, tracking: Tracking, place: str
) -> RecordingOptions:
    """Return how a provider's jobs should be recorded in an experiment, whatever they are now."""
    options = recording_options_of(settings, provider)
    if not options.is_auto:
        return options
    return options.named(preset_of(tracking.local_metric_names(place)))


def is_due(settings: Settings, tracking: Tracking) -> str | None:
    """Return the names that some runs should have and do not; ``None``: all have theirs."""
    for provider in settings.providers:
        for place in places_of(settings, provider, tracking):
            options = wanted_options(settings, provider, tracking, place)
            label = options.metric_names.label
            # Without local runs there is nothing that other names would be good for.
            is_asked_for = not options.is_auto or label != "provider"
            if is_asked_for and tracking.is_named_otherwise([place], label):
                return label
    return None


def _runs(
    provider: ProviderSettings, tracking: Tracking, places: list[str], job_ids: tuple[str, ...]
) -> Iterator[RecordedRun]:
    for run in tracking.runs(places, provider.name):
        if not run.is_deleted and (not job_ids or run.job_id in job_ids):
            yield run


def _rename(
    run: RecordedRun, metric_names: MetricNames, tracking: Tracking, *, dry_run: bool
) -> Renaming:
    label = run.tags.get(tags.METRIC_NAMES, MetricNames().label)
    if label == metric_names.label:
        return Renaming(points=(), params={}, renamed={}, conflicts=())
    try:
        old = MetricNames.from_label(label, metric_names.meanings)
    except ValueError:
        sentence = f"its tag {tags.METRIC_NAMES} is unreadable"
        return Renaming(points=(), params={}, renamed={}, conflicts=(sentence,))
    history = tracking.history(run)
    renaming = make_renaming(
        history,
        run.params,
        old,
        metric_names,
        total_steps=_total_steps(run, old, history),
        epochs=_param(run, old, Meaning.EPOCHS),
    )
    if not dry_run:
        tracking.rename(run, renaming, None if renaming.conflicts else metric_names.label)
    return renaming


def _total_steps(run: RecordedRun, metric_names: MetricNames, history: History) -> int | None:
    """How many steps the job has; of a finished one the last that is logged."""
    told = _param(run, metric_names, Meaning.STEPS)
    if told is not None:
        return int(told)
    if run.status != "FINISHED":
        return None
    return max((point.step for curve in history.values() for point in curve), default=None)


def _param(run: RecordedRun, metric_names: MetricNames, meaning: Meaning) -> float | None:
    for own_name in metric_names.named(meaning):
        for name in metric_names.params(own_name):
            try:
                return float(run.params[name])
            except (KeyError, ValueError):
                continue
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
