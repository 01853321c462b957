"""Preparation of a database before MLflow opens it, without avoidable waits and collisions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit


def check_folder(file: Path | None) -> None:
    """Make sure that an sqlite database could be created.

    Raises:
        PermissionError: its folder is not there, or takes no files.
    """
    if file is not None and not os.access(file.parent, os.W_OK):
        what = "takes no files" if file.parent.is_dir() else "does not exist"
        raise PermissionError(f"the folder {file.parent} {what}")


def knock(uri: str) -> None:
    """Connect to a database once: MLflow itself would try for minutes if it is down."""
    if urlsplit(uri).scheme.partition("+")[0] not in {"postgresql", "mysql", "mssql"}:
        return
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.connect():
        pass


@contextlib.contextmanager
def first_opening(database: Path | None, make: Callable[[str], object]) -> Iterator[None]:
    """Let one process at a time open an sqlite database, and make it where there is none.

    MLflow makes the tables of a new database in hundreds of statements, and those that an older one
    lacks. Two processes that do so at once get in each other's way.

    Args:
        database: the file; ``None`` where the store is something else.
        make: makes all tables of a database, whose URI it is given.
    """
    if database is None:
        yield
        return
    if not database.exists():
        check_folder(database)
    with _one_at_a_time(database.parent):
        if not database.exists():
            _make_whole(database, make)
        yield


def _make_whole(database: Path, make: Callable[[str], object]) -> None:
    """Make a database beside its place, and move it there once it is whole.

    A process that is killed in between leaves a file that no MLflow can open.
    """
    unfinished = database.with_name(f"{database.name}.unfinished")
    # Files that such a process has left.
    for wreck in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        wreck.unlink(missing_ok=True)
    make(f"sqlite:///{unfinished}")
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        # Others, such as MLflow's UI, can read while the bridge writes.
        connection.execute("PRAGMA journal_mode=WAL")
    unfinished.rename(database)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process has locked a folder.

    Not the database: a process that closes any handle of a file loses sqlite's locks of it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        # A network folder may have no such locks; then two first starts must not coincide.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
