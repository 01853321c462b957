"""Notify people of events, and a heartbeat service that all is well.

Only events during this process are news. The first complete pass over a provider reads its history,
and sends no notifications about the ends of those jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final

from bridge.daemon.delivery import Message
from bridge.daemon.shutdowns import Ending
from bridge.daemon.stalls import Stalled
from bridge.daemon.status import STATES, View
from bridge.daemon.status_page import age
from bridge.errors import Stopped, TrackingDown
from bridge.plan import tags
from bridge.redaction import Redactor
from bridge.settings.daemon import Event
from bridge.sync.events import Event as PassEvent
from bridge.sync.events import JobDone, PassEnded
from bridge.sync.outcome import Outcome, Synced
from bridge.sync.report import Report

_MINUTE: Final = 60.0
"""Shortest time between two signs of life in seconds."""
_MLFLOW: Final = ""
"""Key of MLflow among the names of providers, none of which is empty."""

Send = Callable[[Message | None], object]
Link = Callable[[str, str], str]
"""Returns the address of a run's page from the ids of its experiment and of the run."""


class Notifier:
    """Send a message about each wanted event. Thread-safe.

    Args:
        send: accepts a message without waiting.
        wanted: events to send.
        redactor: masks secrets.
        link: returns the address of a run's page.
    """

    def __init__(
        self,
        send: Send,
        wanted: Collection[Event],
        redactor: Redactor,
        link: Link = lambda _experiment, _run: "",
    ) -> None:
        self._send = send
        self._wanted = frozenset(wanted)
        self._redactor = redactor
        self._link = link
        self._lock = threading.Lock()
        self._read: set[str] = set()
        """Names of providers whose history has been read."""
        self._old: set[tuple[str, str]] = set()
        """Jobs of that history that are not recorded yet."""
        self._down: set[str] = set()

    def __call__(self, event: PassEvent) -> None:
        """Send a message about an event if it is wanted."""
        match event:
            case JobDone(outcome=outcome):
                self._done(outcome)
            case PassEnded(report=report):
                self._ended(report)

    def wants(self, event: Event) -> bool:
        """Return whether messages about an event are sent."""
        return event in self._wanted

    def stalled(self, job: Stalled) -> None:
        """Send a message about a running job that shows nothing new."""
        self._send_if_wanted(
            "stalled",
            provider=job.provider,
            job=job.job_id,
            run=job.run_id,
            name=job.name,
            error=f"It has shown nothing new for {age(job.seconds)}",
            link=self._link(job.experiment_id, job.run_id) if job.run_id else "",
        )

    def shut_down(self, ending: Ending) -> None:
        """Send a message about models that their provider shuts down soon."""
        self._send_if_wanted(
            "shutdown",
            provider=ending.provider,
            day=ending.day,
            models=ending.models,
            error=f"{ending.provider} shuts them down on {ending.day}: {ending.models}",
        )

    def _done(self, outcome: Outcome) -> None:
        """Send a message about a job's end."""
        plan = outcome.plan if isinstance(outcome, Synced) else None
        which = (outcome.provider, outcome.job_id)
        with self._lock:
            if outcome.provider not in self._read:
                if outcome.error or (plan and plan.is_settling):
                    self._old.add(which)
                return
            if not isinstance(outcome, Synced) or outcome.error or not outcome.plan.is_final:
                return
            if which in self._old:
                self._old.discard(which)
                return
        plan, run = outcome.plan, outcome.before
        self._send_if_wanted(
            STATES[plan.status or (run.status if run else "")],
            provider=outcome.provider,
            job=outcome.job_id,
            run=outcome.run_id or "",
            name=plan.run_name,
            model=plan.tags.get(tags.MODEL, ""),
            error=plan.tags.get(tags.ERROR, ""),
            link=self._link(run.experiment_id, run.run_id) if run else "",
        )

    def _ended(self, report: Report) -> None:
        """Send a message about an outage, and about its end."""
        stopped, provider = report.stopped, report.provider
        if isinstance(stopped, Stopped):
            return
        with self._lock:
            if stopped is None:
                self._read.add(provider)
                back = sorted(self._down & {provider, _MLFLOW})
                self._down.difference_update(back)
            else:
                who = _MLFLOW if isinstance(stopped, TrackingDown) else provider
                is_known = who in self._down
                self._down.add(who)
        if stopped is None:
            for who in back:
                self._send_if_wanted("recovered", provider=who or "MLflow")
        elif not is_known:
            self._send_if_wanted("outage", provider=who or "MLflow", error=stopped.sentence)

    def _send_if_wanted(self, event: str, **facts: str) -> None:
        if event not in self._wanted:
            return
        known = {name: self._redactor.line(fact) for name, fact in facts.items() if fact}
        self._send(Message(event, _title(event, known), known))


class Heartbeat:
    """Send a sign of life if the last pass over every provider succeeded.

    Args:
        send: accepts the sign without waiting.
        view: the status, which receives each event first.
        elapsed: monotonic seconds.
    """

    def __init__(self, send: Send, view: Callable[[], View], elapsed: Callable[[], float]) -> None:
        self._send = send
        self._view = view
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._last: float | None = None

    def __call__(self, event: PassEvent) -> None:
        """Send it after a pass, at most once a minute."""
        if not isinstance(event, PassEnded):
            return
        providers = self._view().providers.values()
        if event.report.stopped or not all(
            each.succeeded and not each.stopped for each in providers
        ):
            return
        with self._lock:
            now = self._elapsed()
            if self._last is not None and now - self._last < _MINUTE:
                return
            self._last = now
        self._send(None)


def _title(event: str, facts: Mapping[str, str]) -> str:
    """Return a line about what happened."""
    if event == "shutdown":
        return f"{facts['provider']}: fine-tuned models end on {facts['day']}"
    model = f", model {facts['model']}" if "model" in facts else ""
    job = f"job {facts['job']} " if "job" in facts else ""
    return f"{facts['provider']}: {job}{event}{model}"
