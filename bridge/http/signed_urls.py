"""Files behind signed URLs, which a provider's reply names: from public hosts and the API's own.

The URL is its own permission, so nothing of ours goes with it: no key and no configured header.
And it is text that others wrote: it must not lead into the network that the bridge runs in. So
only https is spoken, every address of the host has to be public, the connection is made to the
very address that was checked, and no redirect is followed::

    SignedUrlFetcher -> Retrying -> Buffered -> PublicHostsOnly -> Network

Through a proxy the host's addresses are checked too, as far as they can be looked up here; it is
the proxy that connects.

One place is not checked: where the API itself is, by scheme, host and port. The configuration
names it, and the bridge asks there anyway; so a provider on this machine can serve its own files.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import httpx

from bridge import errors
from bridge.http.network import Clock, Network
from bridge.http.transports import ATTEMPTS, Buffered, Retrying
from bridge.redaction import Redactor
from bridge.text import one_line

_TIMEOUT: Final = httpx.Timeout(20.0, connect=10.0)
_PIECE: Final = 64 * 2**10
"""Bytes of a stream that are handed on at once."""
_HTTPS: Final = 443
_LAST_PORT: Final = 65535
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is assigned for the public internet."""
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Where networks without IPv4 reach it: the last 32 bits are the address."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
"""The addresses of a host and port; raises ``OSError`` where it has none."""


def is_public(address: Address) -> bool:
    """Whether ``address`` is one on the public internet, also where it wraps another."""
    inner = _wrapped(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast


def _wrapped(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def addresses_of(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class NotPublic(httpx.UnsupportedProtocol):
    """An address that is not asked; no attempt will make it better."""


class PublicHostsOnly(httpx.BaseTransport):
    """Passes on requests to public https hosts, each to an address that was checked."""

    def __init__(self, wire: httpx.BaseTransport, resolve: Resolve, *, pins: bool) -> None:
        self._wire = wire
        self._resolve = resolve
        self._pins = pins
        """Whether to connect by address; a proxy is told the name."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` to the first address that takes it.

        Raises:
            NotPublic: it does not lead to the public internet.
            httpx.RequestError: no reply.
        """
        addresses = self._checked(request)
        if not self._pins:
            return self._wire.handle_request(request)
        for address in addresses[:-1]:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return self._wire.handle_request(_pinned(request, address))
        return self._wire.handle_request(_pinned(request, addresses[-1]))

    def _checked(self, request: httpx.Request) -> list[str]:
        url = request.url
        port = url.port or _HTTPS
        if url.scheme != "https" or port > _LAST_PORT:
            raise NotPublic("it is not https", request=request)
        try:
            addresses = self._resolve(url.host, port)
        except OSError:
            if not self._pins:
                return []  # only the proxy can look it up
            raise httpx.ConnectError("its name has no address", request=request) from None
        except ValueError:  # a name that cannot be one
            addresses = []
        # One that is not public among others is a trap, not an oversight.
        if not addresses or not all(is_public(ipaddress.ip_address(each)) for each in addresses):
            raise NotPublic("its address is not public", request=request)
        return addresses

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


def _pinned(request: httpx.Request, address: str) -> httpx.Request:
    """The request to an address, still with the host's name in its header and certificate."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,  # the Host header is among them
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What there was at a signed URL."""

    body: bytes | None = None
    problem: str | None = None
    """Why there is nothing, if the reason is more than that the file is not there."""


class SignedUrlFetcher:
    """Fetches what signed URLs lead to."""

    def __init__(
        self,
        redactor: Redactor,
        *,
        api: str,
        sleep: Callable[[float], None] = time.sleep,
        clock: Clock = time.monotonic,
        patience: int = ATTEMPTS,
        proxy_of: Callable[[str], str | None] = lambda _url: None,
        resolve: Resolve = addresses_of,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Fetch over ``transport``, else the network.

        Args:
            redactor: masks the secrets in what comes back.
            api: the address of the API that names the files, from the configuration.
            sleep: waits that many seconds between attempts.
            clock: seconds that only go forward, for deadlines.
            patience: attempts for each file.
            proxy_of: the proxy for a URL, if there is one.
            resolve: looks up a host.
            transport: replaces the network in tests.
        """
        self._redactor = redactor
        self._api = api
        self._sleep = sleep
        self._clock = clock
        self._patience = patience
        self._proxy_of = proxy_of
        self._resolve = resolve
        self._transport = transport

    def find(self, url: str) -> Found:
        """The file's content, bounded as every reply is.

        Raises:
            ProviderError: there is no answer now, but perhaps later.
        """
        try:
            with self._sent(url, is_stream=False) as response:
                return Found(response.content)
        except errors.NotFound:
            return Found()
        except errors.Refused as error:
            return Found(problem=error.sentence)

    def pieces(self, url: str) -> Iterator[bytes]:
        """The file's content as it arrives, neither bounded nor masked.

        Raises:
            ProviderError: there is none for us, or it breaks off in the middle.
        """
        with self._sent(url, is_stream=True) as response:
            try:
                yield from response.iter_bytes(_PIECE)
            except httpx.RequestError as error:
                raise _unanswered(url, error) from error

    @contextlib.contextmanager
    def _sent(self, url: str, *, is_stream: bool) -> Iterator[httpx.Response]:
        try:
            # Files are few and on many hosts: no connection is worth keeping.
            with self._client(url) as client:
                request = client.build_request("GET", url, extensions={"is_stream": is_stream})
                response = client.send(request, stream=is_stream)
                _raise_for_status(url, response)
                try:
                    yield response
                finally:
                    response.close()
        except httpx.RequestError as error:
            raise _unanswered(url, error) from error
        except (httpx.InvalidURL, UnicodeError):
            raise errors.Refused("A signed URL is no address") from None

    def _client(self, url: str) -> httpx.Client:
        proxy = self._proxy_of(url)
        wire = self._transport or Network(proxy=proxy, clock=self._clock)
        if _origin(url) != _origin(self._api):
            wire = PublicHostsOnly(wire, self._resolve, pins=proxy is None)
        transport = Retrying(
            Buffered(wire, self._redactor),
            sleep=self._sleep,
            attempts=self._patience,
            clock=self._clock,
        )
        return httpx.Client(
            headers={"Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )


def _origin(url: str) -> tuple[str, bytes, int | None]:
    """Scheme, host and port as the client takes them from a URL; a scheme's own port is none."""
    parts = httpx.URL(url)
    return parts.scheme, parts.raw_host, parts.port


def _host(url: str) -> str:
    """What a sentence calls a signed URL: the rest of it is as good as a key."""
    return one_line(httpx.URL(url).host, 80) or "a signed URL"


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
    if isinstance(error, httpx.UnsupportedProtocol):
        return errors.Refused(f"A signed URL at {_host(url)} is not asked: {why}")
    if isinstance(error, httpx.DecodingError):
        return errors.Refused(f"{_host(url)} sent an unusable file ({why})")
    # Not ``Unreachable``: the provider itself may be well.
    return errors.NoAnswer(
        f"{_host(url)} gave no complete answer to a signed URL ({why})", "The next pass tries again"
    )
