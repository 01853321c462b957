"""The same rows in every common tracking store: a server, PostgreSQL, and both."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from mlflow import MlflowClient

from bridge.tracking.client import CALLS, TrackingClient
from tests.support.mlflow_server import MlflowServer
from tests.support.models import artifacts, datasets, models, versions_by_model
from tests.support.processes import PATIENCE, invoke, run, started
from tests.support.recorded import RunRows, active_runs, deleted_runs, recorded
from tests.support.static_server import (
    Answer,
    Asked,
    StaticServer,
    differences,
    expected,
    mistral_cases,
    openai_case,
    openai_cases,
)
from tests.support.tcp_proxy import TcpProxy
from tests.support.write_proxy import Write, WriteProxy

CASES = [
    # One of each status in MLflow, two that succeeded.
    *(openai_cases()[n] for n in (0, 2, 12, 14, 16, 23)),
    openai_case(50, "succeeded", steps=700, seconds_per_step=0.5),
    *(mistral_cases()[n] for n in (4, 7, 8)),
]
WANTED = expected(CASES)


def write_config(folder: Path, provider: StaticServer, uri: str, experiment: str) -> Path:
    """Return the path of a configuration file."""
    mlflow = {"experiment": experiment, "register": f"{experiment}-{{suffix}}"}
    return provider.write_config(folder, uri, mlflow=mlflow)


def content(uri: str, experiment: str, *, server: str | None = None) -> dict[str, object]:
    """Return the content of MLflow beside the runs' rows, without the ids that MLflow generates.

    Args:
        uri: the tracking store.
        experiment: name of the experiment.
        server: the server that has the artifacts, if ``uri`` is its database.
    """
    hosted = models(uri, experiment)
    links = {
        name: [each["name"].removeprefix(experiment) for each in json.loads(written)]
        for name, model in hosted.items()
        if (written := model.tags.pop("mlflow.modelVersions", None))
    }
    runs = {run.data.tags["fine_tuning_job_id"]: run for run in active_runs(uri, experiment)}
    return {
        "models": hosted,
        "links": links,
        "versions": versions_by_model(uri, f"{experiment}-"),
        "datasets": {job_id: datasets(run) for job_id, run in runs.items()},
        "notes": {job_id: run.data.tags["mlflow.note.content"] for job_id, run in runs.items()},
        "artifacts": {
            job_id: artifacts(server or uri, run)
            for job_id, run in runs.items()
            if run.info.status == "FINISHED"
        },
    }


def backfilled(folder: Path, uri: str, experiment: str) -> dict[str, RunRows]:
    """Make two backfills, the second of which changes nothing, and return the content."""
    with StaticServer(CASES, largest_page=50) as provider:
        config = write_config(folder, provider, uri, experiment)
        first = invoke("backfill", "--config", config)
        assert first.exit_code == 0, first.output
        again = invoke("backfill", "--config", config, "--json")
        assert again.exit_code == 0, again.output
        assert again.stdout.count('"new": 0,\n        "updated": 0,') == 2
    return recorded(uri, experiment)


@pytest.fixture(scope="module")
def in_a_file(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> dict[str, object]:
    """Return the content after a backfill into an sqlite file."""
    folder = tmp_path_factory.mktemp("file")
    uri = f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}"
    assert differences(WANTED, backfilled(folder, uri, "file")) == []
    wanted = content(uri, "file")
    assert wanted["models"]
    assert wanted["versions"]
    assert all(wanted["artifacts"].values())  # type: ignore[attr-defined] # as content() made it
    return wanted


@pytest.mark.usefixtures("server")  # see pytest_collection_modifyitems
@pytest.mark.parametrize(
    "store",
    ["server", "postgres", pytest.param("postgres_server", marks=pytest.mark.soak)],
)
def test_everything_is_the_same_in_every_store(
    request: pytest.FixtureRequest,
    in_a_file: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
) -> None:
    """Rows, models, versions, datasets, notes and archives are the same in every store."""
    uri = request.getfixturevalue(store)
    monkeypatch.chdir(tmp_path)  # MLflow keeps its artifacts in the working folder
    assert differences(WANTED, backfilled(tmp_path, uri, store)) == []
    assert content(uri, store) == in_a_file


@pytest.mark.long
def test_many_bridges_over_a_server(
    server: str, server_database: str, uri: str, tmp_path: Path
) -> None:
    """Two backfills beside a daemon leave exactly the content of a single backfill.

    With SOAK=1 they do so for 200 jobs.
    """
    many = [openai_case(n, "succeeded", steps=30, result=f"file-{n}") for n in range(200)]
    cases = many if os.environ.get("SOAK") else [CASES[n] for n in (1, 4, 8)]
    with StaticServer(cases) as provider:
        alone = invoke("backfill", "--config", write_config(tmp_path, provider, uri, "alone"))
        assert alone.exit_code == 0, alone.output
        config = write_config(tmp_path, provider, server, "crowd")
        with contextlib.ExitStack() as stack:
            daemon = stack.enter_context(started("run", "--config", config))
            backfills = [
                stack.enter_context(started("backfill", "--config", config)) for _ in range(2)
            ]
            ends = [backfill.end() for backfill in backfills]
            assert ends == [0, 0], "\n".join(backfill.said for backfill in backfills)
            daemon.send(signal.SIGTERM)
            assert daemon.end() == 0, daemon.said
        last = invoke("backfill", "--config", config)  # the daemon was stopped at some job
        assert last.exit_code == 0, last.output
    assert differences(expected(cases), recorded(server_database, "crowd")) == []
    assert content(server_database, "crowd", server=server) == content(uri, "alone")


def test_no_more_calls_at_a_time_than_a_server_has_connections_for(server: str) -> None:
    """A server never gets more calls at a time than it can serve, from any number of threads."""
    inside = threading.Semaphore(CALLS)
    full = threading.Barrier(CALLS)
    crowds = []

    def hook(write: Write) -> bool:
        if write.is_done:
            inside.release()
        else:
            crowds.append(not inside.acquire(blocking=False))
            if write.number <= CALLS:
                full.wait(PATIENCE)  # the first are held until the maximum has arrived
        return False

    with WriteProxy(server) as proxy, ThreadPoolExecutor(32) as threads:
        store = TrackingClient(proxy.url)
        proxy.hook = hook

        def write(number: int) -> None:
            with store.asked() as client:
                client.create_experiment(f"one of many {number}")

        list(threads.map(write, range(32)))
    assert crowds == [False] * 32


def at_request(serial: int, act: Callable[[], None]) -> Callable[[Asked], Answer | None]:
    """Return a hook that acts before the reply to the request of this number."""

    def hook(asked: Asked) -> Answer | None:
        if asked.serial == serial:
            act()
        return None

    return hook


@pytest.mark.usefixtures("impatient")
def test_mlflow_goes_down_in_the_middle(tmp_path: Path, server: str, server_database: str) -> None:
    """A backfill that loses MLflow says so and ends with 1, and the next one completes."""
    cases = CASES[::2]
    with contextlib.ExitStack() as way, StaticServer(cases) as provider:
        url = way.enter_context(TcpProxy(server)).url
        provider.hook = at_request(8, way.close)
        done = run("backfill", "--config", write_config(tmp_path, provider, url, "down"))
        assert_says_that_it_went_down(done, url)
        provider.hook = None
        again = invoke("backfill", "--config", write_config(tmp_path, provider, server, "down"))
    assert again.exit_code == 0, again.output
    assert differences(expected(cases), recorded(server_database, "down")) == []


@pytest.mark.soak
@pytest.mark.usefixtures("impatient")
def test_mlflow_is_killed_in_the_middle(tmp_path: Path, uri: str) -> None:
    """A backfill whose MLflow is killed says so and ends with 1, and the next one completes."""
    with MlflowServer(uri, tmp_path) as mlflow, StaticServer(CASES) as provider:
        config = write_config(tmp_path, provider, mlflow.url, "hosted-fine-tunes")
        provider.hook = at_request(15, mlflow.kill)
        assert_says_that_it_went_down(run("backfill", "--config", config), mlflow.url)
        provider.hook = None
        mlflow.start()
        again = invoke("backfill", "--config", config)
    assert again.exit_code == 0, again.output
    assert differences(WANTED, recorded(uri)) == []


def assert_says_that_it_went_down(done: CompletedProcess[str], url: str) -> None:
    """Fail unless a backfill has ended with one sentence about its MLflow."""
    assert done.returncode == 1
    assert f"MLflow at {url} cannot be reached" in done.stdout
    assert "Max retries exceeded" not in done.stdout  # the cause, not the way to it
    assert "Not reached: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.usefixtures("impatient")
def test_mlflow_is_not_there(tmp_path: Path) -> None:
    """Without MLflow a backfill ends with 1 and one sentence per provider, and reads no job."""
    with StaticServer(CASES) as provider:
        config = write_config(tmp_path, provider, "http://127.0.0.1:9", "any")
        done = run("backfill", "--config", config)
    # The lists are read while MLflow is imported.
    assert {asked.path.rpartition("/")[2] for asked in provider.asked} <= {"jobs"}
    assert done.returncode == 1
    assert done.stdout.count("cannot be reached") == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_a_run_that_a_user_deleted_stays_deleted(
    server: str, server_database: str, tmp_path: Path
) -> None:
    """A run that its user deleted gets no write, and its job gets no other run."""
    experiment, cases = "a user deletes", [openai_cases()[n] for n in (3, 10, 18)]
    with StaticServer(cases) as provider:
        config = write_config(tmp_path, provider, server, experiment)
        assert invoke("backfill", "--config", config).exit_code == 0
        running, other, finished = (case.id for case in cases)
        client = MlflowClient(tracking_uri=server, registry_uri=server)
        for found in active_runs(server_database, experiment):
            if found.data.tags["fine_tuning_job_id"] in {running, finished}:
                client.delete_run(found.info.run_id)
        before = [run.to_dictionary() for run in deleted_runs(server_database, experiment)]
        assert len(before) == 2
        for options in ([], ["--job", running], ["--job", finished]):
            done = invoke("backfill", "--config", config, *options)
            assert done.exit_code == 0, done.output
    assert [run.to_dictionary() for run in deleted_runs(server_database, experiment)] == before
    assert recorded(server_database, experiment).keys() == {other}
