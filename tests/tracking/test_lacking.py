"""The features that a store lacks, detected from its replies, without MLflow or a database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import cast

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    ENDPOINT_NOT_FOUND,
    FEATURE_DISABLED,
    NOT_IMPLEMENTED,
    PERMISSION_DENIED,
)

from bridge.plan.options import RecordingOptions
from bridge.tracking.capabilities import Capabilities, Feature
from tests.support.http_server import send_json, serving

EVERYTHING = RecordingOptions(models=True, datasets=True, register="{suffix}")
NOWHERE = "sqlite:///mlflow.db"


class Answers:
    """A client of MLflow that answers two requests, and notes them."""

    def __init__(self, models: int | None = None, *, is_down: bool = False) -> None:
        self.models = models
        """The code of the refusal of LoggedModels, if they are refused."""
        self.is_down = is_down
        self.asked: list[tuple[str, int]] = []

    def search_logged_models(self, experiment_ids: list[str], max_results: int) -> None:
        """Search for models."""
        assert experiment_ids == ["0"]
        self.asked.append(("models", max_results))
        if self.models is not None:
            raise MlflowException("no", self.models)

    def search_experiments(self, max_results: int) -> None:
        """Search for experiments."""
        self.asked.append(("experiments", max_results))
        if self.is_down:
            raise MlflowException("no", ENDPOINT_NOT_FOUND)


def client(answers: object) -> MlflowClient:
    """Return an object as MLflow's client."""
    return cast("MlflowClient", answers)


@contextlib.contextmanager
def version(status: int, body: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a version; yield the address and the paths that are asked for."""
    paths: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        paths.append(request.path)
        send_json(request, status, body.encode())

    with serving(answer) as url:
        yield url, paths


def lacking(found: Capabilities) -> set[str]:
    """Return the names of the features that a store lacks."""
    return {feature.name for feature in Feature if not found.has(feature)}


@pytest.mark.parametrize(
    ("code", "asked", "expected"),
    [
        (None, ["models"], set()),
        (ENDPOINT_NOT_FOUND, ["models", "experiments"], {"MODELS"}),
        (NOT_IMPLEMENTED, ["models", "experiments"], {"MODELS"}),
        (FEATURE_DISABLED, ["models", "experiments"], {"MODELS"}),
        (PERMISSION_DENIED, ["models"], set()),
    ],
)
def test_models_are_asked_for_once(code: int | None, asked: list[str], expected: set[str]) -> None:
    """Models are missing if the server lacks the request, but not if it denies access."""
    found, answers = Capabilities(), Answers(code)
    found.probe(client(answers), NOWHERE)
    assert answers.asked == [(name, 1) for name in asked]
    assert lacking(found) == expected
    if expected:
        (sentence,) = found.sentences(EVERYTHING)
        assert sentence.startswith("this tracking server has no LoggedModels (new in MLflow 3.0)")


def test_a_gateway_without_routes_lacks_nothing() -> None:
    """A server that refuses everything else too is not known to lack models."""
    found = Capabilities()
    found.probe(client(Answers(ENDPOINT_NOT_FOUND, is_down=True)), NOWHERE)
    assert lacking(found) == set()


def test_an_old_package_has_no_models() -> None:
    """An installed MLflow without LoggedModels is named with its version, without a request."""
    from mlflow.version import VERSION  # noqa: PLC0415 - the version that is installed

    found = Capabilities()
    with version(200, "2.0") as (url, paths):
        found.probe(client(object()), url)
    assert paths == []
    assert lacking(found) == {"MODELS"}
    (sentence,) = found.sentences(EVERYTHING)
    assert sentence.startswith(f"the MLflow that is installed here ({VERSION}) has no LoggedModels")


@pytest.mark.parametrize(
    ("status", "body", "said", "expected"),
    [
        (200, "2.22.1\n", "the tracking server (MLflow 2.22.1)", {"MODELS"}),
        (200, "2.4.0", "the tracking server (MLflow 2.4.0)", {"MODELS"}),
        (200, "2.3.2", "the tracking server (MLflow 2.3.2)", {"MODELS", "DATASETS"}),
        (200, "2.2", "the tracking server (MLflow 2.2)", {"MODELS", "DATASETS", "REGISTRY"}),
        (200, "3.1.0.dev0", "the tracking server (MLflow 3.1.0.dev0)", {"MODELS"}),
        (200, "2", "this tracking server", {"MODELS"}),
        (200, "2.0.1.dev0.more", "this tracking server", {"MODELS"}),
        (200, "<html>2.0</html>", "this tracking server", {"MODELS"}),
        (404, "2.0", "this tracking server", {"MODELS"}),
    ],
)
def test_a_server_names_its_version(status: int, body: str, said: str, expected: set[str]) -> None:
    """A server's version shows what else is missing, if it can be read."""
    found = Capabilities()
    with version(status, body) as (url, paths):
        found.probe(client(Answers(ENDPOINT_NOT_FOUND)), f"{url}/")
    assert paths == ["/version"]
    assert lacking(found) == expected
    assert {each.partition(" has no ")[0] for each in found.sentences(EVERYTHING)} == {said}
    assert len(found.sentences(EVERYTHING)) == len(expected)


def test_a_server_that_has_models_is_not_asked_for_its_version() -> None:
    """The version of a server that lacks nothing is not requested."""
    with version(200, "2.0") as (url, paths):
        found = Capabilities()
        found.probe(client(Answers()), url)
    assert paths == []
    assert lacking(found) == set()


def test_a_server_that_is_gone_has_no_version() -> None:
    """A server that does not return its version lacks only the models."""
    found = Capabilities()
    found.probe(client(Answers(ENDPOINT_NOT_FOUND)), "http://127.0.0.1:9")
    assert lacking(found) == {"MODELS"}


@pytest.mark.parametrize(
    ("lacks", "models", "datasets", "register"),
    [
        ((), True, True, "{suffix}"),
        ((Feature.MODELS,), False, True, None),
        ((Feature.DATASETS,), True, False, "{suffix}"),
        ((Feature.REGISTRY,), True, True, None),
    ],
)
def test_only_the_rest_is_possible(
    lacks: tuple[Feature, ...], register: str | None, *, models: bool, datasets: bool
) -> None:
    """A version needs a model and an alias; models and datasets need only themselves."""
    found = Capabilities()
    for feature in lacks:
        with found.trying(feature, client(Answers())):
            raise MlflowException("no", ENDPOINT_NOT_FOUND)
    possible = found.possible(EVERYTHING)
    assert (possible.models, possible.datasets) == (models, datasets)
    assert possible.register == register
    nothing = RecordingOptions(models=False, datasets=False, register=None)
    assert found.possible(nothing) == nothing
    assert found.sentences(nothing) == ()
    assert len(found.sentences(EVERYTHING)) == len(lacks)


def test_another_refusal_goes_on() -> None:
    """Any other refusal is raised, and the feature is not taken for missing."""
    found, answers = Capabilities(), Answers()
    with (
        pytest.raises(MlflowException, match="denied"),
        found.trying(Feature.DATASETS, client(answers)),
    ):
        raise MlflowException("denied", PERMISSION_DENIED)
    assert answers.asked == []
    assert lacking(found) == set()
