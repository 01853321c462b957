"""Addresses of stores, and the corrections of invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import TrackingDown
from bridge.tracking import Tracking
from bridge.tracking.addresses import check_address
from bridge.tracking.client import quoted

MISSING = "http:// is missing"
SQLITE = "sqlite:/// is missing"
SLASHES = "three slashes come before a file's path"
FOLDER = "it is a folder, and the bridge needs a database or a server"


@pytest.mark.parametrize(
    "uri",
    [
        *("http://host", "https://host/ml", "HTTP://host", "databricks", "databricks://profile"),
        *("databricks-uc", "sqlite:///a.db", "sqlite:////a.db"),
        *("postgresql://host/db", "postgresql+psycopg2://host/db", "mysql://host/db"),
        *("mysql+pymysql://host/db", "mssql+pyodbc://host/db"),
    ],
)
def test_a_usable_address_is_accepted(uri: str) -> None:
    """Servers and databases are accepted, with any driver."""
    check_address(uri, uri)


@pytest.mark.parametrize(
    ("uri", "wrong", "remedy"),
    [
        ("localhost:5000", MISSING, "Write http://localhost:5000."),
        ("a.b:5000/x", MISSING, "Write http://a.b:5000/x."),
        ("127.0.0.1:80", MISSING, "Write http://127.0.0.1:80."),
        ("host:5000", FOLDER, "Write sqlite:///mlflow.db. "),
        ("mlflow.db", SQLITE, "Write sqlite:///mlflow.db."),
        ("/data/a.sqlite", SQLITE, "Write sqlite:////data/a.sqlite."),
        ("a.sqlite3", SQLITE, "Write sqlite:///a.sqlite3."),
        ("sqlite:a.db", SQLITE, "Write sqlite:///a.db."),
        ("file:a.db", SQLITE, "Write sqlite:///a.db."),
        ("sqlite:/a.db", SQLITE, "Write sqlite:///a.db."),
        ("sqlite://a.db", SLASHES, "Write sqlite:///a.db."),
        ("SQLITE:///a.db", SLASHES, "Write sqlite:///a.db."),
        ("sqlite:", SLASHES, "Write sqlite:///mlflow.db."),
        ("sqlite:data", SLASHES, "Write sqlite:///data."),
        ("postgres://h/db", "the name of that database is postgresql", "Write postgresql://..."),
        ("file:///data", FOLDER, "Write sqlite:///mlflow.db. "),
        ("data", FOLDER, "Write sqlite:///mlflow.db. "),
        (
            "ftp://host",
            "MLflow does not support addresses that begin with ftp",
            "Write sqlite:///FILE, ",
        ),
        ("postgresql:db", FOLDER, "Write sqlite:///mlflow.db. "),
        ("azureml://x", "the package for such addresses is missing", "pip install azureml-"),
    ],
)
def test_an_address_that_is_nearly_right_is_corrected(uri: str, wrong: str, remedy: str) -> None:
    """A wrong address is refused with the reason and with the right one."""
    with pytest.raises(TrackingDown) as refused:
        check_address(uri, "SHOWN")
    assert refused.value.sentence == (
        f"SHOWN is not a tracking store that the bridge can use: {wrong}"
    )
    assert f"{refused.value.remedy}.".startswith(remedy)


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////data/a.db?timeout=5", "/data/a.db"),
        ("sqlite:///", None),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql:///db", None),
        ("http://host/sqlite:///a.db", None),
    ],
)
def test_only_a_database_file_is_a_file(uri: str, file: str | None) -> None:
    """The file of an sqlite address is its path, without the driver's options."""
    assert Tracking(uri).file == (Path(file) if file else None)


@pytest.mark.parametrize(
    ("uri", "ui", "command"),
    [
        ("http://host:5000/", "http://host:5000", None),
        ("https://user:pass@host/ml", "https://host/ml", None),
        ("sqlite:///a.db", "http://127.0.0.1:5000", "mlflow ui --backend-store-uri sqlite:///a.db"),
    ],
)
def test_the_ui_is_where_the_server_is(uri: str, ui: str, command: str | None) -> None:
    """A server shows its UI at its own address, and a database by a command."""
    tracking = Tracking(uri)
    assert (tracking.ui, tracking.ui_command) == (ui, command)
    assert tracking.link("7").startswith(f"{ui}/#/experiments/7/runs?")
    assert tracking.link("7", "r").startswith(f"{ui}/#/experiments/7/runs/r?")
    assert tracking.link("7", page="models").startswith(f"{ui}/#/experiments/7/models?")
    assert tracking.registry_link("a/b c", 3) == f"{ui}/#/models/a%2Fb%20c/versions/3"


@pytest.mark.parametrize(
    ("text", "literal"),
    [("a", "'a'"), ("it's", '"it\'s"'), ("'\"", None), (None, None), ("", "''")],
)
def test_a_text_is_quoted_where_it_can_be(text: str | None, literal: str | None) -> None:
    """A text with both kinds of quotation marks cannot be searched for."""
    assert quoted(text) == literal
