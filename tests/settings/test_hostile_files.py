"""Malicious files, and arbitrary input."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.settings.load import load
from bridge.settings.model import Settings
from tests.support.configuration import ONE_PROVIDER, loaded


def test_an_alias_may_be_used_as_usual() -> None:
    """An alias can share defaults between several providers."""
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
    """YAML's tags for objects are refused, and nothing in a file is executed."""
    with pytest.raises(ConfigError, match="not valid YAML"):
        loaded(f"mlflow: {tag}\n{ONE_PROVIDER}")
    assert not (folder / "made").exists()


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
    """Return the settings, or the problems instead."""
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
