"""What the listener answers: the picture in all its forms."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from bridge.daemon import status_page as page
from bridge.daemon.http_server import Answer
from bridge.daemon.metrics import CONTENT_TYPE, Metrics
from bridge.daemon.status import View

PATIENCE: Final = 60.0
"""Seconds by which a pass may be late before the daemon counts as dead."""


class Site:
    """The pages. Asks nobody: all of it comes from memory."""

    def __init__(self, view: Callable[[], View], metrics: Metrics) -> None:
        self._view = view
        self._metrics = metrics

    def __call__(self, path: str, accept: str) -> Answer | None:
        """The answer to a request for ``path``; ``None`` where there is nothing."""
        match path:
            case "/":
                return self._status() if "application/json" in accept else self._page()
            case "/status.json":
                return self._status()
            case "/healthz":
                return self._health()
            case "/readyz":
                return self._readiness()
            case "/metrics":
                return Answer(self._metrics.exposition(), CONTENT_TYPE)
            case _:
                return None

    def _page(self) -> Answer:
        body = page.html(self._view()).encode()
        return Answer(body, "text/html; charset=utf-8", policy=page.POLICY)

    def _status(self) -> Answer:
        return Answer.json(page.document(self._view()))

    def _health(self) -> Answer:
        view = self._view()
        late = [name for name, each in view.providers.items() if each.is_late(view.now, PATIENCE)]
        status = HTTPStatus.SERVICE_UNAVAILABLE if late else HTTPStatus.OK
        return Answer.json({"healthy": not late, "late": late}, status)

    def _readiness(self) -> Answer:
        view = self._view()
        status = HTTPStatus.OK if view.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer.json(page.readiness(view), status)
