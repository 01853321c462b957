"""The parts that a configuration describes, created here and on a cluster's workers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import httpx
import structlog

from bridge.errors import Stopped
from bridge.http import aws_auth as aws
from bridge.http import client as http
from bridge.http import entra_auth as entra
from bridge.http import google_auth as google
from bridge.http import retries, s3
from bridge.model import JobStatus
from bridge.plan.cost import Price
from bridge.plan.metric_names import MetricNames
from bridge.plan.options import RecordingOptions
from bridge.plan.presets import AUTO
from bridge.plan.routing import Router, Rule
from bridge.providers.base import Provider
from bridge.providers.bedrock import Bedrock
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.sync.find_run import RunFinder
from bridge.sync.job_sync import JobSync
from bridge.tracking import Tracking

log = structlog.get_logger()

Asked = Callable[[str, str, int], object]
"""Listener that receives a provider's name and the arguments of ``retries.Tell``."""


def now_ms() -> int:
    """Return the current time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def redactor_of(settings: Settings, environ: Mapping[str, str]) -> Redactor:
    """Return a redactor for all secrets of a configuration."""
    return Redactor(settings.secrets(environ))


def router_of(
    settings: Settings, provider: ProviderSettings, runs: Mapping[str, str] | None = None
) -> Router:
    """Return the router of a provider's jobs; ``runs`` are those that some jobs continue."""
    return Router(
        provider=provider.name,
        experiment=provider.experiment or settings.mlflow.experiment,
        rules=tuple(Rule(**route.model_dump()) for route in settings.mlflow.routes),
        open_to_jobs=settings.mlflow.open_to_jobs,
        runs=runs or {},
    )


def recording_options_of(settings: Settings, provider: ProviderSettings) -> RecordingOptions:
    """Return the options with which a provider's jobs are recorded."""
    mlflow = settings.mlflow
    is_auto = mlflow.metric_names == AUTO
    return RecordingOptions(
        provider_type=provider.type,
        metric_names=MetricNames.of(
            "provider" if is_auto else mlflow.metric_names, TYPES[provider.type].meanings
        ),
        is_auto=is_auto,
        models=mlflow.models,
        datasets=mlflow.datasets,
        archive=mlflow.archive,
        archive_datasets=mlflow.archive_datasets,
        prices={model: Price.parsed(text) for model, text in provider.prices.items()},
        register=mlflow.register_as,
    )


def job_sync_of(
    settings: Settings,
    provider: ProviderSettings,
    api: Provider,
    tracking: Tracking,
    *,
    is_stopping: Callable[[], bool] = lambda: False,
    runs: Mapping[str, str] | None = None,
) -> JobSync:
    """Return the object that syncs a provider's jobs one by one."""

    def stop_if_asked() -> None:
        if is_stopping():
            raise Stopped("Asked to stop")

    return JobSync(
        name=provider.name,
        provider=api,
        tracking=tracking,
        finder=RunFinder(tracking=tracking, router=router_of(settings, provider, runs)),
        options=recording_options_of(settings, provider),
        now=now_ms,
        stop_if_asked=stop_if_asked,
    )


def experiments_of(settings: Settings) -> tuple[str, ...]:
    """Return every experiment that the configuration names."""
    named = (
        name
        for provider in settings.providers
        for name in router_of(settings, provider).experiments
    )
    return tuple(sorted(set(named)))


def headers_of(provider: ProviderSettings) -> dict[str, str]:
    """Return the headers of every request to a provider, including the key."""
    headers = {name: value.get_secret_value() for name, value in provider.headers.items()}
    if provider.auth in {"entra", "aws", "google"} or provider.api_key is None:
        return headers
    key = provider.api_key.get_secret_value()
    bare = TYPES[provider.type].key_header if provider.auth == "key" else None
    return headers | ({bare: key} if bare else {"Authorization": f"Bearer {key}"})


def statuses_of(provider: ProviderSettings) -> dict[str, JobStatus]:
    """Return the statuses that a configuration assigns to a server's words."""
    return {word: JobStatus(status) for word, status in provider.statuses.items()}


def query_of(provider: ProviderSettings) -> dict[str, str]:
    """Return the query parameters of every request to a provider."""
    version = {"api-version": provider.api_version} if provider.api_version else {}
    return version | provider.query


@contextlib.contextmanager
def open_provider(
    settings: Settings,
    provider: ProviderSettings,
    redactor: Redactor,
    *,
    stopping: threading.Event | None = None,
    patience: int = retries.ATTEMPTS,
    asked: Asked | None = None,
) -> Iterator[Provider]:
    """Return a provider whose connections close with the stack; ``asked`` counts requests."""
    interrupted = stopping or threading.Event()

    def sleep(seconds: float) -> None:
        if interrupted.wait(seconds):
            raise Stopped("Asked to stop")

    with contextlib.ExitStack() as stack:
        connect = partial(
            http.connect,
            redactor=redactor,
            sleep=sleep,
            connections=settings.poll.workers + 1,  # one lists while the workers read
            patience=patience,
            per_second=provider.requests_per_second,
            tell=partial(asked, provider.name) if asked else None,
            retried=partial(_log_retry, provider.name),
        )
        client = connect(
            provider.base_url,
            headers=headers_of(provider),
            query=query_of(provider),
            auth=_auth_of(provider, redactor, stack),
        )
        stack.enter_context(contextlib.closing(client))
        curves, statuses = settings.mlflow.curves, statuses_of(provider)
        if provider.type == "bedrock":
            buckets = _buckets_of(provider, redactor, connect)
            stack.enter_context(contextlib.closing(buckets))
            yield Bedrock(client, curves=curves, statuses=statuses, buckets=buckets)
        else:
            kind = TYPES[provider.type]
            yield kind(client, curves=curves, statuses=statuses, **provider.options)


def _log_retry(provider: str, cause: str, seconds: float) -> None:
    log.debug("request retried", provider=provider, cause=cause, wait=f"{seconds:.1f} s")


def _auth_of(
    provider: ProviderSettings, redactor: Redactor, stack: contextlib.ExitStack
) -> httpx.Auth | None:
    """Return credentials other than a header; their connections close with the stack."""
    match provider.auth:
        case "entra":
            return stack.enter_context(entra.signed_in())
        case "aws":
            assert provider.region is not None  # noqa: S101 - the settings see to it
            credentials = aws.signed_in(_identity_of(provider), redactor)
            return aws.AwsSignature(credentials, provider.type, provider.region)
        case "google":
            return stack.enter_context(google.signed_in(provider.project, redactor))
        case _:
            return None


def _identity_of(provider: ProviderSettings) -> aws.Identity:
    return aws.Identity(
        profile=provider.profile, role_arn=provider.role_arn, region=provider.region
    )


def _buckets_of(
    provider: ProviderSettings, redactor: Redactor, connect: Callable[..., http.ApiClient]
) -> s3.Buckets:
    """Return a reader of the files that a provider's jobs leave in S3."""
    credentials = aws.signed_in(_identity_of(provider), redactor)
    region = provider.region or s3.ANY_REGION

    def open_client(address: str) -> http.ApiClient:
        return connect(address, headers={}, auth=aws.AwsSignature(credentials, aws.S3, region))

    return s3.Buckets(open_client, region=region, url=provider.s3_url)
