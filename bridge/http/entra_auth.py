"""Microsoft Entra ID instead of a key: each request carries the current token.

The package ``azure-identity`` (extra ``azure``) finds the credentials: the environment, a managed
identity, or the user who has signed in on this machine. It also renews the token.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from bridge import errors
from bridge.text import one_line

SCOPE: Final = "https://cognitiveservices.azure.com/.default"


class Bearer(httpx.Auth):
    """Requests the current token before each request."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send ``request`` with the token."""
        request.headers["Authorization"] = f"Bearer {self._token()}"
        yield request


@contextmanager
def signed_in() -> Iterator[Bearer]:
    """Yield the identity of this machine or its user; its connections end with the context.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider
    except ImportError:
        raise errors.ConfigError(
            ["auth: entra needs the package azure-identity: pip install azure-identity"]
        ) from None
    with DefaultAzureCredential() as credential:
        yield Bearer(named(get_bearer_token_provider(credential, SCOPE)))


def named(token: Callable[[], str]) -> Callable[[], str]:
    """Return ``token`` with the package's errors raised as the bridge's own."""
    from azure.core.exceptions import AzureError

    def ask() -> str:
        try:
            return token()
        except AzureError as error:
            raise errors.Unauthorized(
                f"Microsoft Entra ID gave no token ({one_line(error.message, 200)})",
                "Sign in with: az login; or set AZURE_CLIENT_ID and its other variables",
            ) from None

    return ask
