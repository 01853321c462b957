"""Passes that make no request or write, and passes that give up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bridge.errors import RunChanged
from bridge.model import JobStatus
from bridge.plan.plan import Plan
from bridge.plan.recorded import RecordedRun
from bridge.sync.outcome import Result
from bridge.tracking import Tracking, Written
from tests.support.in_memory import InMemoryProvider, snapshot_of
from tests.support.plans import plan
from tests.support.recorded import active_runs, recorded


class Searched(Tracking):
    """Counts how often runs are read."""

    searches = 0

    def runs(self, *args: Any, **more: Any) -> Iterator[RecordedRun]:  # noqa: ANN401 - as its own
        """Count the search."""
        self.searches += 1
        return super().runs(*args, **more)

    def pages(self, *args: Any) -> Iterator[tuple[Iterator[RecordedRun], bool]]:  # noqa: ANN401 - as above
        """Count the search."""
        self.searches += 1
        return super().pages(*args)


def test_mlflow_is_not_searched_again_where_nothing_is_open(
    uri: str, executor: ThreadPoolExecutor
) -> None:
    """With no open job MLflow is searched once, in the first pass of a process."""
    tracking = Searched(uri)
    sync = InMemoryProvider(snapshot_of("ftjob-a", 0.5)).sync(tracking, executor)
    assert sync.run().is_well
    before = tracking.searches
    assert before > 0
    assert sync.run().is_well
    assert tracking.searches == before


class Contested(Tracking):
    """A store in which another client always comes first."""

    attempts = 0

    def record(self, experiment_id: str, plan: Plan, run: RecordedRun | None) -> Written:
        """Fail as if a run had changed meanwhile."""
        del experiment_id, plan, run
        self.attempts += 1
        raise RunChanged("The run was deleted while it was written")


def test_a_plan_without_news_makes_no_request(uri: str, executor: ThreadPoolExecutor) -> None:
    """An idle pass over open jobs sends MLflow no request."""
    tracking = Contested(uri)
    job_sync = InMemoryProvider().sync(tracking, executor).job_sync
    empty = plan("ftjob-a")
    assert empty.is_empty
    job_sync.apply(empty, None, "1", is_dry=False)
    assert tracking.attempts == 0


def test_a_run_that_others_keep_changing_is_given_up_for_this_pass(
    uri: str, executor: ThreadPoolExecutor
) -> None:
    """A run that others keep changing is left to the next pass, with a sentence."""
    tracking = Contested(uri)
    report = InMemoryProvider(snapshot_of("ftjob-a", 0.5)).sync(tracking, executor).run()
    ((job_id, error),) = report.failures
    assert (job_id, type(error)) == ("ftjob-a", RunChanged)
    assert "Other processes keep changing its run" in str(error)
    assert tracking.attempts == 1 + 3
    assert recorded(uri) == {}


class Rivals(Tracking):
    """A store that notes the runs whose rivals are looked for."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.own: list[set[str]] = []

    def others(
        self, experiment_ids: Sequence[str], provider: str, own: Mapping[str, int]
    ) -> Iterator[RecordedRun]:
        """Note one look."""
        self.own.append({*own})
        return super().others(experiment_ids, provider, own)


def test_rivals_are_looked_for_where_a_run_was_created(
    uri: str, executor: ThreadPoolExecutor
) -> None:
    """Only a pass that created runs looks for those that others created for the same jobs."""
    running = snapshot_of("a", 0.5, status=JobStatus.RUNNING)
    tracking, provider = Rivals(uri), InMemoryProvider(running, snapshot_of("b", 0.5))
    sync = provider.sync(tracking, executor)
    assert sync.run(dry_run=True).is_well
    assert tracking.own == []
    assert sync.run().is_well
    assert tracking.own == [{run.info.run_id for run in active_runs(uri)}]
    provider.tell(snapshot_of("a", 0.5, 0.4))
    assert sync.run().jobs[Result.UPDATED] == 1
    assert len(tracking.own) == 1
