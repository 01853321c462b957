"""Files behind the signed URLs of a provider's reply, on public hosts and on the API's own.

A signed URL contains its own permission, so no key and no configured header is sent with it. It is
also untrusted text, which must not lead into the network that the bridge runs in: only https is
used, every address of the host has to be public, the connection is made to a checked address, and
no redirect is followed::

    SignedUrlFetcher -> Retrying -> Buffered -> PublicHostsOnly -> Timed -> network

Behind a proxy, which makes the connection, addresses are checked if they can be resolved.
The API's own origin is not checked, because the configuration names it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import httpx

from bridge import errors
from bridge.http.proxies import trusted
from bridge.http.retries import ATTEMPTS, Retrying
from bridge.http.transports import PIECE, TIMEOUT, Buffered, Clock, Lasting, Streamed, Timed
from bridge.redaction import Redactor
from bridge.text import one_line

_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""The part of IPv6 that is assigned to the public internet."""
_6TO4: Final = ipaddress.IPv6Network("2002::/16")
"""The NAT64 prefix, which leads to any IPv4 address, including private ones."""

Resolve = Callable[[str, int], list[str]]
"""Returns the addresses of a host and port; raises ``OSError`` if there are none."""


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether ``address`` is public; an address that embeds another one is not."""
    if isinstance(address, ipaddress.IPv6Address) and (address not in _UNICAST or address in _6TO4):
        return False
    return address.is_global and not address.is_multicast


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses that the system's resolver returns."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class NotPublic(Lasting):
    """The URL leads to an address that must not be requested."""


class PublicHostsOnly(httpx.BaseTransport):
    """Forwards requests to public https hosts, each to a checked address."""

    def __init__(self, wire: httpx.BaseTransport, resolve: Resolve, *, is_proxy: bool) -> None:
        self._wire = wire
        self._resolve = resolve
        self._is_proxy = is_proxy

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` to the first address that accepts it.

        Raises:
            NotPublic: The URL does not lead to the public internet.
            httpx.RequestError: No reply.
        """
        addresses = self._checked(request)
        if self._is_proxy:
            return self._wire.handle_request(request)
        for address in addresses[:-1]:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return self._wire.handle_request(_pinned(request, address))
        return self._wire.handle_request(_pinned(request, addresses[-1]))

    def _checked(self, request: httpx.Request) -> list[str]:
        if request.url.scheme != "https":
            raise NotPublic("it is not https", request=request)
        try:
            addresses = self._resolve(request.url.host, request.url.port or 443)
        except OSError:
            if self._is_proxy:
                return []
            raise httpx.ConnectError("its name has no address", request=request) from None
        except (ValueError, OverflowError):  # an invalid name or port
            addresses = []
        # A private address among public ones suggests an attack, not an oversight.
        if not addresses or not all(is_public(ipaddress.ip_address(each)) for each in addresses):
            raise NotPublic("its address is not public", request=request)
        return addresses

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


def _pinned(request: httpx.Request, address: str) -> httpx.Request:
    """Return the request to an address, with the host's name in its header and certificate."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,  # these include the Host header
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


@dataclass(frozen=True, slots=True)
class Found:
    """The content behind a signed URL.

    Attributes:
        body: The content.
        problem: Reason why there is none, unless the file merely does not exist.
    """

    body: bytes | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class SignedUrlFetcher:
    """Fetches the files behind signed URLs.

    Attributes:
        redactor: Masks the secrets in the content.
        api: The address of the API that names the files, from the configuration.
        sleep: Waits between attempts for a number of seconds.
        clock: Monotonic seconds, for deadlines.
        patience: Highest number of attempts for each file.
        proxy_of: Returns the proxy for a URL, if there is one.
        resolve: Looks up a host.
        transport: Replaces the network in tests.
    """

    redactor: Redactor
    _: KW_ONLY
    api: str = field(repr=False)
    sleep: Callable[[float], None] = time.sleep
    clock: Clock = time.monotonic
    patience: int = ATTEMPTS
    proxy_of: Callable[[str], str | None] = lambda _url: None
    resolve: Resolve = addresses_of
    transport: httpx.BaseTransport | None = None

    def find(self, url: str) -> Found:
        """Return the file's content, limited in size as every reply is.

        Raises:
            ProviderError: The server does not answer now, but may later.
        """
        try:
            with self._opened(url, Buffered) as response:
                return Found(response.content)
        except errors.NotFound:
            return Found()
        except errors.Refused as error:
            return Found(problem=error.sentence)

    def pieces(self, url: str) -> Iterator[bytes]:
        """Yield the file's content as it arrives, neither limited nor masked.

        Raises:
            ProviderError: There is none for us, or it breaks off in the middle.
        """
        with self._opened(url, Streamed) as response:
            yield from response.iter_bytes(PIECE)

    @contextlib.contextmanager
    def _opened(self, url: str, layer: type[Buffered]) -> Iterator[httpx.Response]:
        try:
            # Files are few and on many hosts, so no connection is worth keeping.
            with self._client(url, layer) as client, client.stream("GET", url) as response:
                _raise_for_status(url, response)
                yield response
        except httpx.RequestError as error:
            raise _unanswered(url, error) from error
        except (httpx.InvalidURL, UnicodeError):
            raise errors.Refused("A signed URL is not a valid address") from None

    def _client(self, url: str, layer: type[Buffered]) -> httpx.Client:
        proxy = self.proxy_of(url)
        wire: httpx.BaseTransport = Timed(
            self.transport or httpx.HTTPTransport(verify=trusted(), proxy=proxy), self.clock
        )
        if _origin(url) != _origin(self.api):
            wire = PublicHostsOnly(wire, self.resolve, is_proxy=proxy is not None)
        patient = Retrying(
            layer(wire, self.redactor), sleep=self.sleep, attempts=self.patience, clock=self.clock
        )
        identity = {"Accept-Encoding": "identity"}
        return httpx.Client(headers=identity, timeout=TIMEOUT, transport=patient, trust_env=False)


def _origin(url: str) -> tuple[str, bytes, int | None]:
    """Return scheme, host and port as the client reads them from a URL."""
    parts = httpx.URL(url)
    return parts.scheme, parts.raw_host, parts.port


def _host(url: str) -> str:
    """Return a name for a signed URL in sentences, because the URL itself is as good as a key."""
    return one_line(httpx.URL(url).host, 80) or "an unknown host"


def _raise_for_status(url: str, response: httpx.Response) -> None:
    status = response.status_code
    if response.is_success:
        return
    said = f"{_host(url)} answered {status} to a signed URL"
    if status in {httpx.codes.NOT_FOUND, httpx.codes.GONE}:
        raise errors.NotFound(said)
    if response.is_server_error or status == httpx.codes.TOO_MANY_REQUESTS:
        raise errors.ServerFailed(f"{said}, at every attempt", "The next pass tries again")
    raise errors.Refused(said)


def _unanswered(url: str, error: httpx.RequestError) -> errors.ProviderError:
    why = one_line(str(error), 120) or type(error).__name__
    if isinstance(error, NotPublic | httpx.UnsupportedProtocol):
        return errors.Refused(f"A signed URL at {_host(url)} was not requested: {why}")
    if isinstance(error, Lasting | httpx.DecodingError):
        return errors.Refused(f"{_host(url)} sent an unusable file ({why})")
    # Not ``Unreachable``, because the provider itself may be up.
    return errors.NoAnswer(
        f"{_host(url)} gave no complete answer to a signed URL ({why})", "The next pass tries again"
    )
