"""A socket that receives the messages of sd_notify(3), as systemd's does."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


class NotifySocket:
    """Collects the messages that it receives."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        """Assignments, in the order received."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's

    def listen(self) -> list[str]:
        """Return all assignments so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(65_536).decode().split("\n")
        return self.heard

    def states(self) -> list[str]:
        """Return the changes of state among them."""
        names = ("READY", "RELOADING", "STOPPING")
        return [each for each in self.listen() if each.partition("=")[0] in names]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@contextlib.contextmanager
def notify_socket(address: str) -> Iterator[NotifySocket]:
    """Open a socket at a path, or with ``@`` at a name that is in no file system."""
    bound = NotifySocket(address)
    try:
        yield bound
    finally:
        bound.close()
