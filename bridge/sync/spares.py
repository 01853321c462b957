"""Finished runs whose jobs are carried by a run that is not finished: ``plan.ownership``.

Of two processes that record one job, the one whose run counts may be dead. The other one's run is
let go of as soon as the run that counts has everything too. Should that never be, because the
provider has forgotten the job, the finished one stays and the unfinished goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from bridge.plan.ownership import Ledger, resolve
from bridge.plan.recorded import RunState
from bridge.tracking import Tracking


class Spares:
    """The jobs of one provider that have such runs."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._jobs: set[str] = set()

    def saw(self, ledger: Ledger) -> None:
        """Remember the jobs of a ledger's spare runs."""
        self._jobs |= set(ledger.spares.values())

    def let_go(
        self,
        runs_of: Callable[[Iterable[str]], Iterable[RunState]],
        *,
        settled: AbstractSet[str],
        vanished: AbstractSet[str],
    ) -> None:
        """Leave one run of each job that is at its end.

        Args:
            runs_of: reads the runs of some jobs.
            settled: jobs whose run has everything.
            vanished: jobs that their provider no longer has.
        """
        done = self._jobs & (settled | vanished)
        ledger = resolve(runs_of(sorted(done)))
        hopeless = vanished & set(ledger.spares.values())
        unfinished = [ledger.open[job_id].run_id for job_id in sorted(hopeless)]
        self._tracking.delete([*ledger.losers, *unfinished])
        self._jobs -= done
