"""The one HTTP client. A reply becomes a JSON object, bytes, or one of ``bridge.errors``.

Each concern is a transport of its own, composed in ``connect``::

    Http -> Retrying -> Whole -> httpx.HTTPTransport
            patience    a whole, bounded reply without secrets

A provider therefore holds no retry, no sleep and no ``try``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from bridge import __version__, errors
from bridge.transport import ATTEMPTS, Retrying, TooLarge, Whole, error_object, is_quota
from bridge.untrusted import Redactor, one_line

Query = Mapping[str, str | int]
JsonObject = dict[str, object]

_TIMEOUT: Final = httpx.Timeout(20.0, connect=10.0)
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
    sleep: Callable[[float], None] = time.sleep,
    connections: int = 8,
    patience: int = ATTEMPTS,
    transport: httpx.BaseTransport | None = None,
) -> Http:
    """A client of the API at ``base_url``.

    Args:
        base_url: all of the address that the API's paths have in common.
        headers: sent with every request; the key among them.
        redactor: masks the secrets in whatever the server sends back.
        sleep: waits that many seconds; raises ``Stopped`` to give up.
        connections: how many requests may be under way at once.
        patience: attempts for each request.
        transport: replaces the network in tests.
    """
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise errors.ConfigError([f"{name}: holds characters that no header can"])
    wire = transport or httpx.HTTPTransport(limits=limits, proxy=_proxy(base_url))
    client = httpx.Client(
        headers={"User-Agent": f"ftbridge/{__version__}", "Accept": "application/json", **headers},
        timeout=_TIMEOUT,
        transport=Retrying(Whole(wire, redactor), sleep=sleep, attempts=patience),
    )
    return Http(client, base_url.rstrip("/"), redactor)


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for this address."""
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return None  # not an address: the first request says so
    proxies = getproxies()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return proxies.get(parts.scheme, proxies.get("all"))


def _without_userinfo(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host.rpartition("@")[2] + slash + path


class Http:
    """GET requests against one API."""

    def __init__(self, client: httpx.Client, base_url: str, redactor: Redactor) -> None:
        self._client = client
        self._base_url = base_url
        self._redactor = redactor
        self._shown = one_line(redactor.text(_without_userinfo(base_url)))

    def is_at(self, base_url: str) -> bool:
        """Whether this is the API at ``base_url``."""
        return self._base_url.lower() == base_url.rstrip("/").lower()

    def get_object(self, path: str, query: Query | None = None) -> JsonObject:
        """The JSON object at ``path``.

        Raises:
            ProviderError: the one that says why there is none.
        """
        response = self._get(path, query, is_json=True)
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
            why = one_line(str(error), 120) or type(error).__name__
            raise errors.NoAnswer(
                f"{self._shown} broke off its answer to {one_line(path, 120)} ({why})",
                "The next pass tries again",
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(
        self, path: str, query: Query | None, *, is_json: bool = False, is_stream: bool = False
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
            raise _unreachable(self._shown, error) from error
        except httpx.InvalidURL:
            raise errors.Refused(f"{self._shown} is not an address", "Correct base_url") from None
        except UnicodeEncodeError:
            raise errors.BadReply(f"{self._shown} gave an id that cannot be sent back") from None
        if not response.is_success:
            raise _failure(response, path, self._redactor)
        return response


def _unreachable(base_url: str, error: httpx.RequestError) -> errors.ProviderError:
    if isinstance(error, TooLarge):
        return errors.BadReply(f"{base_url} sent {error}", "No API sends that much: check base_url")
    if isinstance(error, httpx.DecodingError):
        return errors.BadReply(f"{base_url} sent incomplete JSON at every attempt")
    if isinstance(error, httpx.LocalProtocolError):
        # Its text shows the header, and that may be the key.
        return errors.Refused(
            f"A request to {base_url} cannot be sent: a header is malformed",
            "Check api_key and headers for characters that do not belong there",
        )
    if isinstance(error, httpx.UnsupportedProtocol):
        return errors.Refused(f"{one_line(base_url)} is not a web address", "Correct base_url")
    why = one_line(str(error), 120) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return errors.Unreachable(
            f"{base_url} cannot be reached ({why})",
            "Check base_url, the network and the provider's status page",
        )
    return errors.NoAnswer(
        f"{base_url} gave no complete answer at any attempt ({why})",
        "The next pass tries again; if it persists, see the provider's status page",
    )


def _detail(response: httpx.Response) -> str:
    """The provider's own words on an error, on one line; empty where it has none."""
    error = error_object(response)
    said = error.get("message") or error.get("detail") or error.get("error") or ""
    return one_line(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))


def _failure(response: httpx.Response, path: str, redactor: Redactor) -> errors.ProviderError:
    """The error that a reply with a failing status stands for."""
    status = response.status_code
    host = response.request.url.host
    # Masked again: what was escaped in the body is readable only now.
    detail = redactor.text(_detail(response))
    said = f": {detail}" if detail else ""
    request_id = response.headers.get("x-request-id")
    # Not in the sentence: it differs each time, and the sentence is what is said once.
    support = f"; ask the provider about request {one_line(request_id, 64)}" if request_id else ""
    asked = f"{host} answered {status} to {one_line(path, 120)}"
    match status:
        case 401:
            return errors.Unauthorized(
                f"{host} refused the API key (401){said}",
                "Check api_key: it may be mistyped, revoked, or of another account",
            )
        case 403:
            return errors.Forbidden(
                f"{host} does not permit this (403){said}",
                "Give the key read permission for fine-tuning, or use the key of the right project",
            )
        case 404:
            return errors.NotFound(
                f"{asked}{said}", "Check base_url, and whether the provider still has it"
            )
        case 410:
            return errors.Withdrawn(
                f"{host} has withdrawn this service (410){said}",
                "What MLflow holds stays; remove the provider from the configuration",
            )
        case 429 if is_quota(response):
            return errors.QuotaExhausted(
                f"The quota at {host} is exhausted (429){said}", "Top up the account"
            )
        case 429:
            return errors.Throttled(
                f"{host} limits the rate of requests (429){said}", "The next pass goes on from here"
            )
        case _ if response.is_server_error:
            return errors.ServerFailed(
                f"{asked} at every attempt{said}", f"Try again later{support}"
            )
        case _:
            return errors.Refused(f"{asked}{said}", f"Check base_url{support}")
