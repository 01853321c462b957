"""Many jobs at a time, and how it ends early."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from bridge.crew import Crew, Task
from bridge.errors import BadReply, BridgeError, ProviderDown, ServerFailed
from bridge.report import Kind, Outcome


def outcome(number: int, error: BridgeError | None = None) -> Outcome:
    """What became of a job."""
    kind = Kind.FAILED if error else Kind.NEW
    return Outcome(provider="openai", job_id=str(number), kind=kind, error=error)


def collected(crew: Crew, tasks: Iterator[Task]) -> tuple[list[str], BridgeError | None]:
    """The ids of the outcomes, and what ended them."""
    found: list[str] = []
    try:
        for each in crew.outcomes(tasks):
            found.append(each.job_id)  # noqa: PERF401 - what came before an error counts
    except BridgeError as error:
        return found, error
    return found, None


def test_every_task_has_its_outcome(executor: ThreadPoolExecutor) -> None:
    """One job's failure is its own."""
    tasks = (partial(outcome, n, ServerFailed("500") if n == 7 else None) for n in range(200))
    found, error = collected(Crew(executor), tasks)
    assert sorted(found, key=int) == [str(n) for n in range(200)]
    assert error is None


def test_a_list_that_breaks_off_costs_no_job_before_it(executor: ThreadPoolExecutor) -> None:
    """What was listed is done before the error is raised."""

    def tasks() -> Iterator[Task]:
        for n in range(20):
            yield partial(outcome, n)
        raise BadReply("The third page is no page")

    crew = Crew(executor)
    found, error = collected(crew, tasks())
    assert len(found) == 20
    assert isinstance(error, BadReply)
    assert crew.unreached == 0


@pytest.mark.parametrize("bad", [0, 50, 99])
def test_where_no_other_job_would_fare_better_the_rest_is_left(bad: int) -> None:
    """Each task is done or counted as not reached, and none is waited for in vain."""
    with ThreadPoolExecutor(1) as one_at_a_time:
        crew = Crew(one_at_a_time)
        tasks = (
            partial(outcome, n, ProviderDown("down") if n == bad else None) for n in range(100)
        )
        taken = 0

        def counted() -> Iterator[Task]:
            nonlocal taken
            for task in tasks:
                taken += 1
                yield task

        found, error = collected(crew, counted())
        assert isinstance(error, ProviderDown)
        assert str(bad) not in found
        assert len(found) + crew.unreached == taken
