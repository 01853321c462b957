"""One job in the worker of a cluster, as that process's own configuration says."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Final

from bridge import __version__
from bridge.bootstrap.factories import job_sync_of, open_provider, redactor_of
from bridge.errors import BridgeError, OtherConfiguration
from bridge.redaction import Redactor
from bridge.settings import load as config
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.outcome import Failed, Outcome, Untouched
from bridge.tracking import Tracking

_ASSEMBLING: Final = threading.Lock()


def needs_of(
    settings: Settings, provider: ProviderSettings, redactor: Redactor
) -> Mapping[str, str]:
    """Return what a worker has to agree on to write what the daemon would; it holds no secret."""
    # Each machine may have its key where it likes.
    entry = provider.model_dump_json(exclude={"api_key", "api_key_file"})
    return {
        "version": __version__,
        "configuration of mlflow": redactor.text(settings.mlflow.model_dump_json()),
        f"configuration of {provider.name}": redactor.text(entry),
    }


def work(needs: Mapping[str, str], task: Task) -> Outcome:
    """Do one job in this process, as its own configuration says: keys do not travel.

    Nothing is read or written if the daemon's needs are not met. Errors are in the outcome.
    """
    try:
        with _ASSEMBLING:
            has, sync = _job_syncs().get(task.provider, ({"version": __version__}, None))
    except BridgeError as error:
        return _unfit(task, f"cannot use its configuration ({error.sentence or error})")
    lacking = [name for name, wanted in needs.items() if has.get(name) != wanted]
    if sync is None or lacking:
        return _unfit(task, f"has a different {', '.join(lacking)}")
    outcome = sync(task)
    if isinstance(outcome, Untouched) or outcome.error is None:
        return outcome
    return replace(outcome, error=outcome.error.alone())


def _unfit(task: Task, why: str) -> Outcome:
    error = OtherConfiguration(
        f"The worker on {socket.gethostname()} {why}",
        f"Give it the daemon's configuration (${config.PATH_VARIABLE} or the environment) and"
        f" ftbridge {__version__}, and start it again",
    )
    return Failed(provider=task.provider, job_id=task.job_id, error=error)


@cache
def _job_syncs() -> Mapping[str, tuple[Mapping[str, str], JobSync]]:
    """Return by provider what holds here and what does its jobs, until this process ends."""
    settings = config.load(None, os.environ)
    redactor = redactor_of(settings, os.environ)
    tracking = Tracking(settings.mlflow.tracking_uri, redactor=redactor)
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return {
        provider.name: (
            needs_of(settings, provider, redactor),
            job_sync_of(
                settings,
                provider,
                stack.enter_context(open_provider(settings, provider, redactor)),
                tracking,
            ),
        )
        for provider in settings.providers
    }
