"""What a pass tells those who follow it."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.plan.ownership import Ledger
from bridge.sync.report import Outcome, Report


class Watch:
    """Follows a pass while it runs; called from the thread that runs it.

    Does nothing: what inherits from it overrides the steps that it cares for.
    """

    def tracked(self, provider: str, ledger: Ledger) -> None:
        """MLflow has these runs: all of a provider's if the ledger is complete, else open ones."""

    def listed(self, provider: str, jobs: int) -> None:
        """So many more jobs need a look."""

    def done(self, outcome: Outcome) -> None:
        """A job is done."""


class Observer(Watch):
    """Follows all passes of a daemon; called from the threads that make them."""

    def begins(self, provider: str) -> None:
        """A pass over a provider begins."""

    def ended(self, report: Report, seconds: float) -> None:
        """A pass is over, and took so many seconds."""

    def due(self, provider: str, at: float) -> None:
        """The next pass begins at this moment, Unix seconds."""


class Observers(Observer):
    """Several that are told the same."""

    def __init__(self, each: Sequence[Observer]) -> None:
        self._each = tuple(each)

    def tracked(self, provider: str, ledger: Ledger) -> None:
        """Tell each what MLflow has."""
        for observer in self._each:
            observer.tracked(provider, ledger)

    def listed(self, provider: str, jobs: int) -> None:
        """Tell each of listed jobs."""
        for observer in self._each:
            observer.listed(provider, jobs)

    def done(self, outcome: Outcome) -> None:
        """Tell each what became of a job."""
        for observer in self._each:
            observer.done(outcome)

    def begins(self, provider: str) -> None:
        """Tell each that a pass begins."""
        for observer in self._each:
            observer.begins(provider)

    def ended(self, report: Report, seconds: float) -> None:
        """Tell each that a pass is over."""
        for observer in self._each:
            observer.ended(report, seconds)

    def due(self, provider: str, at: float) -> None:
        """Tell each when the next pass begins."""
        for observer in self._each:
            observer.due(provider, at)
