"""The log of a daemon's passes, with one line for each trouble and one for its end."""

from __future__ import annotations

from typing import Final

import structlog

from bridge.errors import (
    ArchiveFailed,
    BadReply,
    BridgeError,
    ClusterDown,
    NoAnswer,
    ServerFailed,
    Stopped,
    Throttled,
    TrackingDown,
    Unreachable,
)
from bridge.plan.run_state import NEW_RUN_STATUS
from bridge.sync.events import Event, JobDone, JobsChosen, PassEnded, RunDeleted
from bridge.sync.outcome import Result, Synced, Untouched
from bridge.sync.report import Report

log = structlog.get_logger()

_MOST_REMEMBERED: Final = 10_000


_PASSING: Final = (BadReply, NoAnswer, ServerFailed, Throttled, Unreachable)


class JobLog:
    """Logs jobs as they are recorded: everything new, or only changes of a job's state."""

    def __init__(self, *, only_turns: bool, is_dry: bool = False) -> None:
        self._only_turns = only_turns
        self._is_dry = is_dry

    def __call__(self, event: Event) -> None:
        """Log what a pass wrote, deleted or decided."""
        match event:
            case JobsChosen():
                self._passed_over(event)
            case JobDone(outcome=Untouched() as outcome):
                _untouched(outcome.provider, outcome.job_id, "settled")
            case JobDone(outcome=Synced() as outcome):
                self._decided(outcome)
                if outcome.result in {Result.NEW, Result.UPDATED} and not self._is_dry:
                    self._recorded(outcome)
            case RunDeleted(provider=provider, deletion=deletion):
                log.info(
                    "run deleted",
                    provider=provider,
                    run=deletion.run_id,
                    job=deletion.job_id,
                    reason=deletion.reason,
                )

    def _passed_over(self, event: JobsChosen) -> None:
        for job_id in event.settled:
            _untouched(event.provider, job_id, "settled")
        for job_id in event.unselected:
            _untouched(event.provider, job_id, "not selected")

    def _decided(self, outcome: Synced) -> None:
        plan = outcome.plan
        log.debug(
            "job compared",
            provider=outcome.provider,
            job=outcome.job_id,
            reason=plan.reason,
            writes=plan.changes or "nothing",
        )

    def _recorded(self, outcome: Synced) -> None:
        plan = outcome.plan
        if self._only_turns and not (plan.is_new or plan.status):
            return
        status = plan.status or (NEW_RUN_STATUS if plan.is_new else None)
        log.info(
            "job recorded",
            # The facts for people come first, within the first 80 characters of the line.
            name=outcome.before.name if outcome.before else plan.run_name,
            kind=outcome.result.value,
            points=len(plan.points),
            **({"status": status} if status else {}),
            provider=outcome.provider,
            job=outcome.job_id,
            run=outcome.run_id,
        )


class TroubleLog:
    """Logs each trouble once, and its end. Thread-safe, because each provider has its own keys."""

    def __init__(self) -> None:
        self._outages: dict[str, str] = {}
        self._logged: dict[tuple[str, str, str], None] = {}

    def of(self, report: Report) -> None:
        """Log what is new in the report of a pass."""
        for job_id, error in report.failures:
            # An artifact store that refuses one archive refuses all: it is logged once.
            whose = "" if isinstance(error, ArchiveFailed) else job_id
            if self._is_new(report.provider, whose, error.sentence):
                log.error("job not recorded", provider=report.provider, job=whose, **_facts(error))
        for job_id, what in report.skipped:
            if self._is_new(report.provider, job_id, what):
                log.warning("value left out", provider=report.provider, job=job_id, what=what)
        if report.withheld and self._is_new(report.provider, "", "withheld"):
            log.warning(
                "duplicates not deleted",
                provider=report.provider,
                runs=len(report.withheld),
                remedy="ftbridge doctor --fix deletes any number of them",
            )
        self._outage(report)

    def _outage(self, report: Report) -> None:
        stopped = report.stopped
        if isinstance(stopped, Stopped):
            return
        before = self._outages.pop(report.provider, None)
        if stopped is None:
            if before is not None:
                log.info("recovered", provider=report.provider)
            return
        # An outage is one trouble, whether it appears as a 503 or a timeout; a refused key is
        # another.
        kind = "passing" if isinstance(stopped, _PASSING) else type(stopped).__name__
        self._outages[report.provider] = kind
        if kind != before:
            who = "mlflow" if isinstance(stopped, TrackingDown) else report.provider
            who = "cluster" if isinstance(stopped, ClusterDown) else who
            log.error("outage", provider=report.provider, of=who, **_facts(stopped))

    def _is_new(self, provider: str, job_id: str, sentence: str) -> bool:
        key = (provider, job_id, sentence)
        if key in self._logged:
            return False
        self._logged[key] = None
        if len(self._logged) > _MOST_REMEMBERED:
            self._logged.pop(next(iter(self._logged)))
        return True


class PassLog(JobLog):
    """Log the passes of a daemon."""

    def __init__(self) -> None:
        super().__init__(only_turns=True)
        self._troubles = TroubleLog()

    def __call__(self, event: Event) -> None:
        """Log what is new in an event."""
        super().__call__(event)
        if isinstance(event, PassEnded):
            self._troubles.of(event.report)


def _untouched(provider: str, job_id: str, reason: str) -> None:
    log.debug("job left untouched", provider=provider, job=job_id, reason=reason)


def _facts(error: BridgeError) -> dict[str, str]:
    facts = {"error": error.sentence}
    return facts | {"remedy": error.remedy} if error.remedy else facts
