"""Serve the daemon's page, probes and metrics from memory, to a few short connections.

It has no login. The answers contain nothing that the log does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Final

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from bridge.daemon import status_page as page
from bridge.daemon.metrics import CONTENT_TYPE, Metrics
from bridge.daemon.status import View
from bridge.errors import ConfigError
from bridge.settings.daemon import Address

LONGEST: Final = 10.0
"""Longest duration of a connection in seconds."""
MOST: Final = 32
"""Highest number of connections; more are closed."""
PATIENCE: Final = 60.0
"""Delay of a pass in seconds after which the daemon counts as dead."""
_HEADERS: Final = [
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
    ("Content-Security-Policy", page.POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Server", "ftbridge"),
    ("X-Content-Type-Options", "nosniff"),
]


def application(view: Callable[[], View], metrics: Metrics, mlflow: str = "") -> ASGIApp:
    """Return the web application.

    Args:
        view: the status.
        metrics: text for Prometheus.
        mlflow: the address of MLflow's UI, for a link to it.
    """

    async def root(request: Request) -> Response:
        if "application/json" in request.headers.get("accept", ""):
            return _json(page.document(view()))
        return Response(page.html(view(), mlflow), media_type="text/html")

    async def status(_: Request) -> Response:
        return _json(page.document(view()))

    async def exposition(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    async def health(_: Request) -> Response:
        seen = view()
        late = [name for name, each in seen.providers.items() if each.is_late(seen.now, PATIENCE)]
        return _json({"healthy": not late, "late": late}, is_well=not late)

    async def readiness(_: Request) -> Response:
        seen = view()
        return _json(page.readiness(seen), is_well=seen.is_ready)

    return Router(
        [
            Route("/", root),
            Route("/status.json", status),
            Route("/metrics", exposition),
            Route("/healthz", health),
            Route("/readyz", readiness),
        ],
        redirect_slashes=False,
    )


def _json(document: Mapping[str, object], *, is_well: bool = True) -> Response:
    return Response(
        json.dumps(document, indent=2) + "\n",
        HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE,
        media_type="application/json",
    )


@contextlib.contextmanager
def bound(address: Address) -> Iterator[socket.socket]:
    """Listen on an address until the context ends.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _refused(address, error) from None
    with listener:
        try:
            # Connections of a daemon that has just ended remain for a minute.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(MOST)
        except OSError as error:
            raise _refused(address, error) from None
        yield listener


def _refused(address: Address, error: OSError) -> ConfigError:
    sentence = f"listen: {address} cannot be used ({error.strerror}); choose another address"
    return ConfigError([sentence])


@contextlib.contextmanager
def listening(address: Address, app: ASGIApp, *, longest: float = LONGEST) -> Iterator[Address]:
    """Serve until the context ends; yield the address with the actual port.

    Raises:
        ConfigError: the address cannot be had.
    """
    with bound(address) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=_impatient(longest),
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                # Clients' requests and hang-ups are not logged.
                log_level=logging.CRITICAL,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=_HEADERS,
                backlog=MOST,
                timeout_graceful_shutdown=1,
            )
        )
        # Outside the main thread, uvicorn does not handle signals.
        thread = threading.Thread(
            target=server.run, args=([listener],), name="http-server", daemon=True
        )
        thread.start()
        try:
            yield Address(address.host, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(LONGEST)


def _impatient(longest: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol, which also closes connections that are too many or too slow."""

    class Impatient(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # the base class's signature
            if len(self.server_state.connections) >= MOST:
                transport.abort()
                return
            super().connection_made(transport)
            self._deadline = self.loop.call_later(longest, transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                super().connection_lost(exc)

        def shutdown(self) -> None:
            self.transport.abort()

    return Impatient
