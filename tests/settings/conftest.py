"""A working folder for each test of the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty working folder: the default path is looked up in it."""
    with contextlib.chdir(tmp_path):
        yield tmp_path
