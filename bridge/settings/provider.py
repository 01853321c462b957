"""The section ``providers`` of the configuration: one entry for each account."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticKnownError

from bridge.providers.azure import needs_version
from bridge.providers.registry import TYPES
from bridge.settings.mlflow import ExperimentName
from bridge.settings.poll import Seconds
from bridge.settings.section import Section
from bridge.settings.urls import READABLE, is_readable_on_the_way, parsed_url


def _known_type(name: str) -> str:
    if name not in TYPES:
        close = difflib.get_close_matches(name.lower(), TYPES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be one of {', '.join(TYPES)}{hint}")
    return name


def _header_value(secret: SecretStr) -> SecretStr:
    """Return a secret without the newline at the end of a file, checked for use in a header."""
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII; remove quotes and spaces around it")
    return SecretStr(text)


def _as_written(value: object) -> object:
    """Return a date as the text from which YAML has parsed it."""
    return value.isoformat() if isinstance(value, date) else value


def _as_text(value: object) -> object:
    """Return a number or a date in an address as the text from which YAML has parsed it."""
    is_read = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_read else _as_written(value)


Status = Literal[
    "validating", "queued", "running", "paused", "succeeded", "failed", "cancelled", "ended"
]
"""The bridge's words for a job's status, except for the unknown one."""
_STATUSES: Final = get_args(Status)


def _status(word: object) -> object:
    if word in _STATUSES:
        return word
    close = difflib.get_close_matches(str(word), _STATUSES, n=1)
    hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(_STATUSES)}"
    raise ValueError(f"is not a status of the bridge; {hint}")


_PRICE: Final = re.compile(r"\d{1,6}(\.\d{1,6})? [A-Z]{3}", re.ASCII)


def _price(text: str) -> str:
    if not _PRICE.fullmatch(text):
        raise ValueError("must be an amount and a currency, such as 5 USD")
    return text


Auth = Literal["key", "token", "entra", "aws", "google"]
"""The methods of authentication: a key, a bearer token, or a cloud's own credentials."""
_AUTH_TYPES: Final[Mapping[Auth, tuple[str, ...]]] = {
    "token": ("azure", "vertex"),
    "entra": ("azure",),
    "aws": ("bedrock", "bedrock-mantle"),
    "google": ("vertex",),
}
"""Types that support a method; all types except vertex support a key."""
AWS_TYPES: Final = _AUTH_TYPES["aws"]
_KEYLESS: Final[frozenset[Auth]] = frozenset({"entra", "aws", "google"})
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "vertex": ("project", "location"),
    "prime": ("team",),
}
"""Additional fields of a type's provider, by type."""


class ProviderSettings(Section):
    """One account of one provider."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    """Unique name, which identifies the jobs in MLflow (tag fine_tuning_provider)."""
    type: Annotated[str, AfterValidator(_known_type)]
    """API that the provider speaks. Default: its name."""
    auth: Auth = "key"
    """Authentication: key, token, entra (Microsoft Entra ID), aws (signature) or google
    (Application Default Credentials). Default: the key, or the cloud's identity."""
    region: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[a-z]{2,8}(-[a-z0-9]+)+-[0-9]+$")] | None,
        Field(validate_default=True),
    ] = None
    """Region of the jobs, for the types of AWS. Default: $AWS_REGION."""
    profile: str | None = None
    """AWS profile whose credentials are used. Default: the choice of AWS's tools."""
    role_arn: Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::")] | None = None
    """AWS role to assume with these credentials."""
    s3_url: Annotated[
        Annotated[
            str,
            StringConstraints(pattern=r"^https?://[^\s/]+"),
            AfterValidator(parsed_url),
        ]
        | None,
        Field(repr=False),
    ] = None
    """Address of S3, for type bedrock. Default: each bucket's own address."""
    project: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:-]{0,62}$")] | None,
        Field(validate_default=True),
    ] = None
    """Project in Google Cloud, for type vertex. Default: $GOOGLE_CLOUD_PROJECT."""
    location: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")] | None,
        Field(validate_default=True),
    ] = None
    """Location of jobs, for type vertex. Default: $GOOGLE_CLOUD_LOCATION, else us-central1."""
    team: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")] | None = (
        None
    )
    """Team whose runs are followed, for type prime. Default: $PRIME_TEAM_ID, else no team."""
    api_key: Annotated[
        Annotated[SecretStr, AfterValidator(_header_value)] | None, Field(validate_default=True)
    ] = None
    """API key or token; required unless auth is entra, aws or google. Default: the variable of the
    provider's own SDK."""
    api_key_file: str | None = None
    """File to read the key from, instead of api_key."""
    allow_http: bool = False
    """Whether base_url may use http:// for another machine; others can then read the key."""
    base_url: Annotated[
        str,
        StringConstraints(pattern=r"^https?://[^\s/]+"),
        AfterValidator(parsed_url),
        Field(repr=False),
    ]
    """Everything before the API's path, such as /fine_tuning/jobs. Default: the public service."""
    experiment: ExperimentName | None = None
    """Experiment of this provider's runs. Default: mlflow.experiment."""
    interval: Seconds | None = None
    """Time between two passes with open jobs. Default: poll.interval."""
    idle_interval: Seconds | None = None
    """Time between two passes without open jobs. Default: poll.idle_interval."""
    requests_per_second: Annotated[float, Field(ge=0.1, le=1000)] | None = None
    """Highest rate of requests to the API, evenly spaced. Default: unlimited."""
    headers: dict[str, Annotated[SecretStr, AfterValidator(_header_value)]] = Field(
        default_factory=dict
    )
    """Headers of every request."""
    query: dict[
        Annotated[str, StringConstraints(min_length=1)], Annotated[str, BeforeValidator(_as_text)]
    ] = Field(default_factory=dict, repr=False)
    """Query parameters of every request; they replace those in base_url."""
    statuses: dict[str, Annotated[Status, BeforeValidator(_status)]] = Field(default_factory=dict)
    """Meaning of a server's words for a job's status: running, succeeded, failed, ..."""
    prices: dict[
        Annotated[str, StringConstraints(min_length=1)], Annotated[str, AfterValidator(_price)]
    ] = Field(default_factory=dict)
    """Prices per million trained tokens, by the beginning of a base model's name: 5 USD. Used
    if the provider reports no cost."""
    api_version: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$")] | None,
        BeforeValidator(_as_written),
        Field(validate_default=True),
    ] = None
    """API version in the query of every request, for type azure."""

    @field_validator("base_url", "s3_url")
    @classmethod
    def _encrypted(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url and not info.data.get("allow_http") and is_readable_on_the_way(url):
            raise ValueError(READABLE)
        return url

    @property
    def options(self) -> dict[str, str]:
        """Settings that are specific to the type."""
        fields = {name: getattr(self, name) for name in _OPTIONS.get(self.type, ())}
        return {name: value for name, value in fields.items() if value is not None}

    @field_validator("auth")
    @classmethod
    def _known_auth(cls, auth: Auth, info: ValidationInfo) -> Auth:
        if auth == "key" and info.data.get("type") == "vertex":
            raise ValueError("must be google or token")
        kinds = _AUTH_TYPES.get(auth, ())
        if kinds and info.data.get("type", kinds[0]) not in kinds:
            others = "; other types send their key as a bearer token" if "azure" in kinds else ""
            raise ValueError(f"works for type {' and '.join(kinds)} only{others}; remove it")
        return auth

    @field_validator("project", "location", "team")
    @classmethod
    def _of_its_type(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("type", "")
        takes_it = info.field_name in _OPTIONS.get(kind, ())
        if takes_it and value is None and info.field_name == "project":
            raise ValueError("missing; export GOOGLE_CLOUD_PROJECT, or write project: NAME")
        if kind and value is not None and not takes_it:
            types = [each for each, names in _OPTIONS.items() if info.field_name in names]
            raise ValueError(f"works for type {' or '.join(types)} only; remove it")
        return value

    @field_validator("region")
    @classmethod
    def _needed_region(cls, region: str | None, info: ValidationInfo) -> str | None:
        # With a key, the region is only part of the address.
        if region is None and info.data.get("auth") == "aws":
            raise ValueError("missing; export AWS_REGION, or write region: us-west-2")
        return region

    @field_validator("region", "profile", "role_arn", "s3_url")
    @classmethod
    def _for_aws(cls, value: str | None, info: ValidationInfo) -> str | None:
        kinds = AWS_TYPES[:1] if info.field_name == "s3_url" else AWS_TYPES
        if value is not None and info.data.get("type", kinds[0]) not in kinds:
            raise ValueError(f"works for type {' and '.join(kinds)} only; remove it")
        return value

    @field_validator("api_key")
    @classmethod
    def _needed_key(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is None and info.data.get("auth") not in _KEYLESS:
            raise PydanticKnownError("missing")
        return key

    @field_validator("api_version")
    @classmethod
    def _needed_version(cls, version: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("type") != "azure":
            if version is not None:
                raise ValueError("works for type azure only; remove it")
        elif version is None and needs_version(info.data.get("base_url", "")):
            raise ValueError(
                "missing, such as 2024-10-21: an address that ends in /openai needs one,"
                " one that ends in /openai/v1 does not"
            )
        return version
