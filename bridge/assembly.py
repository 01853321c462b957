"""Puts the parts together as the configuration says: here, and where a cluster's workers are."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Final

from bridge import __version__, config, entra, http, transport
from bridge.carrier import Finder
from bridge.cluster import Cluster, Share
from bridge.errors import BridgeError, OtherConfiguration, Stopped
from bridge.one_job import JobSync, Manner, Task
from bridge.polling import THREADS
from bridge.providers import TYPES, Provider
from bridge.report import Outcome
from bridge.routing import Router, Rule
from bridge.settings import ProviderSettings, Settings
from bridge.sync import Sync
from bridge.tracking import Tracking
from bridge.untrusted import Redactor
from bridge.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """Everything that a command needs."""

    settings: Settings
    tracking: Tracking
    redactor: Redactor
    syncs: tuple[Sync, ...]
    stopping: threading.Event
    """Set to end waits and to let passes finish what is under way."""


Asked = Callable[[str, str, int], object]
"""Is told a provider's name, and then what ``transport.Tell`` is."""


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def redactor_of(settings: Settings, environ: Mapping[str, str]) -> Redactor:
    """Masks all secrets of a configuration."""
    return Redactor(settings.secrets(environ))


def router_of(settings: Settings, provider: ProviderSettings) -> Router:
    """Where a provider's jobs go."""
    return Router(
        provider=provider.name,
        experiment=provider.experiment or settings.mlflow.experiment,
        rules=tuple(Rule(**route.model_dump()) for route in settings.mlflow.routes),
        open_to_jobs=settings.mlflow.open_to_jobs,
    )


def manner_of(settings: Settings, provider: ProviderSettings) -> Manner:
    """How a provider's jobs are recorded."""
    mlflow = settings.mlflow
    return Manner(
        kind=provider.type,
        vocabulary=Vocabulary.of(mlflow.metric_names, TYPES[provider.type].meanings),
        models=mlflow.models,
        datasets=mlflow.datasets,
        archive=mlflow.archive,
        archive_datasets=mlflow.archive_datasets,
        register=mlflow.register_as,
    )


def experiments_of(settings: Settings) -> tuple[str, ...]:
    """Every experiment that the configuration names."""
    named = (
        name
        for provider in settings.providers
        for name in router_of(settings, provider).experiments
    )
    return tuple(sorted(set(named)))


def headers_of(provider: ProviderSettings) -> dict[str, str]:
    """What is sent with every request to a provider, the key among it."""
    headers = {name: value.get_secret_value() for name, value in provider.headers.items()}
    if provider.auth == "entra" or provider.api_key is None:
        return headers
    key = provider.api_key.get_secret_value()
    bare = TYPES[provider.type].key_header if provider.auth == "key" else None
    return headers | ({bare: key} if bare else {"Authorization": f"Bearer {key}"})


@contextlib.contextmanager
def open_provider(
    settings: Settings,
    provider: ProviderSettings,
    redactor: Redactor,
    *,
    stopping: threading.Event | None = None,
    patience: int = transport.ATTEMPTS,
    asked: Asked | None = None,
) -> Iterator[Provider]:
    """A provider with its connections, which are closed at the end; ``asked`` counts."""
    interrupted = stopping or threading.Event()

    def sleep(seconds: float) -> None:
        if interrupted.wait(seconds):
            raise Stopped("Asked to stop")

    with contextlib.ExitStack() as stack:
        client = http.connect(
            provider.base_url,
            headers=headers_of(provider),
            redactor=redactor,
            query={"api-version": provider.api_version} if provider.api_version else None,
            auth=stack.enter_context(entra.signed_in()) if provider.auth == "entra" else None,
            sleep=sleep,
            connections=settings.poll.workers + 1,  # one lists while the workers read
            patience=patience,
            per_second=provider.requests_per_second,
            tell=partial(asked, provider.name) if asked else None,
        )
        stack.enter_context(contextlib.closing(client))
        yield TYPES[provider.type](client, curves=settings.mlflow.curves)


@contextlib.contextmanager
def assemble(
    settings: Settings,
    environ: Mapping[str, str],
    stopping: threading.Event,
    *,
    asked: Asked | None = None,
) -> Iterator[Bridge]:
    """The bridge, ready to make passes; its connections and threads end with the context.

    Args:
        settings: what is wanted.
        environ: the environment.
        stopping: ends waits and passes.
        asked: is told of every request to a provider.
    """
    redactor = redactor_of(settings, environ)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    workers = settings.poll.workers
    with contextlib.ExitStack() as stack:
        cluster = None
        if settings.poll.executor != THREADS:
            cluster = stack.enter_context(contextlib.closing(Cluster(settings.poll.executor)))

        def executor() -> Executor:
            # One each: a provider that hangs holds up no other.
            return Share(cluster, workers) if cluster else ThreadPoolExecutor(workers)

        syncs = [
            Sync(
                name=provider.name,
                provider=stack.enter_context(
                    open_provider(settings, provider, redactor, stopping=stopping, asked=asked)
                ),
                tracking=tracking,
                router=router_of(settings, provider),
                manner=manner_of(settings, provider),
                executor=stack.enter_context(executor()),
                now=now_ms,
                is_stopping=stopping.is_set,
                work=(
                    partial(work, fingerprint_of(settings, provider, redactor)) if cluster else None
                ),
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


# In the worker of a cluster


_ASSEMBLING: Final = threading.Lock()


def fingerprint_of(settings: Settings, provider: ProviderSettings, redactor: Redactor) -> str:
    """Stands for all that decides what is written of a provider's jobs; holds no secret."""
    alike = {
        "version": __version__,
        "mlflow": settings.mlflow.model_dump(mode="json"),
        # Each machine may have its key where it likes.
        "provider": provider.model_dump(mode="json", exclude={"api_key", "api_key_file"}),
    }
    text = redactor.text(json.dumps(alike, sort_keys=True))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def work(fingerprint: str, task: Task) -> Outcome:
    """Do one job in this process, as its own configuration says: keys do not travel.

    Raises nothing: the outcome says it. Where the configuration is another than that of whoever
    sent the task, nothing is read or written.
    """
    try:
        with _ASSEMBLING:
            found = _workplaces().get(task.provider)
    except BridgeError as error:
        return _unfit(task, f"cannot use its configuration ({error.sentence or error})")
    if found is None or found[0] != fingerprint:
        return _unfit(task, f"has another configuration or version for {task.provider}")
    outcome = found[1](task)
    return replace(outcome, error=outcome.error.alone()) if outcome.error else outcome


def _unfit(task: Task, why: str) -> Outcome:
    error = OtherConfiguration(
        f"The worker on {socket.gethostname()} {why}",
        f"Give it the daemon's configuration (${config.PATH_VARIABLE} or the environment) and"
        f" ftbridge {__version__}, and start it again",
    )
    return Outcome.failed(task.provider, task.job_id, error)


@cache
def _workplaces() -> Mapping[str, tuple[str, JobSync]]:
    """By provider its fingerprint here and what does its jobs; until this process ends."""
    settings = config.load(None, os.environ)
    redactor = redactor_of(settings, os.environ)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return {
        provider.name: (
            fingerprint_of(settings, provider, redactor),
            JobSync(
                name=provider.name,
                provider=stack.enter_context(open_provider(settings, provider, redactor)),
                tracking=tracking,
                finder=Finder(
                    tracking=tracking,
                    router=router_of(settings, provider),
                    metrics=manner_of(settings, provider).metrics,
                ),
                manner=manner_of(settings, provider),
                now=now_ms,
                stop_if_asked=lambda: None,  # who stops sends no more tasks
            ),
        )
        for provider in settings.providers
    }
