"""Secrets in settings, and addresses that others can read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bridge.errors import ConfigError
from bridge.settings.load import load
from tests.support.configuration import KEY, ONE_PROVIDER, OPENAI, loaded, problems


def test_all_secrets_are_known() -> None:
    """Keys, header values, passwords in addresses, and MLflow's credentials can be masked."""
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
        "AWS_SECRET_ACCESS_KEY": "key-of-s3",
        "AWS_SESSION_TOKEN": "token-of-s3",
        "AZURE_STORAGE_ACCESS_KEY": "key-of-blobs",
        "AZURE_STORAGE_CONNECTION_STRING": "connection-to-blobs",
        "AZURE_CLIENT_SECRET": "secret-of-azure",
        "https_proxy": "http://me:lower-password@proxy",
        "HTTP_PROXY": "http://me:upper-password@proxy",
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
        "key-of-s3",
        "token-of-s3",
        "key-of-blobs",
        "connection-to-blobs",
        "secret-of-azure",
        "lower-password",
        "upper-password",
    }


def test_a_password_in_an_addresss_query_is_a_secret_too() -> None:
    """A password in the query of an address is a secret: PostgreSQL's drivers accept it there."""
    found = loaded(
        ONE_PROVIDER + "mlflow: {tracking_uri: 'postgresql://host/db?user=u&password=hunter2-pw'}"
    )
    assert "hunter2-pw" in set(found.secrets({}))


@pytest.mark.parametrize("name", ["key", "api_key", "access-token", "clientSecret", "sig"])
def test_a_key_in_the_query_of_a_providers_address_is_a_secret(name: str) -> None:
    """A key in the query of a provider's address is masked, and the name of a route is not."""
    url = f"https://gateway/v1?custom_llm_provider=openai&{name}=a-key-of-it"
    found = set(loaded(f"providers: [{{name: openai, api_key: k, base_url: '{url}'}}]").secrets({}))
    assert "a-key-of-it" in found
    assert "openai" not in found


def test_settings_do_not_show_keys() -> None:
    """No representation of the settings has keys or header values."""
    found = loaded("providers: [{name: openai, api_key: the-key-itself, headers: {X: the-header}}]")
    for shown in (repr(found), str(found), str(found.model_dump()), found.model_dump_json()):
        assert "the-key-itself" not in shown
        assert "the-header" not in shown


def test_settings_do_not_show_passwords_in_addresses() -> None:
    """No representation of the settings has passwords in addresses."""
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
    """No problem repeats a value, which may be a key in the wrong place."""
    text = place.format(form.format(KEY)) + "\nnonsense: 1"
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert caught.value.problems
    assert KEY not in f"{caught.value.problems} {caught.value} {caught.value!r}"
    assert caught.value.__cause__ is None, "a cause would be shown in a traceback"


@pytest.mark.parametrize("value", ["*{}", "!{}", "&a &{}", "'{}", '"\\q{}"', "@{}", "[{}"])
def test_no_complaint_about_yaml_shows_a_value(value: str) -> None:
    """A key that begins with a sign of YAML's is not repeated in a complaint."""
    with pytest.raises(ConfigError) as caught:
        loaded(f"providers:\n  - name: openai\n    api_key: {value.format(KEY)}\nnonsense: 1")
    assert KEY not in f"{caught.value.problems} {caught.value} {caught.value!r}"


LOCAL = ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "mlflow.localhost", "[::1]"]


REMOTE = ["10.0.0.1", "gateway", "0.0.0.0", "localhost.example", "127.1", "[::2]"]  # noqa: S104 - not bound to


@pytest.mark.parametrize("host", LOCAL + REMOTE)
def test_a_key_is_sent_unencrypted_on_this_machine_only(host: str) -> None:
    """A key goes over http:// only to this machine, unless the user allows it."""
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
    """An address in the environment follows the same rule, which only a configuration can lift."""
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
    """A login of MLflow follows the same rule, and a server without a login can be anywhere."""

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
