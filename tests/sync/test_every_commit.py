"""Backfills that are killed at any database commit, or before any file of the archive.

All of them: ``EVERY_BOUNDARY=1 pytest tests/sync/test_every_commit.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.simulator import Simulator
from tests.support.databases import file_of, refill
from tests.support.forked import Forked, Stop
from tests.support.processes import dump, invoke
from tests.support.recorded import recorded
from tests.support.undisturbed import TRIAL, Undisturbed
from tests.support.whole import JOBS, everything, write_config
from tests.support.world import Clock, job
from tests.support.write_proxy import Write

pytestmark = pytest.mark.long
SHARES = 4


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    """Run a provider whose jobs ended long ago."""
    with Simulator(jobs=JOBS) as simulator:
        yield simulator


def boundaries(writes: list[Write], share: int) -> list[Write]:
    """Return the writes to kill at: a sample, or, on request, every fourth."""
    if os.environ.get("EVERY_BOUNDARY"):
        return writes[share::SHARES]
    return [writes[(2 * share + 1) * len(writes) // (2 * SHARES)]]


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_a_commit(  # noqa: PLR0917 - pytest's fixtures
    empty_database: Path,
    uri: str,
    provider: Simulator,
    tmp_path: Path,
    undisturbed: Undisturbed,
    share: int,
) -> None:
    """A ``kill -9`` before or after any commit leaves the expected rows to the next backfill."""
    commits = {write.number for write in undisturbed.writes if write.is_done}
    assert len(undisturbed.writes) > 2 * len(commits) > 40  # commits from both sides, and files
    for at in boundaries([*undisturbed.writes], share):
        refill(file_of(uri), empty_database)
        config = write_config(tmp_path, provider, uri, TRIAL, kinds=("openai",))
        stop, said = Stop(at, signal.SIGKILL), tmp_path / f"{at.number}-{at.is_done}"
        with Forked("backfill", "--config", config, output=said, stop=stop) as process:
            assert process.end() == -signal.SIGKILL, (at, process.said)
        done = invoke("backfill", "--config", config)
        assert done.exit_code == 0, done.output
        assert everything(uri, TRIAL) == undisturbed.whole, at
        before = dump(file_of(uri))
        assert invoke("backfill", "--config", config).exit_code == 0
        assert dump(file_of(uri)) == before


def test_killed_between_the_points_and_the_tags_of_a_batch(
    empty_database: Path, uri: str, tmp_path: Path, clock: Clock
) -> None:
    """A batch that lost its tags is completed, though only the first read shows the start."""
    started = "fine_tuning_started_at"
    one = job("ftjob-one", total_steps=40)  # more events than a page has
    with Simulator(jobs=[one], clock=clock, page_limit=10) as simulator:
        found = {}
        metrics: Write | None = None
        for name in ("undisturbed", "killed"):
            clock.now = one.created_at + 1
            refill(file_of(uri), empty_database)
            config = write_config(tmp_path, simulator, uri, TRIAL, kinds=("openai",), archive=False)
            assert invoke("backfill", "--config", config).exit_code == 0
            assert started not in recorded(uri, f"{TRIAL}-openai")[one.id].tags
            clock.now = one.step_at(20)
            stop = Stop(metrics, signal.SIGKILL) if metrics else None
            said = tmp_path / name
            with Forked("backfill", "--config", config, output=said, stop=stop) as process:
                if metrics:
                    assert process.end() == -signal.SIGKILL, process.said
                else:
                    writes = process.writes()
                    metrics = [at for at, what in writes.items() if "INSERT metrics" in what][-1]
                    assert metrics.is_done
            clock.now = one.settled_at + 1000
            assert invoke("backfill", "--config", config).exit_code == 0
            found[name] = recorded(uri, f"{TRIAL}-openai")[one.id].tags
    assert started in found["undisturbed"]
    assert found["killed"] == found["undisturbed"]
