"""Secrets in separate files, as container platforms mount them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_SUFFIX: Final = "_FILE"
_LONGEST: Final = 64 * 2**10
"""Largest file in bytes; keys are shorter."""
_MOUNTED: Final = Path("/run/secrets")
"""Folder in which Docker and Kubernetes mount secrets."""
_UNREAD: Final = "unread"
"""Stands for an unreadable value, so that it is not also reported as missing."""


class KeyFiles(Mapping[str, str]):
    """The environment, in which ``NAME_FILE`` names a file with the value of ``NAME``.

    No sentence shows a file's name, because a user may have written the key there.

    Args:
        environ: the environment.
        mounted: folder in which a container platform mounts secrets, whose modes are its own.

    Attributes:
        problems: what is wrong, by the variable or key that names the file.
        warnings: what works but is unsafe.
    """

    def __init__(self, environ: Mapping[str, str], *, mounted: Path = _MOUNTED) -> None:
        self._environ = environ
        self._mounted = mounted
        self._known: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.warnings: list[str] = []

    def __getitem__(self, name: str) -> str:
        if not self._environ.get(name) and (path := self._environ.get(name + _SUFFIX)):
            return self.read(path, name + _SUFFIX)
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)

    def read(self, path: str, where: str) -> str:
        """Return the content of the file that ``where`` names, without blanks around it."""
        if where not in self._known:
            self._known[where] = self._read(path, where)
        return self._known[where]

    def _read(self, path: str, where: str) -> str:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - one open file for content and mode
                content = file.read(_LONGEST + 1)
                mode = os.fstat(file.fileno()).st_mode
            text = content.decode().strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not text"
            self.problems[where] = f"names a file that cannot be read ({why})"
            return _UNREAD
        if not text or len(content) > _LONGEST:
            what = (
                "is too long for a key; name another file"
                if text
                else "is empty; write the key into it"
            )
            self.problems[where] = f"names a file that {what}"
            return _UNREAD
        # The modes of mounted files are the platform's, and only the container has these files.
        is_mounted = Path(path).resolve().is_relative_to(self._mounted)
        if stat.S_ISREG(mode) and mode & stat.S_IROTH and not is_mounted:
            self.warnings.append(
                f"{where}: names a file that every user of this machine can read; chmod 600 it"
            )
        return text
