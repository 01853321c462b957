"""The handlers of a daemon's events, as configured: pages, metrics, heartbeat, notifications."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import structlog
from pydantic import SecretStr

from bridge.bootstrap.bridge import Bridge
from bridge.bootstrap.factories import experiments_of
from bridge.daemon.delivery import Attempt, Delivery, to_service, to_webhook
from bridge.daemon.http_server import application, listening
from bridge.daemon.metrics import Metrics
from bridge.daemon.notifications import Heartbeat, Notifier, Send
from bridge.daemon.recent_jobs import RecentJobs, reader_of
from bridge.daemon.shutdowns import Ending, Shutdowns
from bridge.daemon.stalls import Stalled, Stalls
from bridge.daemon.status import DaemonStatus, View
from bridge.listing.job_lines import JobList
from bridge.settings.daemon import NotifySettings
from bridge.sync.events import Handler
from bridge.tracking.newest import models_ending, next_shutdown

log = structlog.get_logger()


def handlers_of(
    bridge: Bridge, picture: DaemonStatus, metrics: Metrics, stack: contextlib.ExitStack
) -> list[Handler]:
    """Return the configured handlers of events; their resources close with ``stack``."""
    settings = bridge.settings
    notify = settings.notify
    notifiers = _notifiers(bridge, notify, stack) if notify else []
    stalls = Stalls(notify.stalled_after if notify else None, time.time, _stalled(notifiers))
    handlers: list[Handler] = [picture, metrics, stalls]
    if settings.listen:
        tracking = bridge.tracking
        # A database has no address that other machines could open.
        has_links = tracking.is_remote
        job_list = JobList(settings, tracking)
        jobs = RecentJobs(reader_of(job_list, bridge.redactor, has_links=has_links))
        handlers.append(jobs)

        def view() -> View:
            return replace(picture.view(), stalled=stalls.view(), jobs=jobs.view())

        app = application(view, metrics, tracking.ui if has_links else "")
        at = stack.enter_context(listening(settings.listen, app))
        log.info("listening", at=f"http://{at}/")
    if settings.heartbeat:
        send = _sender("heartbeat", settings.heartbeat.url, to_webhook, stack)
        handlers.append(Heartbeat(send, picture.view, time.monotonic))
    handlers += notifiers
    if settings.listen or any(notifier.wants("shutdown") for notifier in notifiers):
        handlers.append(_shutdowns(bridge, notifiers, metrics))
    return handlers


def _sender(
    what: str, url: SecretStr, to: Callable[[str], Attempt], stack: contextlib.ExitStack
) -> Send:
    secret = url.get_secret_value()
    delivery = Delivery(what, secret, to(secret))
    stack.callback(delivery.close)
    return delivery.send


def _notifiers(
    bridge: Bridge, notify: NotifySettings, stack: contextlib.ExitStack
) -> list[Notifier]:
    # As above.
    link = {"link": bridge.tracking.link} if bridge.tracking.is_remote else {}
    ways = (("webhook", notify.webhook, to_webhook), ("notify", notify.url, to_service))
    return [
        Notifier(_sender(what, url, to, stack), notify.on, bridge.redactor, **link)
        for what, url, to in ways
        if url
    ]


def _stalled(notifiers: list[Notifier]) -> Callable[[Stalled], None]:
    def found(job: Stalled) -> None:
        log.warning("job stalled", provider=job.provider, job=job.job_id, name=job.name)
        for notifier in notifiers:
            notifier.stalled(job)

    return found


def _shutdowns(bridge: Bridge, notifiers: list[Notifier], metrics: Metrics) -> Shutdowns:
    tracking = bridge.tracking

    def places() -> list[str]:
        names = experiments_of(bridge.settings)
        found = [tracking.experiment(name, create=False) for name in names]
        return [place for place in found if place]

    def models(provider: str, day: str) -> list[str]:
        return models_ending(tracking, places(), provider, day)

    def next_day(provider: str, today: date) -> str | None:
        return next_shutdown(tracking, places(), provider, today)

    def found(ending: Ending) -> None:
        for notifier in notifiers:
            notifier.shut_down(ending)

    return Shutdowns(models, next_day, time.time, found, metrics.shutdown_known)
