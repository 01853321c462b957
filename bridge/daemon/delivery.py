"""Deliver messages in a thread that neither a pass nor the daemon's end waits for."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog

from bridge import __version__
from bridge.errors import ConfigError
from bridge.http.proxies import network_to
from bridge.text import one_line

log = structlog.get_logger()

WAITS: Final = (1.0, 4.0)
"""Waits before each further attempt in seconds."""
_TIMEOUT: Final = 5.0
"""Timeout of an attempt in seconds."""
_MOST_WAITING: Final = 100
"""Highest number of waiting messages; more are dropped."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event of which people are notified."""

    event: str
    title: str
    facts: Mapping[str, str]

    @property
    def details(self) -> str:
        """Error and link, if there are any, each on a line."""
        return "\n".join(self.facts[name] for name in ("error", "link") if name in self.facts)


Attempt = Callable[[Message | None], str | None]
"""Deliver a message, or a sign of life for ``None``; return what went wrong.

The returned text does not contain the address, which is a secret.
"""


def to_webhook(url: str, wire: httpx.BaseTransport | None = None) -> Attempt:
    """Return an attempt that posts Slack's JSON, or requests the address as a sign of life.

    Args:
        url: address of the webhook; a secret.
        wire: replaces the network in tests.
    """

    def attempt(message: Message | None) -> str | None:
        method, body = ("POST", _body(message)) if message else ("GET", None)
        try:
            with (
                httpx.Client(
                    transport=wire or network_to(url, connections=1),
                    headers={"User-Agent": f"ftbridge/{__version__}"},
                    timeout=_TIMEOUT,
                    follow_redirects=False,
                    trust_env=False,
                ) as client,
                # The body of the answer is not read.
                client.stream(method, url, json=body) as reply,
            ):
                return None if reply.is_success else f"it answered {reply.status_code}"
        except (ConfigError, httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            return f"no answer ({type(error).__name__})"

    return attempt


def _body(message: Message) -> dict[str, object]:
    text = "\n".join(filter(None, (message.title, message.details)))
    # Slack reads links and mentions in these characters.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": text, "event": message.event, **message.facts}


def to_service(url: str) -> Attempt:
    """Return an attempt that notifies a service by apprise.

    Args:
        url: address of the service, checked by the settings; a secret.
    """
    from apprise import Apprise, AppriseAsset, LogCapture, NotifyFormat, NotifyType  # noqa: PLC0415 - an optional package, and slow to import

    # With a timeout, apprise would use a thread that the end of the process waits for.
    services = Apprise(asset=AppriseAsset(app_id="ftbridge", service_timeout=0))
    service = Apprise.instantiate(url, asset=services.asset)
    if service is not None:
        services.add(service)
    types = {
        "succeeded": NotifyType.SUCCESS,
        "recovered": NotifyType.SUCCESS,
        "cancelled": NotifyType.WARNING,
        "stalled": NotifyType.WARNING,
        "shutdown": NotifyType.WARNING,
    }

    def attempt(message: Message | None) -> str | None:
        if message is None:
            return None
        with LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call] # apprise's signature
            is_delivered = services.notify(
                title=message.title,
                body=message.details or message.title,
                notify_type=types.get(message.event, NotifyType.FAILURE),
                body_format=NotifyFormat.TEXT,
            )
            return (
                None if is_delivered else one_line(said.getvalue(), 300) or "it was not delivered"
            )

    return attempt


class Delivery:
    """Deliver messages in order, each with a few attempts. Thread-safe.

    Args:
        what: name in the log.
        url: address to deliver to; a secret.
        attempt: delivers a message there.
        pause: waits for a number of seconds; by default it returns early when the delivery closes.
    """

    def __init__(
        self,
        what: str,
        url: str,
        attempt: Attempt,
        *,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._what = what
        self._host = one_line(host_of(url), 80)
        self._attempt = attempt
        self._closing = threading.Event()
        self._pause = pause or self._closing.wait
        self._waiting: queue.Queue[Message | None] = queue.Queue(_MOST_WAITING)
        self._is_well = True
        threading.Thread(target=self._work, name=what, daemon=True).start()

    def send(self, message: Message | None) -> None:
        """Queue a message, or drop it when too many are waiting."""
        try:
            self._waiting.put_nowait(message)
        except queue.Full:
            self._fails(f"more than {_MOST_WAITING} messages are waiting")

    def close(self) -> None:
        """Stop delivering, and drop the messages that are still waiting."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes the thread

    def _work(self) -> None:
        while True:
            message = self._waiting.get()
            if self._closing.is_set():
                return
            self._deliver(message)

    def _deliver(self, message: Message | None) -> None:
        trouble = self._attempt(message)
        for seconds in WAITS:
            if trouble is None:
                break
            self._pause(seconds)
            if self._closing.is_set():
                return
            trouble = self._attempt(message)
        if trouble is not None:
            self._fails(trouble)
        elif not self._is_well:
            self._is_well = True
            log.info("reached again", what=self._what, host=self._host)

    def _fails(self, trouble: str) -> None:
        """Log the first failure; the next line is about its end."""
        if self._is_well:
            self._is_well = False
            log.warning("not reached", what=self._what, host=self._host, error=trouble)


def host_of(url: str) -> str:
    """Return the public part of an address: the host of a webhook, else the kind of service."""
    scheme = url.partition("://")[0]
    return (urlsplit(url).hostname or "") if scheme in {"http", "https"} else scheme
