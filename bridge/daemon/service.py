"""``ftbridge run``: the daemon, its pages and metrics, and its reactions to signals."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from bridge import log
from bridge.bootstrap.bridge import assemble
from bridge.bootstrap.factories import redactor_of
from bridge.daemon import scheduler as daemon
from bridge.daemon.handlers import handlers_of
from bridge.daemon.http_server import bound
from bridge.daemon.metrics import Metrics
from bridge.daemon.scheduler import Pace
from bridge.daemon.signals import GRACE, reload_on_hangup, stop_on_signals
from bridge.daemon.status import DaemonStatus
from bridge.daemon.systemd import Systemd
from bridge.errors import ConfigError
from bridge.settings.model import Settings


def run(
    load: Callable[[], Settings],
    environ: Mapping[str, str],
    *,
    as_json: bool = False,
    verbose: bool = False,
) -> int:
    """Make passes until a signal; return the exit code.

    Args:
        load: reads the configuration at the start and on each SIGHUP.
        environ: the environment.
        as_json: whether log lines are JSON.
        verbose: whether every decision is logged.

    Raises:
        ConfigError: the first configuration is invalid, or the address to listen on is taken. A
            later configuration that is invalid is refused instead.
    """
    settings: Settings | None = load()
    shell = _Shell(
        load=load, environ=environ, as_json=as_json, verbose=verbose, systemd=Systemd(environ)
    )
    with stop_on_signals(shell.leaving), reload_on_hangup(shell.reloading):
        while settings is not None and not shell.leaving.is_set():
            settings = _Life(settings, shell).lived()
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shell:
    """The part of the daemon that outlives a configuration."""

    load: Callable[[], Settings]
    environ: Mapping[str, str]
    as_json: bool
    verbose: bool
    systemd: Systemd
    leaving: threading.Event = field(default_factory=threading.Event)
    reloading: threading.Event = field(default_factory=threading.Event)


class _Life:
    """The daemon under one configuration, until another one replaces it."""

    def __init__(self, settings: Settings, shell: _Shell) -> None:
        self._settings = settings
        self._shell = shell
        self._stopping = threading.Event()
        self._next: Settings | None = None
        self._redactor = redactor_of(settings, shell.environ)
        self._paces = {each.name: Pace(*settings.intervals_of(each)) for each in settings.providers}
        self._status = DaemonStatus(self._paces, self._redactor, time.time)

    def lived(self) -> Settings | None:
        """Make passes; return the next configuration, or ``None`` to end."""
        log.set_up(self._redactor, as_json=self._shell.as_json, verbose=self._shell.verbose)
        settings = self._settings
        metrics = Metrics(self._paces, self._status.view)
        with (
            # Immediately rather than at the next beat, so that no other job begins.
            stop_on_signals(self._shell.leaving, self._stopping),
            contextlib.ExitStack() as stack,
            assemble(
                settings, self._shell.environ, self._stopping, asked=metrics.requested
            ) as bridge,
        ):
            handlers = handlers_of(bridge, self._status, metrics, stack)
            structlog.get_logger().info(
                "started",
                providers=[sync.name for sync in bridge.syncs],
                seconds=settings.poll.interval,
                mlflow=bridge.tracking.shown_uri,
            )
            daemon.run(
                bridge.syncs,
                paces=self._paces,
                stopping=self._stopping,
                patience=lambda: GRACE if self._shell.leaving.is_set() else math.inf,
                handlers=handlers,
                beat=self._beat,
            )
        return self._next

    def _beat(self, is_alive: bool) -> None:  # noqa: FBT001 - the scheduler's only argument
        shell = self._shell
        if shell.leaving.is_set():
            shell.systemd.stopping()
            self._stopping.set()
        elif shell.reloading.is_set():
            shell.reloading.clear()
            shell.systemd.reloading()
            self._next = self._accepted() or self._next
        elif self._next:
            self._stopping.set()
        else:
            shell.systemd.ready()
        shell.systemd.beat(self._status.view(), is_alive=is_alive)

    def _accepted(self) -> Settings | None:
        """Return the current configuration file's content, or ``None`` if it is invalid."""
        logger = structlog.get_logger()
        try:
            settings = self._shell.load()
            with assemble(settings, self._shell.environ, threading.Event()):
                pass
            new, old = settings.listen, self._settings.listen
            # The port of the current configuration would seem taken.
            if new and not (old and new.port == old.port):
                with bound(new):
                    pass
        except ConfigError as error:
            problems = error.problems
        else:
            logger.info("configuration reloaded")
            return settings
        for problem in problems:
            logger.error("configuration refused", problem=problem)
        return None
