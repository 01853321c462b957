"""The one HTTP client. A reply becomes a JSON object, bytes, or one of ``bridge.errors``.

Each concern is a transport, composed in ``connect``::

    ApiClient -> Retrying -> Buffered -> RateLimited -> Timed -> network
                 patience    |           a pace, if one a deadline for each reply
                             |           is configured
                             a whole, bounded reply without secrets

A stream goes through ``Streamed`` instead of ``Buffered``. A provider therefore holds no retry, no
sleep and no ``try``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final
from urllib.parse import quote

import httpx

from bridge import __version__, errors
from bridge.http.failures import failed, not_an_object, not_json, unanswered
from bridge.http.proxies import network_to, proxy_of
from bridge.http.retries import ATTEMPTS, Retried, Retrying, Tell
from bridge.http.signed_urls import Found, SignedUrlFetcher
from bridge.http.transports import PIECE, TIMEOUT, Buffered, Clock, RateLimited, Streamed, Timed
from bridge.redaction import Redactor
from bridge.text import one_line

Query = Mapping[str, str | int]
JsonObject = dict[str, object]
Keep = Callable[[JsonObject], object] | None

_HEADERS: Final = {
    "User-Agent": f"ftbridge/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}
_AS_FILE: Final = {"Accept": "*/*"}
_AS_STREAM: Final = {**_AS_FILE, "Accept-Encoding": "identity"}
"""Requests uncompressed bytes, because a compressed file can lose its end unnoticed."""


def segment(identifier: str) -> str:
    """Return ``identifier`` as one segment of a URL's path, whatever characters it contains."""
    # quote() keeps dots, and a segment of only dots would lead up the path.
    are_dots = set(identifier) == {"."}
    return identifier.replace(".", "%2E") if are_dots else quote(identifier, safe="")


def connect(
    base_url: str,
    *,
    headers: Mapping[str, str],
    redactor: Redactor,
    query: Mapping[str, str | int] = {},
    auth: httpx.Auth | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Clock = time.monotonic,
    connections: int = 8,
    patience: int = ATTEMPTS,
    per_second: float | None = None,
    transport: httpx.BaseTransport | None = None,
    signed: SignedUrlFetcher | None = None,
    tell: Tell | None = None,
    retried: Retried | None = None,
) -> ApiClient:
    """Return a client of the API at ``base_url``.

    Args:
        base_url: The address that the API's paths share; a query in it is sent with every request.
        headers: Sent with every request, including the key.
        redactor: Masks the secrets in the server's replies.
        query: Sent with every request; overrides parameters of ``base_url``.
        auth: Authenticates the requests if no header does.
        sleep: Waits for a number of seconds; raises ``Stopped`` to give up.
        clock: Monotonic seconds, for deadlines.
        connections: Highest number of simultaneous requests.
        patience: Highest number of attempts for each request.
        per_second: Highest number of requests per second; ``None``: unlimited.
        transport: Replaces the network in tests.
        signed: Replaces the fetcher of signed URLs in tests.
        tell: Receives the result of each attempt.
        retried: Receives the cause and the wait of each further attempt.

    Raises:
        ConfigError: A header cannot be sent, or the proxy cannot be used.
    """
    _check(headers)
    network = transport or network_to(base_url, connections=connections)
    wire: httpx.BaseTransport = Timed(network, clock)
    if per_second:
        wire = RateLimited(wire, per_second=per_second, sleep=sleep, clock=clock)
    retrying = partial(
        Retrying, sleep=sleep, attempts=patience, clock=clock, tell=tell, retried=retried
    )
    address, own_query = _split(base_url)
    client = partial(
        httpx.Client,
        headers={**_HEADERS, **headers},
        params=own_query.merge(query),
        auth=auth,
        timeout=TIMEOUT,
    )
    return ApiClient(
        client(transport=retrying(Buffered(wire, redactor))),
        client(transport=retrying(Streamed(wire, redactor))),
        address,
        redactor,
        signed
        or SignedUrlFetcher(
            redactor, api=address, sleep=sleep, clock=clock, patience=patience, proxy_of=proxy_of
        ),
    )


def _check(headers: Mapping[str, str]) -> None:
    """Refuse headers that cannot be sent, without showing the value, which may be the key."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise errors.ConfigError(
                [f"{name}: a header cannot carry these characters; remove them"]
            )


def _split(base_url: str) -> tuple[str, httpx.QueryParams]:
    """Return the address to which paths are appended, and the query of every request."""
    address, _, query = base_url.partition("#")[0].partition("?")
    return address.rstrip("/"), httpx.QueryParams(query)


def _without_userinfo(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host.rpartition("@")[2] + slash + path


class ApiClient:
    """GET requests against one API."""

    def __init__(
        self,
        client: httpx.Client,
        streams: httpx.Client,
        base_url: str,
        redactor: Redactor,
        signed: SignedUrlFetcher,
    ) -> None:
        self._client = client
        self._streams = streams
        self._base_url = base_url
        self._redactor = redactor
        self._signed = signed
        self._shown = redactor.line(_without_userinfo(base_url))

    def is_at(self, base_url: str) -> bool:
        """Return whether this is the API at ``base_url``."""
        return self._base_url.lower() == base_url.rstrip("/").lower()

    def is_below(self, address: str) -> bool:
        """Return whether this is an API somewhere below ``address``."""
        return self._base_url.lower().startswith(f"{address.rstrip('/').lower()}/")

    def get_object(
        self, path: str, query: Query | None = None, *, is_entry: bool = False, keep: Keep = None
    ) -> JsonObject:
        """Return the JSON object at ``path``.

        Args:
            path: Below the base URL.
            query: Parameters of this request.
            is_entry: Whether the service begins at this path, so that a 404 means that there is
                none.
            keep: Returns the value that replaces each object of the reply, inner objects first.

        Raises:
            ProviderError: The subclass tells why there is none.
        """
        response = self._ask(self._client, path, query, is_entry=is_entry)
        try:
            reply = response.json(object_hook=keep)
            del response.stream  # it has the response: both would wait for the garbage collector
        except (ValueError, RecursionError):
            raise not_json(self._shown, path, response) from None
        if not isinstance(reply, dict):
            raise not_an_object(self._shown, path, reply)
        return reply

    def find_object(
        self, path: str, query: Query | None = None, *, is_optional: bool = False
    ) -> JsonObject | None:
        """Return the JSON object at ``path``; ``None`` if the server refuses it for good.

        Args:
            path: Below the base URL.
            query: Parameters of this request.
            is_optional: Whether any refusal counts, also 403 and 422, and not only those that say
                that it does not exist (404, 405, 410, 501).

        Raises:
            ProviderError: The server does not answer now.
        """
        refusals = (errors.Refused, errors.Forbidden) if is_optional else (errors.NotOffered,)
        try:
            return self.get_object(path, query)
        except (errors.NotFound, *refusals):
            return None

    def find_bytes(self, path: str) -> bytes | None:
        """Return the bytes at ``path``; ``None`` if the server refuses them for good.

        Raises:
            ProviderError: The server does not answer now.
        """
        try:
            return self._ask(self._client, path, headers=_AS_FILE).content
        except (errors.NotFound, errors.Forbidden, errors.Refused, errors.Withdrawn):
            return None

    def get_bytes(self, path: str) -> bytes:
        """Return the bytes at ``path``.

        Raises:
            ProviderError: The one that says why there are none.
        """
        return self._ask(self._client, path, headers=_AS_FILE).content

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """Open the bytes at ``path``, which come in pieces, neither bounded nor masked.

        Raises:
            ProviderError: The one that says why there are none; also where they break off.
        """
        response = self._ask(self._streams, path, headers=_AS_STREAM)
        try:
            yield self._pieces(response, path)
        finally:
            response.close()

    def _pieces(self, response: httpx.Response, path: str) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes(PIECE)
        except httpx.RequestError as error:
            why = self._redactor.line(str(error), 120) or type(error).__name__
            raise errors.NoAnswer(
                f"{self._shown} closed the connection in the middle of its answer to"
                f" {one_line(path, 120)} ({why})",
                "The next pass tries again",
            ) from error

    def find_signed(self, url: str) -> Found:
        """Return the content behind a signed URL, which may be of any host; the key stays here.

        Raises:
            ProviderError: The server does not answer now, but may later.
        """
        return self._signed.find(url)

    def stream_signed(self, url: str) -> Iterator[bytes]:
        """Yield the same in pieces as they arrive, neither bounded nor masked.

        Raises:
            ProviderError: There is none for us, or it breaks off.
        """
        return self._signed.pieces(url)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._streams.close()

    def _ask(
        self,
        client: httpx.Client,
        path: str,
        query: Query | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        is_entry: bool = False,
    ) -> httpx.Response:
        """Return the reply; of a stream, its beginning."""
        try:
            request = client.build_request(
                "GET", self._base_url + path, params=query, headers=headers
            )
            response = client.send(request, stream=True)
        except httpx.RequestError as error:
            raise unanswered(self._shown, error) from error
        except httpx.InvalidURL:
            raise errors.Refused(f"{self._shown} is not an address", "Correct base_url") from None
        except UnicodeEncodeError:
            raise errors.BadReply(f"{self._shown} sent an unusable id") from None
        if not response.is_success:
            raise failed(response, path, self._redactor, is_entry=is_entry)
        return response
