"""``ftbridge demo``: everything runs on this machine, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path

import pytest

from bridge.cli.demo import LocalRunWatch, to_the_end
from bridge.cli.processes import Children
from bridge.errors import BridgeError
from bridge.providers.registry import TYPES
from bridge.simulator import demo_jobs
from bridge.sync.events import PassEnded
from bridge.sync.report import Report
from tests.support.ports import free_port
from tests.support.processes import PATIENCE, run, started, wait_until

MARK = "FTBRIDGE_TEST_MARK"


def port() -> tuple[str, str]:
    """Return the option of a port that no other demo takes meanwhile."""
    return "--port", str(free_port())


def left_behind(mark: str) -> list[str]:
    """Yield the command lines of living processes that have inherited ``mark``."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc to look for processes in")
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended meanwhile, or is another user's
    return [line for line in found if line]


def assert_all_landed(said: str) -> None:
    """Fail unless the table has every job, with its status and its newest step."""
    landed = {
        cells[0].rpartition("-")[0]: cells[1:]
        for line in said.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│┃ ").split("│")]) == 4
    }
    for name, status, newest in (
        ("openai/support-bot", "FINISHED", "240"),
        ("openai/invoice-parser", "FAILED", "-"),
        ("openai/ticket-router", "KILLED", "70"),
        ("openai/support-bot-v2", "FINISHED", "120"),
        ("openai/sql-writer", "FINISHED", "150"),
        ("mistral/changelog-writer", "FINISHED", "100"),
        ("mistral/release-notes", "SCHEDULED", "-"),
        ("mistral/code-review", "FINISHED", "100"),
        ("mistral/faq-bot", "FINISHED", "75"),
    ):
        assert landed[name][0] == status
        assert landed[name][2] == newest
    assert "missing" not in said


@pytest.mark.soak  # MLflow's server and the local run take many seconds to import what they need
def test_once_lands_every_run_and_cleans_up(tmp_path: Path) -> None:
    """``demo --once`` shows every job as landed, ends with 0, and leaves no process and no file."""
    mark = uuid.uuid4().hex
    folder = tmp_path / "temporary"
    folder.mkdir()
    # A user has set these for other runs than the demo's.
    users = {"MLFLOW_EXPERIMENT_ID": "7", "MLFLOW_RUN_ID": "r7", "MLFLOW_REGISTRY_URI": "sqlite://"}
    environ = {MARK: mark, "TMPDIR": str(folder), **users}
    done = run("demo", "--once", *port(), cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_behind(mark) == []
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == []
    assert_all_landed(done.stdout)
    assert "Traceback" not in done.stdout + done.stderr


def test_once_shows_every_run(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The passes of ``demo --once`` land every job, and a local run that fails is exit code 1."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    first_import = tmp_path / "mlflow.py"
    first_import.write_text("raise SystemExit")
    assert to_the_end(uri, demo_jobs, threading.Event(), Children()) == 0
    said = capsys.readouterr().out
    assert_all_landed(said)
    assert "the local run failed" not in said
    first_import.write_text("raise ImportError('no such luck')")
    assert to_the_end(uri, lambda now: demo_jobs(now)[1:2], threading.Event(), Children()) == 1
    said = capsys.readouterr().out
    assert said.count("the local run failed: ImportError: no such luck") == 1


def test_the_reason_of_a_failed_local_run_is_printed_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last line of a failed local run, where Python names the error, is printed once."""
    script = "print('training', flush=True); raise ImportError('no such luck')"
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-c", script]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        process.wait(PATIENCE)
        watch = LocalRunWatch(process, output)
        for _ in range(2):
            watch(PassEnded(Report(provider="openai"), 1.0))
    said = capsys.readouterr().out
    assert said.count("the local run failed: ImportError: no such luck") == 1


@pytest.mark.soak  # it takes a live demo
def test_a_local_run_that_fails_is_reported(tmp_path: Path) -> None:
    """A demo whose local run fails says so with the reason, and goes on without it."""
    (tmp_path / "sklearn.py").write_text("raise ImportError('no such luck')")
    environ = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    with started("demo", *port(), cwd=tmp_path, env=environ, is_parent=True) as process:
        process.wait_for("the local run failed")
        process.wait_for("no such luck")
        process.send(signal.SIGINT)
        assert process.end() == 0, process.said
    assert process.said.count("the local run failed") == 1
    links = re.findall(r"^ +(charts|table|models|a run) +http\S+$", process.said, re.MULTILINE)
    assert links == ["charts", "table", "models", "a run"]


@pytest.mark.soak  # it takes a minute
def test_all_types_land(tmp_path: Path) -> None:
    """``--all`` shows a past and a live job of every type of provider, each with a curve."""
    done = run("demo", "--all", "--once", *port(), cwd=tmp_path, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "missing" not in done.stdout
    rows = [
        cells
        for line in done.stdout.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│┃ ").split("│")]) == 4
    ]
    measured = {cells[0].partition("/")[0] for cells in rows if cells[3] != "-"}
    assert measured == set(TYPES)


@pytest.mark.parametrize(
    ("signals", "codes"),
    [
        pytest.param([signal.SIGINT], {0}, marks=pytest.mark.soak),
        # Signals as ``timeout`` and impatient people send them.
        ([signal.SIGTERM, signal.SIGINT], {128 + signal.SIGTERM, 128 + signal.SIGINT}),
    ],
)
def test_signals_while_it_starts_leave_nothing(
    tmp_path: Path, signals: list[signal.Signals], codes: set[int]
) -> None:
    """One signal or two while MLflow starts end the demo and MLflow with it."""
    mark = uuid.uuid4().hex
    with started(
        "demo", *port(), cwd=tmp_path, env={MARK: mark, "TMPDIR": str(tmp_path)}
    ) as process:
        process.wait_for("Starting MLflow")
        wait_until(lambda: left_behind(mark), "MLflow's process", process)
        process.send(signal.SIGSTOP)  # so that all of them wait for it
        for each in (*signals, signal.SIGCONT):
            process.send(each)
        assert process.end() in codes, process.said
    wait_until(lambda: not left_behind(mark), "end of MLflow's process")
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in process.said


def test_nothing_starts_once_everything_was_killed(tmp_path: Path) -> None:
    """A process that is about to start when the others are killed does not start."""
    children = Children()
    children.end_now(str(tmp_path))
    with pytest.raises(BridgeError), children.start([sys.executable, "-c", "pass"]):
        pass
