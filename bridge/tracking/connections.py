"""One connection per request, for the bridge's requests to a tracking server over plain HTTP.

``mlflow server`` with several workers, its default, sends a reply in two pieces, the second one
only after the first is acknowledged (Nagle's algorithm, which uvicorn does not turn off on an
inherited socket). On a kept connection the client delays that acknowledgement by forty
milliseconds; on a new connection it does not. Over TLS a new connection costs more than it saves,
and TLS is usually served by a proxy, which sends replies in one piece.

MLflow finds ``RequestHeaders`` by its entry point ``mlflow.request_header_provider``, in every
process of an environment in which the bridge is installed. The header is only sent inside
``one_each``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

_IS_WANTED: Final = ContextVar("_IS_WANTED", default=False)


class RequestHeaders:
    """Adds the header to the bridge's requests; MLflow's client calls it for each request."""

    def in_context(self) -> bool:
        """Return whether the bridge makes the current request."""
        return _IS_WANTED.get()

    def request_headers(self) -> dict[str, str]:
        """Return the header that ends the connection after the reply."""
        return {"Connection": "close"}


@contextlib.contextmanager
def one_each(uri: str) -> Iterator[None]:
    """Give each request of this thread a separate connection within the context.

    Args:
        uri: address of the tracking store; nothing changes unless it uses plain HTTP.
    """
    token = _IS_WANTED.set(uri.lower().startswith("http://"))
    try:
        yield
    finally:
        _IS_WANTED.reset(token)
