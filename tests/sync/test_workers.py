"""Simultaneous jobs, and the early end of their work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import pytest

from bridge.errors import (
    BadReply,
    BridgeError,
    ClusterDown,
    ProviderDown,
    ServerFailed,
    Stopped,
    TrackingDown,
    WorkerLost,
)
from bridge.sync.job_sync import Task
from bridge.sync.outcome import Failed, Outcome, Result, Untouched
from bridge.sync.workers import WorkerPool

P = ParamSpec("P")
T = TypeVar("T")


def task(number: int) -> Task:
    """Return a job by its number."""
    return Task(
        provider="openai", job_id=str(number), listed=None, found=None, logged=None, is_dry=False
    )


@dataclass
class Work:
    """Does every job but one."""

    bad: int | None = None
    error: Exception | None = None

    def __call__(self, task: Task) -> Outcome:
        """Do one job."""
        if int(task.job_id) != self.bad:
            return Untouched(provider=task.provider, job_id=task.job_id)
        if isinstance(self.error, BridgeError):
            return Failed(provider=task.provider, job_id=task.job_id, error=self.error)
        assert self.error
        raise self.error


def collected(pool: WorkerPool, tasks: Iterator[Task]) -> tuple[list[str], BridgeError | None]:
    """Return the ids of the outcomes, and the error that ended them."""
    found: list[str] = []
    try:
        for each in pool.outcomes(tasks):
            found.append(each.job_id)  # noqa: PERF401 - what came before an error counts
    except BridgeError as error:
        return found, error
    return found, None


def test_every_task_has_its_outcome(executor: ThreadPoolExecutor) -> None:
    """Every task has an outcome, and one job's failure affects no other."""
    pool = WorkerPool(executor, Work(7, ServerFailed("500")))
    found, error = collected(pool, map(task, range(200)))
    assert sorted(found, key=int) == [str(n) for n in range(200)]
    assert error is None


def test_few_tasks_are_done_before_they_are_held_up(executor: ThreadPoolExecutor) -> None:
    """Few tasks are done before a search for further ones makes them wait."""
    done: list[str] = []
    may_end = threading.Event()

    def work(task: Task) -> Outcome:
        assert may_end.wait(60)
        return Untouched(provider=task.provider, job_id=task.job_id)

    def is_held_up() -> bool:
        may_end.set()
        return True

    def tasks() -> Iterator[Task | None]:
        yield from map(task, range(20))
        yield None
        may_end.set()
        assert len(done) == 20
        yield task(20)

    for outcome in WorkerPool(executor, work).outcomes(tasks(), is_held_up=is_held_up):
        done.append(outcome.job_id)  # noqa: PERF401 - the tasks look at it meanwhile
    assert len(done) == 21


@pytest.mark.parametrize(("number", "is_held_up"), [(21, True), (3, False)])
def test_tasks_do_not_keep_others_waiting(
    executor: ThreadPoolExecutor, number: int, *, is_held_up: bool
) -> None:
    """Further tasks are looked for beside many, and beside those that it does not hold up."""
    is_found = threading.Event()

    def work(task: Task) -> Outcome:
        assert is_found.wait(60), "nothing further is looked for"
        return Untouched(provider=task.provider, job_id=task.job_id)

    def tasks() -> Iterator[Task | None]:
        yield from map(task, range(number))
        yield None
        is_found.set()

    found = [*WorkerPool(executor, work).outcomes(tasks(), is_held_up=lambda: is_held_up)]
    assert {type(each) for each in found} == {Untouched}
    assert len(found) == number


def test_a_list_that_breaks_off_costs_no_job_before_it(executor: ThreadPoolExecutor) -> None:
    """Listed jobs are done before the error of a list that breaks off is raised."""

    def tasks() -> Iterator[Task]:
        yield from map(task, range(20))
        raise BadReply("The third page is no page")

    pool = WorkerPool(executor, Work())
    found, error = collected(pool, tasks())
    assert len(found) == 20
    assert isinstance(error, BadReply)
    assert pool.unreached == 0


class AtOnce(Executor):
    """An executor that works while it accepts."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run the work at once."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except OSError as error:
            future.set_exception(error)
        return future


class Held(Executor):
    """An executor that begins only the first task, and completes none."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Accept one more task."""
        del fn, args, kwargs
        future: Future[T] = Future()
        if not self.futures:
            future.set_running_or_notify_cancel()
        self.futures.append(future)
        return future


@pytest.mark.parametrize("bad", [0, 50, 99])
@pytest.mark.parametrize("kind", [ProviderDown, TrackingDown, ClusterDown, Stopped])
def test_where_no_other_job_would_fare_better_no_further_one_is_taken(
    bad: int, kind: type[BridgeError]
) -> None:
    """A failure of the whole provider ends the list: no further job is read from it."""
    pool = WorkerPool(AtOnce(), Work(bad, kind("down")))
    numbers = iter(range(100))
    found, error = collected(pool, map(task, numbers))
    assert isinstance(error, kind)
    assert found == [str(number) for number in range(bad)]
    assert pool.unreached == 1
    assert next(numbers, 100) == bad + 1


def test_the_first_of_two_outages_is_the_reason() -> None:
    """A pass that two outages end reports the first, and neither job."""
    held = Held()
    pool = WorkerPool(held, Work())

    def tasks() -> Iterator[Task]:
        yield from map(task, range(2))
        first, second = held.futures
        second.set_running_or_notify_cancel()
        for future, error in ((first, TrackingDown("MLflow")), (second, ProviderDown("down"))):
            future.set_result(Failed(provider="openai", job_id="x", error=error))

    found, stopped = collected(pool, tasks())
    assert found == []
    assert isinstance(stopped, TrackingDown)
    assert pool.unreached == 2


@pytest.mark.parametrize("error", [ProviderDown("down"), Stopped("Asked to stop")])
def test_work_that_waits_is_left_where_the_list_ends_it_all(error: BridgeError) -> None:
    """Work that has begun is finished, and work that waits is dropped with the list."""
    held = Held()
    pool = WorkerPool(held, Work())

    def tasks() -> Iterator[Task]:
        yield from map(task, range(5))
        first, *_, last = held.futures
        done = Untouched(provider="openai", job_id="0")
        last.add_done_callback(lambda _: first.set_result(done))
        raise error

    found, stopped = collected(pool, tasks())
    assert stopped is error
    assert found == ["0"]
    assert pool.unreached == 4
    assert all(future.cancelled() for future in held.futures[1:])


def test_a_cluster_that_is_lost_is_no_lost_worker() -> None:
    """A lost cluster is raised under the executor's own name, and ends the pass."""
    held = Held()
    pool = WorkerPool(held, Work())

    def tasks() -> Iterator[Task]:
        yield from map(task, range(3))
        for future in held.futures:
            future.set_exception(ClusterDown("The cluster is lost"))

    found, error = collected(pool, tasks())
    assert isinstance(error, ClusterDown)
    assert found == []
    assert pool.unreached == 3


def test_a_worker_that_dies_costs_its_job_only(executor: ThreadPoolExecutor) -> None:
    """A worker that dies costs its job, which is named and done again in the next pass."""
    pool = WorkerPool(executor, Work(7, OSError("the worker has gone")))
    outcomes = {each.job_id: each for each in pool.outcomes(map(task, range(20)))}
    assert len(outcomes) == 20
    assert all(each.error is None for number, each in outcomes.items() if number != "7")
    lost = outcomes["7"]
    assert isinstance(lost.error, WorkerLost)
    assert (lost.provider, lost.result) == ("openai", Result.FAILED)
    assert "the worker has gone" in lost.error.sentence
