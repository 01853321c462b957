"""Puts the parts together as the configuration says."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from bridge.bootstrap.dask import Cluster
from bridge.bootstrap.dask_worker import needs_of, work
from bridge.bootstrap.factories import Asked, job_sync_of, open_provider, redactor_of
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.poll import THREADS
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """Everything that a command needs."""

    settings: Settings
    tracking: Tracking
    redactor: Redactor
    syncs: tuple[ProviderSync, ...]
    stopping: threading.Event
    """Set to end waits and to let passes finish what is under way."""


@contextlib.contextmanager
def assemble(
    settings: Settings,
    environ: Mapping[str, str],
    stopping: threading.Event,
    *,
    asked: Asked | None = None,
    runs: Mapping[str, str] | None = None,
) -> Iterator[Bridge]:
    """The bridge, ready to make passes; its connections and threads end with the context.

    Args:
        settings: what is wanted.
        environ: the environment.
        stopping: ends waits and passes.
        asked: is told of every request to a provider.
        runs: by job id the runs that jobs are to continue.
    """
    redactor = redactor_of(settings, environ)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    most = settings.poll.workers
    with contextlib.ExitStack() as stack:
        is_here = settings.poll.executor == THREADS

        def executor() -> Executor:
            # One each: a provider that hangs holds up no other.
            return ThreadPoolExecutor(most) if is_here else Cluster(settings.poll.executor, most)

        syncs = [
            ProviderSync(
                job_sync_of(
                    settings,
                    provider,
                    stack.enter_context(
                        open_provider(settings, provider, redactor, stopping=stopping, asked=asked)
                    ),
                    tracking,
                    is_stopping=stopping.is_set,
                    runs=runs,
                ),
                executor=stack.enter_context(executor()),
                work=None if is_here else partial(work, needs_of(settings, provider, redactor)),
            )
            for provider in settings.providers
        ]
        yield Bridge(
            settings=settings,
            tracking=tracking,
            redactor=redactor,
            syncs=tuple(syncs),
            stopping=stopping,
        )
