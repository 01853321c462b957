"""MLflow's exceptions as the bridge's: who does what next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.errors import RunChanged, TrackingDown, TrackingError
from bridge.untrusted import one_line

_RACED: Final = ("UNIQUE constraint failed", "duplicate key value violates unique constraint")
_PASSING: Final = frozenset(
    {
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
    """What went wrong, of a message that begins with what was asked and how often."""
    _, found, cause = message.rpartition("(Caused by ")
    return cause.removesuffix(")") if found else message


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
