"""A backfill that prints problems only."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.cli.terminal.progress import watching
from bridge.sync.events import JobDone, JobsChosen
from tests.support.outcomes import outcome


@pytest.mark.parametrize(("quiet", "verbose"), [(False, False), (True, False), (True, True)])
def test_jobs_are_logged_unless_only_problems_are_wanted(*, quiet: bool, verbose: bool) -> None:
    """``--quiet`` logs no recorded job, except with ``--verbose``."""
    with (
        capture_logs() as lines,
        watching(plain=True, dry_run=False, quiet=quiet, verbose=verbose) as handler,
    ):
        handler(JobsChosen("openai", 1))
        handler(JobDone(outcome("a", "RUNNING", at=5)))
    assert any(line["event"] == "job recorded" for line in lines) is (not quiet or verbose)
