"""The features of a tracking store, determined once in a process.

A server with an older MLflow, or of another vendor, answers some of MLflow's requests with 404. A
missing feature is left out, reported once, and not requested again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from bridge.plan.options import RecordingOptions

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NOT_THERE: Final = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED"})
_PATIENCE: Final = 5.0
"""Timeout in seconds for a server's version, which is only used in a sentence."""


class Feature(Enum):
    """A feature that not every store has, with its name and the MLflow that introduced it."""

    MODELS = ("LoggedModels", "3.0")
    DATASETS = ("dataset inputs", "2.4")
    REGISTRY = ("aliases of registered models", "2.3")


class Capabilities:
    """The missing features of a tracking store. Thread-safe, because they are only added."""

    def __init__(self) -> None:
        self._lacking: dict[Feature, None] = {}
        self._of = "this tracking server"

    def probe(self, client: MlflowClient, uri: str) -> None:
        """Test the features that many servers lack.

        Args:
            client: MLflow's client, which has reached the store.
            uri: the store's address.
        """
        from mlflow.exceptions import MlflowException

        if not hasattr(client, "search_logged_models"):
            self._lacking[Feature.MODELS] = None
            self._of = f"the MLflow that is installed here ({_own_version()})"
            return
        # Any other refusal concerns this experiment, which the user may have no permission to read.
        with contextlib.suppress(MlflowException), self.trying(Feature.MODELS, client):
            client.search_logged_models(["0"], max_results=1)
        if self._lacking and (version := _version_of(uri)):
            from packaging.version import Version

            self._of = f"the tracking server (MLflow {version})"
            # So that rarely used features need not be discovered by the first job.
            older = (each for each in Feature if Version(version) < Version(each.value[1]))
            self._lacking |= dict.fromkeys(older)

    def has(self, feature: Feature) -> bool:
        """Return whether a feature is not known to be missing."""
        return feature not in self._lacking

    @contextlib.contextmanager
    def trying(self, feature: Feature, client: MlflowClient) -> Iterator[None]:
        """Use a feature within the context; if the store lacks it, end and remember that."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code not in _NOT_THERE:
                raise
            # A gateway that has lost its route refuses this request too.
            client.search_experiments(max_results=1)
            self._lacking[feature] = None

    def possible(self, options: RecordingOptions) -> RecordingOptions:
        """Return the options, without those that the store cannot record."""
        if not self._lacking:
            return options
        models = options.models and self.has(Feature.MODELS)
        can_register = models and self.has(Feature.REGISTRY)
        return replace(
            options,
            models=models,
            datasets=options.datasets and self.has(Feature.DATASETS),
            register=options.register if can_register else None,
        )

    def sentences(self, options: RecordingOptions) -> tuple[str, ...]:
        """Return a sentence for each option that the store cannot record."""
        wanted = {
            Feature.MODELS: options.models,
            Feature.DATASETS: options.datasets,
            Feature.REGISTRY: options.register is not None,
        }
        return tuple(
            f"{self._of} has no {feature.value[0]} (new in MLflow {feature.value[1]}), so they are"
            " left out. Upgrade it, then run ftbridge doctor --fix to add them"
            for feature in self._lacking
            if wanted[feature]
        )


def _own_version() -> str:
    from mlflow.version import VERSION

    return str(VERSION)


def _version_of(uri: str) -> str | None:
    """Return a server's answer at ``/version``, requested without the user's login."""
    import requests

    if not uri.startswith(("http://", "https://")):
        return None
    try:
        reply = requests.get(f"{uri.rstrip('/')}/version", timeout=_PATIENCE)
    except OSError:
        return None
    version = reply.text.strip()
    return version if reply.ok and re.fullmatch(r"\d+\.\d+(\.\w+){0,2}", version) else None
