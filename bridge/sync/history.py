"""MLflow's runs as a first pass reads them: newest first, only as far back as necessary.

A history of a hundred thousand runs takes minutes to read, but its first page settles the first
jobs of the provider's list. So the list and the runs are read side by side, by time, and jobs are
recorded meanwhile. Until the last page is read::

    a final run was found     its job is settled, unless a later page shows otherwise
    any other job             the worker asks MLflow for the runs of this one job

So all runs of a job are known before one is created or written, as in any other pass. With every
twenty such requests another page is read, because they take as long.

Open jobs whose runs are beyond the first page do not wait until the list reaches them, because they
would show nothing new for minutes after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from bridge.model import Job
from bridge.plan.ownership import Claims, Ownership
from bridge.plan.recorded import RecordedRun
from bridge.plan.run_state import CLOCK_SKEW
from bridge.sync.memory import Memory

Pages = Iterator[tuple[Iterator[RecordedRun], bool]]
"""A page of runs, and whether it is the last one."""


@dataclass(slots=True, kw_only=True)
class History:
    """MLflow's runs as far as a pass has read them."""

    memory: Memory
    owned: Ownership = field(default_factory=Ownership)
    """Owners of jobs; empty until all runs are read."""
    pages: Pages | None = None
    """Pages that are still to be read; ``None``: none."""
    learn: Callable[[RecordedRun], object] = lambda _run: None
    """Receives each run."""
    tell: Callable[[Ownership], object] = lambda _owned: None
    """Receives the owners of jobs once all runs are read."""
    first: tuple[str, ...] = ()
    """Open jobs that do not wait for their place in the list."""
    taken: set[str] = field(default_factory=set)
    """Ids of jobs that workers have received, whose outcomes are newer than the pages."""
    _claims: Claims = field(default_factory=Claims)
    _oldest: int | None = None
    """Start of the last run that was read, Unix milliseconds."""

    @property
    def is_read(self) -> bool:
        """Whether nothing is left to read."""
        return self.pages is None

    def parts(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Yield jobs in order once their runs, if any, are read; read at least one page."""
        left = [*jobs]
        while True:
            known = [*takewhile(self._covers, left)]
            left = left[len(known) :]
            if known or not left:
                yield known
            if not left:
                return
            self.read_page()

    def _covers(self, job: Job) -> bool:
        """Return whether the runs from the time of a job are read."""
        if self.is_read:
            return True
        # All processes give a job's run the same start, except for differences of their clocks.
        return self._oldest is not None and (job.created_at or 0) - CLOCK_SKEW > self._oldest

    def read_page(self) -> None:
        """Read the next page."""
        if self.pages is None:
            return
        runs, is_last = next(self.pages)
        jobs: set[str] = set()
        for run in runs:
            self.learn(run)
            self._claims.add(run)
            self._oldest = run.start_time
            jobs.add(run.job_id)
        if is_last:
            self._end()
            return
        for job_id in jobs - self.taken:
            if self._claims.is_settled(job_id):
                self.memory.settled.add(job_id)
            else:
                self.memory.settled.discard(job_id)

    def take_up(self, runs: Iterable[RecordedRun]) -> None:
        """Put the jobs of open ``runs`` first if no page has shown the runs yet."""
        if self._oldest is None:
            return
        unread = (run for run in runs if run.start_time <= self._oldest)
        found = (run.job_id for run in unread if not (run.is_final or run.is_deleted))
        self.first = tuple(dict.fromkeys(found))
        self.memory.open.update(self.first)

    def add(self, pages: Pages) -> None:
        """Read the runs of another experiment after all others."""
        if self.pages is not None:
            self.pages = _chained(self.pages, pages)

    def _end(self) -> None:
        self.pages = None
        self.owned = self._claims.resolved(is_complete=True)
        self.memory.learn_runs(self.owned, but=self.taken)
        self.memory.has_read_runs = True
        self.tell(self.owned)


def _chained(first: Pages, then: Pages) -> Pages:
    for runs, _ in first:
        yield runs, False
    yield from then
