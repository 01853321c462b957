"""Many jobs at a time, and how it ends early."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from bridge.errors import BadReply, BridgeError, ProviderDown, ServerFailed, WorkerLost
from bridge.sync.job_sync import Task
from bridge.sync.outcome import Failed, Outcome, Result, Untouched
from bridge.sync.workers import WorkerPool


def task(number: int) -> Task:
    """A job by its number."""
    return Task(
        provider="openai", job_id=str(number), listed=None, found=None, logged=None, is_dry=False
    )


@dataclass
class Work:
    """Does every job but one."""

    bad: int | None = None
    error: Exception | None = None

    def __call__(self, task: Task) -> Outcome:
        """Do one."""
        if int(task.job_id) != self.bad:
            return Untouched(provider=task.provider, job_id=task.job_id)
        if isinstance(self.error, BridgeError):
            return Failed(provider=task.provider, job_id=task.job_id, error=self.error)
        assert self.error
        raise self.error


def collected(pool: WorkerPool, tasks: Iterator[Task]) -> tuple[list[str], BridgeError | None]:
    """The ids of the outcomes, and what ended them."""
    found: list[str] = []
    try:
        for each in pool.outcomes(tasks):
            found.append(each.job_id)  # noqa: PERF401 - what came before an error counts
    except BridgeError as error:
        return found, error
    return found, None


def test_every_task_has_its_outcome(executor: ThreadPoolExecutor) -> None:
    """One job's failure is its own."""
    pool = WorkerPool(executor, Work(7, ServerFailed("500")))
    found, error = collected(pool, map(task, range(200)))
    assert sorted(found, key=int) == [str(n) for n in range(200)]
    assert error is None


def test_a_list_that_breaks_off_costs_no_job_before_it(executor: ThreadPoolExecutor) -> None:
    """What was listed is done before the error is raised."""

    def tasks() -> Iterator[Task]:
        yield from map(task, range(20))
        raise BadReply("The third page is no page")

    pool = WorkerPool(executor, Work())
    found, error = collected(pool, tasks())
    assert len(found) == 20
    assert isinstance(error, BadReply)
    assert pool.unreached == 0


@pytest.mark.parametrize("bad", [0, 50, 99])
def test_where_no_other_job_would_fare_better_the_rest_is_left(bad: int) -> None:
    """Each task is done or counted as not reached, and none is waited for in vain."""
    with ThreadPoolExecutor(1) as one_at_a_time:
        pool = WorkerPool(one_at_a_time, Work(bad, ProviderDown("down")))
        taken = 0

        def counted() -> Iterator[Task]:
            nonlocal taken
            for taken in range(1, 101):
                yield task(taken - 1)

        found, error = collected(pool, counted())
        assert isinstance(error, ProviderDown)
        assert str(bad) not in found
        assert len(found) + pool.unreached == taken


def test_a_worker_that_dies_costs_its_job_alone(executor: ThreadPoolExecutor) -> None:
    """That job is told of by its id, and not as a defect: the next pass does it again."""
    pool = WorkerPool(executor, Work(7, OSError("the worker has gone")))
    outcomes = {each.job_id: each for each in pool.outcomes(map(task, range(20)))}
    assert len(outcomes) == 20
    assert all(each.error is None for number, each in outcomes.items() if number != "7")
    lost = outcomes["7"]
    assert isinstance(lost.error, WorkerLost)
    assert (lost.provider, lost.result) == ("openai", Result.FAILED)
    assert "the worker has gone" in lost.error.sentence
