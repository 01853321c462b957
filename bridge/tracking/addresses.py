"""Invalid addresses of tracking stores, and their corrections."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Final

from bridge.errors import TrackingDown

_SERVERS: Final = frozenset({"http", "https", "databricks", "databricks-uc"})
_DATABASES: Final = frozenset({"sqlite", "postgresql", "mysql", "mssql"})
_HOST: Final = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+):\d+(/.*)?")
"""A host and a port, which look like a scheme and a path."""
_DATABASE_FILE: Final = re.compile(r"(?!\w+://).*\.(db|sqlite3?)")


def check_address(uri: str, shown: str) -> None:
    """Check that the bridge can use the store at an address.

    Args:
        uri: the store's address.
        shown: the address without secrets.

    Raises:
        TrackingDown: it cannot; the remedy contains the correction.
    """
    scheme = uri.partition(":")[0].lower()
    is_whole = "://" in uri and (scheme != "sqlite" or uri.startswith("sqlite:///"))
    if scheme in _SERVERS or (scheme.partition("+")[0] in _DATABASES and is_whole):
        return
    if scheme in {each.name for each in entry_points(group="mlflow.tracking_store")}:
        return  # a plug-in's scheme
    what, remedy = _wrong(uri, scheme)
    raise TrackingDown(f"{shown} is not a tracking store that the bridge can use: {what}", remedy)


def _wrong(uri: str, scheme: str) -> tuple[str, str]:
    """Return what is wrong with an address, and its correction."""
    if scheme == "azureml":
        return "the package for such addresses is missing", "pip install azureml-mlflow"
    if _HOST.fullmatch(uri):
        return "http:// is missing", f"Write http://{uri}"
    if _DATABASE_FILE.fullmatch(uri):
        path = uri.removeprefix("sqlite:").removeprefix("file:").lstrip("/")
        return "sqlite:/// is missing", f"Write sqlite:///{path if ':' in uri else uri}"
    if scheme == "sqlite":
        path = uri.partition(":")[2].lstrip("/")
        return "three slashes come before a file's path", f"Write sqlite:///{path or 'mlflow.db'}"
    if scheme == "postgres":
        return "the name of that database is postgresql", "Write postgresql://..."
    if scheme == "file" or "://" not in uri:
        return "it is a folder, and the bridge needs a database or a server", (
            "Write sqlite:///mlflow.db. Copy the folder's content there with: mlflow"
            " migrate-filestore --source FOLDER --target sqlite:///mlflow.db"
        )
    return f"MLflow does not support addresses that begin with {scheme}", (
        "Write sqlite:///FILE, postgresql://..., mysql://..., or the http(s) address of an MLflow"
        " server as mlflow.tracking_uri"
    )
