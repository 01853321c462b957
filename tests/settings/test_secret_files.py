"""Keys in separate files, which ``NAME_FILE`` or ``api_key_file`` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli.app import app
from bridge.errors import ConfigError
from bridge.providers.registry import TYPES
from bridge.settings.load import load
from bridge.settings.model import Settings
from bridge.settings.secret_files import KeyFiles

KEY = "sk-that-must-not-show"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def key_file(folder: Path) -> str:
    """Write a file with a key as an editor does, readable only by its owner."""
    return written(folder / "key", f"{KEY}\n".encode())


def written(path: Path, content: bytes, mode: int = 0o600) -> str:
    """Return the name of a file with this content."""
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def loaded(text: str | None, environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Return the settings and the warnings, of a file or only of the environment."""
    path = None
    if text is not None:
        path = Path("written.yaml")
        path.write_text(text, encoding="utf-8")
    warnings: list[str] = []
    return load(path, environ, warn=warnings.append), warnings


def key_of(settings: Settings) -> str:
    """Return the key of the only provider."""
    (provider,) = settings.providers
    assert provider.api_key is not None
    return provider.api_key.get_secret_value()


@pytest.mark.parametrize("kind", [*TYPES])
def test_a_variable_may_name_a_file_with_the_key(key_file: str, kind: str) -> None:
    """A variable can name a file with the key, and makes any type a provider."""
    environ = {
        f"{TYPES[kind].key_variable}_FILE": key_file,
        "AZURE_OPENAI_ENDPOINT": "https://resource.example",
        "AWS_REGION": "us-west-2",
        "FIREWORKS_ACCOUNT_ID": "team",
    }
    if kind == "vertex":
        environ["GOOGLE_CLOUD_PROJECT"] = "a-project"
    settings, warnings = loaded(None, environ)
    # One key of Amazon Bedrock opens both of its APIs.
    found = ["bedrock", "bedrock-mantle"] if kind.startswith("bedrock") else [kind]
    assert [provider.type for provider in settings.providers] == found
    assert {
        provider.api_key.get_secret_value() for provider in settings.providers if provider.api_key
    } == {KEY}
    assert KEY in set(settings.secrets(environ))
    assert warnings == []


def test_what_is_set_comes_before_a_file(key_file: str) -> None:
    """The variable itself comes before a file that another one names."""
    environ = {"OPENAI_API_KEY": "sk-set", "OPENAI_API_KEY_FILE": key_file}
    assert key_of(loaded(None, environ)[0]) == "sk-set"
    assert key_of(loaded(None, environ | {"OPENAI_API_KEY": ""})[0]) == KEY


def test_a_configuration_names_a_file(key_file: str) -> None:
    """``api_key_file`` replaces ``api_key``, and comes before the environment."""
    text = f"providers: [{{name: openai, api_key_file: {key_file}}}]"
    assert key_of(loaded(text, {"OPENAI_API_KEY": "sk-other"})[0]) == KEY
    text = "providers: [{name: openai, api_key_file: '${SECRETS}/key'}]"
    assert key_of(loaded(text, {"SECRETS": str(Path(key_file).parent)})[0]) == KEY


def test_any_variable_of_a_configuration_may_be_in_a_file(key_file: str) -> None:
    """Any variable of a configuration can be in a file, in an address and in a header too."""
    text = (
        "mlflow: {tracking_uri: 'https://me:${PASS}@mlflow.example'}\n"
        "providers: [{name: openai, api_key: k, headers: {X-Team: '${PASS:-none}'}}]"
    )
    settings, _ = loaded(text, {"PASS_FILE": key_file})
    assert settings.mlflow.tracking_uri == f"https://me:{KEY}@mlflow.example"
    assert settings.providers[0].headers["X-Team"].get_secret_value() == KEY
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "cannot be read (not text)"),
        (b"x" * 100_000, "is too long for a key"),
    ],
)
def test_a_file_without_a_key_is_one_sentence(
    folder: Path, content: bytes | None, says: str
) -> None:
    """A file without a key is one sentence that names the variable, and not the file."""
    name = str(folder / KEY) if content is None else written(folder / KEY, content)
    for text, environ, where in (
        (None, {"OPENAI_API_KEY_FILE": name}, "OPENAI_API_KEY_FILE"),
        (f"providers: [{{name: openai, api_key_file: {name}}}]", {}, "providers[0].api_key_file"),
        ("providers: [{name: openai, api_key: '${K}'}]", {"K_FILE": name}, "K_FILE"),
    ):
        with pytest.raises(ConfigError) as caught:
            loaded(text, environ)
        (problem,) = caught.value.problems
        assert problem.startswith(f"{where}: names a file that {says}")
        assert KEY not in f"{caught.value!r}"


def test_a_folder_and_a_name_that_is_none_are_no_files(folder: Path) -> None:
    """A folder or an impossible name in a variable gives a sentence."""
    for path in (str(folder), "a\0b", "x" * 5000):
        files = KeyFiles({"KEY_FILE": path})
        files["KEY"]
        assert "cannot be read" in files.problems["KEY_FILE"]


def test_a_key_and_a_file_with_one_are_one_too_many(key_file: str) -> None:
    """A key together with a file is refused, because either can be meant."""
    text = f"providers: [{{name: openai, api_key: k, api_key_file: {key_file}}}]"
    with pytest.raises(ConfigError) as caught:
        loaded(text, {})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "providers[0].api_key_file"
    ]


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_everybody_can_read_is_warned_of(
    folder: Path, mode: int, *, warned: bool
) -> None:
    """A file that everybody can read is reported once, with the remedy, and its key is used."""
    environ = {"OPENAI_API_KEY_FILE": written(folder / "key", KEY.encode(), mode)}
    settings, warnings = loaded(None, environ)
    assert key_of(settings) == KEY
    assert len(warnings) == warned
    assert all("OPENAI_API_KEY_FILE" in each and "chmod 600" in each for each in warnings)


def test_a_mounted_secret_is_not_warned_of(folder: Path) -> None:
    """A secret that a container platform mounts may have any mode, also behind a link.

    Compose keeps the mode of the file on the host, which the container's user has to read.
    """
    mounted = folder / "secrets"
    mounted.mkdir()
    (folder / "link").symlink_to(written(mounted / "key", KEY.encode(), 0o644))
    names = {
        "A_FILE": str(mounted / "key"),
        "B_FILE": str(folder / "link"),
        "C_FILE": str(mounted / ".." / "other"),
    }
    written(folder / "other", KEY.encode(), 0o644)
    files = KeyFiles(names, mounted=mounted)
    assert [files["A"], files["B"], files["C"]] == [KEY] * 3
    (warning,) = files.warnings
    assert warning.startswith("C_FILE: ")


def test_a_command_shows_the_warning(folder: Path) -> None:
    """Every command shows the warning on stderr, because stdout is for results."""
    environ = {
        "OPENAI_API_KEY_FILE": written(folder / "key", KEY.encode(), 0o644),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    done = CliRunner().invoke(app, ["status", "--json"], env=environ)
    assert done.exit_code == 0
    assert "ftbridge: warning: OPENAI_API_KEY_FILE: " in done.stderr
    assert "warning" not in done.stdout
