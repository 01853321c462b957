"""MLflow's database in a file that one test uses after another.

MLflow checks the schema of each file that is new to it, and SQLAlchemy compiles each query for it:
together a third of what a short test with a store costs.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection


@event.listens_for(Engine, "connect")
def _leave_it_to_the_system(connection: DBAPIConnection, _record: object) -> None:
    """Write without waiting for the disk: a killed process loses nothing, a power cut would."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def refill(database: Path, content: Path) -> str:
    """Give ``database`` the content of another, remove everything beside it, and return its URI.

    It goes through sqlite, so that open connections notice it.
    """
    for left in database.parent.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif not left.name.startswith(database.name):  # a journal belongs to the database
            left.unlink()
    with (
        contextlib.closing(sqlite3.connect(content)) as source,
        contextlib.closing(sqlite3.connect(database)) as target,
    ):
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target)
    return f"sqlite:///{database}"


def file_of(uri: str) -> Path:
    """Return the file of an sqlite database."""
    return Path(uri.removeprefix("sqlite:///"))


def copy_store(source: Path, target: Path) -> None:
    """Give ``target`` the content of another database, and the artifacts beside it."""
    refill(target, source)
    for found in source.parent.iterdir():
        if found.is_dir():
            shutil.copytree(found, target.parent / found.name)
