"""``ftbridge check``: test everything that a pass needs. Writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from bridge import log
from bridge.bootstrap.dask import Cluster
from bridge.bootstrap.factories import (
    experiments_of,
    now_ms,
    open_provider,
    recording_options_of,
    redactor_of,
    router_of,
)
from bridge.cli.terminal.console import out, print_json, safe
from bridge.cli.terminal.openai_ending import safety_of
from bridge.cli.terminal.tally import few, tally
from bridge.errors import BridgeError, NoService, NotFound
from bridge.http.aws_failures import REGION_REMEDY
from bridge.model import Job, JobStatus, Meaning, MissingPart
from bridge.plan.metric_names import MetricNames, closest_preset, preset_of, shared_charts
from bridge.plan.presets import PRESETS
from bridge.providers.openai import OpenAI
from bridge.providers.openai_end import RESCUE, is_made_by_openai, notice
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.text import number_of
from bridge.tracking import Tracking

_JOBS = "/fine_tuning/jobs"
"""Path at which the API of most providers begins."""
_PATIENCE = 2
"""Number of attempts; few, because a person waits for the answer."""


class Verdict(Enum):
    """The meaning of a finding, by its mark."""

    WELL = "[green]✓[/green]"
    ADVICE = "[yellow]![/yellow]"
    """Nothing is wrong, but something could be improved."""
    WRONG = "[red]✗[/red]"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    subject: str
    verdict: Verdict
    sentence: str
    remedy: str = ""

    def document(self) -> dict[str, object]:
        """Return the finding for a JSON document."""
        return {
            "subject": self.subject,
            "ok": self.verdict is not Verdict.WRONG,
            "advice": self.verdict is Verdict.ADVICE,
            "what": self.sentence,
            "remedy": self.remedy,
        }


def check(settings: Settings, environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Reach every provider and MLflow, and print what is wrong; return the exit code."""
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    findings: list[Finding] = []
    for finding in _findings(settings, redactor):
        findings.append(finding)
        if not as_json:
            text = redactor.text(f"{finding.sentence}. {finding.remedy}".rstrip(". ") + ".")
            subject = f"{finding.verdict.value} [bold]{safe(finding.subject)}[/bold]"
            out().print(f"{subject}: {safe(text, 800)}")
    is_well = all(finding.verdict is not Verdict.WRONG for finding in findings)
    if as_json:
        checks = [finding.document() for finding in findings]
        print_json({"ok": is_well, "checks": checks}, redactor)
    elif is_well:
        out().print("\nNext: [bold]ftbridge backfill[/bold] copies the history into MLflow.")
    return 0 if is_well else 1


def _findings(settings: Settings, redactor: Redactor) -> Iterator[Finding]:
    names = ", ".join(provider.name for provider in settings.providers)
    yield Finding("configuration", Verdict.WELL, f"valid; providers: {names}")
    # All run at once and are shown in order, so that one without an answer delays no other.
    checks = [_begun(_provider, settings, provider, redactor) for provider in settings.providers]
    checks.append(_begun(_mlflow, settings, redactor))
    if settings.poll.is_cluster:
        checks.append(_begun(_cluster, settings))
    for findings in checks:
        yield from findings.result()


def _begun(check: Callable[..., list[Finding]], *about: object) -> Future[list[Finding]]:
    """Start a check in a thread that Ctrl-C does not wait for."""
    findings: Future[list[Finding]] = Future()

    def work() -> None:
        try:
            findings.set_result(check(*about))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is read
            findings.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return findings


def _cluster(settings: Settings) -> list[Finding]:
    try:
        with Cluster(settings.poll.executor) as cluster:
            return [
                Finding(
                    "cluster",
                    Verdict.WELL,
                    f"answers, with {number_of(cluster.workers(), 'worker')}",
                )
            ]
    except BridgeError as error:
        return [Finding("cluster", Verdict.WRONG, error.sentence, error.remedy)]


def _provider(settings: Settings, provider: ProviderSettings, redactor: Redactor) -> list[Finding]:
    try:
        with open_provider(settings, provider, redactor, patience=_PATIENCE) as opened:
            page = next(opened.pages())
            job = _trained(page.jobs)
            missing = opened.read(job, logged={}).missing if job else ()
    except (NoService, NotFound) as error:
        remedy = error.remedy
        if _JOBS in error.sentence:
            remedy = (
                f"Correct base_url ({provider.base_url}): it is everything before"
                f" {_JOBS} in the API's addresses"
            )
        if provider.region:
            remedy = f"{REGION_REMEDY}. It is {provider.region}, and base_url {provider.base_url}"
        return [Finding(provider.name, Verdict.WRONG, error.sentence, remedy)]
    except BridgeError as error:
        return [Finding(provider.name, Verdict.WRONG, error.sentence, error.remedy)]
    jobs = len(page.jobs) + len(page.unreadable)
    seen = f"{number_of(jobs, 'job')} on the first page" if jobs else "it has no fine-tuning jobs"
    well = Finding(provider.name, Verdict.WELL, f"answers at {provider.base_url}; {seen}")
    found = [well, *(_left_out(provider, part) for part in missing)]
    # A gateway has a different address but serves OpenAI's models.
    is_openais = provider.base_url.rstrip("/") == OpenAI.base_url or any(
        is_made_by_openai(job.fine_tuned_model or "") for job in page.jobs
    )
    if not is_openais:
        return found
    advice = notice(datetime.now(UTC).date())
    return [*found, Finding(provider.name, Verdict.ADVICE, advice, f"Rescue all of it: {RESCUE}")]


def _trained(jobs: Sequence[Job]) -> Job | None:
    """Return the newest job that succeeded, else that started: others lack files and metrics."""
    started = [job for job in jobs if job.status.has_started]
    done = [job for job in started if job.status is JobStatus.SUCCEEDED]
    return next(iter([*done, *started]), None)


def _left_out(provider: ProviderSettings, part: MissingPart) -> Finding:
    sentence = f"the {part.name} of its newest job cannot be read: {part.reason}"
    return Finding(provider.name, Verdict.ADVICE, sentence, "Jobs are recorded without it")


def _mlflow(settings: Settings, redactor: Redactor) -> list[Finding]:
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    try:
        return _reached(settings, tracking)
    except BridgeError as error:
        return [Finding("mlflow", Verdict.WRONG, error.sentence, error.remedy)]


def _reached(settings: Settings, tracking: Tracking) -> list[Finding]:
    """Return the findings about an MLflow that answers."""
    tracking.ping()
    names = experiments_of(settings)
    experiments = {name: tracking.experiment(name, create=False) for name in names}
    missing = [name for name, identifier in experiments.items() if identifier is None]
    sentence = f"answers at {tracking.shown_uri}; experiment {', '.join(names)}"
    if missing:
        new = "which" if missing == list(names) else ", ".join(missing)
        sentence += f", {'of which ' if new != 'which' else ''}{new} will be created"
    here = {name: found for name, found in experiments.items() if found is not None}
    local_runs = {name: tracking.local_metric_names(found) for name, found in here.items()}
    labels = {name: tracking.metric_names(found, remember=False) for name, found in here.items()}
    charts = [*_charts(settings, local_runs, labels)]
    if not any(local_runs.values()):
        charts += _elsewhere(tracking, names)
    options = recording_options_of(settings, settings.providers[0])
    return [
        Finding("mlflow", Verdict.WELL, sentence),
        *(Finding("mlflow", Verdict.ADVICE, each) for each in tracking.left_out(options)),
        *_ending(settings, tracking, list(here.values())),
        *charts,
    ]


def _ending(settings: Settings, tracking: Tracking, places: Sequence[str]) -> Iterator[Finding]:
    """Yield advice about models that end, and about jobs that are not archived yet."""
    for provider in settings.providers:
        runs = list(tracking.runs(places, provider.name)) if places else []
        tracked = tally(runs).get(provider.name)
        if tracked is None or not tracked.is_openais:
            continue
        for day, models in tracked.ending(now_ms()):
            many = number_of(len(models), "fine-tuned model")
            sentence = f"{many} will be shut down on {day}: {few(models)}"
            yield Finding(provider.name, Verdict.ADVICE, sentence)
        safety = safety_of(tracking, runs)
        if safety.is_whole:
            yield Finding(provider.name, Verdict.WELL, safety.sentence)
        else:
            remedy = f"Rescue all of it: {RESCUE}"
            yield Finding(provider.name, Verdict.ADVICE, safety.sentence, remedy)


def _elsewhere(tracking: Tracking, names: Collection[str]) -> Iterator[Finding]:
    """Yield advice if local runs are in an experiment other than that of hosted runs."""
    for name, found in tracking.other_experiments(names).items():
        runs = tracking.local_metric_names(found)
        preset = preset_of(runs)
        logged = {name for run in runs for name in run}
        losses = [PRESETS[preset].get(each) for each in (Meaning.TRAIN_LOSS, Meaning.VALID_LOSS)]
        shared = [name for name in losses if name in logged]
        if shared:
            yield Finding(
                "charts",
                Verdict.ADVICE,
                f"local runs in {name!r} log {', '.join(map(str, shared))}",
                f"Set mlflow.experiment: {name} to put hosted curves on the same charts",
            )
            return


def _charts(
    settings: Settings,
    local_runs: Mapping[str, Sequence[frozenset[str]]],
    labels: Mapping[str, str],
) -> Iterator[Finding]:
    """Yield advice if other metric names would put hosted curves on the charts of local runs."""
    neighbours = [
        (
            experiment,
            (options.named(labels[experiment]) if options.is_auto else options).metric_names,
            local_runs[experiment],
        )
        for provider in settings.providers
        for options in [recording_options_of(settings, provider)]
        for experiment in router_of(settings, provider).experiments
        if experiment in local_runs
    ]
    preset = closest_preset([(metric_names, runs) for _, metric_names, runs in neighbours])
    if preset is None:
        return
    shared = [
        (experiment, shared_charts(MetricNames.of(preset, metric_names.meanings), runs))
        for experiment, metric_names, runs in neighbours
    ]
    where = sorted({repr(experiment) for experiment, charts in shared if charts})
    logged = {name for _, charts in shared for name in charts}
    metrics = [name for name in PRESETS[preset].values() if name in logged]
    yield Finding(
        "charts",
        Verdict.ADVICE,
        f"local runs in {', '.join(where)} log {', '.join(metrics)}",
        f"Set mlflow.metric_names: {preset}, then ftbridge backfill --rename, to put hosted curves"
        " on the same charts",
    )
