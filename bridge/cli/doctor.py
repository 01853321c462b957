"""``ftbridge doctor``: what no pass heals by itself, and ``--fix`` to mend it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bridge import log
from bridge.bootstrap.bridge import Bridge, assemble
from bridge.bootstrap.factories import redactor_of, router_of
from bridge.cli.backfill import without_strangers
from bridge.cli.console import described, err, out, print_json, safe
from bridge.cli.progress import watching
from bridge.daemon.signals import stop_on_signals
from bridge.doctor.checks import GIVE_UP, Checks, Finding
from bridge.errors import BridgeError, NoService, RunChanged, Withdrawn
from bridge.plan import tags
from bridge.plan.description import counted
from bridge.plan.plan import Plan
from bridge.plan.recorded import RunState
from bridge.plan.repair import GONE
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.sync.events import Watch
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Outcome, Report, Result, Selection
from bridge.tracking import Tracking


@dataclass(frozen=True, slots=True)
class Treated:
    """A finding, and what has become of it."""

    finding: Finding
    is_fixed: bool
    error: BridgeError | None = None

    def document(self) -> dict[str, object]:
        """For a JSON document."""
        return {
            "job": self.finding.job_id,
            "run": self.finding.run_id,
            "link": self.finding.link,
            "what": self.finding.what,
            "remedy": self.finding.remedy,
            "fixed": self.is_fixed,
            "trouble": described(self.error) if self.error else None,
        }


@dataclass(slots=True)
class Chart:
    """What was found at one provider."""

    provider: str
    treated: list[Treated] = field(default_factory=list)
    report: Report = field(default_factory=lambda: Report(provider=""))

    @property
    def is_well(self) -> bool:
        """Whether nothing is left, and everything has been looked at."""
        return self.report.is_well and all(each.is_fixed for each in self.treated)

    @property
    def compared(self) -> int:
        """Jobs that were looked at."""
        return self.report.jobs[Result.UNCHANGED] + self.report.jobs[Result.UPDATED]

    def document(self) -> dict[str, object]:
        """For a JSON document."""
        report = self.report
        return {
            "provider": self.provider,
            "findings": [each.document() for each in self.treated],
            "compared": self.compared,
            "without_run": report.jobs[Result.NEW],
            "not_compared": [
                {"job": job_id, **described(error)} for job_id, error in report.failures
            ],
            "left_out": [{"job": job_id, "what": what} for job_id, what in report.skipped],
            "stopped": described(report.stopped) if report.stopped else None,
            "unreached": report.unreached,
        }


def doctor(
    settings: Settings,
    environ: Mapping[str, str],
    job_ids: tuple[str, ...],
    *,
    fix: bool = False,
    as_json: bool = False,
) -> int:
    """Compare MLflow with itself and with every provider; returns the exit code.

    Raises:
        TrackingError: MLflow cannot be asked.
    """
    log.set_up(redactor_of(settings, environ))
    stopping = threading.Event()
    selection = Selection(job_ids=job_ids, thorough=True)
    with (
        stop_on_signals(stopping),
        assemble(settings, environ, stopping) as bridge,
        watching(plain=as_json, dry_run=not fix) as watch,
        ThreadPoolExecutor(len(bridge.syncs)) as pool,
    ):
        rounds = [
            pool.submit(_examined, bridge, provider, sync, selection, watch, fix=fix)
            for provider, sync in zip(settings.providers, bridge.syncs, strict=True)
        ]
        # In slices, as in the daemon: the main thread has to run to act on Ctrl-C.
        while futures.wait(rounds, timeout=0.2).not_done:
            pass
        charts = [each.result() for each in rounds]
    without_strangers([chart.report for chart in charts], selection)
    is_well = all(chart.is_well for chart in charts)
    if as_json:
        document = {"ok": is_well, "fix": fix, "providers": [each.document() for each in charts]}
        print_json(document, bridge.redactor)
    else:
        _show(charts, bridge.redactor, fix=fix)
    return 0 if is_well else 1


def _examined(
    bridge: Bridge,
    provider: ProviderSettings,
    sync: ProviderSync,
    selection: Selection,
    watch: Watch | None,
    *,
    fix: bool,
) -> Chart:
    tracking = bridge.tracking
    chart = Chart(provider.name)
    names = router_of(bridge.settings, provider).experiments
    found = (tracking.experiment(name, create=False) for name in names)
    places = [place for place in found if place]
    survey = Checks(
        tracking=tracking,
        provider=provider.name,
        experiment_ids=places,
        job_ids=selection.job_ids,
    )
    # One after the other: with a run that goes, what was made of it does. And each as a whole
    # before anything is mended, which would shift the pages of what is still to be read.
    for look in (survey.runs, survey.models, survey.versions) if places else ():
        if bridge.stopping.is_set():
            break  # the pass below says so
        chart.treated += [_treated(finding, fix=fix) for finding in list(look())]
    chart.report = sync.run(
        selection, dry_run=not fix, watch=_Notes(chart, tracking, watch, fix=fix)
    )
    if isinstance(chart.report.stopped, Withdrawn) and not isinstance(
        chart.report.stopped, NoService
    ):
        stranded = survey.stranded(TYPES[provider.type].statuses)
        chart.treated += [_treated(finding, fix=fix) for finding in list(stranded)]
    return chart


def _treated(finding: Finding, *, fix: bool) -> Treated:
    if not fix or finding.mend is None:
        return Treated(finding, is_fixed=False)
    try:
        finding.mend()
    except RunChanged:
        pass  # somebody else has done it
    except BridgeError as error:
        return Treated(finding, is_fixed=False, error=error)
    return Treated(finding, is_fixed=True)


class _Notes(Watch):
    """Takes down what a pass finds, for a watch that may want to know too."""

    def __init__(self, chart: Chart, tracking: Tracking, watch: Watch | None, *, fix: bool) -> None:
        self._chart = chart
        self._tracking = tracking
        self._watch = watch
        self._fix = fix
        found = (each.finding for each in chart.treated)
        self._given_up = {finding.run_id for finding in found if finding.remedy == GIVE_UP}

    def listed(self, provider: str, jobs: int) -> None:
        if self._watch:
            self._watch.listed(provider, jobs)

    def done(self, outcome: Outcome) -> None:
        if self._watch:
            self._watch.done(outcome)
        plan, run = outcome.plan, outcome.run
        # What has only just ended has its last data still to come, as a pass knows.
        if plan is None or run is None or plan.is_empty or plan.is_settling:
            return
        if run.run_id in self._given_up:
            return
        finding = _compared(run, plan, self._tracking.link(run.experiment_id, run.run_id))
        is_fixed = self._fix and outcome.error is None
        self._chart.treated.append(Treated(finding, is_fixed=is_fixed, error=outcome.error))


def _compared(run: RunState, plan: Plan, link: str) -> Finding:
    """What there is to say of a run and what its provider tells."""
    lacks = f"lacks {plan.changes}" if plan.changes else ""
    remedy = "add what is missing" if lacks else ""
    if not plan.is_final:
        ended = f"it is {run.status} although its job goes on"
        remedy = "go on with it"
    elif not run.is_final:
        why = GONE if GONE in plan.skipped else "its job has ended"
        ended = f"it is {run.status} although {why}"
        remedy = f"{remedy} and set {plan.status or 'that it is complete'}".removeprefix(" and ")
    elif tags.STATUS in plan.tags:
        ended = f"it was set {run.status} before all was there"
    else:
        ended = ""
    return Finding(
        job_id=plan.job_id,
        run_id=run.run_id,
        link=link,
        what=", ".join(filter(None, [ended, lacks])),
        remedy=remedy,
    )


def _show(charts: Iterable[Chart], redactor: Redactor, *, fix: bool) -> None:
    console = out()
    for chart in charts:
        for each in chart.treated:
            console.print(f"{_mark(each)} {safe(redactor.text(_line(chart, each, fix=fix)), 800)}")
        for text in _not_compared(chart):
            console.print(f"[red]✗[/red] {safe(redactor.text(f'{chart.provider} {text}'), 800)}")
    for chart in charts:
        console.print(safe(f"{chart.provider}: {_sum(chart)}"))
    open_ones = sum(not each.is_fixed for chart in charts for each in chart.treated)
    if open_ones and not fix:
        err().print("Nothing was written. To mend what can be: [bold]ftbridge doctor --fix[/bold]")


def _mark(treated: Treated) -> str:
    return "[green]✓[/green]" if treated.is_fixed else "[yellow]![/yellow]"


def _line(chart: Chart, treated: Treated, *, fix: bool) -> str:
    finding = treated.finding
    if treated.error:
        outcome = f"not done: {treated.error}"
    elif treated.is_fixed:
        outcome = f"done: {finding.remedy}"
    else:
        # With --fix only what is for its user to do is left.
        outcome = f"to do{' by you' if fix else ''}: {finding.remedy}"
    whose = f"{chart.provider} {finding.job_id} (run {finding.run_id})"
    return f"{whose}: {finding.what}; {outcome}. {finding.link}"


def _not_compared(chart: Chart) -> Iterable[str]:
    told = {each.finding.job_id for each in chart.treated if each.error}
    for job_id, error in chart.report.failures:
        if job_id not in told:
            yield f"{job_id or 'job list'}: {error}"
    if stopped := chart.report.stopped:
        left = f", {chart.report.unreached} jobs" if chart.report.unreached else ""
        yield f"was not asked about the rest{left}; MLflow alone tells what is said here: {stopped}"


def _sum(chart: Chart) -> str:
    fixed = sum(each.is_fixed for each in chart.treated)
    parts = [
        f"{chart.compared:,} jobs compared",
        counted(chart.treated, "finding") or "no findings",
    ]
    if fixed:
        parts.append(f"{fixed:,} fixed")
    if unrecorded := chart.report.jobs[Result.NEW]:
        parts.append(f"{unrecorded:,} jobs without a run, which ftbridge backfill records")
    return ", ".join(parts)
