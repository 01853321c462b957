"""What is done before MLflow opens a database: it waits and collides where one need not."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit


def check_folder(file: Path | None) -> None:
    """Make sure that an sqlite database could be created.

    Raises:
        PermissionError: its folder is not there, or takes no files.
    """
    if file is not None and not os.access(file.parent, os.W_OK):
        raise PermissionError(f"{file.parent} is no folder to write to")


def knock(uri: str) -> None:
    """Connect to a database once: MLflow itself would try for minutes if it is down."""
    if urlsplit(uri).scheme.partition("+")[0] not in {"postgresql", "mysql", "mssql"}:
        return
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.connect():
        pass


@contextlib.contextmanager
def first_opening(database: Path | None) -> Iterator[None]:
    """Lets one process at a time make an sqlite database's tables: two would get in their way."""
    if database is None:
        yield
        return
    with database.open("ab") as file:
        # No lock of sqlite's own: those are of another kind.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
