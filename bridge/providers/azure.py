"""Azure OpenAI: OpenAI's job API at a resource's address, with the key in the header ``api-key``.

Wire format: Microsoft's specification of the fine-tuning API, 2024-10-21. Unset fields are missing,
-1 stands for a hyperparameter that is not chosen yet, and its examples list checkpoints and events
oldest first. There are two forms of address: ``.../openai/v1``, and ``.../openai`` with a version
in every request's query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from bridge.providers.openai import OpenAI

_V1: Final = "/openai/v1"
_CLASSIC: Final = "/openai"


class Azure(OpenAI):
    """An Azure OpenAI resource, or a gateway in front of one."""

    base_url: ClassVar[str] = "${AZURE_OPENAI_ENDPOINT}/openai/v1"
    key_variable: ClassVar = "AZURE_OPENAI_API_KEY"
    key_header: ClassVar[str | None] = "api-key"
    header_variables: ClassVar[Mapping[str, str]] = {}
    pages_url: ClassVar[str | None] = None


def address(endpoint: str, *, has_version: bool) -> str:
    """Return the base URL for an endpoint, which may already have one of the two forms."""
    root = endpoint.strip().rstrip("/")
    return root.removesuffix(_V1).removesuffix(_CLASSIC) + (_CLASSIC if has_version else _V1)


def needs_version(base_url: str) -> bool:
    """Return whether this address requires a version in each request."""
    return base_url.rstrip("/").endswith(_CLASSIC)
