"""The first opening of an sqlite database, which is created completely or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import DatabaseError, OperationalError

from bridge.errors import TrackingDown
from bridge.tracking import Tracking
from bridge.tracking.databases import check_folder, first_opening, knock


def make(uri: str) -> None:
    """Make a database with one table."""
    path = uri.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE here (x)")


def test_a_new_database_is_made_beside_its_place(tmp_path: Path) -> None:
    """A database is created under a temporary name, and renamed once it is complete."""
    database = tmp_path / "mlflow.db"
    asked: list[str] = []

    def observed(uri: str) -> None:
        asked.append(uri)
        assert not database.exists()
        make(uri)

    for name in ("mlflow.db.unfinished", "mlflow.db.unfinished-journal"):
        (tmp_path / name).write_text("the wreck of a process that was killed")
    for _ in range(2):
        with first_opening(database, observed):
            assert database.exists()
    assert asked == [f"sqlite:///{tmp_path / 'mlflow.db.unfinished'}"]
    assert [each.name for each in tmp_path.iterdir()] == ["mlflow.db"]
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("here",)]


def test_a_store_that_is_no_file_is_left_alone() -> None:
    """Nothing is created or locked for a server."""
    with first_opening(None, make):
        pass
    check_folder(None)


def test_one_process_opens_a_database_at_a_time(tmp_path: Path) -> None:
    """The folder is locked while a database is opened, and free afterwards."""

    def is_locked() -> bool:
        handle = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(handle)

    with first_opening(tmp_path / "mlflow.db", make):
        assert is_locked()
    assert not is_locked()
    with pytest.raises(ZeroDivisionError), first_opening(tmp_path / "mlflow.db", make):
        raise ZeroDivisionError
    assert not is_locked()


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    """A database in a missing folder is refused, and the folder is not created."""
    database = tmp_path / "gone" / "mlflow.db"
    for refused in (check_folder, lambda file: first_opening(file, make).__enter__()):
        with pytest.raises(FileNotFoundError, match=r"the folder .*gone does not exist"):
            refused(database)
    with pytest.raises(TrackingDown, match=r"cannot be opened .* Create the folder"):
        Tracking(f"sqlite:///{database}").ping()
    assert not database.parent.exists()
    Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}").ping()
    assert not (tmp_path / "mlflow.db").exists()
    check_folder(tmp_path / "mlflow.db")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:///gone/x.db", "databricks"])
def test_only_database_servers_are_connected_to(uri: str) -> None:
    """No connection is made to a store that MLflow gives up quickly."""
    knock(uri)


def test_a_file_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    """A file is read once before MLflow, which would try again for minutes; none is created."""
    file = tmp_path / "mlflow.db"
    uri = f"sqlite:///{file}"
    knock(uri, file)
    assert not file.exists()
    file.write_text("a long text " * 100)
    with pytest.raises(DatabaseError, match="file is not a database"):
        knock(uri, file)
    file.unlink()
    file.mkdir()
    with pytest.raises(OperationalError, match="unable to open database file"):
        knock(uri, file)
