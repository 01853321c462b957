"""What a pass asks of the providers and of MLflow: no more than it needs, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bridge.ledger import RunState
from bridge.report import Kind
from bridge.simulator import Outcome, Simulator
from bridge.tracking import Tracking
from tests.support.world import NOW, Clock, job, make_sync

# What is read of MLflow


class Reader(Tracking):
    """A tracking store that counts the runs that are read in searches."""

    read = 0

    def runs(self, *args: object, **kwargs: object) -> Iterator[RunState]:
        """Count what comes."""
        yield from self._counted(super().runs(*args, **kwargs))  # type: ignore[arg-type] # as it came

    def others(
        self, experiment_ids: Sequence[str], provider: str, own: Mapping[str, int]
    ) -> Iterator[RunState]:
        """Count what comes."""
        yield from self._counted(super().others(experiment_ids, provider, own))

    def _counted(self, found: Iterator[RunState]) -> Iterator[RunState]:
        for run in found:
            self.read += 1
            yield run


def test_new_runs_are_recorded_without_reading_the_old_ones_again(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Whether another process was there too is asked of the time of the new jobs alone."""
    day = 86_400.0
    jobs = [job(f"ftjob-old-{n:02}", outcome=Outcome.FAILED) for n in range(30)]
    new = [
        job(f"ftjob-new-{n:02}", outcome=Outcome.FAILED, created_at=NOW + 9 * day)
        for n in range(30)
    ]
    with Simulator(jobs=jobs + new, clock=clock) as simulator:
        tracking = Reader(uri)
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now += day
        assert sync.run().jobs[Kind.NEW] == 30
        clock.now += 9 * day
        assert sync.run().jobs[Kind.NEW] == 30
        assert tracking.read == 0
