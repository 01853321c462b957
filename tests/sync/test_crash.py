"""Backfills that are killed, after which MLflow still gets the same rows.

A first start at forty moments: ``SOAK=1 pytest tests/sync/test_crash.py``; at three times as many,
all different: ``SOAK=3``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.tracking import Tracking
from tests.support.first_start import killed_at_statement
from tests.support.processes import invoke, started, wait_until
from tests.support.recorded import RunRows, recorded
from tests.support.static_server import (
    Answer,
    Asked,
    Case,
    StaticServer,
    differences,
    expected,
    mistral_cases,
    openai_case,
    openai_cases,
)

_OPENAI = openai_cases()
CASES: list[Case] = [
    *(_OPENAI[number] for number in (1, 2, 10, 14, 16, 35)),
    # Enough points for more than one request to MLflow.
    openai_case(50, "succeeded", steps=700, seconds_per_step=0.5),
    *(mistral_cases()[number] for number in (4, 7)),
]
WANTED = expected(CASES)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> dict[str, RunRows]:
    """Return the rows that an undisturbed backfill records."""
    folder = tmp_path_factory.mktemp("undisturbed")
    database = folder / "mlflow.db"
    shutil.copy(empty_database, database)
    with StaticServer(CASES) as server:
        config = server.write_config(folder, f"sqlite:///{database}")
        assert invoke("backfill", "--config", config).exit_code == 0
    rows = recorded(f"sqlite:///{database}")
    assert differences(WANTED, rows) == []
    return rows


def count(database: Path, table: str) -> int:
    """Return the rows of a table, while others write to it."""
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own names
    return int(number)


def killed_at(server: StaticServer, config: Path, serial: int) -> None:
    """Kill a backfill as soon as the provider sees its request of this number."""
    base = len(server.asked)

    def hook(asked: Asked) -> Answer | None:
        if asked.serial - base == serial:
            process.send(signal.SIGKILL)
        return None

    with started("backfill", "--config", config) as process:
        server.hook = hook
        code = process.end()
    server.hook = None
    assert code == -signal.SIGKILL, process.said


def killed_when(is_so: Callable[[], bool], config: Path) -> bool:
    """Kill a backfill as soon as ``is_so`` holds; return whether it was still running."""
    with started("backfill", "--config", config) as process:
        wait_until(lambda: process.exit_code is not None or is_so(), "moment to kill it")
        process.send(signal.SIGKILL)
        return process.end() == -signal.SIGKILL


def test_killed_at_a_request(uri: str, tmp_path: Path, undisturbed: dict[str, RunRows]) -> None:
    """The backfill after a ``kill -9`` at any request completes the expected rows."""
    with StaticServer(CASES) as server:
        config = server.write_config(tmp_path, uri)
        for serial in (1, 15):
            killed_at(server, config, serial)
            assert recorded(uri) != undisturbed
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert recorded(uri) == undisturbed


def test_killed_again_and_again(uri: str, tmp_path: Path, undisturbed: dict[str, RunRows]) -> None:
    """A backfill that is killed at each attempt still progresses, and then completes."""
    database = Path(uri.removeprefix("sqlite:///"))
    total = sum(len(run.rows) for run in undisturbed.values())
    with StaticServer(CASES) as server:
        config = server.write_config(tmp_path, uri)
        for wanted in (total // 8, total // 2):
            if count(database, "metrics") <= wanted:
                killed_when(lambda rows=wanted: count(database, "metrics") > rows, config)  # type: ignore[misc] # a default binds it
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert recorded(uri) == undisturbed


# A first start

STATEMENTS = 1_600
"""Statements while MLflow creates its tables, and a few more."""
SOAK = os.environ.get("SOAK", "")
ROUNDS = int(SOAK) if SOAK.isdecimal() else int(bool(SOAK))
BETWEEN = STATEMENTS // 40
MOMENTS = [
    [1 + moment + BETWEEN * number // ROUNDS]
    for number in range(ROUNDS)
    for moment in range(0, STATEMENTS, BETWEEN)
] or [[1, STATEMENTS // 3, STATEMENTS // 2]]


@pytest.mark.long
@pytest.mark.parametrize("moments", MOMENTS, ids=str)
def test_killed_while_the_database_is_made(
    tmp_path: Path, undisturbed: dict[str, RunRows], moments: list[int]
) -> None:
    """A new database appears whole or not at all, and the next backfill is complete."""
    database = tmp_path / "home" / "mlflow.db"
    database.parent.mkdir()
    with StaticServer(CASES) as server:
        config = server.write_config(tmp_path, f"sqlite:///{database}")
        said = tmp_path / "said"
        for moment in moments:
            assert killed_at_statement(moment, "backfill", "--config", config, output=said) == (
                -signal.SIGKILL
            ), said.read_text()
            assert not database.exists()
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert recorded(f"sqlite:///{database}") == undisturbed
    left = {path.name for path in database.parent.iterdir()}
    assert left - {"mlflow.db-wal", "mlflow.db-shm"} == {"mlflow.db", "mlruns"}


def test_a_new_database_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    """A reader in the middle of a transaction does not block writers."""
    database = tmp_path / "mlflow.db"
    experiment = Tracking(f"sqlite:///{database}").experiment("first", create=True)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM experiments").fetchall()
        assert Tracking(f"sqlite:///{database}?timeout=0.1").experiment("next", create=True)
        rows = reader.execute("SELECT experiment_id FROM experiments ORDER BY 1").fetchall()
    assert rows == [(0,), (int(experiment or 0),)]


def test_two_first_starts_at_once(tmp_path: Path) -> None:
    """One of two first starts creates the database, and both write to it."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with ThreadPoolExecutor(2) as threads:
        found = list(
            threads.map(lambda name: Tracking(uri).experiment(name, create=True), ("a", "b"))
        )
    assert sorted(map(str, found)) == ["1", "2"]
