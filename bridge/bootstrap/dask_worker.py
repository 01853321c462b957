"""One job in the worker of a cluster, as that process's own configuration says."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
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
            job_sync_of(
                settings,
                provider,
                stack.enter_context(open_provider(settings, provider, redactor)),
                tracking,
            ),
        )
        for provider in settings.providers
    }
