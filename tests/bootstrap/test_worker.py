"""Tasks and outcomes between a worker and its daemon: complete, and without secrets."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from tblib import pickling_support  # type: ignore[import-untyped] # it has no types

from bridge import errors
from bridge.bootstrap.factories import redactor_of
from bridge.bootstrap.worker import _own_job_syncs, needs_of, work
from bridge.errors import BridgeError, ConfigError, TrackingDown
from bridge.settings.load import load
from bridge.simulator import Outcome, Reply, Request, Simulator, json_reply
from bridge.simulator.jobs import Provider
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.outcome import Outcome as Done
from bridge.sync.outcome import Result, Synced
from bridge.tracking import Tracking
from tests.support.config_file import simulated, write_config
from tests.support.interrupted import Interrupted
from tests.support.models import models, versions_by_model
from tests.support.recorded import active_runs, recorded
from tests.support.world import BASE_MODELS, KEY, NOW, Clock, job, make_sync


class Abroad(Executor):
    """Threads that are reached as other machines are: everything travels as bytes."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self.sent: list[bytes] = []

    def submit(self, fn: Callable[..., object], /, *args: object, **_: object) -> Future[object]:  # type: ignore[override] # one kind of task
        """Work on a copy, and give back a copy."""
        there = pickle.dumps(args)
        self.sent.append(there)

        def work() -> object:
            back = pickle.dumps(fn(*pickle.loads(there)))  # noqa: S301 - as above
            self.sent.append(back)
            return pickle.loads(back)  # noqa: S301 - as above

        return self._threads.submit(work)

    def all(self) -> Iterator[Task | Done]:
        """Return the bytes that have travelled."""
        for each in self.sent:
            found = pickle.loads(each)  # noqa: S301 - as above
            yield from found if isinstance(found, tuple) else [found]


@pytest.fixture
def abroad(executor: ThreadPoolExecutor) -> Abroad:
    """Return workers elsewhere."""
    return Abroad(executor)


@pytest.mark.parametrize("kind", sorted(BASE_MODELS))
def test_what_travels_is_the_same_on_arrival(
    uri: str, clock: Clock, abroad: Abroad, kind: Provider
) -> None:
    """Every part of a job survives the transfer, and no key is sent with it."""
    jobs = [job("ftjob-a", kind), job("ftjob-b", kind, outcome=Outcome.FAILED, ends_at_step=5)]
    threads = cast("ThreadPoolExecutor", abroad)
    with Simulator(jobs=jobs, clock=clock) as simulator:
        sync = make_sync(
            simulator,
            Tracking(uri),
            threads,
            clock,
            kind=kind,
            archive=True,
            archive_datasets=True,
            register="{suffix}",
        )
        for moment in (jobs[0].step_at(6), jobs[0].settled_at + 400):
            clock.now = moment
            report = sync.run()
            assert report.is_well, report
        assert +make_sync(simulator, Tracking(uri), threads, clock, kind=kind).run().jobs == {
            Result.UNCHANGED: 2
        }
    assert {run.status for run in recorded(uri).values()} == {"FINISHED", "FAILED"}
    assert len(recorded(uri)) == 2
    assert all(KEY.encode() not in each for each in abroad.sent)
    plans = [each.plan for each in abroad.all() if isinstance(each, Synced)]
    assert any(plan.documents for plan in plans)
    # Archived replies stay where they were archived.
    assert not any(content for plan in plans for content in plan.documents.values())


def test_what_has_failed_arrives_as_it_was(uri: str, clock: Clock, abroad: Abroad) -> None:
    """A job's error arrives with its remedy, without the objects that it refers to."""

    def refuse(request: Request) -> Reply | None:
        if request.path.endswith("/ftjob-a/checkpoints"):
            return json_reply({"error": {"message": f"not with {KEY}"}}, 503)
        return None

    threads = cast("ThreadPoolExecutor", abroad)
    with Simulator(jobs=[job("ftjob-a")], clock=clock, intercept=refuse) as simulator:
        clock.now += 100
        report = make_sync(simulator, Tracking(uri), threads, clock).run()
    ((job_id, error),) = report.failures
    assert job_id == "ftjob-a"
    assert isinstance(error, errors.NoAnswer)
    assert error.remedy
    assert all(KEY.encode() not in each for each in abroad.sent)
    assert len(active_runs(uri)) == 1  # the part that failed is read by the next pass


class Rescheduled(Executor):
    """Does every job twice, the first time cut off, as a cluster does after a worker died."""

    def __init__(self, threads: ThreadPoolExecutor, writes: int) -> None:
        self._threads = threads
        self._writes = writes

    def submit(self, fn: Callable[..., Done], task: Task, /) -> Future[Done]:  # type: ignore[override] # one kind of task
        """Work for a number of writes, and then from the beginning, with the same knowledge."""
        assert isinstance(fn, JobSync)
        cut = Interrupted(fn.tracking.uri, self._writes)
        dying = replace(fn, tracking=cut, finder=replace(fn.finder, tracking=cut))
        self._threads.submit(dying, task).result()
        return self._threads.submit(fn, task)


def content(uri: str) -> object:
    """Return everything but the numbers of versions, which MLflow does not reuse."""
    hosted = models(uri, "hosted-fine-tunes")
    for model in hosted.values():
        model.tags.pop("mlflow.modelVersions", None)
    return recorded(uri), hosted, versions_by_model(uri)


def contents(uri: str, executor: Executor) -> list[object]:
    """Return the content after each of three passes over a job that trains, and an ended one."""
    clock = Clock()
    one, ended = job("ftjob-a"), job("ftjob-b", created_at=NOW - 5000)
    found = []
    with Simulator(jobs=[one, ended], clock=clock) as simulator:
        threads = cast("ThreadPoolExecutor", executor)
        sync = make_sync(simulator, Tracking(uri), threads, clock, register="{suffix}")
        for moment in (one.step_at(6), one.step_at(9), one.step_at(12) + 400):
            clock.now = moment
            report = sync.run()
            assert report.is_well, report
            found.append(content(uri))
    return found


@pytest.fixture(scope="module")
def without_loss(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> list[object]:
    """Return the contents where no worker is lost."""
    path = shutil.copy(empty_database, tmp_path_factory.mktemp("without-loss") / "mlflow.db")
    with ThreadPoolExecutor(4) as executor:
        return contents(f"sqlite:///{path}", executor)


@pytest.mark.parametrize("writes", [1, 4, 99])
def test_what_a_lost_worker_had_begun_is_not_there_twice(
    uri: str, without_loss: list[object], executor: ThreadPoolExecutor, writes: int
) -> None:
    """A job that is repeated after a lost worker is recorded once, by an unchanged task."""
    assert contents(uri, Rescheduled(executor, writes)) == without_loss
    assert {run.status for run in recorded(uri).values()} == {"FINISHED"}


def kinds_of(kind: type[BridgeError]) -> Iterator[type[BridgeError]]:
    """Yield an error's class, and all below it."""
    yield kind
    for each in kind.__subclasses__():
        yield from kinds_of(each)


@pytest.mark.parametrize("kind", sorted(set(kinds_of(BridgeError)), key=str))
def test_every_error_travels(kind: type[BridgeError]) -> None:
    """An error travels with its class, its sentence and its remedy, and without its cause."""
    made = ConfigError(["one", "two"]) if kind is ConfigError else kind("It broke", "Mend it")
    made.__cause__ = OSError(KEY)
    pickling_support.install()  # as Dask does
    sent = pickle.dumps(made.alone())
    arrived = pickle.loads(sent)  # noqa: S301 - as above
    assert type(arrived) is kind
    assert (str(arrived), arrived.args) == (str(made), made.args)
    assert (arrived.sentence, arrived.remedy) == (made.sentence, made.remedy)
    assert getattr(arrived, "problems", None) == getattr(made, "problems", None)
    assert KEY.encode() not in sent


def test_a_worker_sends_no_causes_home(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of MLflow or of the network in an error's causes stay on the worker."""
    with Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator:
        config = tmp_path / "bridge.yaml"
        nowhere = config / "mlflow.db"  # below a file
        write_config(config, f"sqlite:///{nowhere}", simulated(simulator, "openai"))
        monkeypatch.setenv("FTBRIDGE_CONFIG", str(config))
        settings = load(config, os.environ)
        needs = needs_of(settings, settings.providers[0], redactor_of(settings, os.environ))
        task = Task(
            provider="openai",
            job_id="ftjob-a",
            listed=None,
            found=None,
            logged=None,
            is_dry=False,
        )
        _own_job_syncs.cache_clear()
        try:
            error = work(needs, task).error
        finally:
            _own_job_syncs.cache_clear()
    assert isinstance(error, TrackingDown)
    assert error.__cause__ is None
    assert error.__context__ is None
