"""Databases of MLflow: their preparation, and the meaning of their errors."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

REFUSALS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        r"database( table)? is locked",
        "is locked by another program",
        "Run this again when the other program has ended, or use an mlflow server",
    ),
    (
        r"disk I/O error|is full|No space left|[Qq]uota exceeded|could not (extend|write)",
        "cannot write to its disk",
        "Free disk space there",
    ),
    (
        r"readonly database|read-only (transaction|option)|read[ -]only mode|is read-only",
        "is read-only",
        "Give write permission to the file and its folder, or to this user of the database",
    ),
    (
        r"permission denied|command denied to user|must be owner of|Access denied .* to database",
        "refused to let this user read or write its tables",
        "Grant the user all rights to the tables of MLflow",
    ),
    (
        (
            r"authentication failed|no password supplied|no pg_hba|role .* not (exist|permitted)"
            r"|Access denied|Login failed"
        ),
        "rejected the login",
        "Correct user and password in mlflow.tracking_uri",
    ),
    (
        r"database \"[^\"]*\" does not exist|Unknown database|Cannot open database",
        "does not exist",
        "Create it, or correct mlflow.tracking_uri",
    ),
    (
        r"does not support SSL|certificate verify failed|[Rr]oot certificate|insecure transport",
        "did not establish an encrypted connection with this machine",
        "Correct the certificates, or sslmode (ssl_mode for MySQL) in mlflow.tracking_uri",
    ),
    (
        r"unable to open database file",
        "cannot be opened",
        "Correct mlflow.tracking_uri, or give permission to the file and its folder",
    ),
    (
        r"file is not a database",
        "is not an SQLite database",
        "Correct mlflow.tracking_uri; the file is left as it is",
    ),
    (
        r"(table|relation) \S+ already exists|duplicate column name",
        "is incomplete: MLflow was interrupted while it created or upgraded the tables",
        "If it holds no runs yet, delete the file and run this again; else restore your backup",
    ),
    (
        (
            r"is malformed|no such (table|column)|(relation|column) .*does not exist"
            r"|Table .*doesn.t exist|Unknown column|Invalid (object|column) name"
        ),
        "is damaged: it lacks tables, columns or pages",
        "Restore your backup, or use another database",
    ),
    (
        (
            r"(?i)too many (clients|connections)|remaining connection slots|QueuePool limit"
            r"|max_user_connections"
        ),
        "has no connection left",
        "End other programs that use it; the next pass tries again",
    ),
    (
        r"the database system is|server closed the connection|server has gone away",
        "is starting, stopping or has restarted",
        "The next pass tries again",
    ),
)
"""Patterns in a database's errors, each with a sentence and a remedy; the first match counts. A
server forwards only the text, so the driver's own exceptions are not enough."""


def check_folder(file: Path | None) -> None:
    """Check that an sqlite database could be created.

    Raises:
        FileNotFoundError: its folder does not exist.
        PermissionError: its folder is not writable.
    """
    if file is not None and not file.parent.is_dir():
        raise FileNotFoundError(f"the folder {file.parent} does not exist")
    if file is not None and not os.access(file.parent, os.W_OK):
        raise PermissionError(f"the folder {file.parent} takes no files")


def knock(uri: str, file: Path | None = None) -> None:
    """Read from a database once, because MLflow itself would try for minutes if it refuses.

    Args:
        uri: address of the database.
        file: file of an sqlite database; nothing happens if it does not exist yet.

    Raises:
        ModuleNotFoundError: The driver or a package that it needs is not installed.
        SQLAlchemyError: The database refused.
    """
    is_server = urlsplit(uri).scheme.partition("+")[0] in {"postgresql", "mysql", "mssql"}
    if not (is_server or (file is not None and file.exists())):
        return
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    try:
        with engine.connect() as connection:
            if not is_server:  # SQLite opens a file on the first read
                connection.exec_driver_sql("PRAGMA schema_version")
    except RuntimeError as error:
        # PyMySQL needs a package only for certain kinds of logins.
        needed = re.search(r"'(\w+)' package is required", str(error))
        if needed is None:
            raise
        raise ModuleNotFoundError(str(error), name=needed[1]) from error


@contextlib.contextmanager
def first_opening(database: Path | None, make: Callable[[str], object]) -> Iterator[None]:
    """Let one process at a time open an sqlite database, and create a missing one.

    MLflow creates the tables of a new database, and those that an older one lacks, in hundreds of
    statements. Two processes that do so at once disturb each other.

    Args:
        database: the file; ``None`` for any other store.
        make: creates all tables of the database at a URI.
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
    """Create a database under a temporary name, and rename it once it is complete.

    Otherwise a process that is killed during creation would leave a file that MLflow cannot open.
    """
    unfinished = database.with_name(f"{database.name}.unfinished")
    # Files that a killed process left.
    for wreck in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        wreck.unlink(missing_ok=True)
    make(f"sqlite:///{unfinished}")
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        # Others, such as MLflow's UI, can read while the bridge writes.
        connection.execute("PRAGMA journal_mode=WAL")
    unfinished.rename(database)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Lock a folder within the context, after waiting for other processes.

    The database itself is not locked, because a process that closes any handle of a file loses
    sqlite's locks on it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        # A network folder may lack such locks; then two first starts must not coincide.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
