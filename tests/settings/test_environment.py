"""Providers and values from the environment."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bridge.errors import ConfigError
from bridge.settings.load import load
from tests.support.configuration import KEY, ONE_PROVIDER, OPENAI, key_of, loaded, problems


def test_providers_are_found_by_their_keys() -> None:
    """Without a file each key in the environment is a provider under its usual name and address."""
    found = load(None, OPENAI | {"MISTRAL_API_KEY": "key-of-mistral"})
    assert [(p.name, p.type, p.base_url, key_of(p)) for p in found.providers] == [
        ("openai", "openai", "https://api.openai.com/v1", KEY),
        ("mistral", "mistral", "https://api.mistral.ai/v1", "key-of-mistral"),
    ]


def test_openais_own_variables_are_followed() -> None:
    """The address, organization and project in OpenAI's variables are used."""
    (provider,) = load(
        None,
        OPENAI
        | {
            "OPENAI_BASE_URL": "https://gateway.internal/v1",
            "OPENAI_ORG_ID": "org-1",
            "OPENAI_PROJECT_ID": "proj_1",
        },
    ).providers
    assert provider.base_url == "https://gateway.internal/v1"
    headers = {name: value.get_secret_value() for name, value in provider.headers.items()}
    assert headers == {"OpenAI-Organization": "org-1", "OpenAI-Project": "proj_1"}


def test_an_empty_key_is_no_provider() -> None:
    """A variable that is set to nothing counts as unset."""
    found = load(None, {"OPENAI_API_KEY": "", "MISTRAL_API_KEY": "key-of-mistral"})
    assert [provider.name for provider in found.providers] == ["mistral"]


def test_no_provider_at_all_is_a_problem_with_ways_out() -> None:
    """Without a file and without keys, the problem names both ways to configure a provider."""
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    (problem,) = caught.value.problems
    assert problem.startswith("providers: ")
    for way in ("OPENAI_API_KEY", "MISTRAL_API_KEY", "ftbridge init", "ftbridge demo"):
        assert way in problem


def test_a_file_follows_the_address_of_the_environment() -> None:
    """A provider in the file takes its address from its type's variable unless it has one."""
    environ = OPENAI | {"OPENAI_BASE_URL": "https://gateway.internal/v1"}
    text = "providers: [{name: a, type: openai}, {name: b, type: openai, base_url: 'https://b/v1'}]"
    found = [provider.base_url for provider in loaded(text, environ).providers]
    assert found == ["https://gateway.internal/v1", "https://b/v1"]
    text = "providers: [{name: openai, type: mistral, api_key: k}]"
    assert loaded(text, environ).providers[0].base_url == "https://api.mistral.ai/v1"


def test_a_key_may_stay_in_the_environment() -> None:
    """A provider in the file takes its key from the variable of its SDK."""
    (provider,) = loaded("providers: [{name: team, type: openai}]", OPENAI).providers
    assert key_of(provider) == KEY


def test_a_missing_key_is_named_with_its_variable() -> None:
    """A provider without a key names the variable to export."""
    found = problems("providers: [{name: mistral}, {name: team, type: openai}]")
    assert "MISTRAL_API_KEY" in found["providers[0].api_key"]
    assert "OPENAI_API_KEY" in found["providers[1].api_key"]


AZURE = {
    "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/",
    "AZURE_OPENAI_API_KEY": KEY,
}


@pytest.mark.parametrize(
    ("environ", "base_url", "version", "auth"),
    [
        ({}, "https://res.openai.azure.com/openai/v1", None, "key"),
        (
            {"OPENAI_API_VERSION": "2024-10-21"},
            "https://res.openai.azure.com/openai",
            "2024-10-21",
            "key",
        ),
        ({"AZURE_OPENAI_AD_TOKEN": KEY}, "https://res.openai.azure.com/openai/v1", None, "token"),
        (
            {"AZURE_OPENAI_AD_TOKEN": KEY, "AZURE_OPENAI_API_KEY": ""},
            "https://res.openai.azure.com/openai/v1",
            None,
            "token",
        ),
    ],
)
def test_azure_is_found_as_its_sdk_finds_it(
    environ: Mapping[str, str], base_url: str, version: str | None, auth: str
) -> None:
    """A version selects Azure's older form of address, and a token comes before a key."""
    (provider,) = load(None, {**AZURE, **environ}).providers
    assert (provider.name, provider.type) == ("azure", "azure")
    assert (provider.base_url, provider.api_version, provider.auth) == (base_url, version, auth)
    assert key_of(provider) == KEY


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"AZURE_OPENAI_API_KEY": KEY}, []),
        ({"AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com"}, []),
        ({"FIREWORKS_API_KEY": KEY}, []),
        ({"FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": "acme"}, ["fireworks"]),
        ({"NEBIUS_API_KEY": KEY}, ["nebius"]),
        ({"TOGETHER_API_KEY": KEY}, ["together"]),
    ],
)
def test_a_key_without_its_address_is_for_something_else(
    environ: Mapping[str, str], found: list[str]
) -> None:
    """An Azure key without an address, as callers of models have it, breaks no configuration."""
    names = [provider.name for provider in load(None, {**OPENAI, **environ}).providers]
    assert names == ["openai", *found]


def test_an_account_is_part_of_the_address() -> None:
    """An account in the environment is part of the address, also for a provider in a file."""
    account = {"FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": "acme"}
    for found in (load(None, account), loaded("providers: [{name: fireworks}]", account)):
        assert found.providers[0].base_url == "https://api.fireworks.ai/v1/accounts/acme"


def test_an_azure_resource_in_a_file() -> None:
    """The file comes before the environment, key by key."""
    (provider,) = loaded(
        "providers: [{name: east, type: azure, api_key: own-key,"
        " base_url: 'https://east.openai.azure.com/openai', api_version: 2025-04-01-preview}]",
        AZURE | {"AZURE_OPENAI_AD_TOKEN": "ignored-token", "OPENAI_API_VERSION": "2024-10-21"},
    ).providers
    assert provider.base_url == "https://east.openai.azure.com/openai"
    assert (provider.auth, key_of(provider)) == ("key", "own-key")
    assert provider.api_version == "2025-04-01-preview"


def test_a_version_in_the_environment_is_for_the_form_that_needs_one() -> None:
    """A version in the environment is ignored for an address that ends in /openai/v1."""
    for base, version in (("/openai", "2024-10-21"), ("/openai/v1", None)):
        (provider,) = loaded(
            f"providers: [{{name: azure, base_url: 'https://res.openai.azure.com{base}'}}]",
            AZURE | {"OPENAI_API_VERSION": "2024-10-21"},
        ).providers
        assert provider.api_version == version


@pytest.mark.parametrize("written", ["2024-10-21", "'2024-10-21'", '"2024-10-21"'])
def test_a_version_that_is_a_date_needs_no_quotes(written: str) -> None:
    """A version needs no quotes, although YAML reads it as a date."""
    (provider,) = loaded(
        "providers: [{name: azure, api_key: some-key, base_url: 'https://a.example/openai',"
        f" api_version: {written}}}]"
    ).providers
    assert provider.api_version == "2024-10-21"


def test_entra_needs_no_key() -> None:
    """Entra needs no key, and takes none from the environment."""
    (provider,) = loaded("providers: [{name: azure, auth: entra}]", AZURE).providers
    assert (provider.auth, provider.api_key) == ("entra", None)
    assert list(load(None, AZURE).secrets({}))


@pytest.mark.parametrize(
    ("written", "path", "hint"),
    [
        ("type: azure, api_key: kkk", "base_url", "AZURE_OPENAI_ENDPOINT"),
        ("type: azure, api_key: kkk", "base_url", "/openai/v1"),
        ("type: azure, base_url: 'https://a/openai/v1'", "api_key", "AZURE_OPENAI_API_KEY"),
        ("type: azure, base_url: 'https://a/openai/v1'", "api_key", "auth: entra"),
        ("type: azure, base_url: 'https://a/openai', api_key: k", "api_version", "2024-10-21"),
        ("type: azure, auth: token, base_url: 'https://a/v1'", "api_key", "AZURE_OPENAI_AD_TOKEN"),
        ("type: azure, auth: magic, base_url: 'https://a/v1', api_key: k", "auth", "entra"),
        ("type: openai, auth: entra", "auth", "for type azure"),
        ("type: openai, api_key: k, api_version: 1", "api_version", ""),
        ("type: openai, api_key: k, api_version: v1", "api_version", "for type azure"),
        (
            "type: azure, base_url: 'https://a/openai', api_key: k, api_version: a b",
            "api_version",
            "",
        ),
        ("type: fireworks, api_key: k", "base_url", "FIREWORKS_ACCOUNT_ID"),
        ("type: together", "api_key", "TOGETHER_API_KEY"),
    ],
)
def test_what_a_kind_of_provider_needs_is_said(written: str, path: str, hint: str) -> None:
    """A missing setting is reported with the variable to export and the key to write."""
    found = problems(f"providers: [{{name: mine, {written}}}]")
    assert hint in found.pop(f"providers[0].{path}")
    assert not set(found) - {"providers[0].api_key"}


def test_ways_in_are_reported_for_every_kind() -> None:
    """Without any provider the ways to configure each type are listed."""
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    (problem,) = caught.value.problems
    assert "AZURE_OPENAI_API_KEY with AZURE_OPENAI_ENDPOINT" in problem
    assert "FIREWORKS_API_KEY with FIREWORKS_ACCOUNT_ID" in problem


def test_variables_expand_wherever_there_is_text() -> None:
    """``${VAR}`` is replaced anywhere in a text, more than once, and in headers and lists."""
    (provider,) = loaded(
        "providers: [{name: '${NAME}', type: openai, api_key: '${K}',"
        " base_url: 'https://${HOST}/${PATH_PART}/v1', headers: {X: 'a-${NAME}'}}]",
        {"NAME": "team", "K": KEY, "HOST": "host", "PATH_PART": "path"},
    ).providers
    assert provider.name == "team"
    assert key_of(provider) == KEY
    assert provider.base_url == "https://host/path/v1"
    assert provider.headers["X"].get_secret_value() == "a-team"


@pytest.mark.parametrize(
    ("environ", "expected"), [({}, "fallback"), ({"E": "named"}, "named"), ({"E": ""}, "")]
)
def test_a_default_counts_where_a_variable_is_unset(
    environ: Mapping[str, str], expected: str
) -> None:
    """``${VAR:-default}`` is the variable if it is set and the default if it is not."""
    text = ONE_PROVIDER + "mlflow: {tracking_uri: 'x${E:-fallback}'}"
    assert loaded(text, environ).mlflow.tracking_uri == f"x{expected}"


def test_an_expanded_value_is_not_expanded_again() -> None:
    """A value from the environment is used unchanged, whatever signs it holds."""
    text = "providers: [{name: openai, api_key: '${K}'}]"
    assert key_of(loaded(text, {"K": "a${B}c"}).providers[0]) == "a${B}c"


@pytest.mark.parametrize("environ", [{}, {"A": "", "B": ""}])
def test_every_unset_variable_is_named_at_its_key(environ: Mapping[str, str]) -> None:
    """Unset and empty variables are reported together, each at its key, with the remedy."""
    found = problems(
        ONE_PROVIDER + "mlflow: {tracking_uri: '${A}', experiment: 'x-${B}'}\npoll: {workers: 0}",
        environ,
    )
    assert found.keys() == {"mlflow.tracking_uri", "mlflow.experiment", "poll.workers"}
    assert "A is not set" in found["mlflow.tracking_uri"]
    assert "${A:-default}" in found["mlflow.tracking_uri"]
    assert "B is not set" in found["mlflow.experiment"]


def test_two_unset_variables_in_one_value_are_both_named() -> None:
    """Two unset variables in one value are both named in the first report."""
    found = problems(ONE_PROVIDER + "mlflow: {tracking_uri: 'http://${THE_HOST}:${THE_PORT}'}")
    assert "THE_HOST" in found["mlflow.tracking_uri"]
    assert "THE_PORT" in found["mlflow.tracking_uri"]


def test_an_unset_variable_has_no_consequences_of_its_own() -> None:
    """An unset variable is one problem, and the type that it implies is not a second one."""
    found = problems("providers: [{name: '${NAME}', api_key: some-key}]")
    assert found.keys() == {"providers[0].name"}


GOOGLE = {"GOOGLE_CLOUD_PROJECT": "acme"}


@pytest.mark.parametrize(
    ("environ", "location", "base_url", "auth"),
    [
        ({}, "us-central1", "https://us-central1-aiplatform.googleapis.com", "google"),
        (
            {"GOOGLE_CLOUD_LOCATION": "europe-west4"},
            "europe-west4",
            "https://europe-west4-aiplatform.googleapis.com",
            "google",
        ),
        (
            {"GOOGLE_CLOUD_LOCATION": "global", "CLOUDSDK_AUTH_ACCESS_TOKEN": KEY},
            "global",
            "https://aiplatform.googleapis.com",
            "token",
        ),
        (
            {"GOOGLE_VERTEX_BASE_URL": "https://vertex.internal"},
            "us-central1",
            "https://vertex.internal",
            "google",
        ),
    ],
)
def test_vertex_is_found_as_googles_tools_find_it(
    environ: Mapping[str, str], location: str, base_url: str, auth: str
) -> None:
    """Vertex is found by its project, and a token comes before the signed-in user."""
    (provider,) = load(None, {**GOOGLE, **environ}).providers
    assert (provider.name, provider.type, provider.project) == ("vertex", "vertex", "acme")
    assert (provider.location, provider.base_url, provider.auth) == (location, base_url, auth)
    assert provider.options == {"project": "acme", "location": location}


def test_a_project_beside_other_keys_counts_if_more_is_said() -> None:
    """A project alongside other keys counts only if more is set, because other tools use it too."""
    for environ, found in (
        (OPENAI | GOOGLE, ["openai"]),
        (OPENAI | GOOGLE | {"GOOGLE_CLOUD_LOCATION": "us-central1"}, ["openai", "vertex"]),
        (OPENAI | GOOGLE | {"GOOGLE_APPLICATION_CREDENTIALS": "/a"}, ["openai", "vertex"]),
    ):
        assert [provider.name for provider in load(None, environ).providers] == found


def test_prime_is_found_with_its_team() -> None:
    """Prime is found with its team and with an address that ends before the version."""
    environ = {"PRIME_API_KEY": KEY, "PRIME_TEAM_ID": "team-1"}
    (provider,) = load(None, environ).providers
    assert (provider.base_url, provider.options) == (
        "https://api.primeintellect.ai/api/v1",
        {"team": "team-1"},
    )
    (provider,) = load(None, environ | {"PRIME_BASE_URL": "https://prime.internal/"}).providers
    assert provider.base_url == "https://prime.internal/api/v1"
    (provider,) = loaded(
        "providers: [{name: prime, base_url: 'https://file.example/api/v1', team: mine}]",
        environ | {"PRIME_BASE_URL": "https://prime.internal"},
    ).providers
    assert (provider.base_url, provider.team) == ("https://file.example/api/v1", "mine")


@pytest.mark.parametrize(
    ("entry", "key", "said"),
    [
        ("type: vertex", "project", "GOOGLE_CLOUD_PROJECT"),
        ("type: vertex, project: 'a b'", "project", "letters"),
        ("type: vertex, project: a, auth: token", "api_key", "or auth: google"),
        ("type: vertex, project: a, auth: key, api_key: k", "auth", "google or token"),
        ("type: openai, auth: google, api_key: k", "auth", "for type vertex"),
        ("type: openai, project: a, api_key: k", "project", "for type vertex"),
        ("type: vertex, project: a, team: t", "team", "for type prime"),
    ],
)
def test_what_a_type_needs_and_what_is_for_another(entry: str, key: str, said: str) -> None:
    """A missing setting and a setting of another type are each reported with the remedy."""
    found = problems(f"providers: [{{name: a, {entry}}}]")
    assert said in found[f"providers[0].{key}"]
