"""Jobs in another process, of a Dask cluster or of this machine, over its own connections.

A cluster's worker reads the configuration of its machine, so that no keys are sent. A process on
this machine receives the configuration of the command that starts it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing.connection import Connection
from typing import Final

import structlog

from bridge import __version__
from bridge.bootstrap.factories import job_sync_of, open_provider, redactor_of
from bridge.bootstrap.process import prepare_process
from bridge.errors import BridgeError, OtherConfiguration
from bridge.log import set_up
from bridge.redaction import Redactor
from bridge.settings import load as config
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.outcome import Failed, Outcome, Untouched
from bridge.tracking import Tracking

log = structlog.get_logger()

_ASSEMBLING: Final = threading.Lock()


def job_syncs(
    settings: Settings, stack: contextlib.ExitStack, stopping: threading.Event | None = None
) -> dict[str, JobSync]:
    """Return the functions that sync each provider's jobs in this process.

    Args:
        settings: the configuration.
        stack: closes the connections.
        stopping: ends waits, and lets no further job begin.
    """
    redactor = redactor_of(settings, os.environ)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    stopping = stopping or threading.Event()
    return {
        provider.name: job_sync_of(
            settings,
            provider,
            stack.enter_context(open_provider(settings, provider, redactor, stopping=stopping)),
            tracking,
            is_stopping=stopping.is_set,
        )
        for provider in settings.providers
    }


def _sent(outcome: Outcome) -> Outcome:
    """Return an outcome that can be sent: without the causes of its error."""
    if isinstance(outcome, Untouched) or outcome.error is None:
        return outcome
    return replace(outcome, error=outcome.error.alone())


# In a cluster


def needs_of(
    settings: Settings, provider: ProviderSettings, redactor: Redactor
) -> Mapping[str, str]:
    """Return the facts in which a worker must match the daemon; none is secret."""
    # Each machine may store its key in a different place.
    entry = provider.model_dump_json(exclude={"api_key", "api_key_file"})
    return {
        "version": __version__,
        "configuration of mlflow": redactor.text(settings.mlflow.model_dump_json()),
        f"configuration of {provider.name}": redactor.text(entry),
    }


def work(needs: Mapping[str, str], task: Task) -> Outcome:
    """Do one job in this process under its own configuration, so that no keys are sent.

    If it does not match the daemon's, nothing is read or written. Errors are in the outcome.
    """
    try:
        with _ASSEMBLING:
            has, sync = _own_job_syncs().get(task.provider, ({"version": __version__}, None))
    except BridgeError as error:
        return _unfit(task, f"cannot use its configuration ({error.sentence or error})")
    lacking = [name for name, wanted in needs.items() if has.get(name) != wanted]
    if sync is None or lacking:
        return _unfit(task, f"has a different {', '.join(lacking)}")
    return _sent(sync(task))


def _unfit(task: Task, why: str) -> Outcome:
    error = OtherConfiguration(
        f"The worker on {socket.gethostname()} {why}",
        f"Give it the daemon's configuration (${config.PATH_VARIABLE} or the environment) and"
        f" ftbridge {__version__}, and start it again",
    )
    return Failed(provider=task.provider, job_id=task.job_id, error=error)


@cache
def _own_job_syncs() -> Mapping[str, tuple[Mapping[str, str], JobSync]]:
    """Return by provider the facts of this process and the function that does its jobs."""
    settings = config.load(None, os.environ)
    redactor = redactor_of(settings, os.environ)
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    syncs = job_syncs(settings, stack)
    return {
        provider.name: (needs_of(settings, provider, redactor), syncs[provider.name])
        for provider in settings.providers
    }


# On this machine


def serve(
    settings: Settings, *, verbose: bool, control: Connection, lines: Sequence[Connection]
) -> None:
    """Do the jobs that arrive on each line, one after the other, until ``control`` breaks.

    It breaks when the other process ends for any reason, and this one ends too.

    Args:
        settings: what is wanted.
        verbose: whether retries are logged.
        control: tells the process to begin no further job.
        lines: connections that bring tasks and return their outcomes.
    """
    for which in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to all processes
        signal.signal(which, signal.SIG_IGN)
    prepare_process()
    set_up(redactor_of(settings, os.environ), verbose=verbose)
    stopping = threading.Event()
    threading.Thread(target=_begin, args=(settings, stopping, lines), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            control.recv()
            stopping.set()
    os._exit(0)


def _begin(settings: Settings, stopping: threading.Event, lines: Sequence[Connection]) -> None:
    """Open MLflow and the providers, then the lines."""
    with contextlib.ExitStack() as stack:
        try:
            syncs = job_syncs(settings, stack, stopping)
            for sync in syncs.values():
                sync.tracking.ping()  # imports MLflow, which takes seconds
        except Exception:  # noqa: BLE001 - the process that started this one meets and reports it
            os._exit(1)
        log.debug("process started", pid=os.getpid())
        with ThreadPoolExecutor(len(lines)) as threads:
            threads.map(partial(_answer, syncs), lines)


def _answer(syncs: Mapping[str, JobSync], line: Connection) -> None:
    # A line that closes without an outcome tells the other process that its job was lost.
    with line, contextlib.suppress(EOFError, OSError):
        line.send(None)  # it is open
        while True:
            task: Task = line.recv()
            line.send(_sent(syncs[task.provider](task)))
