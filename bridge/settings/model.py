"""The configuration as pydantic models. ``bridge.settings.load`` fills them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)

from bridge.plan.metric_names import collisions
from bridge.providers.registry import TYPES
from bridge.settings.daemon import Heartbeat, Listen, Notify, secrets_of_calls
from bridge.settings.mlflow import MLFLOW_SECRETS, MlflowSettings
from bridge.settings.poll import PollSettings
from bridge.settings.provider import ProviderSettings
from bridge.settings.section import Section
from bridge.settings.urls import secrets_of, secrets_of_query

_SECRETS: Final = (
    *MLFLOW_SECRETS,
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),  # of an artifact store
    *("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_CLIENT_SECRET"),
)
"""Variables with secrets that the bridge's libraries read."""
_IDLE: Final = 600.0
"""Longest default idle interval in seconds, within which a new job is noticed."""
_ONE_MACHINE: Final = ("", "file", "sqlite")
"""Schemes of tracking stores that are files of this machine."""


class Settings(Section):
    """The whole configuration."""

    mlflow: MlflowSettings = MlflowSettings()
    poll: PollSettings = PollSettings()
    listen: Listen | None = None
    """Address of the daemon's page, metrics and probes; off if absent."""
    heartbeat: Heartbeat | None = None
    """URL to request at most once a minute, as long as all passes succeed."""
    notify: Notify | None = None
    """Receiver of notifications about jobs that end, and about outages."""
    providers: Annotated[tuple[ProviderSettings, ...], Field(min_length=1)]
    """Accounts to follow. Default: each provider whose key is in the environment."""

    @field_validator("poll")
    @classmethod
    def _reachable_from_workers(cls, poll: PollSettings, info: ValidationInfo) -> PollSettings:
        mlflow: MlflowSettings | None = info.data.get("mlflow")
        if mlflow is None or not poll.is_cluster:
            return poll
        if urlsplit(mlflow.tracking_uri).scheme in _ONE_MACHINE:
            raise ValueError(
                "executor: workers of a cluster cannot write to a file of this machine; set"
                " mlflow.tracking_uri to the address of an MLflow server, or of PostgreSQL"
            )
        return poll

    @field_validator("providers")
    @classmethod
    def _unique_names(cls, providers: tuple[ProviderSettings, ...]) -> tuple[ProviderSettings, ...]:
        names = [provider.name for provider in providers]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(
                f"two providers are named {', '.join(sorted(doubled))}; give each a unique name"
            )
        return providers

    @field_validator("providers")
    @classmethod
    def _distinct_metrics(
        cls, providers: tuple[ProviderSettings, ...], info: ValidationInfo
    ) -> tuple[ProviderSettings, ...]:
        mlflow: MlflowSettings | None = info.data.get("mlflow")
        mapping = mlflow.metric_names if mlflow else ""
        if isinstance(mapping, str):
            return providers
        for provider in providers:
            if found := collisions(mapping, TYPES[provider.type].meanings):
                raise ValueError(
                    f"mlflow.metric_names is not one-to-one for {provider.name}: {found[0]};"
                    " give each a unique name"
                )
        return providers

    def intervals_of(self, provider: ProviderSettings) -> tuple[float, float]:
        """Return the seconds between two passes: while jobs are open, and while none is.

        By default the second is five times the first, up to ten minutes. It is never less than the
        first.
        """
        interval = provider.interval or self.poll.interval
        idle = provider.idle_interval or self.poll.idle_interval or min(5 * interval, _IDLE)
        return interval, max(interval, idle)

    def secrets(self, environ: Mapping[str, str]) -> Iterator[str]:
        """Yield everything that must not be shown."""
        for provider in self.providers:
            yield provider.api_key.get_secret_value() if provider.api_key else ""
            yield from (value.get_secret_value() for value in provider.headers.values())
            yield from secrets_of(provider.base_url)
            yield from secrets_of(provider.s3_url or "")
            yield from secrets_of_query(provider.query.items())
        if urlsplit(self.mlflow.tracking_uri).scheme != "sqlite":
            yield from secrets_of(self.mlflow.tracking_uri)
        yield from secrets_of_calls(self.heartbeat, self.notify)
        for name in _SECRETS:
            yield environ.get(name, "")
        for name in ("https_proxy", "http_proxy", "all_proxy"):
            yield from secrets_of(environ.get(name, ""))
            yield from secrets_of(environ.get(name.upper(), ""))
