"""The configuration: where it comes from, what it may hold, and how its problems are told."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.config import STARTER, load
from bridge.errors import ConfigError
from bridge.providers import TYPES
from bridge.settings import ProviderSettings, Settings
from bridge.vocabulary import PRESETS

KEY = "sk-that-must-not-show"
OPENAI = {"OPENAI_API_KEY": KEY}
ONE_PROVIDER = f"providers: [{{name: openai, api_key: {KEY}}}]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty working folder: the default path is looked up in it."""
    with contextlib.chdir(tmp_path):
        yield tmp_path


def loaded(text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that a file with this text gives."""
    path = Path("written.yaml")
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def key_of(provider: ProviderSettings) -> str:
    """A provider's key."""
    assert provider.api_key is not None
    return provider.api_key.get_secret_value()


def problems(text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is wrong with a file with this text, by the key's path."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, environ)
    found = [problem.partition(": ") for problem in caught.value.problems]
    assert len({path for path, _, _ in found}) == len(found), "a key is complained about twice"
    return {path: what for path, _, what in found}


# Where it comes from


def test_a_file_with_one_provider_gets_the_defaults() -> None:
    """What a file leaves out is as the documentation says."""
    found = loaded("providers: [{name: openai, api_key: some-key}]")
    assert found.mlflow.tracking_uri == "sqlite:///mlflow.db"
    assert found.mlflow.experiment == "hosted-fine-tunes"
    assert found.mlflow.metric_names == "provider"
    assert found.mlflow.curves is True
    assert found.mlflow.archive is True
    assert found.mlflow.archive_datasets is False
    assert found.mlflow.register_as is None
    assert found.mlflow.routes == ()
    assert found.mlflow.open_to_jobs == ()
    assert found.poll.interval == 60
    assert found.poll.workers == 8
    (provider,) = found.providers
    assert (provider.name, provider.type) == ("openai", "openai")
    assert key_of(provider) == "some-key"
    assert provider.base_url == "https://api.openai.com/v1"
    assert provider.experiment is None


def test_everything_in_a_file_is_taken() -> None:
    """Each documented key says what the bridge does."""
    found = loaded(
        """
        mlflow:
          tracking_uri: http://mlflow.internal:5000
          experiment: all-fine-tunes
          metric_names: huggingface
          curves: false
          archive: false
          archive_datasets: true
          register: "{provider}-{suffix}"
          routes:
            - {experiment: support, provider: team-*, base_model: "open-*", suffix: "support-?"}
            - {experiment: the-rest}
          open_to_jobs: [team-*, sandbox]
        poll: {interval: 5m, idle_interval: 1h, workers: 3}
        providers:
          - name: team-a
            type: mistral
            api_key: key-of-team-a
            base_url: https://proxy.internal/mistral/v1
            experiment: team-a
            headers: {X-Team: a}
        """,
        {"MLFLOW_TRACKING_URI": "http://ignored", "MISTRAL_API_KEY": "ignored"},
    )
    assert found.mlflow.tracking_uri == "http://mlflow.internal:5000"
    assert found.mlflow.experiment == "all-fine-tunes"
    assert found.mlflow.metric_names == "huggingface"
    assert found.mlflow.curves is False
    assert found.mlflow.archive is False
    assert found.mlflow.archive_datasets is True
    assert found.mlflow.register_as == "{provider}-{suffix}"
    assert [route.model_dump() for route in found.mlflow.routes] == [
        {
            "experiment": "support",
            "provider": "team-*",
            "base_model": "open-*",
            "suffix": "support-?",
        },
        {"experiment": "the-rest", "provider": "*", "base_model": "*", "suffix": "*"},
    ]
    assert found.mlflow.open_to_jobs == ("team-*", "sandbox")
    poll = found.poll
    assert (poll.interval, poll.idle_interval, poll.workers) == (300, 3600, 3)
    (provider,) = found.providers
    assert (provider.name, provider.type) == ("team-a", "mistral")
    assert key_of(provider) == "key-of-team-a"
    assert provider.base_url == "https://proxy.internal/mistral/v1"
    assert provider.experiment == "team-a"
    assert provider.headers["X-Team"].get_secret_value() == "a"


def test_a_named_path_comes_before_all_others(folder: Path) -> None:
    """The path on the command line, then the variable, then the default file, then nothing."""
    (folder / "config").mkdir()
    for name in ("option", "variable", "config/bridge"):
        (folder / f"{name}.yaml").write_text(f"mlflow: {{experiment: by-{name}}}")
    environ = OPENAI | {"MLFLOW_EXPERIMENT_NAME": "by-environment"}
    both = environ | {"FTBRIDGE_CONFIG": "variable.yaml"}
    assert load(Path("option.yaml"), both).mlflow.experiment == "by-option"
    assert load(None, both).mlflow.experiment == "by-variable"
    assert load(None, environ).mlflow.experiment == "by-config/bridge"
    (folder / "config/bridge.yaml").unlink()
    assert load(None, environ).mlflow.experiment == "by-environment"


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_file_that_was_asked_for_has_to_exist(*, by_variable: bool) -> None:
    """A path that is named but missing is a problem; the environment does not take its place."""
    environ = OPENAI | ({"FTBRIDGE_CONFIG": "missing.yaml"} if by_variable else {})
    with pytest.raises(ConfigError, match=r"missing\.yaml.*ftbridge init missing\.yaml"):
        load(None if by_variable else Path("missing.yaml"), environ)


def test_an_empty_variable_names_no_file() -> None:
    """An empty $FTBRIDGE_CONFIG is as good as none."""
    assert load(None, OPENAI | {"FTBRIDGE_CONFIG": ""}).providers[0].name == "openai"


def test_the_file_comes_before_the_environment() -> None:
    """MLflow's variables count only where the file is silent."""
    environ = {"MLFLOW_TRACKING_URI": "http://from-environment", "MLFLOW_EXPERIMENT_NAME": "env"}
    found = loaded(ONE_PROVIDER + "mlflow: {experiment: from-file}", environ)
    assert found.mlflow.tracking_uri == "http://from-environment"
    assert found.mlflow.experiment == "from-file"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "mlflow:\nproviders:\npoll:\n"])
def test_a_file_may_leave_everything_to_the_environment(text: str) -> None:
    """An empty file, or one whose sections are empty, is as good as no file."""
    assert loaded(text, OPENAI) == load(None, OPENAI)


def test_the_starter_file_loads_as_it_is() -> None:
    """What ``ftbridge init`` writes needs a key in the environment and nothing else."""
    found = load(STARTER, OPENAI)
    assert found == loaded(ONE_PROVIDER)


def test_the_starter_file_says_which_key_is_missing() -> None:
    """Without a key the starter file has one problem, and it names the variable."""
    with pytest.raises(ConfigError) as caught:
        load(STARTER, {})
    (problem,) = caught.value.problems
    assert problem.startswith("providers[0].api_key: ")
    assert "OPENAI_API_KEY" in problem


# Providers from the environment


def test_providers_are_found_by_their_keys() -> None:
    """With no file each key in the environment is a provider under its usual name and address."""
    found = load(None, OPENAI | {"MISTRAL_API_KEY": "key-of-mistral"})
    assert [(p.name, p.type, p.base_url, key_of(p)) for p in found.providers] == [
        ("openai", "openai", "https://api.openai.com/v1", KEY),
        ("mistral", "mistral", "https://api.mistral.ai/v1", "key-of-mistral"),
    ]


def test_openais_own_variables_are_followed() -> None:
    """The address, organisation and project that OpenAI's SDK would use are used."""
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
    """A variable that is set to nothing is as good as unset."""
    found = load(None, {"OPENAI_API_KEY": "", "MISTRAL_API_KEY": "key-of-mistral"})
    assert [provider.name for provider in found.providers] == ["mistral"]


def test_no_provider_at_all_is_a_problem_with_ways_out() -> None:
    """Without a file and without keys, both ways to name a provider are said."""
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    (problem,) = caught.value.problems
    assert problem.startswith("providers: ")
    for way in ("OPENAI_API_KEY", "MISTRAL_API_KEY", "ftbridge init"):
        assert way in problem


def test_a_key_may_stay_in_the_environment() -> None:
    """A provider in the file takes its key from the variable that its SDK uses."""
    (provider,) = loaded("providers: [{name: team, type: openai}]", OPENAI).providers
    assert key_of(provider) == KEY


def test_a_missing_key_is_named_with_its_variable() -> None:
    """A provider without key says which variable to export."""
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
    """A version selects the older form of address, and a token comes before a key."""
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
    """Who only calls models has such a key: it does not break what is configured."""
    names = [provider.name for provider in load(None, {**OPENAI, **environ}).providers]
    assert names == ["openai", *found]


def test_an_account_is_part_of_the_address() -> None:
    """From the environment, in a file too."""
    account = {"FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": "acme"}
    for found in (load(None, account), loaded("providers: [{name: fireworks}]", account)):
        assert found.providers[0].base_url == "https://api.fireworks.ai/v1/accounts/acme"


def test_an_azure_resource_in_a_file() -> None:
    """What the file says comes before the environment, key by key."""
    (provider,) = loaded(
        "providers: [{name: east, type: azure, api_key: own-key,"
        " base_url: 'https://east.openai.azure.com/openai', api_version: 2025-04-01-preview}]",
        AZURE | {"AZURE_OPENAI_AD_TOKEN": "ignored-token", "OPENAI_API_VERSION": "2024-10-21"},
    ).providers
    assert provider.base_url == "https://east.openai.azure.com/openai"
    assert (provider.auth, key_of(provider)) == ("key", "own-key")
    assert provider.api_version == "2025-04-01-preview"


def test_a_version_in_the_environment_is_for_the_form_that_needs_one() -> None:
    """An address that ends in /openai/v1 is asked without."""
    for base, version in (("/openai", "2024-10-21"), ("/openai/v1", None)):
        (provider,) = loaded(
            f"providers: [{{name: azure, base_url: 'https://res.openai.azure.com{base}'}}]",
            AZURE | {"OPENAI_API_VERSION": "2024-10-21"},
        ).providers
        assert provider.api_version == version


@pytest.mark.parametrize("written", ["2024-10-21", "'2024-10-21'", '"2024-10-21"'])
def test_a_version_that_is_a_date_needs_no_quotes(written: str) -> None:
    """To YAML it is a date, to everybody else it is what stands there."""
    (provider,) = loaded(
        "providers: [{name: azure, api_key: some-key, base_url: 'https://a.example/openai',"
        f" api_version: {written}}}]"
    ).providers
    assert provider.api_version == "2024-10-21"


def test_entra_needs_no_key() -> None:
    """And takes none from the environment."""
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
    """With the variable to export and the key to write."""
    found = problems(f"providers: [{{name: mine, {written}}}]")
    assert hint in found.pop(f"providers[0].{path}")
    assert not set(found) - {"providers[0].api_key"}


def test_ways_in_are_told_for_every_kind() -> None:
    """With no provider at all."""
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    (problem,) = caught.value.problems
    assert "AZURE_OPENAI_API_KEY with AZURE_OPENAI_ENDPOINT" in problem
    assert "FIREWORKS_API_KEY with FIREWORKS_ACCOUNT_ID" in problem


# Variables


def test_variables_expand_wherever_there_is_text() -> None:
    """``${VAR}`` is replaced, also within a text, more than once, and in headers and lists."""
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
    """A value from the environment is taken as it is, whatever signs it holds."""
    text = "providers: [{name: openai, api_key: '${K}'}]"
    assert key_of(loaded(text, {"K": "a${B}c"}).providers[0]) == "a${B}c"


@pytest.mark.parametrize("environ", [{}, {"A": "", "B": ""}])
def test_every_unset_variable_is_named_at_its_key(environ: Mapping[str, str]) -> None:
    """Unset and empty variables are told all at once, each where it stands, with the remedy."""
    found = problems(
        ONE_PROVIDER + "mlflow: {tracking_uri: '${A}', experiment: 'x-${B}'}\npoll: {workers: 0}",
        environ,
    )
    assert found.keys() == {"mlflow.tracking_uri", "mlflow.experiment", "poll.workers"}
    assert "A is not set" in found["mlflow.tracking_uri"]
    assert "${A:-default}" in found["mlflow.tracking_uri"]
    assert "B is not set" in found["mlflow.experiment"]


def test_two_unset_variables_in_one_value_are_both_named() -> None:
    """Nobody has to run the command again to learn of the second variable."""
    found = problems(ONE_PROVIDER + "mlflow: {tracking_uri: 'http://${THE_HOST}:${THE_PORT}'}")
    assert "THE_HOST" in found["mlflow.tracking_uri"]
    assert "THE_PORT" in found["mlflow.tracking_uri"]


def test_an_unset_variable_has_no_consequences_of_its_own() -> None:
    """A name that cannot be expanded is one problem: the type that it implies is no second one."""
    found = problems("providers: [{name: '${NAME}', api_key: some-key}]")
    assert found.keys() == {"providers[0].name"}


# Problems


def test_all_problems_are_told_at_once() -> None:
    """One run tells everything that is wrong, each with the key's path."""
    found = problems(
        """
        mlfow: {}
        mlflow: {experiment: '', curves: maybe, metric_names: hugingface}
        poll: {intervall: 60s, interval: soon, workers: many}
        providers:
          - {name: openai, api_key: '', base_url: api.openai.com}
          - {name: 'two words', type: opnai, api_key: some-key}
          - just text
        """
    )
    assert found.keys() == {
        "mlfow",
        "mlflow.experiment",
        "mlflow.curves",
        "mlflow.metric_names",
        "poll.intervall",
        "poll.interval",
        "poll.workers",
        "providers[0].api_key",
        "providers[0].base_url",
        "providers[1].name",
        "providers[1].type",
        "providers[2]",
    }
    assert "did you mean mlflow?" in found["mlfow"]
    assert "did you mean interval?" in found["poll.intervall"]
    assert "60s" in found["poll.interval"]
    assert "huggingface" in found["mlflow.metric_names"]
    assert "https://" in found["providers[0].base_url"]
    assert ", ".join(TYPES) in found["providers[1].type"]
    assert all(found.values())


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("providr: 1", "providr", "did you mean providers?"),
        ("mlflow: {tracking_url: x}", "mlflow.tracking_url", "did you mean tracking_uri?"),
        ("mlflow: {zzz: x}", "mlflow.zzz", "tracking_uri, experiment"),
        ("mlflow: {registers: true}", "mlflow.registers", "did you mean register?"),
        (
            "mlflow: {routes: [{experiment: a}, {experiment: b, model: x}]}",
            "mlflow.routes[1].model",
            "did you mean base_model?",
        ),
        ("poll: {worker: 3}", "poll.worker", "did you mean workers?"),
        (
            "providers: [{name: openai, api_key: kkk, baseurl: x}]",
            "providers[0].baseurl",
            "did you mean base_url?",
        ),
    ],
)
def test_an_unknown_key_comes_with_the_known_ones(text: str, path: str, hint: str) -> None:
    """A misspelt key is an error that suggests the right one, or lists what there is."""
    assert hint in problems(text, OPENAI)[path]


def test_two_providers_cannot_share_a_name() -> None:
    """The name is a tag's value, so it has to tell the providers apart."""
    found = problems(
        "providers: [{name: openai, api_key: some-key}, {name: openai, api_key: other-key}]"
    )
    assert found.keys() == {"providers"}


def test_a_key_cannot_be_written_twice() -> None:
    """YAML would drop the first section without a word, and with it a provider."""
    found = problems(ONE_PROVIDER + "providers: [{name: mistral, api_key: other-key}]")
    assert any("providers" in f"{path} {what}" for path, what in found.items())


@pytest.mark.parametrize(
    "text",
    [
        "providers: [",
        "providers:\n\t- name: openai",
        "a: b: c",
        "api_key: @nothing",
        "a: \x00",
        "? [a, b]\n: c",
        "a: !!python/object/apply:os.getcwd []",
        "a: 2026-99-99",
        "a: 0x_",
        "a: !!int many",
        "a: !!bool perhaps",
        "a: !!timestamp once",
        "a: " + "9" * 5000,
        "mlflow: &again {experiment: *again}",
        "a: &again [*again]",
        "a: " + "[" * 5000,
        "- a list",
        "just text",
        "42",
        "2026-01-31",
    ],
)
def test_a_file_that_is_no_configuration_is_told_by_its_name(text: str) -> None:
    """Broken YAML, YAML of another shape and values that no program can hold are one sentence."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, OPENAI)
    assert caught.value.problems
    assert all("\n" not in problem for problem in caught.value.problems)


def test_broken_yaml_is_told_with_its_line() -> None:
    """The line saves the search."""
    with pytest.raises(ConfigError, match=r"written\.yaml .*line 3"):
        loaded("mlflow:\n  experiment: x\n  curves: yes: no\npoll: {}\n")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"\x89PNG\r\n\x1a\n\x00", b"a: \xe9"])
def test_a_binary_file_is_no_configuration(folder: Path, content: bytes) -> None:
    """A file that is not text is told by its name."""
    (folder / "binary.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load(Path("binary.yaml"), OPENAI)


def test_a_folder_is_no_configuration(folder: Path) -> None:
    """A path to a folder is told by its name."""
    (folder / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.yaml"):
        load(Path("folder.yaml"), OPENAI)


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1500ms", 1.5),
        ("30s", 30),
        ("'45'", 45),
        ("45", 45),
        ("2.5", 2.5),
        ("1.5m", 90),
        ("5 m", 300),
        ("' 1h '", 3600),
        ("1d", 86400),
    ],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    """The interval is a number of seconds, or a number with its unit."""
    assert loaded(ONE_PROVIDER + f"poll: {{interval: {text}}}").poll.interval == seconds


@pytest.mark.parametrize(
    "text",
    ["soon", "''", "60x", "s", "-5s", "0s", "500ms", "2d", "1e3s", "[60]", "null", ".nan", ".inf"],
)
def test_no_other_interval_is_taken(text: str) -> None:
    """A duration that cannot be read, or is beyond reason, is a problem of its key."""
    assert problems(ONE_PROVIDER + f"poll: {{interval: {text}}}").keys() == {"poll.interval"}


@pytest.mark.parametrize(
    ("poll", "provider", "expected"),
    [
        ("", "", (60, 300)),
        ("interval: 10s", "", (10, 50)),
        ("interval: 5m", "", (300, 600)),
        ("interval: 1h", "", (3600, 3600)),
        ("idle_interval: 1h", "", (60, 3600)),
        ("interval: 5m, idle_interval: 1m", "", (300, 300)),
        ("interval: 1h", "interval: 30s", (30, 150)),
        ("idle_interval: 2m", "interval: 10m", (600, 600)),
        ("idle_interval: 1h", "idle_interval: 1m", (60, 60)),
    ],
)
def test_a_provider_may_have_intervals_of_its_own(
    poll: str, provider: str, expected: tuple[float, float]
) -> None:
    """What it says comes first; without a word the second is five times the first, to 10 min."""
    own = f", {provider}" if provider else ""
    found = loaded(f"poll: {{{poll}}}\nproviders: [{{name: openai, api_key: {KEY}{own}}}]")
    assert found.intervals_of(found.providers[0]) == expected


@pytest.mark.parametrize("text", ["0", "0.09", "-1", "1001", "many", "1/s"])
def test_a_pace_is_a_number_of_requests(text: str) -> None:
    """As many a second; less than one in ten seconds would take longer than a request may wait."""
    entry = f"{{name: openai, api_key: {KEY}, requests_per_second: {text}}}"
    assert "providers[0].requests_per_second" in problems(f"providers: [{entry}]")


@pytest.mark.parametrize("text", ["0", "65", "-1", "2.5", "many", "null", ".inf", "[8]"])
def test_workers_are_a_small_number(text: str) -> None:
    """The number of workers is a whole one from 1 to 64."""
    assert problems(ONE_PROVIDER + f"poll: {{workers: {text}}}").keys() == {"poll.workers"}


@pytest.mark.parametrize("address", ["threads", "dask://scheduler:8786", "dask+tls://[::1]:1"])
def test_jobs_are_done_in_threads_or_on_a_cluster(address: str) -> None:
    """A cluster is named by its scheduler."""
    text = f"mlflow: {{tracking_uri: 'http://mlflow:5000'}}\npoll: {{executor: '{address}'}}"
    assert loaded(ONE_PROVIDER + text.replace("http:", "https:")).poll.executor == address


@pytest.mark.parametrize(
    "text",
    [
        *("processes", "dask", "dask://", "dask://host", "'dask://host:'", "dask://host:8786/path"),
        *("tcp://host:8786", "dask://me:secret@host:8786", "dask://a b:1", "''", "5", "[x]"),
    ],
)
def test_no_other_executor_is_taken(text: str) -> None:
    """What is no address of a scheduler is told at once, not by the first pass."""
    assert problems(ONE_PROVIDER + f"poll: {{executor: {text}}}").keys() == {"poll.executor"}


@pytest.mark.parametrize(
    "uri", ["sqlite:///mlflow.db", "sqlite:////data/mlflow.db", "mlruns", "file:///data/mlruns"]
)
def test_a_cluster_does_not_write_to_a_file(uri: str) -> None:
    """Each of its machines would make a database of its own."""
    found = problems(
        f"mlflow: {{tracking_uri: '{uri}'}}\npoll: {{executor: 'dask://h:1'}}\n{ONE_PROVIDER}"
    )
    assert "PostgreSQL" in found["poll"]
    assert "PostgreSQL" in problems(f"poll: {{executor: 'dask://h:1'}}\n{ONE_PROVIDER}")["poll"]


@pytest.mark.parametrize(
    "address",
    ["api.openai.com/v1", "ftp://host/v1", "https://", "'https://[bad/v1'", "''", "5", "[x]"],
)
def test_an_address_has_to_be_one(address: str) -> None:
    """What no client could open is told here, not by a traceback later."""
    text = f"providers: [{{name: openai, api_key: some-key, base_url: {address}}}]"
    assert problems(text).keys() == {"providers[0].base_url"}


@pytest.mark.parametrize("key", ["sk-abc…", "sk-äbc", "sk-one\\nsk-two"])
def test_a_key_that_no_header_can_carry_is_a_problem(key: str) -> None:
    """A key that was pasted with a stray character is told of before it is sent."""
    found = problems(f'providers: [{{name: openai, api_key: "{key}"}}]')
    assert found.keys() == {"providers[0].api_key"}


@pytest.mark.parametrize("uri", ["'http://[bad'", "'postgresql://user:pass[word@host/db'"])
def test_a_tracking_uri_with_a_bracket_can_be_worked_with(uri: str) -> None:
    """A bracket, as a password may hold, is refused as a problem or its secrets are known."""
    try:
        found = loaded(ONE_PROVIDER + f"mlflow: {{tracking_uri: {uri}}}")
    except ConfigError as error:
        assert error.problems[0].startswith("mlflow.tracking_uri: ")  # noqa: PT017 - one of two ways
    else:
        assert KEY in set(found.secrets({}))


@pytest.mark.parametrize("preset", [*PRESETS])
def test_each_preset_of_metric_names_is_taken(preset: str) -> None:
    """The names that the vocabulary has can be configured."""
    found = loaded(ONE_PROVIDER + f"mlflow: {{metric_names: {preset}}}")
    assert found.mlflow.metric_names == preset


def test_metric_names_may_be_a_mapping() -> None:
    """A user's own names are taken as they are."""
    found = loaded(ONE_PROVIDER + "mlflow: {metric_names: {train_loss: loss, a.b: x/y z}}")
    assert found.mlflow.metric_names == {"train_loss": "loss", "a.b": "x/y z"}


@pytest.mark.parametrize("name", ["''", "'a,b'", "'../x'", "'/x'", "'x//y'", "x" * 251])
def test_a_metric_name_that_mlflow_refuses_is_refused_at_once(name: str) -> None:
    """A name that MLflow would not take is a problem before anything is written."""
    found = problems(ONE_PROVIDER + f"mlflow: {{metric_names: {{train_loss: {name}}}}}")
    assert found.keys() == {"mlflow.metric_names"}


@pytest.mark.parametrize("value", ["5", "[loss]", "true", "2026-01-31"])
def test_metric_names_of_a_wrong_type_are_one_problem(value: str) -> None:
    """The path is the key that was written, and the sentence says what may stand there."""
    found = problems(ONE_PROVIDER + f"mlflow: {{metric_names: {value}}}")
    assert found.keys() == {"mlflow.metric_names"}
    assert "huggingface" in found["mlflow.metric_names"]


@pytest.mark.parametrize(
    ("written", "template"),
    [
        ("true", "{suffix}"),
        ("false", None),
        ("null", None),
        ("our-models", "our-models"),
        ("'{base_model} by {provider}'", "{base_model} by {provider}"),
    ],
)
def test_a_registered_model_may_be_named_by_a_template(written: str, template: str | None) -> None:
    """``true`` is the job's suffix; a name may be made of what is known of each job."""
    found = loaded(ONE_PROVIDER + f"mlflow: {{register: {written}}}")
    assert found.mlflow.register_as == template


@pytest.mark.parametrize(
    "written", ["'{job}'", "'{suffix'", "'{}'", "'{0}'", "'{suffix:>9}'", "'{suffix!r}'", "' '"]
)
def test_a_template_that_no_job_can_fill_is_a_problem(written: str) -> None:
    """It is said before anything is written, with what a template may hold."""
    found = problems(ONE_PROVIDER + f"mlflow: {{register: {written}}}")
    assert found.keys() == {"mlflow.register"}
    assert "{suffix}" in found["mlflow.register"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("routes: [{suffix: a}]", "mlflow.routes[0].experiment"),
        ("routes: [{experiment: ''}]", "mlflow.routes[0].experiment"),
        ("routes: [{experiment: a}, {experiment: b, suffix: ''}]", "mlflow.routes[1].suffix"),
        ("routes: [{experiment: a, base_model: [x]}]", "mlflow.routes[0].base_model"),
        ("routes: [a]", "mlflow.routes[0]"),
        ("routes: {experiment: a}", "mlflow.routes"),
        (f"routes: [{{experiment: {'x' * 251}}}]", "mlflow.routes[0].experiment"),
        ("open_to_jobs: team-*", "mlflow.open_to_jobs"),
        ("open_to_jobs: [a, '']", "mlflow.open_to_jobs[1]"),
        ("open_to_jobs: true", "mlflow.open_to_jobs"),
        ("archive: sometimes", "mlflow.archive"),
        ("archive_datasets: 7", "mlflow.archive_datasets"),
        ("register: [a]", "mlflow.register"),
    ],
)
def test_a_wrong_value_is_told_at_its_place(text: str, path: str) -> None:
    """One problem for each, at the very entry that is wrong."""
    assert problems(ONE_PROVIDER + f"mlflow: {{{text}}}").keys() == {path}


def test_nothing_may_be_open_to_jobs() -> None:
    """An empty list closes every experiment but those that the configuration names itself."""
    assert loaded(ONE_PROVIDER + "mlflow: {open_to_jobs: []}").mlflow.open_to_jobs == ()


@pytest.mark.parametrize(
    "key", ["archive", "archive_datasets", "register", "routes", "open_to_jobs"]
)
def test_an_empty_value_is_the_default(key: str) -> None:
    """A key without a value is as good as none."""
    assert loaded(ONE_PROVIDER + f"mlflow: {{{key}: }}") == loaded(ONE_PROVIDER)


def test_variables_expand_in_routes() -> None:
    """As everywhere else, and an unset one is named at its place."""
    text = ONE_PROVIDER + "mlflow: {routes: [{experiment: '${TEAM}-support', suffix: s}]}"
    assert loaded(text, {"TEAM": "a"}).mlflow.routes[0].experiment == "a-support"
    assert problems(text).keys() == {"mlflow.routes[0].experiment"}


@pytest.mark.parametrize("section", ["mlflow", "poll", "providers"])
@pytest.mark.parametrize("value", ["text", "5", "true", "false", "0", "[1]"])
def test_a_section_of_a_wrong_type_is_a_problem(section: str, value: str) -> None:
    """A section is what it should be, or empty; anything else is not passed over."""
    other = "" if section == "providers" else ONE_PROVIDER
    found = problems(f"{other}{section}: {value}", OPENAI)
    assert all(path.startswith(section) for path in found), found


# Secrets


def test_all_secrets_are_known() -> None:
    """Keys, header values, passwords in addresses, and MLflow's own credentials can be masked."""
    found = loaded(
        """
        mlflow: {tracking_uri: 'postgresql://user:database-password@host/db'}
        providers:
          - name: openai
            api_key: key-of-openai
            base_url: https://user:proxy-password@host/v1
            headers: {X-Gateway: header-value}
          - {name: mistral, api_key: key-of-mistral}
        """
    )
    environ = {
        "MLFLOW_TRACKING_PASSWORD": "password-of-mlflow",
        "MLFLOW_TRACKING_TOKEN": "token-of-mlflow",
        "HOME": "/home/of/nobody",
    }
    assert set(found.secrets(environ)) - {""} == {
        "database-password",
        "key-of-openai",
        "proxy-password",
        "header-value",
        "key-of-mistral",
        "password-of-mlflow",
        "token-of-mlflow",
    }


def test_a_password_in_an_addresss_query_is_a_secret_too() -> None:
    """PostgreSQL's drivers take the password as a parameter as well."""
    found = loaded(
        ONE_PROVIDER + "mlflow: {tracking_uri: 'postgresql://host/db?user=u&password=hunter2-pw'}"
    )
    assert "hunter2-pw" in set(found.secrets({}))


def test_settings_do_not_show_keys() -> None:
    """Keys and header values are in no representation of the settings."""
    found = loaded("providers: [{name: openai, api_key: the-key-itself, headers: {X: the-header}}]")
    for shown in (repr(found), str(found), str(found.model_dump()), found.model_dump_json()):
        assert "the-key-itself" not in shown
        assert "the-header" not in shown


def test_settings_do_not_show_passwords_in_addresses() -> None:
    """An address may carry a password; it is in no representation of the settings."""
    found = loaded(
        "mlflow: {tracking_uri: 'postgresql://u:database-password@h/db'}\n"
        "providers: [{name: openai, api_key: k, base_url: 'https://u:proxy-password@h/v1'}]"
    )
    assert "database-password" not in repr(found)
    assert "proxy-password" not in repr(found)


PLACES = [
    "mlflow: {}",
    "mlflow: {{tracking_uri: {}}}",
    "mlflow: {{experiment: {}}}",
    "mlflow: {{metric_names: {}}}",
    "mlflow: {{metric_names: {{train_loss: {}}}}}",
    "mlflow: {{curves: {}}}",
    "mlflow: {{archive: {}}}",
    "mlflow: {{archive_datasets: {}}}",
    "mlflow: {{register: {}}}",
    "mlflow: {{register: '{{{{{}}}}}'}}",
    "mlflow: {{routes: {}}}",
    "mlflow: {{routes: [{}]}}",
    "mlflow: {{routes: [{{experiment: a, suffix: {}, x: y}}]}}",
    "mlflow: {{open_to_jobs: {}}}",
    "mlflow: {{open_to_jobs: [{}]}}",
    "poll: {}",
    "poll: {{interval: {}}}",
    "poll: {{workers: {}}}",
    "poll: {{executor: {}}}",
    "providers: {}",
    "providers: [{}]",
    "providers: [{{name: {}}}]",
    "providers: [{{name: openai, type: {}}}]",
    "providers: [{{name: openai, api_key: {}}}]",
    "providers: [{{name: openai, api_key_file: {}}}]",
    "providers: [{{name: openai, allow_http: {}}}]",
    "providers: [{{name: openai, base_url: {}}}]",
    "providers: [{{name: openai, experiment: {}}}]",
    "providers: [{{name: openai, headers: {}}}]",
    "providers: [{{name: openai, headers: {{X: {}}}}}]",
    "providers: [{{name: openai, unknown: {}}}]",
    "unknown: {}",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["'{}'", "'a, {}'", "['{}']", "{{a: '{}'}}"])
def test_no_problem_shows_a_value(place: str, form: str) -> None:
    """A value may be a key in the wrong place: no problem repeats it."""
    text = place.format(form.format(KEY)) + "\nnonsense: 1"
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert caught.value.problems
    assert KEY not in f"{caught.value.problems} {caught.value} {caught.value!r}"
    assert caught.value.__cause__ is None, "a cause would be shown in a traceback"


@pytest.mark.parametrize("value", ["*{}", "!{}", "&a &{}", "'{}", '"\\q{}"', "@{}", "[{}"])
def test_no_complaint_about_yaml_shows_a_value(value: str) -> None:
    """A key that happens to begin with a sign of YAML's is not repeated either."""
    with pytest.raises(ConfigError) as caught:
        loaded(f"providers:\n  - name: openai\n    api_key: {value.format(KEY)}\nnonsense: 1")
    assert KEY not in f"{caught.value.problems} {caught.value} {caught.value!r}"


# Addresses that everybody on the way can read


LOCAL = ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "mlflow.localhost", "[::1]"]
REMOTE = ["10.0.0.1", "gateway", "0.0.0.0", "localhost.example", "127.1", "[::2]"]  # noqa: S104 - not bound to


@pytest.mark.parametrize("host", LOCAL + REMOTE)
def test_a_key_is_sent_unencrypted_on_this_machine_alone(host: str) -> None:
    """Over http:// to another one it takes a word of the user's; https:// needs none."""
    text = "providers: [{{name: openai, api_key: k, base_url: {}, allow_http: {}}}]"
    plain, encrypted = f"'http://{host}:4000/v1'", f"'https://{host}:4000/v1'"
    assert loaded(text.format(encrypted, "false"))
    assert loaded(text.format(plain, "true"))
    if host in LOCAL:
        assert loaded(text.format(plain, "false"))
    else:
        found = problems(text.format(plain, "false"))
        assert "https://" in found["providers[0].base_url"]
        assert "allow_http" in found["providers[0].base_url"]


def test_an_address_of_the_environment_is_held_to_the_same() -> None:
    """There nobody can allow it: it takes a configuration."""
    with pytest.raises(ConfigError, match="allow_http"):
        load(None, OPENAI | {"OPENAI_BASE_URL": "http://gateway/v1"})


@pytest.mark.parametrize("host", LOCAL + REMOTE)
@pytest.mark.parametrize(
    ("user", "environ"),
    [
        ("me:password@", {}),
        ("token@", {}),
        ("", {"MLFLOW_TRACKING_PASSWORD": "password"}),
        ("", {"MLFLOW_TRACKING_TOKEN": "token"}),
        ("", {}),
    ],
)
def test_a_login_of_mlflow_is_held_to_the_same(
    host: str, user: str, environ: Mapping[str, str]
) -> None:
    """A server without one may be anywhere."""

    def text(scheme: str, allowed: str) -> str:
        uri = f"{scheme}://{user}{host}:5000"
        return f"{ONE_PROVIDER}mlflow: {{tracking_uri: '{uri}', allow_http: {allowed}}}"

    assert loaded(text("https", "false"), environ)
    assert loaded(text("http", "true"), environ)
    if host in REMOTE and (user or environ):
        found = problems(text("http", "false"), environ)
        assert "allow_http" in found["mlflow.tracking_uri"]
        assert "password" not in f"{found}"
    else:
        assert loaded(text("http", "false"), environ)


# Files that are meant to harm

BOMB = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(12))
MERGED = "".join(f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}\n" for n in range(12))


@pytest.mark.parametrize(
    "text", [f"a0: &a0 [x]\n{BOMB}", f"a0: &a0 {{x: y}}\n{MERGED}"], ids=["lists", "merged"]
)
def test_aliases_of_aliases_are_not_followed(text: str) -> None:
    """Twelve lines that stand for three hundred billion values are a sentence."""
    with pytest.raises(ConfigError, match="aliases"):
        loaded(text)


def test_an_alias_may_be_used_as_usual() -> None:
    """Defaults for several providers, say."""
    found = loaded(
        "providers:\n"
        "  - &all {name: openai, type: openai, api_key: a-key}\n"
        "  - {<<: *all, name: other}\n"
    )
    assert [provider.name for provider in found.providers] == ["openai", "other"]


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.mkdir [made]", "!!python/name:os.system", "!!python/module:os"],
)
def test_nothing_in_a_file_is_run(folder: Path, tag: str) -> None:
    """YAML's tags for objects are no YAML here."""
    with pytest.raises(ConfigError, match="not valid YAML"):
        loaded(f"mlflow: {tag}\n{ONE_PROVIDER}")
    assert not (folder / "made").exists()


# Whatever anybody writes

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(["openai", "mistral", "${X}", "${Y:-z}", "https://h/v1", "60s", "http://[x"])
)
_KEYS = st.sampled_from(
    [
        *("mlflow", "poll", "providers", "tracking_uri", "experiment", "metric_names", "curves"),
        *("archive", "archive_datasets", "register", "routes", "open_to_jobs"),
        *("suffix", "base_model", "provider"),
        *(
            "interval",
            "workers",
            "name",
            "type",
            "api_key",
            "api_key_file",
            "base_url",
            "headers",
            "nonsense",
        ),
    ]
)
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_KEYS, inner, max_size=4)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=12,
)
_SECTION = st.dictionaries(_KEYS, _ANYTHING, max_size=5)
_FILES = _ANYTHING | st.fixed_dictionaries(
    {},
    optional={
        "mlflow": _SECTION | _ANYTHING,
        "poll": _SECTION | _ANYTHING,
        "providers": st.lists(_SECTION | _ANYTHING, max_size=3),
    },
)


def outcome(text: str) -> Settings | ConfigError:
    """The settings, or the problems that are there instead."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "any.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        try:
            return load(path, {"X": "from-environment"})
        except ConfigError as error:
            return error


@settings(max_examples=80, deadline=None)
@given(_FILES)
@example({"providers": [{"name": "openai", "type": ["openai"]}]})
@example({"providers": [{"name": {"a": "b"}}]})
@example({1: 2, "providers": [{3: 4}]})
def test_whatever_a_file_holds_it_is_settings_or_problems(data: object) -> None:
    """Arbitrary data gives settings or a list of sentences, never another exception."""
    found = outcome(yaml.safe_dump(data))
    if isinstance(found, ConfigError):
        assert found.problems
        assert all(re.search(r"\w", problem) for problem in found.problems)
    else:
        assert found.providers
        assert all(isinstance(secret, str) for secret in found.secrets({}))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.sampled_from([*"{}[]:,-?*&!|>'\"#%@ \n\t", "a", "mlflow", "providers", "2026-99-99"])
        | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=3),
        max_size=20,
    ).map("".join)
)
def test_whatever_text_a_file_holds_it_is_settings_or_problems(text: str) -> None:
    """Arbitrary text never raises anything but the one error for users."""
    found = outcome(text)
    assert isinstance(found, ConfigError) or found.providers
