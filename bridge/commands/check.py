"""``ftbridge check``: is everything there that a pass needs? Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bridge import log
from bridge.assembly import experiment_of, open_provider, redactor_of
from bridge.commands.console import out, print_json, safe
from bridge.errors import BridgeError, NotFound
from bridge.settings import ProviderSettings, Settings
from bridge.tracking import Tracking
from bridge.untrusted import Redactor

_PATIENCE = 2
"""Attempts: a person waits for the answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    subject: str
    is_well: bool
    sentence: str
    remedy: str = ""


def check(settings: Settings, environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Reach every provider and MLflow, and say what is wrong; returns the exit code."""
    redactor = redactor_of(settings, environ)
    log.set_up(redactor)
    findings: list[Finding] = []
    for finding in _findings(settings, redactor):
        findings.append(finding)
        if not as_json:
            mark = "[green]✓[/green]" if finding.is_well else "[red]✗[/red]"
            text = redactor.text(f"{finding.sentence}. {finding.remedy}".rstrip(". ") + ".")
            out().print(f"{mark} [bold]{safe(finding.subject)}[/bold]: {safe(text, 800)}")
    is_well = all(finding.is_well for finding in findings)
    if as_json:
        print_json(
            {
                "ok": is_well,
                "checks": [
                    {
                        "subject": finding.subject,
                        "ok": finding.is_well,
                        "what": finding.sentence,
                        "remedy": finding.remedy,
                    }
                    for finding in findings
                ],
            },
            redactor,
        )
    return 0 if is_well else 1


def _findings(settings: Settings, redactor: Redactor) -> Iterator[Finding]:
    names = ", ".join(provider.name for provider in settings.providers)
    yield Finding("configuration", is_well=True, sentence=f"valid; providers: {names}")
    for provider in settings.providers:
        try:
            yield _provider(settings, provider, redactor)
        except NotFound as error:
            yield Finding(
                provider.name,
                is_well=False,
                sentence=error.sentence,
                remedy=f"Correct base_url ({provider.base_url}): it is all that stands before"
                " /fine_tuning/jobs in the API's addresses",
            )
        except BridgeError as error:
            yield Finding(
                provider.name, is_well=False, sentence=error.sentence, remedy=error.remedy
            )
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    try:
        yield _mlflow(settings, tracking)
    except BridgeError as error:
        yield Finding("mlflow", is_well=False, sentence=error.sentence, remedy=error.remedy)


def _provider(settings: Settings, provider: ProviderSettings, redactor: Redactor) -> Finding:
    with open_provider(settings, provider, redactor, patience=_PATIENCE) as opened:
        page = next(opened.pages())
    jobs = len(page.jobs) + len(page.unreadable)
    seen = f"{jobs} jobs on the first page" if jobs else "it has no fine-tuning jobs"
    return Finding(provider.name, is_well=True, sentence=f"answers at {provider.base_url}; {seen}")


def _mlflow(settings: Settings, tracking: Tracking) -> Finding:
    tracking.ping()
    names = sorted({experiment_of(settings, provider) for provider in settings.providers})
    missing = [name for name in names if tracking.experiment(name, create=False) is None]
    sentence = f"answers at {tracking.shown_uri}; experiment {', '.join(names)}"
    if missing:
        sentence += f" ({', '.join(missing)} will be created)"
    return Finding("mlflow", is_well=True, sentence=sentence)
