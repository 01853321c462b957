"""One connection a request, for what the bridge asks a tracking server over plain HTTP.

``mlflow server`` with several workers, its default, sends a reply in two pieces, and the second one
only once the first is acknowledged (Nagle's algorithm; uvicorn does not turn it off on a socket
that it inherits). On a kept connection the client delays that acknowledgement by forty
milliseconds, on a new one it does not. Over TLS a new connection costs more than it saves, and what
serves TLS is usually a proxy, which sends its replies at once.

MLflow finds ``RequestHeaders`` by its entry point ``mlflow.request_header_provider``, in every
process of an environment that has the bridge. The header is only sent inside ``one_each``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

_IS_WANTED: Final = ContextVar("_IS_WANTED", default=False)


class RequestHeaders:
    """Adds the header to the bridge's requests; MLflow's client consults it for each request."""

    def in_context(self) -> bool:
        """Return whether the bridge makes this request."""
        return _IS_WANTED.get()

    def request_headers(self) -> dict[str, str]:
        """Return the header that ends the connection after the reply."""
        return {"Connection": "close"}


@contextlib.contextmanager
def one_each(uri: str) -> Iterator[None]:
    """Give each request of this thread a separate connection within the context.

    Args:
        uri: the tracking store; nothing changes unless it is asked over plain HTTP.
    """
    token = _IS_WANTED.set(uri.lower().startswith("http://"))
    try:
        yield
    finally:
        _IS_WANTED.reset(token)
