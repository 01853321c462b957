"""Several backfills into one MLflow, which take turns."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.cli.terminal.turn import turn


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep locks in a folder of the test's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_the_second_waits_and_says_so() -> None:
    """The second backfill says that it waits, and continues when the first has ended."""
    said, waited = threading.Event(), threading.Event()
    order: list[str] = []

    def second() -> None:
        def pause(_: float) -> bool:
            waited.wait(60)
            return False

        with turn("sqlite:///a.db", waiting=said.set, pause=pause):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with turn("sqlite:///a.db", waiting=lambda: order.append("wrong"), pause=lambda _: True):
            done = pool.submit(second)
            assert said.wait(60)
            order.append("first")
        waited.set()
        done.result(timeout=60)
    assert order == ["first", "second"]


def test_another_store_is_in_nobodys_way() -> None:
    """Backfills into two databases do not wait for each other."""
    said: list[str] = []
    with (
        turn("sqlite:///a.db", waiting=lambda: said.append("a"), pause=lambda _: True),
        turn("sqlite:///b.db", waiting=lambda: said.append("b"), pause=lambda _: True),
    ):
        assert said == []


def test_a_process_that_dies_leaves_its_turn(tmp_path: Path) -> None:
    """A process that dies releases its lock, and nothing needs cleaning up."""
    code = (
        "import os, tempfile; tempfile.tempdir = os.environ['FOLDER'];"
        "from bridge.cli.terminal.turn import turn;"
        "context = turn('sqlite:///a.db', waiting=lambda: None, pause=lambda _: True);"
        "context.__enter__(); os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"FOLDER": str(tmp_path)}, timeout=120, check=False
    )
    assert done.returncode == 9
    said: list[str] = []
    with turn("sqlite:///a.db", waiting=lambda: said.append("wait"), pause=lambda _: True):
        assert said == []


def test_asked_to_stop_it_does_not_wait_for_ever() -> None:
    """A request to stop ends the wait, so that the passes see it."""
    with turn("sqlite:///a.db", waiting=lambda: None, pause=lambda _: True):
        said: list[str] = []
        with turn("sqlite:///a.db", waiting=lambda: said.append("wait"), pause=lambda _: True):
            assert said == ["wait"]


def test_without_a_folder_for_locks_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backfill continues on a machine that cannot lock."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with turn("sqlite:///a.db", waiting=lambda: pytest.fail("waits"), pause=lambda _: True):
        pass
