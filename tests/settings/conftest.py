"""A working folder for each test of the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Enter an empty working folder, where the default path is looked up."""
    with contextlib.chdir(tmp_path):
        yield tmp_path
