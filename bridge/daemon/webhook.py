"""Calls one address in a thread of its own: nobody waits for it, neither a pass nor the end."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog

from bridge import __version__
from bridge.http.client import network_to
from bridge.text import one_line

log = structlog.get_logger()

WAITS: Final = (1.0, 4.0)
"""Seconds before each further attempt."""
_TIMEOUT: Final = 5.0
"""Seconds."""
_MOST_WAITING: Final = 100
"""Messages; more are let go of."""

Body = Mapping[str, object] | None
"""What is posted, as JSON; ``None``: the address is only asked for."""


class WebhookSender:
    """Delivers messages in their order, as far as that can be done soon. Thread-safe.

    Args:
        what: what the log calls it.
        url: where to; a secret.
        wire: replaces the network in tests.
        pause: waits so many seconds; by default until the courier is closed at the latest.
    """

    def __init__(
        self,
        what: str,
        url: str,
        *,
        wire: httpx.BaseTransport | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._what = what
        self._url = url
        self._host = one_line(urlsplit(url).hostname or "", 80)
        self._closing = threading.Event()
        self._pause = pause or self._closing.wait
        self._waiting: queue.Queue[Body] = queue.Queue(_MOST_WAITING)
        self._is_well = True
        self._client = httpx.Client(
            transport=wire or network_to(url, connections=1),
            headers={"User-Agent": f"ftbridge/{__version__}"},
            timeout=_TIMEOUT,
            follow_redirects=False,
            trust_env=False,
        )
        threading.Thread(target=self._work, name=what, daemon=True).start()

    def send(self, body: Body) -> None:
        """Have a message delivered; where too many wait already, it is let go of."""
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            self._fails(f"more than {_MOST_WAITING} messages wait")

    def close(self) -> None:
        """Let go of what is not delivered."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes it up

    def _work(self) -> None:
        while True:
            body = self._waiting.get()
            if self._closing.is_set():
                self._client.close()
                return
            self._deliver(body)

    def _deliver(self, body: Body) -> None:
        trouble = self._attempt(body)
        for seconds in WAITS:
            if trouble is None:
                break
            self._pause(seconds)
            if self._closing.is_set():
                return
            trouble = self._attempt(body)
        if trouble is not None:
            self._fails(trouble)
        elif not self._is_well:
            self._is_well = True
            log.info("reached again", what=self._what, host=self._host)

    def _fails(self, trouble: str) -> None:
        """Say so, once."""
        if self._is_well:
            self._is_well = False
            log.warning("not reached", what=self._what, host=self._host, error=trouble)

    def _attempt(self, body: Body) -> str | None:
        """Call once; what went wrong, in words that do not name the address."""
        method = "GET" if body is None else "POST"
        try:
            # Whatever it answers is not read.
            with self._client.stream(method, self._url, json=body) as reply:
                return None if reply.is_success else f"it answered {reply.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            return f"no answer ({type(error).__name__})"
