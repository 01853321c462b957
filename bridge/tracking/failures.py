"""Conversion of MLflow's exceptions into the bridge's own, each with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from typing import Final

from bridge.errors import RunChanged, TrackingDown, TrackingError
from bridge.text import one_line
from bridge.tracking.databases import REFUSALS

_RACED: Final = (
    "UNIQUE constraint failed",
    "duplicate key value violates unique constraint",
    "Duplicate entry",
    "expected to update 1 row(s); 0 were matched",  # it was deleted just before the write
)

_PACKAGES: Final = {
    "MySQLdb": "mysqlclient",
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
}
"""Packages that contain a module with another name."""


def refused(error: Exception, message: str, uri: str, *, one_job: bool) -> TrackingError:
    """Return the bridge's error for an exception of MLflow or of its database.

    Args:
        error: the exception.
        message: its text, without secrets.
        uri: address of the tracking store, without secrets.
        one_job: whether it concerns only one job rather than every further call.
    """
    causes = tuple(_causes(error))
    said = one_line(_cause(message), 200)
    code = getattr(error, "error_code", "")
    kind = TrackingError if one_job else TrackingDown
    return (
        _of_package(causes, uri)
        or _of_database(causes, message, said, uri)
        or (RunChanged(f"MLflow: {said}") if _is_run_changed(code, message) else None)
        or _of_deadlock(said, uri, one_job=one_job)
        or _of_server(code, message, said, uri)
        or _of_errors(said, uri, one_job=one_job)
        or _of_network(causes, said, uri, one_job=one_job)
        or kind(f"MLflow at {uri} refused: {said}")
    )


def _of_package(causes: tuple[BaseException, ...], uri: str) -> TrackingDown | None:
    from sqlalchemy.exc import NoSuchModuleError

    for each in causes:
        if isinstance(each, NoSuchModuleError):
            return TrackingDown(
                f"{uri} names a driver that SQLAlchemy does not know",
                "Write postgresql://, mysql:// or mysql+pymysql:// as its beginning",
            )
        is_missing = isinstance(each, ModuleNotFoundError)
        if isinstance(each, ImportError) and not is_missing and "sqlalchemy" in str(each.name):
            return TrackingDown(
                f"The installed mlflow {version('mlflow')} does not work with the installed"
                f" SQLAlchemy {version('sqlalchemy')}",
                "pip install 'sqlalchemy<2.1', or pip install --upgrade mlflow",
            )
        if isinstance(each, ModuleNotFoundError) and each.name:
            package = _PACKAGES.get(each.name, each.name)
            return TrackingDown(
                f"MLflow needs the Python package {package.strip(chr(39))} for {uri}",
                f"pip install {package}",
            )
    return None


def _of_server(code: str, message: str, said: str, uri: str) -> TrackingDown | None:
    """Return the error for a server's refusal, by its code."""
    if "Databricks credential" in message:
        return TrackingDown(
            f"Databricks found no credentials for {uri}",
            "Set DATABRICKS_HOST and DATABRICKS_TOKEN, or run databricks configure",
        )
    if code == "UNAUTHENTICATED":
        return TrackingDown(
            f"MLflow at {uri} rejected the credentials (401)",
            "Set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if code == "PERMISSION_DENIED":
        return TrackingDown(
            f"MLflow at {uri} denied access ({said})",
            "Ask for write permission, or start the server with --allowed-hosts for this name",
        )
    if code == "ENDPOINT_NOT_FOUND" or _is_no_mlflow(message):
        return TrackingDown(f"{uri} is not an MLflow server", "Correct mlflow.tracking_uri")
    return None


def _of_deadlock(said: str, uri: str, *, one_job: bool) -> TrackingError | None:
    """Return the error for a write that the database cancelled in favor of another one."""
    if not re.search(r"[Dd]eadlock(ed| detected| found)", said):
        return None
    kind = TrackingError if one_job else TrackingDown
    return kind(
        f"The database of MLflow at {uri} cancelled a request ({said})", "The next pass tries again"
    )


def _of_errors(said: str, uri: str, *, one_job: bool) -> TrackingError | None:
    """Return the error for a server that answered with errors until MLflow's client gave up."""
    found = re.search(r"too many (\d{3}) error responses", said)
    if found is None:
        return None
    kind = TrackingError if one_job and found[1] == "500" else TrackingDown
    return kind(
        f"MLflow at {uri} failed ({found[1]})",
        "Check the server's log; the next pass tries again",
    )


def _of_network(
    causes: tuple[BaseException, ...], said: str, uri: str, *, one_job: bool
) -> TrackingDown | None:
    """Return the error for a request without a complete reply."""
    reason = _os_reason(causes) or said
    for kinds, what, remedy in _network_kinds():
        if any(isinstance(each, kinds) for each in causes):
            return TrackingDown(f"MLflow at {uri} {what} ({reason})", remedy)
    if isinstance(causes[0], FileNotFoundError):
        return TrackingDown(
            f"MLflow at {uri} cannot be opened ({reason})",
            "Create the folder, or correct mlflow.tracking_uri",
        )
    if isinstance(causes[0], OSError):
        return TrackingDown(
            f"MLflow at {uri} cannot be opened ({reason})",
            "Correct mlflow.tracking_uri, or give permission to the file and its folder",
        )
    if isinstance(causes[0], ValueError) and not one_job:
        return TrackingDown(f"{uri} is not a valid address ({said})", "Correct mlflow.tracking_uri")
    return None


def _network_kinds() -> tuple[tuple[tuple[type[Exception], ...], str, str], ...]:
    """Return the kinds of exceptions of MLflow's client, each with a sentence and a remedy.

    The first match counts, because many are subclasses of a later one.
    """
    from requests import exceptions as http
    from urllib3 import exceptions as connections

    return (
        (
            (http.InvalidURL,),
            "is not a valid address",
            "Correct mlflow.tracking_uri",
        ),
        (
            (http.SSLError, connections.SSLError),
            "presented a certificate that is not trusted",
            "Set MLFLOW_TRACKING_SERVER_CERT_PATH, or write http:// if it has no certificate",
        ),
        (
            (connections.NewConnectionError, connections.NameResolutionError, http.ConnectTimeout),
            "cannot be reached",
            "Start it, or correct mlflow.tracking_uri",
        ),
        (
            (http.Timeout, connections.TimeoutError, TimeoutError),
            "did not answer in time",
            "Set MLFLOW_HTTP_REQUEST_TIMEOUT to more seconds; the next pass tries again",
        ),
        (
            (
                *(http.ConnectionError, http.ChunkedEncodingError),
                *(connections.HTTPError, ConnectionError),
            ),
            "closed the connection",
            "The next pass tries again",
        ),
        (
            (http.RequestException,),
            "sent an invalid reply",
            "Correct mlflow.tracking_uri; the next pass tries again",
        ),
    )


def _of_database(
    causes: tuple[BaseException, ...], message: str, said: str, uri: str
) -> TrackingDown | None:
    """Return the error for a database as a whole, opened here or by a server."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    if trouble := _of_schema(message, uri):
        return trouble
    here = next((each for each in causes if isinstance(each, DBAPIError)), None)
    is_here = any(isinstance(each, SQLAlchemyError) for each in causes)
    if is_here or re.search(r"\((sqlite3|psycopg2?|MySQLdb|pymysql|pyodbc|pymssql)\.", message):
        words = _cause(message)  # the data to be written may match any of the patterns
        for signs, what, advice in REFUSALS:
            if re.search(signs, words):
                return TrackingDown(f"The database of MLflow at {uri} {what} ({said})", advice)
    # Without a statement, the connection failed.
    if here is not None and here.statement is None:
        return TrackingDown(
            f"The database of MLflow at {uri} cannot be reached ({said})",
            "Start it, or correct mlflow.tracking_uri",
        )
    if here is not None and here.connection_invalidated:
        return TrackingDown(
            f"The database of MLflow at {uri} closed the connection ({said})",
            "The next pass tries again",
        )
    return None


def _of_schema(message: str, uri: str) -> TrackingDown | None:
    """Return the error that tells which is too old, the database or the installed MLflow."""
    revision = re.search(
        r"(?:schema \(found version |locate revision identified by ')(\w+)", message
    )
    if revision is None:
        return None
    own = version("mlflow")
    known = files("mlflow.store.db_migrations").joinpath("versions").iterdir()
    if any(each.name.startswith(revision[1]) for each in known):
        return TrackingDown(
            f"The database at {uri} has the schema of an older MLflow than the installed {own}",
            "Back it up, then run: mlflow db upgrade with that address",
        )
    return TrackingDown(
        f"The database at {uri} has the schema of a newer MLflow than the installed {own}",
        "pip install --upgrade mlflow",
    )


def reason_of(error: Exception, message: str) -> str:
    """Return the reason why an artifact store refused, without the content and the retries."""
    if getattr(error, "error_code", None) is None:
        return message  # an exception of a cloud's SDK, or of the file system with its path
    return _os_reason(tuple(_causes(error))) or _cause(message)


def _os_reason(causes: tuple[BaseException, ...]) -> str | None:
    words = (each.strerror for each in causes if isinstance(each, OSError) and each.strerror)
    return next(words, None)


def _cause(message: str) -> str:
    """Return the reason of a failure, without the request, the retries, and links to documents."""
    _, found, cause = message.rpartition("(Caused by ")
    message = cause.removesuffix(")") if found else message
    message = re.split(r"\s*(?:\[SQL: |\(Background on )", message)[0]
    return re.sub(r"^\((?:\w+\.)+\w+\) ", "", message)  # class of the driver


def _is_run_changed(code: str, message: str) -> bool:
    """Return whether another writer deleted the run or its model, or wrote the same data."""
    return (
        "must be in the 'active' state" in message
        or (code == "RESOURCE_DOES_NOT_EXIST" and ("Run" in message or "ogged model" in message))
        or any(sign in message for sign in _RACED)
    )


def _is_no_mlflow(message: str) -> bool:
    """Return whether the server that answered is not an MLflow server."""
    # MLflow's client turns a JSON error without one of MLflow's codes into the latter.
    return "not in a valid JSON format" in message or "INTERNAL_ERROR: Response:" in message


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes; the reason of a retry is only in its arguments."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
