"""A Dask cluster in place of threads: real processes, which are killed.

``make soak`` has the long forms: a cluster that comes and goes, and workers that do so.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from bridge.bootstrap.bridge import assemble
from bridge.bootstrap.dask import Cluster
from bridge.bootstrap.factories import redactor_of
from bridge.bootstrap.worker import needs_of, work
from bridge.errors import ClusterDown, ConfigError, OtherConfiguration, WorkerLost
from bridge.settings.load import load
from bridge.settings.model import Settings
from bridge.sync.events import Event, Handler, JobDone
from bridge.sync.job_sync import Task
from bridge.sync.provider_sync import no_handler
from bridge.sync.report import Report
from bridge.sync.workers import WorkerPool
from tests.support.dask_cluster import DaskCluster
from tests.support.processes import invoke, started, wait_until
from tests.support.recorded import active_runs, recorded
from tests.support.static_server import (
    Case,
    StaticServer,
    differences,
    expected,
    mistral_cases,
    openai_cases,
)
from tests.support.world import KEY

CASES = [*openai_cases()[::5], *mistral_cases()[4:7]]
WANTED = expected(CASES)


@dataclass(slots=True)
class Place:
    """A provider, MLflow on PostgreSQL, and a cluster that can reach both."""

    provider: StaticServer
    cluster: DaskCluster
    uri: str
    experiment: str
    config: Path

    def settings(self, **mlflow: object) -> Settings:
        """Return the workers' settings, with a test's changes."""
        written = json.loads(self.config.read_text())
        other = self.config.with_name("other.yaml")
        other.write_text(json.dumps(written | {"mlflow": written["mlflow"] | mlflow}))
        return load(other, {})

    def passes(self, handler: Handler = no_handler, **mlflow: object) -> list[Report]:
        """Make one pass of a new daemon over each provider."""
        with assemble(self.settings(**mlflow), {}, threading.Event()) as bridge:
            return [sync.run(handler=handler) for sync in bridge.syncs]


@dataclass(slots=True)
class Midway:
    """Acts after this many jobs."""

    at: Mapping[int, Callable[[], object]]
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: Event) -> None:
        """Count a job."""
        if not isinstance(event, JobDone):
            return
        self.number += 1
        self.at.get(self.number, lambda: None)()


@contextlib.contextmanager
def placed(folder: Path, uri: str, cases: list[Case], *, workers: int) -> Iterator[Place]:
    """Return a place whose cluster is still to be started."""
    with StaticServer(cases) as provider:
        experiment = f"cluster {folder.name}"
        config = folder / "bridge.yaml"
        cluster = DaskCluster(folder, config, workers=workers)
        # MLflow keeps artifacts of PostgreSQL in the working folder of a process, so each test has
        # one.
        mlflow = {"experiment": experiment, "archive": False}
        poll = {"interval": "1s", "executor": cluster.address}
        provider.write_config(config, uri, mlflow=mlflow, poll=poll)
        yield Place(provider, cluster, uri, experiment, config)


def test_a_cluster_does_what_threads_do(tmp_path: Path, postgres: str) -> None:
    """A cluster records the same rows as threads, even if a worker is killed in the middle.

    A daemon whose configuration differs from the workers' writes nothing, and says so. When no
    worker is left, waiting jobs end, and no more are sent.
    """
    with placed(tmp_path, postgres, CASES, workers=2) as place, place.cluster:
        for report in place.passes(curves=False):
            assert isinstance(report.stopped, OtherConfiguration), report
            assert "a different configuration" in report.stopped.sentence
        assert active_runs(place.uri, place.experiment) == []
        asked = [each.path for each in place.provider.asked]
        assert not any("checkpoints" in path or "events" in path for path in asked)
        checked = invoke("check", "--config", place.config)
        assert "answers, with 2 workers" in checked.output
        reports = place.passes(Midway({3: place.cluster.kill_worker}))
        assert all(report.is_well for report in reports), reports
        assert differences(WANTED, recorded(place.uri, place.experiment)) == []
        assert KEY not in place.cluster.said
        with Cluster(place.cluster.address) as lonely:
            waiting = lonely.submit(time.sleep, 3600)
            assert not waiting.cancel()
            place.cluster.kill_worker()
            with pytest.raises(ClusterDown, match="has no workers"):
                waiting.result()
        with Cluster(place.cluster.address) as late, pytest.raises(ClusterDown, match="no workers"):
            late.submit(time.sleep, 0)


def test_a_cluster_that_is_lost_is_found_again(tmp_path: Path) -> None:
    """A lost cluster costs its jobs in progress, and a new one at the same address is used."""
    cluster = DaskCluster(tmp_path, tmp_path / "none.yaml", workers=1)
    with Cluster(cluster.address, most=2) as executor:
        with pytest.raises(ClusterDown, match="does not answer"):
            executor.submit(os.getpid)
        with cluster:
            first = executor.submit(os.getpid).result()
            under_way = [executor.submit(time.sleep, 3600) for _ in range(2)]
            cluster.kill()
            for each in under_way:
                with pytest.raises(ClusterDown, match="is lost"):
                    each.result()
            with pytest.raises(ClusterDown):
                executor.submit(os.getpid)
            cluster.start()
            found: list[int] = []

            def is_found() -> bool:
                with contextlib.suppress(ClusterDown):
                    found.append(executor.submit(os.getpid).result())
                return bool(found)

            wait_until(is_found, "connection")
            assert found != [first]


def test_a_provider_has_so_many_jobs_on_a_cluster_at_a_time(tmp_path: Path) -> None:
    """A provider has a limited number of jobs on a cluster, so that one that hangs leaves room."""
    cluster = DaskCluster(tmp_path, tmp_path / "none.yaml", workers=1, threads=2)
    with cluster, Cluster(cluster.address, most=1) as hanging, Cluster(cluster.address) as other:
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        blocked = hanging.submit(gate.read_text)
        further = ThreadPoolExecutor(1).submit(hanging.submit, os.getpid)
        assert other.submit(os.getpid).result() != os.getpid()
        assert not further.done()
        gate.write_text("open")
        assert blocked.result() == "open"
        assert further.result().result() != os.getpid()


def test_a_key_does_not_travel(tmp_path: Path) -> None:
    """A task for a worker holds no secret, and does not depend on the key."""
    config = tmp_path / "bridge.yaml"

    def sent(**changes: str) -> bytes:
        written = {
            "mlflow": {"tracking_uri": f"postgresql://me:{changes.get('password', KEY)}@db/mlflow"},
            "providers": [
                {
                    "name": "openai",
                    "api_key": changes.get("key", KEY),
                    "headers": {"X-Secret": changes.get("key", KEY)},
                    "base_url": changes.get("url", "https://api.openai.com/v1"),
                }
            ],
        }
        config.write_text(json.dumps(written))
        settings = load(config, {})
        (provider,) = settings.providers
        redactor = redactor_of(settings, {})
        return pickle.dumps(partial(work, needs_of(settings, provider, redactor)))

    assert KEY.encode() not in sent()
    assert sent(key="another-key", password="another-password") == sent()
    assert sent(url="https://gateway.example.com/v1") != sent()


def test_dask_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask as a missing extra is reported with the command that installs it."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match="pip install distributed"):
        Cluster("dask://127.0.0.1:8786")


@pytest.mark.soak
def test_a_cluster_that_comes_and_goes_is_an_outage(tmp_path: Path, postgres: str) -> None:
    """A daemon starts without its cluster, reports each outage once, and then completes a pass."""
    with placed(tmp_path, postgres, CASES, workers=2) as place:
        environ = {"FTBRIDGE_CONFIG": str(place.config)}
        with started("run", env=environ) as daemon, contextlib.ExitStack() as stack:
            wait_until(lambda: daemon.count("outage") == 2, "an outage of both providers", daemon)
            stack.enter_context(place.cluster)
            wait_until(lambda: daemon.count("recovered") == 2, "its end", daemon)
            wait_until(
                lambda: differences(WANTED, recorded(place.uri, place.experiment)) == [],
                "rows",
                daemon,
            )
            place.cluster.kill()
            wait_until(lambda: daemon.count("outage") == 4, "a second outage", daemon)
            place.cluster.start()
            wait_until(lambda: daemon.count("recovered") == 4, "its end", daemon)
            daemon.send(signal.SIGTERM)
            assert daemon.end() == 0
            assert daemon.count("of=cluster") == 4, daemon.said
            assert "Traceback" not in daemon.said
            assert KEY not in daemon.said


@pytest.mark.soak
def test_workers_come_and_go(tmp_path: Path, postgres: str) -> None:
    """Four workers that are killed and replaced in turn leave the same rows."""
    cases = [*openai_cases(), *mistral_cases()]
    with placed(tmp_path, postgres, cases, workers=4) as place, place.cluster:

        def replace_one() -> None:
            place.cluster.kill_worker()
            place.cluster.add_worker()

        for _ in range(3):
            watch = Midway(dict.fromkeys(range(5, len(cases), 10), replace_one))
            if all(report.is_well for report in place.passes(watch)):
                break
        else:
            pytest.fail("no pass was complete")
        assert differences(expected(cases), recorded(place.uri, place.experiment)) == []
        assert "KilledWorker" not in place.cluster.said


@pytest.mark.soak
def test_a_job_that_kills_its_workers_is_lost_only(tmp_path: Path) -> None:
    """A job that kills four workers is given up by Dask, and reported as that job's loss."""
    cluster = DaskCluster(tmp_path, tmp_path / "none.yaml", workers=4)
    task = Task(
        provider="openai", job_id="ftjob-a", listed=None, found=None, logged=None, is_dry=False
    )
    with cluster, Cluster(cluster.address) as executor:
        pool = WorkerPool(executor, lambda _: os._exit(1))
        (outcome,) = pool.outcomes([task])
    assert outcome.job_id == "ftjob-a"
    assert isinstance(outcome.error, WorkerLost)
    assert "KilledWorker" in outcome.error.sentence
