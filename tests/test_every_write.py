"""Backfills killed at any write to MLflow, and backfills that meet: everything is there once.

The full list of writes takes minutes: ``EVERY_BOUNDARY=1 pytest tests/test_every_write.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run

from bridge.simulator import Reply, Request, Simulator
from bridge.simulator.openai_objects import model_name
from tests.support.mlflow_server import MlflowServer
from tests.support.models import (
    artifacts,
    datasets,
    models,
    newest,
    versions_by_model,
)
from tests.support.processes import invoke, started
from tests.support.recorded import active_runs, deleted_runs, recorded
from tests.support.world import NOW, job
from tests.support.write_proxy import Write, WriteProxy

EVERY = bool(os.environ.get("EVERY_BOUNDARY"))
SHARES = 8
PARENT = job("ftjob-parent", total_steps=6, suffix="parent")
CHILD = job(
    "ftjob-child",
    total_steps=2,
    n_epochs=1,
    suffix="child",
    base_model=model_name(PARENT, 4),
    created_at=NOW + 200,
)
MISTRAL = job("11111111-2222-3333-4444-555555555555", "mistral", total_steps=4, suffix="other")
JOBS = (PARENT, CHILD, MISTRAL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """An MLflow server over sqlite; each trial uses an experiment of its own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    with MlflowServer(f"sqlite:///{folder / 'mlflow.db'}", folder) as mlflow:
        yield mlflow.url


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    """A provider whose jobs have ended long ago."""
    with Simulator(jobs=JOBS) as simulator:
        yield simulator


@pytest.fixture
def proxy(server: str) -> Iterator[WriteProxy]:
    """What the bridge takes for the server."""
    with WriteProxy(server) as between:
        yield between


@pytest.fixture(scope="module")
def undisturbed(
    server: str, provider: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, object], int]:
    """What one backfill that nobody disturbs leaves, and how many writes it takes."""
    with WriteProxy(server) as proxy:
        config = write_config(tmp_path_factory.mktemp("undisturbed"), provider, proxy.url, "alone")
        done = invoke("backfill", "--config", config)
        assert done.exit_code == 0, done.output
        count = len(proxy.writes)
    found = everything(server, "alone")
    assert len(found) == len(JOBS)
    return found, count


def write_config(folder: Path, provider: Simulator, uri: str, trial: str, workers: int = 1) -> Path:
    """A configuration; everything that is written has the name of the trial in it."""
    urls = {"openai": provider.openai_url, "mistral": provider.mistral_url}
    path = folder / f"{trial}.yaml"
    settings = {
        "mlflow": {
            "tracking_uri": uri,
            "experiment": trial,
            "register": f"{trial}-of-{{suffix}}",
            "archive_datasets": True,
        },
        "poll": {"workers": workers},
        "providers": [
            {"name": name, "api_key": "any-key-will-do", "base_url": url}
            for name, url in urls.items()
        ],
    }
    path.write_text(json.dumps(settings))
    return path


def everything(uri: str, trial: str) -> dict[str, object]:
    """All that is recorded of each job, told by its id; ids that MLflow makes up are left out."""
    runs = {run.data.tags["fine_tuning_job_id"]: run for run in active_runs(uri, trial)}
    rows = recorded(uri, trial)
    assert rows.keys() == runs.keys()
    names = {run.info.run_id: job_id for job_id, run in runs.items()}
    known = models(uri, trial)
    prefix = f"{trial}-of-"
    versions = versions_by_model(uri, prefix)
    aliases = {name: newest(uri, prefix + name) for name, _ in versions}
    return {
        job_id: {
            "rows": replace(rows[job_id], tags=_tags(run, names)),
            "datasets": datasets(run),
            "artifacts": artifacts(uri, run),
            "models": {
                name: replace(model, tags=_without_numbers(model.tags, prefix))
                for name, model in known.items()
                if model.job_id == job_id
            },
            "versions": {
                name: {**tags, "is newest": aliases[name] == full_name}
                for (name, full_name), tags in versions.items()
                if tags["fine_tuning_job_id"] == job_id
            },
        }
        for job_id, run in runs.items()
    }


def _tags(run: Run, names: Mapping[str, str]) -> dict[str, str]:
    """A run's tags, the note too; other runs are told by their jobs."""
    tags: dict[str, str] = {}
    for name, value in run.data.tags.items():
        if name != "fine_tuning_note":  # a digest of the note
            for run_id, job_id in names.items():
                value = value.replace(run_id, job_id).replace(run_id[:8], job_id)  # noqa: PLW2901 - masks
            tags[name] = value
    return tags


def _without_numbers(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    """A model's tags; which number its version got depends on who was in the way."""
    links = json.loads(tags.get("mlflow.modelVersions", "[]"))
    plain = {name: value for name, value in tags.items() if name != "mlflow.modelVersions"}
    return plain | {"registered as": str([link["name"].removeprefix(prefix) for link in links])}


def boundaries(writes: int, share: int) -> list[Write]:
    """Where to kill: one of a spread, or, if all are wanted, every eighth."""
    every = [Write(n, is_done) for n in range(1, writes + 1) for is_done in (False, True)]
    if EVERY:
        return every[share::SHARES]
    return [every[share * (len(every) - 1) // (SHARES - 1)]]


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_a_write(  # noqa: PLR0917 - pytest's fixtures
    server: str,
    proxy: WriteProxy,
    provider: Simulator,
    tmp_path: Path,
    undisturbed: tuple[dict[str, object], int],
    share: int,
) -> None:
    """After ``kill -9`` before or after any write the next backfill leaves what was to be."""
    wanted, writes = undisturbed
    for at in boundaries(writes, share):
        trial = f"trial-{at.number}-{'after' if at.is_done else 'before'}"
        config = write_config(tmp_path, provider, proxy.url, trial)
        kill_at(proxy, at, config)
        done = invoke("backfill", "--config", config)
        assert done.exit_code == 0, done.output
        assert everything(server, trial) == wanted, (trial, proxy.writes)
        proxy.writes.clear()
        assert invoke("backfill", "--config", config).exit_code == 0
        assert proxy.writes == []


def kill_at(proxy: WriteProxy, at: Write, config: Path) -> None:
    """A backfill that is killed at a write, before the server sees it or before its reply."""

    def hook(write: Write) -> bool:
        if write == at:
            process.send(signal.SIGKILL)
            process.process.wait()
        return write == at

    with started("backfill", "--config", config) as process:
        proxy.hook = hook
        code = process.end()
    proxy.hook = None
    # Both providers ask for the experiment at once: who comes later may have less to write there.
    is_over = code == 0 and len(proxy.writes) < at.number
    assert code == -signal.SIGKILL or is_over, process.said


def test_replies_that_are_lost(  # noqa: PLR0917 - pytest's fixtures
    server: str,
    proxy: WriteProxy,
    provider: Simulator,
    tmp_path: Path,
    undisturbed: tuple[dict[str, object], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MLflow's client sends some writes again, also where that makes a run or a version twice."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
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
    assert everything(server, "lost") == undisturbed[0]
    kinds = {kind.rpartition("mlflow/")[2] for kind in lost}
    assert kinds >= {"runs/create", "logged-models", "runs/outputs", "model-versions/create"}


@pytest.mark.parametrize("store", ["server", "sqlite"])
def test_two_backfills_at_once(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    undisturbed: tuple[dict[str, object], int],
    store: str,
) -> None:
    """Into one server or one file: one run a job, one model a checkpoint, one version a result."""
    uri = str(request.getfixturevalue("server" if store == "server" else "uri"))
    gate = threading.Barrier(4, timeout=60)  # two providers each
    arrived: list[str] = []

    def meet(asked: Request) -> Reply | None:
        if asked.path.endswith("/fine_tuning/jobs") and len(arrived) < 4:
            arrived.append(asked.path)
            with contextlib.suppress(threading.BrokenBarrierError):
                gate.wait()
        return None

    with Simulator(jobs=JOBS, intercept=meet) as simulator:
        config = write_config(tmp_path, simulator, uri, f"two-{store}", workers=4)
        with (
            started("backfill", "--config", config) as one,
            started("backfill", "--config", config) as other,
        ):
            assert [one.end(), other.end()] == [0, 0], one.said + other.said
        assert everything(uri, f"two-{store}") == undisturbed[0]
        assert len(deleted_runs(uri, f"two-{store}")) >= len(JOBS)  # they have met
        assert invoke("backfill", "--config", config).exit_code == 0
    assert everything(uri, f"two-{store}") == undisturbed[0]
