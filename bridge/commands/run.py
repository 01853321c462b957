"""``ftbridge run``: the daemon, and what shows of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

import structlog

from bridge import daemon, log
from bridge.assembly import Bridge, assemble, redactor_of
from bridge.daemon import Pace
from bridge.report import Observer
from bridge.service.courier import Courier
from bridge.service.listener import listening
from bridge.service.metrics import registry_of
from bridge.service.notifier import Heartbeat, Notifier
from bridge.service.picture import Picture
from bridge.service.site import Site
from bridge.settings import Settings


def run(settings: Settings, environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Make passes until a signal; returns the exit code.

    Raises:
        ConfigError: the address to listen on is taken.
    """
    redactor = redactor_of(settings, environ)
    log.set_up(redactor, as_json=as_json)
    stopping = threading.Event()
    paces = {each.name: Pace(*settings.intervals_of(each)) for each in settings.providers}
    picture = Picture(paces, redactor, time.time)
    with (
        daemon.stop_on_signals(stopping),
        contextlib.ExitStack() as stack,
        assemble(settings, environ, stopping, asked=picture.requested) as bridge,
    ):
        observers = _observers(bridge, picture, stack)
        structlog.get_logger().info(
            "started",
            providers=", ".join(sync.name for sync in bridge.syncs),
            interval=f"{settings.poll.interval:g} s",
            mlflow=bridge.tracking.shown_uri,
        )
        daemon.run(bridge.syncs, paces=paces, stopping=stopping, observers=observers)
    return 0


def _observers(bridge: Bridge, picture: Picture, stack: contextlib.ExitStack) -> list[Observer]:
    """What follows the passes, as configured; it ends with ``stack``."""
    settings = bridge.settings
    observers: list[Observer] = [picture]
    if settings.listen:
        site = Site(picture.view, registry_of(picture.view))
        at = stack.enter_context(listening(settings.listen, site))
        structlog.get_logger().info("listening", at=f"http://{at}/")
    if settings.heartbeat:
        courier = Courier("heartbeat", settings.heartbeat.url.get_secret_value())
        stack.callback(courier.close)
        observers.append(Heartbeat(courier.send, picture.view, time.monotonic))
    if notify := settings.notify:
        courier = Courier("webhook", notify.webhook.get_secret_value())
        stack.callback(courier.close)
        observers.append(Notifier(courier.send, notify.on, bridge.redactor, bridge.tracking.link))
    return observers
