"""The providers and jobs that a command line asks for."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.bootstrap.factories import open_provider
from bridge.errors import ConfigError, NotFound, Refused
from bridge.model import JobStatus
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.moments import moment
from bridge.sync.outcome import Result
from bridge.sync.report import Report, Selection
from bridge.text import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A selection as given on the command line."""

    providers: tuple[str, ...] = ()
    job_ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Job ids, or suffixes that the jobs' owners chose."""
    since: str | None = None
    until: str | None = None
    statuses: tuple[str, ...] = ()
    limit: int | None = None
    rename: bool = False
    rescue: bool = False
    dry_run: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether jobs are selected by their properties."""
        return bool(self.since or self.until or self.statuses or self.limit)


def select(settings: Settings, asked: Asked, now: datetime) -> tuple[Settings, Selection]:
    """Return the providers and jobs that the command line asks for.

    Raises:
        ConfigError: with every problem of the command line.
    """
    names = [provider.name for provider in settings.providers]
    problems = [
        f"--provider {one_line(name)}: not configured; {hint(name, names)}"
        for name in asked.providers
        if name not in names
    ]
    problems += [*_unknown_statuses(settings, asked.statuses), *_conflicts(asked)]
    # Without a pass that lists jobs, a name can only be an id.
    names_are_ids = asked.rename or asked.rescue
    selection = Selection(
        job_ids=tuple(dict.fromkeys(asked.job_ids + (asked.names if names_are_ids else ()))),
        since=_moment("--since", asked.since, now, problems),
        until=_moment("--until", asked.until, now, problems),
        statuses=frozenset(status.lower() for status in asked.statuses),
        limit=asked.limit,
    )
    if selection.since is not None and selection.until is not None:
        if selection.since >= selection.until:
            problems.append("--since is not before --until: no job can match")
    elif selection.since is not None and selection.since > now.timestamp() * 1000:
        problems.append("--since is in the future: no job can match")
    if problems:
        raise ConfigError(problems)
    wanted = tuple(each for each in settings.providers if each.name in (asked.providers or names))
    return settings.model_copy(update={"providers": wanted}), selection


def _conflicts(asked: Asked) -> Iterator[str]:
    """Yield a problem for each pair of options that exclude each other."""
    if (asked.job_ids or asked.names) and asked.is_filtered:
        yield "named jobs exclude --since, --until, --status and --limit; remove these"
    if asked.rename and asked.is_filtered:
        yield "--rename reads MLflow only; combine it with --provider and jobs at most"
    if asked.rescue and (asked.is_filtered or asked.rename or asked.dry_run):
        yield "--rescue copies everything; combine it with --provider and jobs at most"


def hint(word: str, known: Iterable[str]) -> str:
    """Return a hint: the known word that was probably meant, or all known words."""
    known = list(known)
    close = difflib.get_close_matches(word.lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"


def _unknown_statuses(settings: Settings, statuses: Sequence[str]) -> list[str]:
    """Return a problem for each status that is neither the bridge's word nor a provider's."""
    shared = [status.value for status in JobStatus if status is not JobStatus.UNKNOWN]
    kinds = {*TYPES, *(provider.type for provider in settings.providers)}
    theirs = {word.lower() for kind in kinds for word in TYPES[kind].statuses}
    return [
        f"--status {one_line(status)}: no such status; {hint(status, shared)}"
        for status in statuses
        if status.lower() not in {*shared, *theirs, JobStatus.UNKNOWN.value}
    ]


def _moment(option: str, text: str | None, now: datetime, problems: list[str]) -> int | None:
    if text is None:
        return None
    try:
        return moment(text, now)
    except ValueError as error:
        problems.append(f"{option} {one_line(text)}: {error}")
        return None


def ids_of(settings: Settings, redactor: Redactor, names: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of jobs that are named by id or by their owner's suffix.

    A name that no provider lists is kept as an id, because providers may have unlisted jobs.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    for provider in settings.providers:
        with open_provider(settings, provider, redactor) as opened:
            for page in opened.pages():
                for job in page.jobs:
                    for name in {job.id, job.suffix or ""} & found.keys():
                        found[name].append(job.id)
    ids = [job_id for name, matching in found.items() for job_id in matching or [name]]
    return tuple(dict.fromkeys(ids))


def without_strangers(reports: list[Report], selection: Selection) -> list[Report]:
    """Return the reports of named jobs, in which an unknown job is a failure.

    It is one failure, not one for each provider.
    """
    lost = Counter(
        job_id
        for report in reports
        for job_id, error in report.failures
        if isinstance(error, NotFound | Refused) and job_id in selection.job_ids
    )
    unknown = {job_id for job_id, count in lost.items() if count == len(reports)}
    for report in reports:
        kept = [
            (job_id, error)
            for job_id, error in report.failures
            if not (job_id in lost and isinstance(error, NotFound | Refused))
        ]
        report.jobs[Result.FAILED] -= len(report.failures) - len(kept)
        report.failures = kept
    for job_id in unknown:
        error = NotFound(
            f"No provider knows the job {one_line(job_id, 100)}",
            "Check its id or its suffix; ftbridge jobs shows those that are in MLflow",
        )
        reports[0].failures.append((job_id, error))
        reports[0].jobs[Result.FAILED] += 1
    return reports
