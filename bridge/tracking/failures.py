"""MLflow's exceptions as the bridge's: who does what next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from typing import Final

from bridge.errors import RunChanged, TrackingDown, TrackingError
from bridge.text import one_line

_RACED: Final = (
    "UNIQUE constraint failed",
    "duplicate key value violates unique constraint",
    "expected to update 1 row(s); 0 were matched",  # it was deleted between the look and the write
)
_PASSING: Final = frozenset(
    {
        "ChunkedEncodingError",
        "ConnectionError",
        "ConnectTimeout",
        "ReadTimeout",
        "RetryError",
        "OperationalError",
        "TimeoutError",
    }
)
_WRONG_URI: Final = frozenset(
    {"InvalidUrlException", "UnsupportedModelRegistryStoreURIException", "InvalidURL", "ValueError"}
)

_DATABASE: Final = {
    "database is locked": (
        "is locked by another program",
        "Nothing is lost: run this again when that has ended. An mlflow server lets several in",
    ),
    "disk I/O error": ("cannot write to its disk", "Make room there"),
    "disk is full": ("cannot write to its disk", "Make room there"),
    "No space left on device": ("cannot write to its disk", "Make room there"),
    "readonly database": ("may not be written to", "Give write permission to the file"),
}
"""What databases say, as a sentence and what to do."""


def refused(error: Exception, message: str, uri: str, *, one_job: bool) -> TrackingError:
    """What an exception of MLflow, or of the database below it, means.

    Args:
        error: as it was raised.
        message: its text, without secrets.
        uri: the tracking store's, without secrets.
        one_job: whether only one job is concerned, or every further call as well.
    """
    code = getattr(error, "error_code", "")
    causes = {type(cause).__name__ for cause in _causes(error)}
    said = one_line(_cause(message), 200)
    if isinstance(error, ModuleNotFoundError):
        return TrackingDown(
            f"MLflow needs the Python package {error.name!r} for {uri}", f"pip install {error.name}"
        )
    if trouble := _of_database(message, uri):
        return trouble
    if _is_run_changed(code, message):
        return RunChanged(f"MLflow: {said}")
    if code == "UNAUTHENTICATED":
        return TrackingDown(
            f"MLflow at {uri} does not know you (401)",
            "Set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if code == "PERMISSION_DENIED":
        return TrackingDown(
            f"MLflow at {uri} refuses ({said})",
            "Ask for write permission, or start the server with --allowed-hosts for this name",
        )
    if code == "ENDPOINT_NOT_FOUND" or _is_no_mlflow(message):
        return TrackingDown(f"{uri} is not an MLflow server", "Correct mlflow.tracking_uri")
    if one_job and "too many 500 error responses" in message:
        return TrackingError(f"MLflow at {uri} failed: {said}")
    if causes & _PASSING or (isinstance(error, OSError) and not code):
        return TrackingDown(
            f"MLflow at {uri} cannot be reached ({said})",
            "Start it, or correct mlflow.tracking_uri",
        )
    if causes & _WRONG_URI:
        return TrackingDown(
            f"{uri} is no tracking store: {said}",
            "Use sqlite:///FILE, postgresql://..., or the http(s) address of an MLflow server"
            " as mlflow.tracking_uri",
        )
    kind = TrackingError if one_job else TrackingDown
    return kind(f"MLflow at {uri} refused: {said}")


def _cause(message: str) -> str:
    """What went wrong, without what was asked, how often, and where to read more."""
    _, found, cause = message.rpartition("(Caused by ")
    message = cause.removesuffix(")") if found else message
    return re.split(r"\s*(?:\[SQL: |\(Background on )", message)[0]


def _of_database(message: str, uri: str) -> TrackingDown | None:
    """What concerns a database as a whole, opened here or by a server."""
    for sign, (what, advice) in _DATABASE.items():
        if sign in message:
            return TrackingDown(f"The database of MLflow at {uri} {what}", advice)
    revision = re.search(r"out-of-date database schema \(found version (\w+)", message)
    if revision is None:
        return None
    own = version("mlflow")
    known = files("mlflow.store.db_migrations").joinpath("versions").iterdir()
    if any(each.name.startswith(revision[1]) for each in known):
        return TrackingDown(
            f"The database at {uri} is of an older MLflow than the {own} here",
            "Back it up, then run: mlflow db upgrade with that address",
        )
    return TrackingDown(
        f"The database at {uri} is of a newer MLflow than the {own} here",
        "pip install --upgrade mlflow",
    )


def _is_run_changed(code: str, message: str) -> bool:
    """Whether somebody deleted the run or its model, or wrote the same at the same moment."""
    return (
        "must be in the 'active' state" in message
        or (code == "RESOURCE_DOES_NOT_EXIST" and ("Run" in message or "ogged model" in message))
        or any(sign in message for sign in _RACED)
    )


def _is_no_mlflow(message: str) -> bool:
    """Whether a server answers, but not as MLflow does."""
    # The latter is what MLflow's client makes of an error in JSON without one of MLflow's codes.
    return "not in a valid JSON format" in message or "INTERNAL_ERROR: Response:" in message


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
