"""The outermost transport: the network, or the proxy that the environment names."""

from __future__ import annotations

import os
import ssl
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from bridge import errors


def network_to(url: str, *, connections: int) -> httpx.HTTPTransport:
    """Return the transport for ``url``, through the proxy that the environment names.

    Raises:
        ConfigError: The proxy cannot be used.
    """
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    try:
        return httpx.HTTPTransport(verify=trusted(), proxy=proxy_of(url), limits=limits)
    except (httpx.InvalidURL, ValueError, ImportError):
        # Their messages may show the proxy's password.
        raise errors.ConfigError(
            ["the proxy that the environment names cannot be used; write http://HOST:PORT"]
        ) from None


def trusted() -> ssl.SSLContext:
    """Return the certificates for checking servers, which all connections share.

    Reading them takes longer than most requests.
    """
    return _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _trusted(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()  # urllib reads the environment itself


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for ``url``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None  # not an address: the first request reports it
    proxies = getproxies()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxy = proxies.get(parts.scheme, proxies.get("all"))
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
