"""The way out: the network, or the proxy that the environment names."""

from __future__ import annotations

import os
import ssl
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from bridge import errors


def network_to(url: str, *, connections: int) -> httpx.HTTPTransport:
    """Return the network, by way of the proxy that the environment names for ``url``.

    Raises:
        ConfigError: The proxy cannot be used.
    """
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    try:
        return httpx.HTTPTransport(verify=trusted(), proxy=proxy_of(url), limits=limits)
    except (httpx.InvalidURL, ValueError, ImportError):
        # Their words may show its password.
        raise errors.ConfigError(
            ["the proxy that the environment names cannot be used; write http://HOST:PORT"]
        ) from None


def trusted() -> ssl.SSLContext:
    """Return the certificates that servers are checked against, which all connections share.

    Reading them takes longer than most requests do.
    """
    return _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _trusted(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()  # which reads the environment itself


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for ``url``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None  # not an address: the first request says so
    proxies = getproxies()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxy = proxies.get(parts.scheme, proxies.get("all"))
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
