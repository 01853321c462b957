"""The one HTTP client. A reply becomes a JSON object, bytes, or one of ``bridge.errors``.

Each concern is a transport of its own, composed in ``connect``::

    ApiClient -> Retrying -> RateLimited -> Metered -> Buffered -> Network
            patience    |        |          |        a deadline for each reply
                        |        |          a whole, bounded reply without secrets
                        |        for whom it may concern
                        a pace, where one is configured

A provider therefore holds no retry, no sleep and no ``try``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from bridge import __version__, errors
from bridge.http.failures import failed, unanswered
from bridge.http.network import Clock, Network
from bridge.http.signed_urls import Found, SignedUrlFetcher
from bridge.http.transports import ATTEMPTS, Buffered, Metered, RateLimited, Retrying, Tell
from bridge.redaction import Redactor
from bridge.text import one_line

Query = Mapping[str, str | int]
JsonObject = dict[str, object]

_TIMEOUT: Final = httpx.Timeout(20.0, connect=10.0)
_HEADERS: Final = {
    "User-Agent": f"ftbridge/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}
_PIECE: Final = 64 * 2**10
"""Bytes of a stream that are handed on at once."""


def segment(identifier: str) -> str:
    """``identifier`` as one segment of a URL's path, whatever characters it holds."""
    # Dots alone would walk up the path: quote() leaves them as they are.
    return (
        identifier.replace(".", "%2E") if set(identifier) == {"."} else quote(identifier, safe="")
    )


def connect(
    base_url: str,
    *,
    headers: Mapping[str, str],
    redactor: Redactor,
    query: Query | None = None,
    auth: httpx.Auth | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Clock = time.monotonic,
    connections: int = 8,
    patience: int = ATTEMPTS,
    per_second: float | None = None,
    transport: httpx.BaseTransport | None = None,
    signed: SignedUrlFetcher | None = None,
    tell: Tell | None = None,
) -> ApiClient:
    """A client of the API at ``base_url``.

    Args:
        base_url: all of the address that the API's paths have in common.
        headers: sent with every request; the key among them.
        redactor: masks the secrets in whatever the server sends back.
        query: sent with every request.
        auth: proves who asks, where no header does.
        sleep: waits that many seconds; raises ``Stopped`` to give up.
        clock: seconds that only go forward, for deadlines.
        connections: how many requests may be under way at once.
        patience: attempts for each request.
        per_second: how many requests may begin in a second; ``None``: any number.
        transport: replaces the network in tests.
        signed: replaces what fetches files behind signed URLs, in tests.
        tell: is told how each attempt ended.
    """
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise errors.ConfigError([f"{name}: holds characters that no header can"])
    network = transport or network_to(base_url, connections=connections, clock=clock)
    wire: httpx.BaseTransport = Buffered(network, redactor)
    if tell:
        wire = Metered(wire, tell)
    if per_second:
        wire = RateLimited(wire, per_second=per_second, sleep=sleep, clock=clock)
    client = httpx.Client(
        headers={**_HEADERS, **headers},
        params=query,
        auth=auth,
        timeout=_TIMEOUT,
        transport=Retrying(wire, sleep=sleep, attempts=patience, clock=clock),
    )
    files = signed or SignedUrlFetcher(
        redactor, api=base_url, sleep=sleep, clock=clock, patience=patience, proxy_of=_proxy
    )
    return ApiClient(client, base_url.rstrip("/"), redactor, files)


def network_to(url: str, *, connections: int, clock: Clock = time.monotonic) -> Network:
    """The network, by the way of the proxy that the environment names for ``url``.

    Raises:
        ConfigError: it is none that can be used.
    """
    try:
        return Network(proxy=_proxy(url), connections=connections, clock=clock)
    except (httpx.InvalidURL, ValueError, ImportError):
        # Their words may show its password.
        raise errors.ConfigError(
            ["the proxy that the environment names cannot be used; write http://HOST:PORT"]
        ) from None


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for this address."""
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return None  # not an address: the first request says so
    proxies = getproxies()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxy = proxies.get(parts.scheme, proxies.get("all"))
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _without_userinfo(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host.rpartition("@")[2] + slash + path


class ApiClient:
    """GET requests against one API."""

    def __init__(
        self, client: httpx.Client, base_url: str, redactor: Redactor, signed: SignedUrlFetcher
    ) -> None:
        self._client = client
        self._base_url = base_url
        self._redactor = redactor
        self._signed = signed
        self._shown = redactor.line(_without_userinfo(base_url))

    def is_at(self, base_url: str) -> bool:
        """Whether this is the API at ``base_url``."""
        return self._base_url.lower() == base_url.rstrip("/").lower()

    def is_below(self, address: str) -> bool:
        """Whether this is an API somewhere below ``address``."""
        return self._base_url.lower().startswith(f"{address.rstrip('/').lower()}/")

    def get_object(
        self, path: str, query: Query | None = None, *, is_entry: bool = False
    ) -> JsonObject:
        """The JSON object at ``path``.

        Args:
            path: below the base URL.
            query: what is asked for.
            is_entry: whether the service begins here: without it there is none at all.

        Raises:
            ProviderError: the one that says why there is none.
        """
        response = self._get(path, query, is_json=True, is_entry=is_entry)
        try:
            reply = response.extensions.get("json") or response.json()
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no content type").split(";")[0]
            raise errors.BadReply(
                f"{self._shown} answered {path} with {one_line(kind, 80)} instead of JSON",
                "Check that base_url is the address of the API and that no proxy answers for it",
            ) from None
        if not isinstance(reply, dict):
            raise errors.BadReply(
                f"{self._shown} answered {path} with a JSON {type(reply).__name__}"
                " instead of an object",
                "Check that base_url is the address of the API",
            )
        return reply

    def find_object(
        self, path: str, query: Query | None = None, *, is_optional: bool = False
    ) -> JsonObject | None:
        """The JSON object at ``path``; ``None`` where the server has or does no such thing.

        Args:
            path: below the base URL.
            query: what is asked for.
            is_optional: whether any refusal will do.

        Raises:
            ProviderError: the one that says why there is no answer.
        """
        refusals = (errors.Refused, errors.Forbidden) if is_optional else (errors.NotOffered,)
        try:
            return self.get_object(path, query)
        except (errors.NotFound, *refusals):
            return None

    def hint(self, path: str) -> JsonObject:
        """The JSON object at ``path``, empty for whatever reason: it is no loss to go without."""
        try:
            return self.get_object(path)
        except errors.ProviderError:
            return {}

    def find_bytes(self, path: str) -> bytes | None:
        """The bytes at ``path``; ``None`` where there are none for us.

        Raises:
            ProviderError: the one that says why there is no answer.
        """
        try:
            return self._get(path, None).content
        except (errors.NotFound, errors.Forbidden, errors.Refused, errors.Withdrawn):
            return None

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """The bytes at ``path`` in pieces as they arrive, neither bounded nor masked.

        Raises:
            ProviderError: the one that says why there are none; also where they break off.
        """
        response = self._get(path, None, is_stream=True)
        try:
            yield self._pieces(response, path)
        finally:
            response.close()

    def _pieces(self, response: httpx.Response, path: str) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes(_PIECE)
        except httpx.RequestError as error:
            why = self._redactor.line(str(error), 120) or type(error).__name__
            raise errors.NoAnswer(
                f"{self._shown} broke off its answer to {one_line(path, 120)} ({why})",
                "The next pass tries again",
            ) from error

    def find_signed(self, url: str) -> Found:
        """The content behind a signed URL, which may be of any host; the key stays here.

        Raises:
            ProviderError: there is no answer now, but perhaps later.
        """
        return self._signed.find(url)

    def stream_signed(self, url: str) -> Iterator[bytes]:
        """The same in pieces as they arrive, neither bounded nor masked.

        Raises:
            ProviderError: there is none for us, or it breaks off.
        """
        return self._signed.pieces(url)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(
        self,
        path: str,
        query: Query | None,
        *,
        is_json: bool = False,
        is_stream: bool = False,
        is_entry: bool = False,
    ) -> httpx.Response:
        """The reply: whole, or the beginning of a stream."""
        extensions = {"is_json": is_json, "is_stream": is_stream}
        # The end of a compressed file can be missing without a sign.
        headers = {"Accept-Encoding": "identity"} if is_stream else None
        try:
            request = self._client.build_request(
                "GET",
                self._base_url + path,
                params=query,
                headers=headers,
                extensions=extensions,
            )
            response = self._client.send(request, stream=is_stream)
        except httpx.RequestError as error:
            raise unanswered(self._shown, error) from error
        except httpx.InvalidURL:
            raise errors.Refused(f"{self._shown} is not an address", "Correct base_url") from None
        except UnicodeEncodeError:
            raise errors.BadReply(f"{self._shown} gave an id that cannot be sent back") from None
        if not response.is_success:
            raise failed(response, path, self._redactor, is_entry=is_entry)
        return response
