"""The scripted provider APIs by the type of provider."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.wire_fireworks import FireworksApi
from tests.support.wire_openai_like import AzureApi, NebiusApi
from tests.support.wire_server import Api, MistralApi, OpenAIApi
from tests.support.wire_together import TogetherApi

WIRES: Mapping[str, type[Api]] = {
    "openai": OpenAIApi,
    "azure": AzureApi,
    "nebius": NebiusApi,
    "mistral": MistralApi,
    "fireworks": FireworksApi,
    "together": TogetherApi,
}
"""One for each of ``bridge.providers.TYPES``."""
