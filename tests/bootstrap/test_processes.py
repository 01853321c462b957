"""Additional processes of a backfill: real ones, which are killed.

``make soak`` kills them, and the backfill itself, at any moment, and lets two backfills race.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bridge.bootstrap.processes import beside, further_processes
from bridge.simulator import Reply, Request, Simulator, all_end_by
from tests.support.config_file import simulated, write_config
from tests.support.configuration import loaded
from tests.support.processes import Started, invoke, started, wait_until
from tests.support.recorded import RunRows, active_runs, recorded
from tests.support.static_server import (
    StaticServer,
    differences,
    expected,
    mistral_cases,
    openai_cases,
)
from tests.support.world import KEY, Clock, job

FIRST = [job(f"ftjob-{number}", seed=number) for number in range(2)]
LATER = [job(f"{number:08}-0000-4000-8000-000000000000", "mistral") for number in range(8)]
JOBS = [*FIRST, *LATER]
Rows = dict[str, RunRows]


class Gates:
    """Holds Mistral's list until a further process works, and its jobs until they are released."""

    def __init__(self) -> None:
        self.list = threading.Event()
        self.jobs = threading.Event()
        self.held = 0

    def __call__(self, request: Request) -> Reply | None:
        """Hold a request."""
        if any(each.id in request.path for each in LATER):
            self.held += 1
            self.jobs.wait(120)
        elif "/mistral" in request.path or request.query.get("page_size"):
            self.list.wait(120)
        return None


@contextlib.contextmanager
def backfilling(folder: Path, uri: str, gates: Gates) -> Iterator[tuple[Started, Path, int]]:
    """Return a backfill whose further process is at work, one for threads, and that process."""
    clock = Clock()
    clock.now = all_end_by(JOBS) + 1000
    with Simulator(jobs=JOBS, clock=clock, intercept=gates) as simulator:
        config = configured(folder, uri, simulator, "processes")
        with started("backfill", "--verbose", "--config", config) as process:
            process.wait_for("process started")
            gates.list.set()
            wait_until(lambda: gates.held >= 4, "job in hand", process)
            found = re.search(r"process started +pid=(\d+)", process.said)
            assert found
            yield process, configured(folder, uri, simulator, "threads"), int(found[1])
            gates.jobs.set()


def configured(folder: Path, uri: str, simulator: Simulator, executor: str) -> Path:
    """Run both providers."""
    poll = {"executor": executor, "workers": 4}
    providers = simulated(simulator, "openai", "mistral")
    return write_config(folder / f"{executor}.yaml", uri, providers, poll=poll)


@pytest.fixture(scope="module")
def in_threads(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Rows:
    """Return the rows of a backfill without further processes."""
    folder = tmp_path_factory.mktemp("threads")
    clock = Clock()
    clock.now = all_end_by(JOBS) + 1000
    uri = f"sqlite:///{shutil.copy(empty_database, folder / 'threads.db')}"
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        done = invoke("backfill", "--config", configured(folder, uri, simulator, "threads"))
    assert done.exit_code == 0, done.output
    return recorded(uri)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[None]:
    """Enter an empty working folder, where a configuration is written."""
    with contextlib.chdir(tmp_path):
        yield


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, even if nobody has collected its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_processes_do_what_threads_do(uri: str, tmp_path: Path, in_threads: Rows) -> None:
    """Processes record the same rows as threads, and a killed one costs its work in progress."""
    gates = Gates()
    with backfilling(tmp_path, uri, gates) as (process, threads, pid):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_gone(pid), "end")
        gates.jobs.set()
        assert process.end() == 1, process.said
        assert "The process that synced the job ended" in process.said
        assert "The next pass tries again" in process.said
        assert "Traceback" not in process.said
        before = recorded(uri)
        assert {each.id for each in FIRST} <= before.keys() < {each.id for each in JOBS}
        again = invoke("backfill", "--config", threads)
        assert again.exit_code == 0, again.output
    assert recorded(uri) == in_threads
    assert KEY not in process.said


def test_work_is_shared(uri: str, tmp_path: Path, in_threads: Rows) -> None:
    """Both processes record jobs, each job once."""
    gates = Gates()
    gates.jobs.set()
    with backfilling(tmp_path, uri, gates) as (process, _, pid):
        assert process.end() == 0, process.said
        assert is_gone(pid)
    assert recorded(uri) == in_threads


@pytest.mark.parametrize(
    ("how", "again", "code"),
    [
        (signal.SIGKILL, False, -signal.SIGKILL),
        (signal.SIGINT, True, 128 + signal.SIGINT),
        # Each waits five seconds for the work in hand.
        pytest.param(signal.SIGINT, False, 1, marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, False, 1, marks=pytest.mark.soak),
    ],
)
def test_no_process_survives_the_end(
    uri: str, tmp_path: Path, how: signal.Signals, code: int, *, again: bool
) -> None:
    """A signal to one process or to all of them ends all, even during work; another one at once."""
    gates = Gates()
    with backfilling(tmp_path, uri, gates) as (process, _, pid):
        if how is not signal.SIGKILL:
            os.kill(pid, how)
        process.send(how)

        def has_ended() -> bool:
            if again:
                process.send(how)
            return process.exit_code is not None

        wait_until(has_ended, "end", process)
        assert process.end() == code, process.said
        wait_until(lambda: is_gone(pid), "end of the further process")
        assert "Traceback" not in process.said


@pytest.mark.parametrize(
    ("executor", "uri", "least", "most"),
    [
        ("threads", "sqlite:///m.db", 0, 0),
        ("auto", "sqlite:///m.db", 0, 2),
        ("processes", "sqlite:///m.db", 1, 2),
        ("processes", "sqlite:///:memory:", 0, 0),
        ("dask://host:8786", "http://127.0.0.1:5000", 0, 0),
    ],
)
@pytest.mark.usefixtures("folder")
def test_how_many_there_may_be(executor: str, uri: str, least: int, most: int) -> None:
    """There are as many processes as requested, up to two, and none without a shared store."""
    settings = loaded(
        f"mlflow: {{tracking_uri: '{uri}'}}\npoll: {{executor: '{executor}'}}\n"
        f"providers: [{{name: openai, api_key: {KEY}}}]"
    )
    number = further_processes(settings)
    assert least <= number <= most
    with beside(settings, threading.Event()) as make:
        assert (make is not None) == bool(number)


def is_under_way(process: Started, enough: int) -> bool:
    """Return whether a backfill and its process have recorded so many jobs, or ended."""
    is_working = process.count("process started") and process.count("job recorded") >= enough
    return process.exit_code is not None or bool(is_working)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_kills_at_any_moment(tmp_path: Path, seed: int) -> None:
    """Kills of the backfill or its process at any moment leave one whole run per job."""
    dice = random.Random(seed)  # noqa: S311 - moments, not secrets
    cases = [*openai_cases(), *mistral_cases()]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    environ = {"TMPDIR": str(tmp_path)}
    with StaticServer(cases) as provider:
        config = provider.write_config(
            tmp_path, uri, mlflow={"archive": False}, poll={"executor": "processes"}
        )
        for enough in (dice.randrange(12) for _ in range(4)):
            with started("backfill", "--verbose", "--config", config, env=environ) as process:
                wait_until(partial(is_under_way, process, enough), "records")
                found = re.search(r"process started +pid=(\d+)", process.said)
                if found and dice.random() < 0.5:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(found[1]), signal.SIGKILL)
                    process.end()
                else:
                    process.kill()
                wait_until(lambda found=found: not found or is_gone(int(found[1])), "end")  # type: ignore[misc] # bound here
        # Both at once, each with a process beside it: they do not wait for their turn.
        with (
            started("backfill", "--config", config, env={"TMPDIR": "/nowhere"}) as one,
            started("backfill", "--config", config, env={"TMPDIR": "/nowhere"}) as other,
        ):
            codes = [one.end(), other.end()]
        assert codes == [0, 0], one.said + other.said
    assert differences(expected(cases), recorded(uri)) == []
    assert len(active_runs(uri)) == len(cases)
