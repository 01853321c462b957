"""The option of the test run, and its fixtures, loaded where tests run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that limits the time of the run."""
    parser.addoption(
        "--minutes", type=float, default=None, help="begin no test after so many minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, unless this process only hands the tests to others.

    They import MLflow, which takes seconds, and no other process starts before.
    """
    if not config.getoption("numprocesses", default=None):
        config.pluginmanager.import_plugin("tests.fixtures")
