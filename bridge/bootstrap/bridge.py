"""Assemble the parts as the configuration says."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from bridge.bootstrap.dask import Cluster
from bridge.bootstrap.factories import Asked, job_sync_of, open_provider, redactor_of
from bridge.bootstrap.read_ahead import Pages
from bridge.bootstrap.worker import needs_of, work
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.sync.job_sync import Task
from bridge.sync.outcome import Outcome
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """The assembled parts that a command needs."""

    settings: Settings
    tracking: Tracking
    redactor: Redactor
    syncs: tuple[ProviderSync, ...]
    stopping: threading.Event
    """Event that ends waits and lets passes finish only the jobs in hand."""


@contextlib.contextmanager
def assemble(
    settings: Settings,
    environ: Mapping[str, str],
    stopping: threading.Event,
    *,
    asked: Asked | None = None,
    runs: Mapping[str, str] | None = None,
    executor: Callable[[], Executor] | None = None,
    ahead: Callable[[Pages], Pages] | None = None,
) -> Iterator[Bridge]:
    """Assemble a bridge; its connections and threads end with the context.

    Args:
        settings: the configuration.
        environ: the environment.
        stopping: ends waits and passes.
        asked: receives every request to a provider.
        runs: the runs that jobs continue, by job id.
        executor: creates the executor of a provider's jobs; by default as configured. Each provider
            has one, so that a provider that hangs does not delay the others.
        ahead: wraps the reader of a provider's list, to read it in advance.
    """
    redactor = redactor_of(settings, environ)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    make = executor or partial(_executor, settings)

    def opened(provider: ProviderSettings) -> ProviderSync:
        connected = open_provider(settings, provider, redactor, stopping=stopping, asked=asked)
        api = stack.enter_context(connected)
        job_sync = job_sync_of(
            settings,
            provider,
            api,
            tracking,
            is_stopping=stopping.is_set,
            runs=runs,
        )
        return ProviderSync(
            job_sync,
            executor=stack.enter_context(make()),
            work=_work_elsewhere(settings, provider, redactor),
            pages=ahead(api.pages) if ahead else None,
        )

    with contextlib.ExitStack() as stack:
        syncs = [opened(provider) for provider in settings.providers]
        yield Bridge(
            settings=settings,
            tracking=tracking,
            redactor=redactor,
            syncs=tuple(syncs),
            stopping=stopping,
        )


def _executor(settings: Settings) -> Executor:
    most = settings.poll.workers
    is_cluster = settings.poll.is_cluster
    return Cluster(settings.poll.executor, most) if is_cluster else ThreadPoolExecutor(most)


def _work_elsewhere(
    settings: Settings, provider: ProviderSettings, redactor: Redactor
) -> Callable[[Task], Outcome] | None:
    """Return the function that a cluster's worker calls; ``None`` without a cluster."""
    if not settings.poll.is_cluster:
        return None
    return partial(work, needs_of(settings, provider, redactor))
