"""The requests of a pass to the providers and to MLflow: few, and none twice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.plan.recorded import RecordedRun
from bridge.simulator import Outcome, Simulator
from bridge.simulator.jobs import Provider
from bridge.sync.outcome import Result
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking
from tests.support.history import multiply
from tests.support.models import client_of
from tests.support.world import NOW, Clock, job, make_sync

# Reads of MLflow


class Reader(Tracking):
    """A tracking store that counts the runs that searches read."""

    read = 0

    def runs(self, *args: object, **kwargs: object) -> Iterator[RecordedRun]:
        """Count the runs."""
        yield from self._counted(super().runs(*args, **kwargs))  # type: ignore[arg-type] # as it came

    def others(
        self, experiment_ids: Sequence[str], provider: str, own: Mapping[str, int]
    ) -> Iterator[RecordedRun]:
        """Count the runs."""
        yield from self._counted(super().others(experiment_ids, provider, own))

    def _counted(self, found: Iterator[RecordedRun]) -> Iterator[RecordedRun]:
        for run in found:
            self.read += 1
            yield run


def test_new_runs_are_recorded_without_reading_the_old_ones_again(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """New runs are recorded without reading old ones again, by a search over their time."""
    day = 86_400.0
    jobs = [job(f"ftjob-old-{n:02}", outcome=Outcome.FAILED) for n in range(6)]
    new = [
        job(f"ftjob-new-{n:02}", outcome=Outcome.FAILED, created_at=NOW + 9 * day) for n in range(6)
    ]
    with Simulator(jobs=jobs + new, clock=clock) as simulator:
        tracking = Reader(uri)
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now += day
        assert sync.run().jobs[Result.NEW] == 6
        clock.now += 9 * day
        assert sync.run().jobs[Result.NEW] == 6
        assert tracking.read == 0


@pytest.mark.parametrize("apart", [0, 1])
def test_each_run_is_read_once_while_others_are_created(
    apart: int, uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A page begins where the last one ends, even if all runs begin at the same moment."""
    with Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator:
        clock.now += 1000
        make_sync(simulator, Tracking(uri), executor, clock).run()
    copies = [f"ftjob-{n:04}" for n in range(210)]
    multiply(Path(uri.removeprefix("sqlite:///")), "ftjob-a", copies, apart=apart)
    tracking = Tracking(uri, page_size=100)
    place = tracking.experiment("hosted-fine-tunes", create=False)
    assert place
    found: list[str] = []
    for run in tracking.runs([place], "openai"):
        found.append(run.job_id)
        if len(found) in {90, 190}:
            name = {"fine_tuning_provider": "openai", "fine_tuning_job_id": f"new-{len(found)}"}
            client_of(uri).create_run(place, tags=name)
    assert sorted(found) == sorted(["ftjob-a", *copies])


# Requests to the providers


def asked(simulator: Simulator, sync: ProviderSync) -> list[str]:
    """Return the requests of one successful pass, and fail if any is repeated."""
    before = len(simulator.requests)
    report = sync.run()
    assert report.is_well, report
    found = [f"{each.path}?{sorted(each.query.items())}" for each in simulator.requests[before:]]
    assert len(found) == len(set(found)), sorted(found)
    return found


@pytest.mark.long
@pytest.mark.parametrize("size", [100, 10_000 if os.environ.get("SOAK") else 300])
def test_a_settled_history_costs_one_request_whatever_its_size(
    size: int, uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A settled history of any size costs one request, for the newest page."""
    jobs = [
        job(f"ftjob-{n:06}", outcome=Outcome.FAILED, created_at=NOW + n / 1000) for n in range(size)
    ]
    with Simulator(jobs=jobs[:1], clock=clock) as simulator:
        clock.now += 1000
        make_sync(simulator, Tracking(uri), executor, clock).run()
    database = Path(uri.removeprefix("sqlite:///"))
    multiply(database, jobs[0].id, [each.id for each in jobs[1:]])
    with Simulator(jobs=jobs, clock=clock) as simulator:
        sync = make_sync(simulator, Tracking(uri), executor, clock)
        assert len(asked(simulator, sync)) == size // 100  # at first the whole list is read
        for _ in range(2):
            assert len(asked(simulator, sync)) == 1


@pytest.mark.parametrize(("kind", "most"), [("openai", 2), ("mistral", 1)])
def test_an_active_job_costs_few_requests_a_pass(
    kind: Provider, most: int, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """OpenAI's open job costs its checkpoints and newest events, Mistral's a single reply."""
    jobs = [job(f"ftjob-{n}", kind, total_steps=1000) for n in range(2)]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind=kind)
        for seconds in (100, 60, 60, 60):
            clock.now += seconds
            assert len(asked(simulator, sync)) <= 1 + most * len(jobs)


@pytest.mark.parametrize(("kind", "most"), [("openai", 3), ("mistral", 1)])
def test_a_finished_job_costs_few_requests(
    kind: Provider, most: int, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A finished job costs few requests, besides those for the list and the models' end dates."""
    jobs = [job(f"ftjob-{n}", kind, total_steps=90) for n in range(2)]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 1000
        sync = make_sync(simulator, tracking, executor, clock, kind=kind, archive=True)
        assert len(asked(simulator, sync)) <= 2 + most * len(jobs)
        assert len(asked(simulator, sync)) == 1


def test_no_request_is_made_twice_in_a_pass(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A pass makes no request twice, even with long jobs, changing jobs and several pages."""
    jobs = [
        job("ftjob-long", total_steps=120),
        job("ftjob-plain", total_steps=45, validation=False),
        job("ftjob-late", total_steps=30, late_seconds=60.0),
        *(job(f"ftjob-{outcome}", outcome=outcome, ends_at_step=3) for outcome in Outcome),
        *(job(f"ftjob-{n:03}", outcome=Outcome.FAILED, created_at=NOW + 1) for n in range(5)),
    ]
    with Simulator(jobs=jobs, clock=clock, page_limit=10) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, archive=True)
        for seconds in (5, 40, 45, 60, 120, 400, 60):
            clock.now += seconds
            asked(simulator, sync)
