"""Refusals of stores, each with a sentence that says what to do."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from bridge.errors import TrackingDown
from bridge.tracking import Tracking
from tests.support.http_server import send_json, serving
from tests.support.tcp_proxy import Line, TcpProxy

NOWHERE = "http://127.0.0.1:9"
START = "Start it, or correct mlflow.tracking_uri"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch MLflow's retries off."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def refusal(uri: str) -> TrackingDown:
    """Return the error of a store that is asked for an experiment."""
    with pytest.raises(TrackingDown) as refused:
        Tracking(uri).experiment("any", create=True)
    return refused.value


# Addresses


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("./mlruns", "migrate-filestore"),
        ("mlruns", "migrate-filestore"),
        ("file:///data/mlruns", "migrate-filestore"),
        ("127.0.0.1:5000", "Write http://127.0.0.1:5000."),
        ("localhost:5000", "Write http://localhost:5000."),
        ("mlflow.example.com:80/ml", "Write http://mlflow.example.com:80/ml."),
        ("mlflow.db", "Write sqlite:///mlflow.db."),
        ("/data/mlflow.sqlite3", "Write sqlite:////data/mlflow.sqlite3."),
        ("sqlite://mlflow.db", "Write sqlite:///mlflow.db."),
        ("sqlite:mlflow.db", "Write sqlite:///mlflow.db."),
        ("postgres://host/db", "Write postgresql://"),
        ("azureml://region/workspace", "pip install azureml-mlflow"),
        ("ftp://host/mlflow", "or the http(s) address"),
    ],
)
def test_an_address_that_is_nearly_right(uri: str, remedy: str, tmp_path: Path) -> None:
    """An invalid address is reported with its correction, before any request."""
    del tmp_path
    with pytest.raises(TrackingDown) as refused:
        Tracking(uri).ping()
    assert remedy in str(refused.value)
    assert remedy in str(refusal(uri))
    assert "cannot be reached" not in str(refused.value)


def test_databricks_without_a_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Databricks without a login is reported once, with the credentials that it needs."""
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    assert "DATABRICKS_TOKEN" in refusal("databricks").remedy
    assert not capsys.readouterr().err


# Servers


def answering(status: int, body: bytes = b"") -> AbstractContextManager[str]:
    """Run a web server that has one answer, and return its address."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", "0")))
        send_json(request, status, body)

    return serving(answer)


def words(code: str, message: str) -> bytes:
    """Return the error of an MLflow server that refuses."""
    return json.dumps({"error_code": code, "message": message}).encode()


@pytest.mark.parametrize("uri", [NOWHERE, "http://nowhere.invalid:5000"])
def test_nothing_answers(uri: str) -> None:
    """Only a server that does not answer is reported as one to start."""
    error = refusal(uri)
    assert error.sentence.startswith(f"MLflow at {uri} cannot be reached (")
    assert error.remedy == START
    assert not any(word in str(error) for word in ("Connection(", "HTTPConnection", "Errno"))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"", "rejected the credentials (401)"),
        (403, b"Invalid Host header", "--allowed-hosts"),
        (404, b"", "is not an MLflow server"),
        (200, b"<html>hello</html>", "is not an MLflow server"),
        (500, b"", "failed (500)"),
        (503, b"", "failed (503)"),
        (
            500,
            words("TEMPORARILY_UNAVAILABLE", "(sqlite3.OperationalError) database is locked"),
            "failed (500)",
        ),
        (
            400,
            words("BAD_REQUEST", '(psycopg.errors.UndefinedTable) relation "runs" does not exist'),
            "is damaged",
        ),
        (
            400,
            words("BAD_REQUEST", "(sqlite3.OperationalError) attempt to write a readonly database"),
            "is read-only",
        ),
    ],
)
def test_something_answers(status: int, body: bytes, said: str) -> None:
    """An unexpected answer is reported as such, without advice to start a server."""
    with answering(status, body) as url:
        error = refusal(url)
    assert said in str(error)
    assert "Start it" not in str(error)


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts the request without an answer is slow, not absent."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with TcpProxy(NOWHERE, lambda _: Line(answers=False)) as proxy:
        assert "did not answer in time" in refusal(proxy.url).sentence


def test_a_broken_connection() -> None:
    """A reply that breaks off is a network failure."""
    with (
        answering(200, b"{}" * 1000) as url,
        TcpProxy(url, lambda _: Line(resets_after=40)) as proxy,
    ):
        assert "closed the connection" in refusal(proxy.url).sentence


def test_no_tls() -> None:
    """An https address of a server without TLS is reported as such."""
    with answering(200) as url:
        assert "or write http://" in refusal(url.replace("http:", "https:")).remedy


# Databases


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        ("mysql://u:p@127.0.0.1:9/db", "pip install mysqlclient"),
        ("postgresql+psycopg2://u:p@127.0.0.1:9/db", "pip install psycopg2-binary"),
    ],
)
def test_a_driver_that_is_missing(uri: str, package: str) -> None:
    """A missing driver is named as an installer knows it."""
    assert refusal(uri).remedy == package


def test_a_database_server_that_is_down() -> None:
    """A database server that is down is named without its password."""
    error = refusal("postgresql://user:secret@127.0.0.1:9/db")
    assert error.sentence.startswith("The database of MLflow at postgresql://user:***@")
    assert "cannot be reached" in error.sentence
    assert error.remedy == START


def test_what_postgresql_refuses(postgres: str) -> None:
    """A refused login, a missing database and a refused write each have a sentence."""
    assert "rejected the login" in refusal(postgres.replace("postgres:@", "nobody:@")).sentence
    assert "does not exist" in refusal(postgres.replace("/postgres?", "/nowhere?")).sentence
    assert Tracking(postgres).experiment("Default", create=True)
    read_only = f"{postgres}&options=-c%20default_transaction_read_only%3Don"
    assert "is read-only" in refusal(read_only).sentence


def damaged(empty_database: Path, folder: Path, *statements: str) -> str:
    """Return a damaged database."""
    path = folder / "mlflow.db"
    shutil.copy(empty_database, path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return f"sqlite:///{path}"


def test_tables_that_are_broken(empty_database: Path, tmp_path: Path) -> None:
    """Damaged tables are reported with a backup as the remedy."""
    uri = damaged(empty_database, tmp_path, "ALTER TABLE experiments RENAME creation_time TO gone")
    error = refusal(uri)
    assert "is damaged" in error.sentence
    assert "backup" in error.remedy


def test_a_database_that_was_never_whole(empty_database: Path, tmp_path: Path) -> None:
    """The incomplete database of a killed MLflow is recognized."""
    uri = damaged(
        empty_database,
        tmp_path,
        "UPDATE alembic_version SET version_num = '89d3d66ed43f'",
        "DROP TABLE scorers",
    )
    error = refusal(uri)
    assert "is incomplete" in error.sentence
    assert "delete the file" in error.remedy


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    """A missing folder is reported without advice to start a server."""
    error = refusal(f"sqlite:///{tmp_path}/none/mlflow.db")
    assert f"the folder {tmp_path}/none does not exist" in error.sentence
    assert "Start it" not in error.remedy
