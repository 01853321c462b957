"""What can be configured, as pydantic models. ``bridge.config`` fills them in."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from bridge.addresses import READABLE, is_readable_on_the_way, secrets_of
from bridge.hosted_models import NAME_FIELDS
from bridge.polling import THREADS, PollSettings, Seconds
from bridge.providers import TYPES
from bridge.providers.azure import needs_version
from bridge.section import Section
from bridge.service.settings import Heartbeat, Listen, NotifySettings, secrets_of_calls
from bridge.vocabulary import PRESETS, is_allowed_name

_MLFLOW_SECRETS: Final = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SECRETS: Final = (
    *_MLFLOW_SECRETS,
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),  # of an artifact store
    *("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_CLIENT_SECRET"),
)
"""Variables that libraries read which the bridge uses."""
_IDLE: Final = 600.0
"""Seconds: for so long a new job may go unnoticed where nothing else is configured."""
_ONE_MACHINE: Final = ("", "file", "sqlite")
"""Schemes of tracking stores that are files."""


def _known_type(name: str) -> str:
    if name not in TYPES:
        raise ValueError(f"must be one of {', '.join(TYPES)}")
    return name


def _address(text: str) -> str:
    try:
        urlsplit(text)
    except ValueError:
        raise ValueError("is no address: brackets in a password are written %5B and %5D") from None
    return text


def _metric_names(wanted: object) -> object:
    if isinstance(wanted, str) and wanted in PRESETS:
        return wanted
    if not isinstance(wanted, dict) or not all(isinstance(name, str) for name in wanted.values()):
        raise ValueError(f"must be one of {', '.join(PRESETS)}, or a mapping of names")
    for name, renamed in wanted.items():
        if not is_allowed_name(renamed):
            raise ValueError(f"the name for {name} is one that MLflow refuses")
    return wanted


def _name_template(wanted: object) -> object:
    if isinstance(wanted, bool):
        return wanted
    known = ", ".join(f"{{{field}}}" for field in NAME_FIELDS)
    text = wanted if isinstance(wanted, str) else ""
    try:
        fields = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError:
        fields = [("", None, None)]
    if not text.strip() or any(
        name not in NAME_FIELDS or spec or conversion for name, spec, conversion in fields
    ):
        raise ValueError(f"must be true, false, or a name that may hold {known}")
    return wanted


def _header_value(secret: SecretStr) -> SecretStr:
    """A secret without the newline that files end with, fit to be sent in a header."""
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII; was it pasted with quotes or spaces around it?")
    return SecretStr(text)


def _as_written(value: object) -> object:
    """A date is text that YAML has read."""
    return value.isoformat() if isinstance(value, date) else value


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=250)]
"""As a shell matches names: ``*``, ``?``, ``[abc]``."""
ExperimentName = Annotated[str, StringConstraints(min_length=1, max_length=250)]


class RouteSettings(Section):
    """Jobs that fit all patterns go to an experiment."""

    experiment: ExperimentName
    """Where they go."""
    provider: Pattern = "*"
    """The provider's name. Patterns are as a shell has them: *, ?, [abc]."""
    base_model: Pattern = "*"
    """The model that is trained on."""
    suffix: Pattern = "*"
    """The suffix that the job was given."""


class MlflowSettings(Section):
    """Where runs are written, under which names, and what with them."""

    allow_http: bool = False
    """Whether a login may be sent to tracking_uri unencrypted, off this machine."""
    tracking_uri: Annotated[
        str, StringConstraints(min_length=1), AfterValidator(_address), Field(repr=False)
    ] = "sqlite:///mlflow.db"
    """A database, or the address of an MLflow server. Default: $MLFLOW_TRACKING_URI, else this."""
    experiment: ExperimentName = "hosted-fine-tunes"
    """Where runs go. Default: $MLFLOW_EXPERIMENT_NAME, else this."""
    metric_names: Annotated[str | dict[str, str], BeforeValidator(_metric_names)] = "provider"
    """Names under which metrics are logged: a preset, or the provider's names with yours."""
    curves: bool = True
    """The whole training curve where the provider has one; false: checkpoints alone."""
    models: bool = True
    """Checkpoints and results as LoggedModels."""
    datasets: bool = True
    """Training and validation files as dataset inputs."""
    archive: bool = True
    """What the provider says of a job that has ended, as artifacts."""
    archive_datasets: bool = False
    """Its training and validation files too, up to 512 MiB each."""
    register_: Annotated[bool | str, BeforeValidator(_name_template), Field(alias="register")] = (
        False
    )
    """Makes results versions of registered models: true, or a name that may hold {suffix}, ..."""
    routes: tuple[RouteSettings, ...] = ()
    """Jobs that fit all patterns of a route go to its experiment; the first that fits counts."""
    open_to_jobs: tuple[Pattern, ...] = ()
    """Experiments that a job's own metadata may name, beside those of the configuration."""

    @field_validator("tracking_uri")
    @classmethod
    def _encrypted(cls, uri: str, info: ValidationInfo) -> str:
        environ: Mapping[str, str] = info.context or {}
        has_login = any(secrets_of(uri)) or any(environ.get(name) for name in _MLFLOW_SECRETS)
        if has_login and not info.data.get("allow_http") and is_readable_on_the_way(uri):
            raise ValueError(READABLE)
        return uri

    @model_validator(mode="after")
    def _registers_models(self) -> Self:
        if self.register_ and not self.models:
            raise ValueError("register needs models: true")
        return self

    @property
    def register_as(self) -> str | None:
        """The template of a registered model's name; ``None``: no registration."""
        return "{suffix}" if self.register_ is True else self.register_ or None


Auth = Literal["key", "token", "entra"]
"""How a provider learns who asks: a key, a bearer token, or one that Microsoft Entra ID gives."""


class ProviderSettings(Section):
    """One account of one provider."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    """Unique; its jobs are known by it in MLflow, as the tag fine_tuning_provider."""
    type: Annotated[str, AfterValidator(_known_type)]
    """Which API it speaks. Default: its name."""
    auth: Auth = "key"
    """How it learns who asks: a key, a bearer token, or one that Microsoft Entra ID gives."""
    api_key: Annotated[
        Annotated[SecretStr, AfterValidator(_header_value)] | None, Field(validate_default=True)
    ] = None
    """Needed but with auth: entra. Default: the variable of the provider's own SDK."""
    api_key_file: str | None = None
    """In the place of api_key: a file that holds it."""
    allow_http: bool = False
    """Whether base_url may be unencrypted though it is not on this machine."""
    base_url: Annotated[
        str,
        StringConstraints(pattern=r"^https?://[^\s/]+"),
        AfterValidator(_address),
        Field(repr=False),
    ]
    """All of its address that stands before /fine_tuning/jobs. Default: the public service's."""
    experiment: ExperimentName | None = None
    """Instead of mlflow.experiment."""
    interval: Seconds | None = None
    """Instead of poll.interval."""
    idle_interval: Seconds | None = None
    """Instead of poll.idle_interval."""
    requests_per_second: Annotated[float, Field(ge=0.1, le=1000)] | None = None
    """At most so many requests to its API, evenly spaced. Default: as fast as it answers."""
    headers: dict[str, Annotated[SecretStr, AfterValidator(_header_value)]] = Field(
        default_factory=dict
    )
    """Sent with every request."""
    api_version: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$")] | None,
        BeforeValidator(_as_written),
        Field(validate_default=True),
    ] = None
    """Goes into the query of every request."""

    @field_validator("base_url")
    @classmethod
    def _encrypted(cls, url: str, info: ValidationInfo) -> str:
        if not info.data.get("allow_http") and is_readable_on_the_way(url):
            raise ValueError(READABLE)
        return url

    @field_validator("auth")
    @classmethod
    def _known_auth(cls, auth: Auth, info: ValidationInfo) -> Auth:
        if auth != "key" and info.data.get("type", "azure") != "azure":
            raise ValueError("is for type azure; others take their key as a bearer token anyway")
        return auth

    @field_validator("api_key")
    @classmethod
    def _needed_key(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is None and info.data.get("auth") != "entra":
            raise PydanticKnownError("missing")
        return key

    @field_validator("api_version")
    @classmethod
    def _needed_version(cls, version: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("type") != "azure":
            if version is not None:
                raise ValueError("is for type azure")
        elif version is None and needs_version(info.data.get("base_url", "")):
            raise ValueError(
                "missing, such as 2024-10-21: an address that ends in /openai needs one,"
                " one that ends in /openai/v1 does not"
            )
        return version


class Settings(Section):
    """The whole configuration."""

    mlflow: MlflowSettings = MlflowSettings()
    poll: PollSettings = PollSettings()
    listen: Listen | None = None
    """Where a daemon shows what it does; ``None``: nowhere."""
    heartbeat: Heartbeat | None = None
    """An address to ask for at most once a minute, as long as all passes go well."""
    notify: NotifySettings | None = None
    """Who is told of jobs that end, and of outages."""
    providers: Annotated[tuple[ProviderSettings, ...], Field(min_length=1)]
    """Accounts to follow. Default: each whose key is in the environment."""

    @field_validator("poll")
    @classmethod
    def _reachable_from_workers(cls, poll: PollSettings, info: ValidationInfo) -> PollSettings:
        mlflow: MlflowSettings | None = info.data.get("mlflow")
        if poll.executor == THREADS or mlflow is None:
            return poll
        if urlsplit(mlflow.tracking_uri).scheme in _ONE_MACHINE:
            raise ValueError(
                "executor: a cluster's workers cannot write to a file of this machine; let"
                " mlflow.tracking_uri be the address of an MLflow server, or of PostgreSQL"
            )
        return poll

    @field_validator("providers")
    @classmethod
    def _unique_names(cls, providers: tuple[ProviderSettings, ...]) -> tuple[ProviderSettings, ...]:
        names = [provider.name for provider in providers]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(
                f"two providers are named {', '.join(sorted(doubled))}: each needs its own name"
            )
        return providers

    def intervals_of(self, provider: ProviderSettings) -> tuple[float, float]:
        """Seconds from one pass to the next: while jobs are open, and while none is.

        Where nothing is said of the second, it is five times the first, up to ten minutes. It is
        never less than the first.
        """
        interval = provider.interval or self.poll.interval
        idle = provider.idle_interval or self.poll.idle_interval or min(5 * interval, _IDLE)
        return interval, max(interval, idle)

    def secrets(self, environ: Mapping[str, str]) -> Iterator[str]:
        """Everything that must not be shown."""
        for provider in self.providers:
            yield provider.api_key.get_secret_value() if provider.api_key else ""
            yield from (value.get_secret_value() for value in provider.headers.values())
            yield from secrets_of(provider.base_url)
        if urlsplit(self.mlflow.tracking_uri).scheme != "sqlite":
            yield from secrets_of(self.mlflow.tracking_uri)
        yield from secrets_of_calls(self.heartbeat, self.notify)
        for name in _SECRETS:
            yield environ.get(name, "")
        for name in ("https_proxy", "http_proxy", "all_proxy"):
            yield from secrets_of(environ.get(name, ""))
            yield from secrets_of(environ.get(name.upper(), ""))
