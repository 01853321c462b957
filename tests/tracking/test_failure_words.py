"""The meaning of MLflow's messages that no server in the tests can be made to send."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    ENDPOINT_NOT_FOUND,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    UNAUTHENTICATED,
)
from requests import exceptions as http
from sqlalchemy.exc import NoSuchModuleError, OperationalError
from urllib3 import exceptions as connections
from urllib3.connection import HTTPConnection

from bridge.errors import RunChanged, TrackingDown, TrackingError
from bridge.tracking.databases import knock
from bridge.tracking.failures import refused

URI = "http://mlflow.example"
DRIVER = "(psycopg.errors.Some) "


def meaning(error: Exception, *, one_job: bool = False) -> TrackingError:
    """Return the error that an exception becomes."""
    return refused(error, str(error), URI, one_job=one_job)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("database is locked", "is locked by another program"),
        ("disk I/O error", "cannot write to its disk"),
        ("database or disk is full", "cannot write to its disk"),
        ("No space left on device", "cannot write to its disk"),
        ('could not extend file "base/1"', "cannot write to its disk"),
        ("The table 'runs' is full", "cannot write to its disk"),
        ("attempt to write a readonly database", "is read-only"),
        ("cannot execute INSERT in a read-only transaction", "is read-only"),
        ("running with the --read-only option", "is read-only"),
        ("is in read only mode", "is read-only"),
        ("password authentication failed", "rejected the login"),
        ("no password supplied", "rejected the login"),
        ("no pg_hba.conf entry", "rejected the login"),
        ('role "x" does not exist', "rejected the login"),
        ("Access denied for user", "rejected the login"),
        ("permission denied for table runs", "refused to let this user read or write"),
        ("INSERT command denied to user", "refused to let this user read or write"),
        ('database "x" does not exist', "at http://mlflow.example does not exist"),
        ("Unknown database 'x'", "at http://mlflow.example does not exist"),
        ('Cannot open database "x"', "at http://mlflow.example does not exist"),
        ("unable to open database file", "cannot be opened"),
        ("file is not a database", "is not an SQLite database"),
        ("table runs already exists", "is incomplete"),
        ("duplicate column name: x", "is incomplete"),
        ("database disk image is malformed", "is damaged"),
        ("no such table: runs", "is damaged"),
        ("no such column: x", "is damaged"),
        ('relation "runs" does not exist', "is damaged"),
        ("Table 'mlflow.runs' doesn't exist", "is damaged"),
        ("sorry, too many clients already", "has no connection left"),
        ("remaining connection slots are reserved", "has no connection left"),
        ("Too many connections", "has no connection left"),
        ("QueuePool limit of size 5 overflow 10 reached", "has no connection left"),
        ('too many connections for role "bot"', "has no connection left"),
        ("User bot already has more than 'max_user_connections'", "has no connection left"),
        ("database table is locked: runs", "is locked by another program"),
        ("Disk quota exceeded", "cannot write to its disk"),
        ("The transaction log for database 'mlflow' is full", "cannot write to its disk"),
        ('could not write to file "base/1": No space left', "cannot write to its disk"),
        ("must be owner of table runs", "refused to let this user read or write"),
        ("permission denied to create role", "refused to let this user read or write"),
        ("Access denied for user 'a'@'b' to database 'mlflow'", "refused to let this user"),
        ('role "bot" is not permitted to log in', "rejected the login"),
        ("Login failed for user 'bot'", "rejected the login"),
        ("server does not support SSL, but SSL was required", "an encrypted connection"),
        ("SSL error: certificate verify failed", "an encrypted connection"),
        ('relation "runs" already exists', "is incomplete"),
        ("Unknown column 'runs.x' in 'field list'", "is damaged"),
        ("Invalid object name 'runs'", "is damaged"),
        ("the database system is shutting down", "is starting, stopping or has restarted"),
        ("MySQL server has gone away", "is starting, stopping or has restarted"),
    ],
)
def test_a_database_has_its_own_words(words: str, said: str) -> None:
    """A database's message with the name of its driver's class ends the pass."""
    error = meaning(MlflowException(DRIVER + words), one_job=True)
    assert isinstance(error, TrackingDown)
    assert error.sentence.startswith("The database of MLflow at http://mlflow.example ")
    assert said in error.sentence
    assert error.remedy
    assert DRIVER.strip() not in error.sentence


def test_what_was_to_be_written_is_not_the_reason() -> None:
    """Signs count in the database's message, not in the values of its statement."""
    words = "deadlock detected [SQL: INSERT INTO tags] [parameters: ('the disk is full',)]"
    found = meaning(MlflowException(DRIVER + words), one_job=True)
    cancelled = f"The database of MLflow at {URI} cancelled a request (deadlock detected)"
    assert found.sentence == cancelled
    assert not isinstance(found, TrackingDown)


@pytest.mark.parametrize("one_job", [True, False])
@pytest.mark.parametrize(
    "words",
    [
        "deadlock detected",
        "Deadlock found when trying to get lock; try restarting transaction",
        "Transaction (Process ID 52) was deadlocked on lock resources with another process",
    ],
)
def test_a_deadlock_costs_one_job_or_the_pass(words: str, *, one_job: bool) -> None:
    """The next pass repeats a request that a database cancelled in favor of another one."""
    found = meaning(MlflowException(DRIVER + words), one_job=one_job)
    assert isinstance(found, TrackingDown) is not one_job
    assert "cancelled a request" in found.sentence
    assert found.remedy == "The next pass tries again"


@pytest.mark.parametrize(
    "driver", ["sqlite3", "psycopg", "psycopg2", "MySQLdb", "pymysql", "pyodbc"]
)
def test_each_driver_is_known(driver: str) -> None:
    """Only the name of a known driver identifies a database's message."""
    words = "database is locked"
    assert "locked" in meaning(MlflowException(f"({driver}.Error) {words}")).sentence
    assert "The database" not in meaning(MlflowException(words)).sentence


def test_a_database_is_reached_or_not() -> None:
    """Without a statement the connection to a database failed, and with one it broke off."""
    away = OperationalError(None, None, OSError("refused"))
    assert "cannot be reached" in meaning(away).sentence
    broken = OperationalError("SELECT 1", None, OSError("gone"), connection_invalidated=True)
    error = meaning(broken)
    assert "closed the connection" in error.sentence
    assert "SELECT" not in error.sentence


@pytest.mark.parametrize(
    ("error", "is_race"),
    [
        (MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: runs.run_uuid"), True),
        (MlflowException("duplicate key value violates unique constraint"), True),
        (MlflowException("Duplicate entry 'x' for key"), True),
        (MlflowException("expected to update 1 row(s); 0 were matched."), True),
        (MlflowException("The run x must be in the 'active' state"), True),
        (MlflowException("Run 'x' not found", RESOURCE_DOES_NOT_EXIST), True),
        (MlflowException("Logged model 'x' not found", RESOURCE_DOES_NOT_EXIST), True),
        (MlflowException("No experiment x", RESOURCE_DOES_NOT_EXIST), False),
        (MlflowException("Run 'x' is odd", INVALID_PARAMETER_VALUE), False),
    ],
)
def test_others_may_change_a_run(error: MlflowException, *, is_race: bool) -> None:
    """A run that others change is left to the next pass."""
    assert isinstance(meaning(error, one_job=True), RunChanged) is is_race


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MlflowException("x", UNAUTHENTICATED), "rejected the credentials (401)"),
        (MlflowException("x", PERMISSION_DENIED), "denied access (x)"),
        (MlflowException("x", ENDPOINT_NOT_FOUND), "is not an MLflow server"),
        (MlflowException("was not in a valid JSON format"), "is not an MLflow server"),
        (MlflowException("INTERNAL_ERROR: Response: {}"), "is not an MLflow server"),
        (MlflowException("Reading Databricks credential failed"), "Databricks found no"),
    ],
)
def test_a_server_that_is_none_for_us_ends_the_pass(error: MlflowException, said: str) -> None:
    """A server that refuses the bridge ends the pass, even in a request for one job."""
    found = meaning(error, one_job=True)
    assert isinstance(found, TrackingDown)
    assert said in found.sentence


@pytest.mark.parametrize("one_job", [True, False])
def test_any_other_refusal_costs_what_was_asked(*, one_job: bool) -> None:
    """Any other refusal costs one job or the pass, depending on the request."""
    found = meaning(MlflowException("odd", INVALID_PARAMETER_VALUE), one_job=one_job)
    assert isinstance(found, TrackingDown) is not one_job
    assert found.sentence == "MLflow at http://mlflow.example refused: odd"


@pytest.mark.parametrize(
    ("status", "one_job", "is_down"),
    [("500", True, False), ("500", False, True), ("503", True, True), ("429", True, True)],
)
def test_a_server_that_fails_for_one_job_may_do_so_for_its_data(
    status: str, *, one_job: bool, is_down: bool
) -> None:
    """A 500 for one job can be caused by its data; any other failure concerns all jobs."""
    words = f"Max retries exceeded (Caused by ResponseError('too many {status} error responses'))"
    found = meaning(MlflowException(words, INTERNAL_ERROR), one_job=one_job)
    assert isinstance(found, TrackingDown) is is_down
    assert found.sentence == f"MLflow at http://mlflow.example failed ({status})"


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (http.InvalidURL("x"), "is not a valid address (API request failed)"),
        (http.SSLError("x"), "presented a certificate that is not trusted"),
        (connections.SSLError("x"), "presented a certificate that is not trusted"),
        (http.ConnectTimeout("x"), "cannot be reached"),
        (connections.NewConnectionError(HTTPConnection("h"), "x"), "cannot be reached"),
        (http.ReadTimeout("x"), "did not answer in time"),
        (connections.TimeoutError("x"), "did not answer in time"),
        (TimeoutError("x"), "did not answer in time"),
        (http.ConnectionError("x"), "closed the connection"),
        (http.ChunkedEncodingError("x"), "closed the connection"),
        (connections.ProtocolError("x"), "closed the connection"),
        (ConnectionResetError(104, "Connection reset by peer"), "(Connection reset by peer)"),
        (http.TooManyRedirects("x"), "sent an invalid reply"),
    ],
)
def test_the_way_to_a_server_may_fail(cause: Exception, said: str) -> None:
    """A network failure is recognized by the reason in the client's exception."""
    error = MlflowException("API request failed")
    error.__cause__ = cause
    found = meaning(error, one_job=True)
    assert isinstance(found, TrackingDown)
    assert said in found.sentence
    assert found.remedy


def test_a_retrys_reason_is_shown_and_not_the_request() -> None:
    """The reason of a retry is shown, without the request, its number and links."""
    words = "HTTPConnectionPool(host='x'): Max retries exceeded with url: /a (Caused by odd)"
    assert meaning(MlflowException(words)).sentence.endswith("refused: odd")
    for rest in (" [SQL: SELECT 1]", " (Background on this error at: https://sqlalche.me)"):
        words = f"(sqlite3.Error) near x{rest}"
        assert meaning(MlflowException(words)).sentence.endswith("refused: near x")


def test_a_file_or_an_address_may_be_wrong() -> None:
    """Python's messages about a wrong file or address are passed on."""
    denied = meaning(PermissionError(13, "Permission denied"))
    assert denied.sentence == f"MLflow at {URI} cannot be opened (Permission denied)"
    missing = meaning(FileNotFoundError("the folder x does not exist"))
    assert missing.remedy == "Create the folder, or correct mlflow.tracking_uri"
    folder = meaning(PermissionError("the folder x takes no files"))
    assert folder.sentence == f"MLflow at {URI} cannot be opened (the folder x takes no files)"
    assert meaning(ValueError("port")).sentence == f"{URI} is not a valid address (port)"
    one = meaning(ValueError("port"), one_job=True)
    assert one.sentence == f"MLflow at {URI} refused: port"
    assert not isinstance(one, TrackingDown)


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("MySQLdb", "mysqlclient"),
        ("psycopg", "psycopg[binary]"),
        ("psycopg2", "psycopg2-binary"),
        ("boto3", "boto3"),
    ],
)
def test_a_missing_package_is_named_as_it_is_installed(module: str, package: str) -> None:
    """A missing package is named in an install command that is quoted for a shell."""
    found = meaning(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert found.sentence == f"MLflow needs the Python package {package} for {URI}"
    assert found.remedy == f"pip install {repr(package) if '[' in package else package}"
    assert "package" not in meaning(ModuleNotFoundError("odd")).sentence


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("89d3d66ed43f", "older MLflow than the installed"),
        ("ffffffffffff", "newer MLflow than the installed"),
    ],
)
def test_a_schema_is_older_or_newer(revision: str, said: str) -> None:
    """A schema is older or newer by the upgrades that the installed MLflow knows."""
    for words in (
        f"Detected out-of-date database schema (found version {revision}, but expected x).",
        f"Can't locate revision identified by '{revision}'",
    ):
        found = meaning(MlflowException(words), one_job=True)
        assert isinstance(found, TrackingDown)
        assert said in found.sentence


def test_an_unknown_driver_is_named() -> None:
    """A driver that SQLAlchemy does not know is a wrong address, whatever is installed."""
    uri = "mysql+nosuch://bot@127.0.0.1/mlflow"
    with pytest.raises(NoSuchModuleError) as raised:
        knock(uri)
    found = refused(raised.value, str(raised.value), uri, one_job=False)
    assert found.sentence == f"{uri} names a driver that SQLAlchemy does not know"
    assert "mysql+pymysql://" in found.remedy


def test_an_mlflow_that_is_too_old_for_sqlalchemy_is_said() -> None:
    """MLflow before 3.6 imports a class that SQLAlchemy 2.1 no longer has."""
    words = "cannot import name 'FallbackAsyncAdaptedQueuePool' from 'sqlalchemy.pool'"
    found = meaning(ImportError(words, name="sqlalchemy.pool"))
    assert "does not work with the installed SQLAlchemy" in found.sentence
    assert found.remedy.startswith("pip install 'sqlalchemy<2.1'")
