"""Helpers that the configuration tests share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.settings.load import load
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings

KEY = "sk-that-must-not-show"


OPENAI = {"OPENAI_API_KEY": KEY}


ONE_PROVIDER = f"providers: [{{name: openai, api_key: {KEY}}}]\n"


def loaded(text: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a file with this text."""
    path = Path("written.yaml")
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def key_of(provider: ProviderSettings) -> str:
    """Return a provider's key."""
    assert provider.api_key is not None
    return provider.api_key.get_secret_value()


def problems(text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the problems of a file with this text, by the path of the key."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, environ)
    found = [problem.partition(": ") for problem in caught.value.problems]
    assert len({path for path, _, _ in found}) == len(found), "a key is complained about twice"
    return {path: what for path, _, what in found}
