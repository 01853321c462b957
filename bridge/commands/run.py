"""``ftbridge run``: the daemon."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import structlog

from bridge import daemon, log
from bridge.assembly import assemble, redactor_of
from bridge.daemon import Pace
from bridge.settings import Settings


def run(settings: Settings, environ: Mapping[str, str]) -> int:
    """Make passes until a signal; returns the exit code."""
    log.set_up(redactor_of(settings, environ))
    stopping = threading.Event()
    paces = {each.name: Pace(*settings.intervals_of(each)) for each in settings.providers}
    with daemon.stop_on_signals(stopping), assemble(settings, environ, stopping) as bridge:
        structlog.get_logger().info(
            "started",
            providers=", ".join(sync.name for sync in bridge.syncs),
            interval=f"{settings.poll.interval:g} s",
            mlflow=bridge.tracking.shown_uri,
        )
        daemon.run(bridge.syncs, paces=paces, stopping=stopping)
    return 0
