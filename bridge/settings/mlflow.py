"""The section ``mlflow`` of the configuration."""

from __future__ import annotations

import difflib
import string
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bridge.plan.metric_names import is_allowed_name
from bridge.plan.models import NAME_FIELDS
from bridge.plan.presets import AUTO, PRESETS
from bridge.settings.section import Section
from bridge.settings.urls import READABLE, is_readable_on_the_way, parsed_url, secrets_of

MLFLOW_SECRETS: Final = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def _metric_names(wanted: object) -> object:
    presets = [AUTO, *PRESETS]
    if isinstance(wanted, str) and wanted in presets:
        return wanted
    if not isinstance(wanted, dict) or not all(isinstance(name, str) for name in wanted.values()):
        close = difflib.get_close_matches(str(wanted).lower(), presets, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be one of {', '.join(presets)}, or a mapping of names{hint}")
    for name, renamed in wanted.items():
        if not is_allowed_name(renamed):
            raise ValueError(
                f"the name for {name} is not valid in MLflow; use letters, digits, _-./: or spaces"
            )
    return wanted


def _name_template(wanted: object) -> object:
    if isinstance(wanted, bool):
        return wanted
    word = str(wanted).lower()
    if word in {"on", "off"}:  # booleans of YAML that are read as text, because `on` is also a key
        return word == "on"
    known = ", ".join(f"{{{field}}}" for field in NAME_FIELDS)
    text = wanted if isinstance(wanted, str) else ""
    try:
        fields = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError:
        fields = [("", None, None)]
    if not text.strip() or any(
        name not in NAME_FIELDS or spec or conversion for name, spec, conversion in fields
    ):
        raise ValueError(f"must be true, false, or a name that may contain {known}")
    return wanted


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=250)]
"""A shell pattern: ``*``, ``?``, ``[abc]``."""


ExperimentName = Annotated[str, StringConstraints(min_length=1, max_length=250)]


class RouteSettings(Section):
    """Rule that sends the jobs that fit all its patterns to an experiment."""

    experiment: ExperimentName
    """Experiment of these jobs."""
    provider: Pattern = "*"
    """Pattern for the provider's name. Patterns work as in a shell: *, ?, [abc]."""
    base_model: Pattern = "*"
    """Pattern for the base model."""
    suffix: Pattern = "*"
    """Pattern for the job's suffix."""


class MlflowSettings(Section):
    """Tracking store, experiments, names, and what is recorded."""

    allow_http: bool = False
    """Whether the bridge may send its login to another machine over http://."""
    tracking_uri: Annotated[
        str, StringConstraints(min_length=1), AfterValidator(parsed_url), Field(repr=False)
    ] = "sqlite:///mlflow.db"
    """Database, or address of an MLflow server. Default: $MLFLOW_TRACKING_URI, else mlflow.db."""
    experiment: ExperimentName = "hosted-fine-tunes"
    """Experiment of the runs. Default: $MLFLOW_EXPERIMENT_NAME, else hosted-fine-tunes."""
    metric_names: Annotated[str | dict[str, str], BeforeValidator(_metric_names)] = AUTO
    """Names of the logged metrics: a preset, a mapping from the provider's names to yours, or auto,
    which uses the names of the experiment's local runs. Default: $FTBRIDGE_METRIC_NAMES, else
    auto."""
    curves: bool = True
    """Whether to log the whole training curve; false logs checkpoints only."""
    models: bool = True
    """Whether to log checkpoints and results as LoggedModels."""
    datasets: bool = True
    """Whether to log training and validation files as dataset inputs."""
    archive: bool = True
    """Whether to store the provider's replies about an ended job as artifacts."""
    archive_datasets: bool = False
    """Whether to store training and validation files too, up to 512 MiB each."""
    register_: Annotated[bool | str, BeforeValidator(_name_template), Field(alias="register")] = (
        False
    )
    """Registered model that receives results as versions: true for {provider}-{suffix}, or a name
    that may contain {provider}, {suffix} and {base_model}."""
    routes: tuple[RouteSettings, ...] = ()
    """Rules that send jobs to other experiments; the first rule that fits decides."""
    open_to_jobs: tuple[Pattern, ...] = ()
    """Patterns of further experiments that a job's own metadata may name."""

    @field_validator("tracking_uri")
    @classmethod
    def _encrypted(cls, uri: str, info: ValidationInfo) -> str:
        environ: Mapping[str, str] = info.context or {}
        has_login = any(secrets_of(uri)) or any(environ.get(name) for name in MLFLOW_SECRETS)
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
        """Template of the registered model's name; ``None``: no registration."""
        # Models of two providers with the same suffix are not versions of one model.
        return "{provider}-{suffix}" if self.register_ is True else self.register_ or None
