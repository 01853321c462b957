"""The configuration file of a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bridge.providers.registry import TYPES
from bridge.simulator import Simulator
from bridge.simulator.jobs import Provider
from tests.support.world import KEY

Entry = str | Mapping[str, object]
"""A provider's address, or several of its keys."""


def write_config(
    path: Path,
    uri: str,
    providers: Mapping[str, Entry],
    *,
    mlflow: Mapping[str, object] | None = None,
    **sections: object,
) -> Path:
    """Write a configuration, and return its path.

    Args:
        path: The file, or the folder of ``bridge.yaml``.
        uri: The tracking URI.
        providers: Providers by name. One that is not named after its type is of OpenAI's. Those
            whose ``api_key`` is ``None`` have their keys elsewhere.
        mlflow: More keys of this section.
        sections: Further sections.
    """
    path = path / "bridge.yaml" if path.is_dir() else path
    text = configuration(uri, providers, mlflow=mlflow, **sections)
    path.write_text(text, encoding="utf-8")
    return path


def configuration(
    uri: str,
    providers: Mapping[str, Entry],
    *,
    mlflow: Mapping[str, object] | None = None,
    **sections: object,
) -> str:
    """Return the text of a configuration, from the same arguments."""
    entries = [
        {
            "name": name,
            "type": name if name in TYPES else "openai",
            "api_key": KEY,
            **({"base_url": entry} if isinstance(entry, str) else entry),
        }
        for name, entry in providers.items()
    ]
    present = [{k: v for k, v in each.items() if v is not None} for each in entries]
    document = {"mlflow": {"tracking_uri": uri, **(mlflow or {})}, "providers": present, **sections}
    return json.dumps(document)  # JSON is YAML


def simulated(simulator: Simulator, *kinds: Provider, **more: object) -> dict[str, Entry]:
    """Return simulated providers of these types, or of all, each with these keys too."""
    return {
        kind: {"base_url": simulator.base_urls[kind], **simulator.more_settings(kind), **more}
        for kind in kinds or simulator.base_urls
    }
