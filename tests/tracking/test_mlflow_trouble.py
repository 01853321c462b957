"""Failures of MLflow, reported in a sentence and completed by the next pass."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bridge.errors import TrackingDown
from bridge.model import JobStatus
from bridge.simulator import Simulator
from bridge.sync.report import Report
from bridge.tracking import Tracking
from tests.support.config_file import write_config
from tests.support.in_memory import InMemoryProvider, snapshot_of
from tests.support.processes import PATIENCE, invoke, run
from tests.support.recorded import active_runs, recorded
from tests.support.world import Clock, job, make_sync
from tests.support.write_proxy import WriteProxy

JOBS = [job(f"ftjob-{number}") for number in range(6)]


def one_pass(uri: str, clock: Clock, executor: ThreadPoolExecutor) -> Report:
    """Make a pass of a new process over finished jobs."""
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        return make_sync(simulator, Tracking(uri), executor, clock).run()


@pytest.fixture
def later(clock: Clock) -> Clock:
    """Return a clock at which every job has ended."""
    clock.now += 10_000
    return clock


def file_of(uri: str) -> Path:
    """Return an sqlite database's file."""
    return Path(uri.removeprefix("sqlite:///"))


@contextlib.contextmanager
def opened(uri: str) -> Iterator[sqlite3.Connection]:
    """Hold a lock as another program does."""
    with contextlib.closing(
        sqlite3.connect(
            file_of(uri), timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
    ) as connection:
        yield connection


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        (
            "ffffffffffff",
            (
                "has the schema of a newer MLflow than the installed 3.",
                "pip install --upgrade mlflow",
            ),
        ),
        (
            "0584bdc529eb",
            ("has the schema of an older MLflow than the installed 3.", "mlflow db upgrade"),
        ),
    ],
)
def test_a_schema_that_is_not_this_mlflows(
    new_uri: str, later: Clock, executor: ThreadPoolExecutor, revision: str, said: tuple[str, ...]
) -> None:
    """A schema of another version is reported as too old or too new, and nothing is written."""
    with opened(new_uri) as other:
        other.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    before = file_of(new_uri).read_bytes()
    stopped = one_pass(new_uri, later, executor).stopped
    assert isinstance(stopped, TrackingDown)
    assert all(words in str(stopped) for words in said)
    assert file_of(new_uri).read_bytes() == before


def test_a_database_that_others_have_locked(
    uri: str, later: Clock, executor: ThreadPoolExecutor
) -> None:
    """A locked database is reported, and the next pass completes once it is free."""
    with opened(uri) as other:
        other.execute("BEGIN EXCLUSIVE")
        stopped = one_pass(f"{uri}?timeout=0.01", later, executor).stopped
        assert "is locked by another program" in str(stopped)
        assert "SQL" not in str(stopped)
        other.execute("ROLLBACK")
    assert one_pass(uri, later, executor).is_well
    assert recorded(uri).keys() == {job.id for job in JOBS}


def test_a_disk_that_is_full(new_uri: str, tmp_path: Path, later: Clock) -> None:
    """A full disk is reported without a traceback, and the next backfill completes."""
    room = file_of(new_uri).stat().st_size + 40_000
    with Simulator(jobs=JOBS, clock=later) as simulator:
        providers = {"openai": simulator.openai_url}
        config = write_config(tmp_path, new_uri, providers, mlflow={"archive": False})
        full = run("backfill", "--config", config, largest_file=room)
        assert full.returncode == 1
        assert "cannot write to its disk" in full.stdout
        assert "Traceback" not in full.stdout + full.stderr
        assert len(active_runs(new_uri)) < len(JOBS)
        again = invoke("backfill", "--config", config)
        assert again.exit_code == 0, again.output
    found = recorded(new_uri)
    assert found.keys() == {job.id for job in JOBS}
    rows = {len(run.rows) for run in found.values()}
    assert len(rows) == 1  # the jobs are alike: those from before and those from after
    assert {run.status for run in found.values()} == {"FINISHED"}


def test_an_experiment_that_is_deleted_under_a_daemon(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """An experiment that is deleted under a daemon is reported, and completed once restored."""
    client = MlflowClient(uri)
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        clock.now += 4
        sync = make_sync(simulator, Tracking(uri), executor, clock)
        assert sync.run().is_well
        experiment = client.get_experiment_by_name("hosted-fine-tunes")
        assert experiment is not None
        client.delete_experiment(experiment.experiment_id)
        clock.now += 10_000
        for _ in range(2):
            stopped = sync.run().stopped
            assert isinstance(stopped, TrackingDown)
            assert "'hosted-fine-tunes' is deleted" in str(stopped)
            assert f"mlflow experiments restore -x {experiment.experiment_id}" in str(stopped)
        client.restore_experiment(experiment.experiment_id)
        assert sync.run().is_well
    found = recorded(uri)
    assert found.keys() == {job.id for job in JOBS}
    assert {run.status for run in found.values()} == {"FINISHED"}


LONG = "long 'words' with \"quotes\" and ü ".ljust(9_000, "x")
GREATEST = snapshot_of(
    "job-" + "j" * 500,
    0.5,
    0.4,
    base_model="base-" + LONG[:3_000],
    suffix=LONG,
    provider_status=LONG,
    status=JobStatus.FAILED,
    error=LONG * 3,
    params={"learning_rate": LONG, "p" * 400: 1, **{f"param_{n}": n for n in range(150)}},
    training_files=tuple(f"file-{n}-{'f' * 600}" for n in range(20)),
    metadata={"k" * 100: LONG},
    cost=LONG,
)


def assert_shortened(run: Run) -> None:
    """Check that a cut text ends in the bridge's ellipsis."""
    assert run.info.status == "FAILED"
    assert max(map(len, run.data.tags.values())) <= 5_000
    assert max(map(len, run.data.params.values())) == 6_000
    assert run.data.params["learning_rate"].endswith("…")


def test_what_is_longer_than_mlflow_takes(uri: str, executor: ThreadPoolExecutor) -> None:
    """The bridge shortens long values itself, so that a second pass writes nothing."""
    report = InMemoryProvider(GREATEST).sync(Tracking(uri), executor).run()
    assert report.is_well, report.failures
    before = file_of(uri).read_bytes()
    assert InMemoryProvider(GREATEST).sync(Tracking(uri), executor).run().is_well
    assert file_of(uri).read_bytes() == before
    (run,) = active_runs(uri)
    assert_shortened(run)


def test_what_is_longer_than_a_server_takes(server: str, executor: ThreadPoolExecutor) -> None:
    """The same holds for a server, which checks the values that it gets."""
    place = "longer than a server takes"
    with WriteProxy(server) as proxy:
        report = (
            InMemoryProvider(GREATEST).sync(Tracking(proxy.url), executor, experiment=place).run()
        )
        assert report.is_well, report.failures
        before = len(proxy.writes)
        assert before
        assert (
            InMemoryProvider(GREATEST)
            .sync(Tracking(proxy.url), executor, experiment=place)
            .run()
            .is_well
        )
        assert len(proxy.writes) == before
    (run,) = active_runs(server, place)
    assert_shortened(run)
