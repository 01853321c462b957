"""Ports for servers that are started later, or never."""

from __future__ import annotations

import secrets
import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens.

    It is below those from which systems choose the ports of connections: until its server listens,
    no connection takes it. The choice does not depend on the seed, which parallel tests share.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
