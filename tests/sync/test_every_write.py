"""Backfills that are killed at any write to MLflow or meet each other: every row appears once.

The full list of writes takes minutes: ``EVERY_BOUNDARY=1 pytest tests/sync/test_every_write.py``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.simulator import Reply, Request, Simulator
from tests.support.forked import Forked
from tests.support.processes import invoke
from tests.support.recorded import deleted_runs
from tests.support.whole import JOBS, everything, experiments, write_config
from tests.support.write_proxy import Write, WriteProxy

pytestmark = pytest.mark.long
EVERY = bool(os.environ.get("EVERY_BOUNDARY"))
SHARES = 6 if EVERY else 1
FEW = 4 if EVERY else 1
"""Shares of the writes: each is a test, so that several can run at a time."""
SAMPLE = 3
"""Writes of the sample."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    """Run a provider whose jobs ended long ago."""
    with Simulator(jobs=JOBS) as simulator:
        yield simulator


@pytest.fixture
def proxy(server: str) -> Iterator[WriteProxy]:
    """Return the proxy before a server over sqlite, which the bridge uses."""
    with WriteProxy(server) as between:
        yield between


@pytest.fixture(scope="module")
def undisturbed(
    server: str, server_database: str, provider: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, dict[str, object]], int]:
    """Return the rows and the number of writes of an undisturbed backfill."""
    with WriteProxy(server) as proxy:
        config = write_config(tmp_path_factory.mktemp("undisturbed"), provider, proxy.url, "alone")
        done = invoke("backfill", "--config", config)
        assert done.exit_code == 0, done.output
        count = len(proxy.writes)
    found = everything(server_database, "alone", server=server)
    assert len(found) == len(JOBS)
    assert all(each["artifacts"] for each in found.values())
    return found, count


@pytest.fixture
def over_sqlite(server: str, server_database: str) -> tuple[str, str]:
    """Return a server and its database."""
    return server, server_database


@pytest.fixture
def over_postgres(postgres_server: str, postgres: str) -> tuple[str, str]:
    """Return a server and its database, to which it has several connections."""
    return postgres_server, postgres


def boundaries(writes: int, share: int, shares: int) -> list[list[Write]]:
    """Return the writes to kill at in each trial: on request those of a share, one by one.

    The sample is one trial, in which each backfill goes on from where the one before was killed.
    """
    every = [Write(n, is_done) for n in range(1, writes + 1) for is_done in (False, True)]
    if EVERY:
        return [[each] for each in every[share::shares]]
    return [[every[(2 * n + 1) * len(every) // (2 * SAMPLE)] for n in range(SAMPLE)]]


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_a_write(
    over_sqlite: tuple[str, str],
    provider: Simulator,
    tmp_path: Path,
    undisturbed: tuple[dict[str, dict[str, object]], int],
    share: int,
) -> None:
    """A ``kill -9`` before or after any write leaves the expected rows to the next backfill."""
    kill_and_repeat(over_sqlite, provider, tmp_path, undisturbed, (share, SHARES))


@pytest.mark.soak  # one more server to start, for two conditions that are tested by themselves
@pytest.mark.parametrize("share", range(FEW))
def test_killed_at_a_write_to_postgres(
    over_postgres: tuple[str, str],
    provider: Simulator,
    tmp_path: Path,
    undisturbed: tuple[dict[str, dict[str, object]], int],
    share: int,
) -> None:
    """The same holds for a server with several connections to PostgreSQL."""
    kill_and_repeat(over_postgres, provider, tmp_path, undisturbed, (share, FEW))


def kill_and_repeat(
    store: tuple[str, str],
    provider: Simulator,
    folder: Path,
    undisturbed: tuple[dict[str, dict[str, object]], int],
    part: tuple[int, int],
) -> None:
    """Kill at the writes of a share, in a server that has this database."""
    wanted, writes = undisturbed
    server, database = store
    for kills in boundaries(writes, *part):
        trial = f"trial-{kills[0].number}-{'after' if kills[0].is_done else 'before'}"
        with WriteProxy(server) as proxy:
            config = write_config(folder, provider, proxy.url, trial)
            for at in kills:
                kill_at(proxy, at, config)
            done = invoke("backfill", "--config", config)
            assert done.exit_code == 0, done.output
            assert everything(database, trial, server=server) == wanted, (trial, proxy.writes)
            proxy.writes.clear()
            assert invoke("backfill", "--config", config).exit_code == 0
            assert proxy.writes == []


def kill_at(proxy: WriteProxy, at: Write, config: Path) -> None:
    """Kill a backfill at a write, before the server sees it or before its reply."""

    def hook(write: Write) -> bool:
        if write == at:
            process.kill()
        return write == at

    process = Forked("backfill", "--config", config, output=config.with_suffix(".said"))
    proxy.hook = hook
    with process:
        code = process.end()
    proxy.hook = None
    assert code == -signal.SIGKILL, process.said


@pytest.mark.usefixtures("impatient")
def test_replies_that_are_lost(
    server_database: str,
    proxy: WriteProxy,
    provider: Simulator,
    tmp_path: Path,
    undisturbed: tuple[dict[str, dict[str, object]], int],
) -> None:
    """A write that MLflow's client sends again, even of a run or a version, leaves one of each."""
    lost: set[str] = set()

    def hook(write: Write) -> bool:
        kind = re.sub(r"(m-)?[0-9a-f]{32}", "ID", proxy.writes[write.number - 1])
        is_first = write.is_done and kind not in lost
        if is_first:
            lost.add(kind)
        return is_first

    proxy.hook = hook
    config = write_config(tmp_path, provider, proxy.url, "lost")
    for _ in range(3):
        done = invoke("backfill", "--config", config)
        if done.exit_code == 0:
            break
    assert done.exit_code == 0, done.output
    assert everything(server_database, "lost", server=proxy.url) == undisturbed[0]
    kinds = {kind.rpartition("mlflow/")[2] for kind in lost}
    assert kinds >= {"runs/create", "logged-models", "runs/outputs", "model-versions/create"}


def test_two_backfills_at_once(
    uri: str, tmp_path: Path, undisturbed: tuple[dict[str, dict[str, object]], int]
) -> None:
    """Two backfills into one file leave one run per job, and one model per checkpoint."""
    gates = {each.id: threading.Barrier(2, timeout=60) for each in JOBS}
    arrived: Counter[str] = Counter()

    def meet(asked: Request) -> Reply | None:
        # The first that each asks of a job, when it knows of no run and has created none.
        job_id = next((each for each in gates if f"/{each}" in asked.path), None)
        if job_id is not None and arrived[job_id] < 2:
            arrived[job_id] += 1
            with contextlib.suppress(threading.BrokenBarrierError):
                gates[job_id].wait()
        return None

    with Simulator(jobs=JOBS, intercept=meet) as simulator:
        config = write_config(tmp_path, simulator, uri, "two", workers=4)
        # Under another name of the same file neither waits for the other, as on two machines.
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        database = Path(uri.removeprefix("sqlite:///"))
        same = f"sqlite:///{database.parent}/../{database.parent.name}/{database.name}"
        elsewhere = write_config(folder, simulator, same, "two", workers=4)
        with (
            Forked("backfill", "--config", config, output=tmp_path / "one") as one,
            Forked("backfill", "--config", elsewhere, output=tmp_path / "other") as other,
        ):
            assert [one.end(), other.end()] == [0, 0], one.said + other.said
        assert everything(uri, "two") == undisturbed[0]
        deleted = [run for where in experiments("two") for run in deleted_runs(uri, where)]
        assert len(deleted) >= len(JOBS)  # they have met
        assert invoke("backfill", "--config", config).exit_code == 0
    assert everything(uri, "two") == undisturbed[0]
