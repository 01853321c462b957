"""The settings of the daemon's address, and of the addresses that it notifies."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.settings.daemon import Address
from bridge.settings.load import load
from bridge.settings.model import Settings

PROVIDERS = "providers: [{name: openai, api_key: sk-that-must-not-show}]\n"
HOOK = "https://hooks.example/services/T000/B000/very-secret-token"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the configuration."""
    return tmp_path / "bridge.yaml"


def loaded(path: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a file with this text."""
    path.write_text(text + PROVIDERS, encoding="utf-8")
    return load(path, environ or {})


def problem(path: Path, text: str) -> str:
    """Return the problems of a file with this text."""
    with pytest.raises(ConfigError) as caught:
        loaded(path, text)
    (found,) = caught.value.problems
    return found


def test_by_default_nobody_is_listened_to_or_called(path: Path) -> None:
    """The daemon neither listens nor notifies by default, nor with keys without a value."""
    for text in ("", "listen:\nheartbeat: null\nnotify:\n"):
        settings = loaded(path, text)
        assert (settings.listen, settings.heartbeat, settings.notify) == (None, None, None)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:9187", Address("127.0.0.1", 9187)),
        ("localhost:0", Address("localhost", 0)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),  # noqa: S104 - where a user wants it
        ('"[::1]:9187"', Address("::1", 9187)),
    ],
)
def test_where_to_listen_is_host_and_port(path: Path, written: str, address: Address) -> None:
    """The address to listen on is a host and a port, also in IPv6."""
    assert loaded(path, f"listen: {written}\n").listen == address


@pytest.mark.parametrize(
    "written", ["9187", "127.0.0.1", ":9187", "localhost:70000", "http://a:1", '"::1:9187"', "[1]"]
)
def test_another_form_is_refused(path: Path, written: str) -> None:
    """Another form of address is refused with the expected form."""
    found = problem(path, f"listen: {written}\n")
    assert found == 'listen: must be HOST:PORT, such as 127.0.0.1:9187 or "[::1]:9187"'


def test_a_stall_needs_no_receiver(path: Path) -> None:
    """A stall needs no receiver, because the page and the list of jobs show it."""
    notify = loaded(path, "notify: {stalled_after: 2h}\n").notify
    assert notify
    assert notify.stalled_after == 7200


def test_whom_to_call(path: Path) -> None:
    """The addresses to notify are read; ``on`` is a key, though a truth value to YAML."""
    environ = {"HOOK": HOOK}
    text = "heartbeat: ${HOOK}\nnotify: {webhook: '${HOOK}', on: [failed, outage]}\n"
    settings = loaded(path, text, environ)
    assert settings.heartbeat
    assert settings.notify
    assert settings.heartbeat.url.get_secret_value() == HOOK
    assert settings.notify.webhook
    assert settings.notify.webhook.get_secret_value() == HOOK
    assert settings.notify.on == ("failed", "outage")
    by_default = settings.notify.model_copy(update={"on": ("failed", "stalled", "shutdown")})
    assert loaded(path, f"notify: {{webhook: '{HOOK}'}}\n").notify == by_default
    assert loaded(path, f"notify: '{HOOK}'\n").notify == by_default


@pytest.mark.parametrize("url", ["hooks.example", "ftp://a.example/x", "https://", "https://a b/"])
def test_what_is_no_address_is_refused_and_not_shown(path: Path, url: str) -> None:
    """An invalid address is refused without being shown, because it may be a secret."""
    for text in (f"heartbeat: '{url}'\n", f"notify: {{webhook: '{url}'}}\n"):
        found = problem(path, text)
        assert found.endswith(": must be an address that begins with https:// or http://")


def test_http_is_for_this_machine(path: Path) -> None:
    """An address with http is refused beyond this machine, unless the user allows it."""
    assert loaded(path, "heartbeat: http://localhost:8000/ping\n").heartbeat
    assert "allow_http: true" in problem(path, "heartbeat: http://a.example/ping\n")
    assert "allow_http: true" in problem(path, "notify: {webhook: http://a.example/x}\n")
    assert loaded(path, "heartbeat: {url: http://a.example/ping, allow_http: true}\n").heartbeat
    assert loaded(path, "notify: {webhook: http://a.example/x, allow_http: true}\n").notify


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("notify: {webhook: 'https://a.example', off: [failed]}\n", "notify.off"),
        ("notify: {webhook: 'https://a.example', on: [fialed]}\n", "notify.on[0]"),
        ("notify: {on: [failed]}\n", "notify"),
        ("heartbeat: [1]\n", "heartbeat"),
    ],
)
def test_mistakes_are_reported_with_their_place(path: Path, text: str, key: str) -> None:
    """Mistakes are reported with their place."""
    assert problem(path, text).startswith(f"{key}: ")


def test_a_service_is_an_address_of_apprise(path: Path) -> None:
    """An address of apprise is accepted beside a webhook, instead of it, or by itself."""
    pytest.importorskip("apprise")
    mail = "mailto://user:pass@example.com"
    for text in (
        f"notify: '{mail}'\n",
        f"notify: {{url: '{mail}', webhook: '{HOOK}', on: [outage]}}\n",
    ):
        notify = loaded(path, text).notify
        assert notify
        assert notify.url
        assert notify.url.get_secret_value() == mail
        assert bool(notify.webhook) == (HOOK in text)


@pytest.mark.parametrize("url", ["nonsense://a-secret-token", "mailto://", "slack", "slack://a"])
def test_an_address_that_apprise_does_not_know_is_refused(
    path: Path, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """An address that apprise does not know is refused with the expected form, and not shown."""
    pytest.importorskip("apprise")
    found = problem(path, f"notify: '{url}'\n")
    assert found.startswith("notify.url: must be an apprise address, such as mailto:")
    assert "secret" not in found
    assert url not in "".join(capfd.readouterr())


def test_a_service_without_apprise_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of apprise without apprise is refused with the command that installs it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    found = problem(path, "notify: 'mailto://user:pass@example.com'\n")
    assert "pip install 'mlflow-finetune-bridge[notify]'" in found
    assert loaded(path, f"notify: '{HOOK}'\n").notify


def test_tokens_of_a_service_are_secrets(path: Path) -> None:
    """Tokens in the place of a host or a user are secrets."""
    pytest.importorskip("apprise")
    url = "slack://T1JJ3T3L2xxx/A1BRTD4JDxxx/TIiajkdnlazkcOXrIdevi7FQ/#general"
    settings = loaded(path, f"notify: '{url}'\n")
    secrets = set(settings.secrets({}))
    assert {url, "T1JJ3T3L2xxx", "TIiajkdnlazkcOXrIdevi7FQ"} <= secrets
    assert "general" not in secrets
    mail = loaded(path, "notify: 'mailto://user:short1@example.com'\n")
    assert "short1" in set(mail.secrets({}))
    assert "short1" not in repr(mail)


def test_called_addresses_are_secrets(path: Path) -> None:
    """Notified addresses are secrets as a whole and in their usable parts, but not in words."""
    settings = loaded(path, f"heartbeat: {HOOK}\nnotify: {{webhook: 'https://b.example/health'}}\n")
    secrets = set(settings.secrets({}))
    assert {HOOK, "/services/T000/B000/very-secret-token", "very-secret-token"} <= secrets
    assert "health" not in secrets
    assert "secret" not in repr(settings)
