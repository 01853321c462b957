"""One simultaneous pass over every provider, for ``backfill`` and for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bridge.bootstrap.bridge import Bridge
from bridge.errors import BridgeError, Stopped
from bridge.sync.events import Event, Handler, JobDone
from bridge.sync.outcome import Outcome, Result, Synced
from bridge.sync.provider_sync import no_handler
from bridge.sync.report import Report, Selection

_SLICE = 0.2
"""Interval in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """The outcome of one job."""

    provider: str
    job_id: str
    result: Result
    run_id: str | None
    """Run of the job; ``None`` if nothing was left to do, it failed, or a dry run would create
    it."""
    experiment_id: str | None
    error: BridgeError | None

    @classmethod
    def of(cls, outcome: Outcome) -> Landed:
        """Return an outcome without its plan: the points of a long history take gigabytes."""
        synced = outcome if isinstance(outcome, Synced) else None
        return cls(
            provider=outcome.provider,
            job_id=outcome.job_id,
            result=outcome.result,
            run_id=synced.run_id if synced else None,
            experiment_id=synced.experiment_id if synced else None,
            error=outcome.error,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The result of a pass over every provider."""

    reports: tuple[Report, ...]
    """Reports by provider, in the order of the configuration."""
    landed: tuple[Landed, ...]
    """Outcomes of the jobs that were read."""
    is_done: bool = True
    """Whether every pass has ended; threads of a pass that was cut off still wait for an answer."""


def one_pass(
    bridge: Bridge,
    selection: Selection | None = None,
    *,
    dry_run: bool = False,
    handler: Handler = no_handler,
    wait: Callable[[Sequence[Future[Report]]], bool] | None = None,
    cut_off: Callable[[], BridgeError] = lambda: Stopped("Asked to stop"),
) -> Made:
    """Make one pass over every provider.

    Args:
        bridge: the bridge with the providers.
        selection: the jobs to sync; by default all.
        dry_run: whether to write nothing.
        handler: receives the events, from several threads.
        wait: waits for the passes and returns whether they have ended; by default without limit.
        cut_off: reason why a pass that has not ended has no report.
    """
    landed: dict[tuple[str, str], Landed] = {}

    def noted(event: Event) -> None:
        if isinstance(event, JobDone):
            found = Landed.of(event.outcome)
            landed[found.provider, found.job_id] = found
        handler(event)

    pool = ThreadPoolExecutor(len(bridge.syncs))
    is_done = False
    try:
        passes = [
            pool.submit(sync.run, selection, dry_run=dry_run, handler=noted)
            for sync in bridge.syncs
        ]
        is_done = (wait or _ended)(passes)
    finally:
        if not is_done:  # also on Ctrl-C: otherwise the whole history would be read first
            bridge.stopping.set()
        pool.shutdown(wait=is_done)
    reports = tuple(
        each.result()
        if each.done()
        else Report(provider=sync.name, is_dry=dry_run, stopped=cut_off())
        for sync, each in zip(bridge.syncs, passes, strict=True)
    )
    return Made(reports=reports, landed=tuple(landed.values()), is_done=is_done)


def _ended(passes: Sequence[Future[Report]]) -> bool:
    """Wait for passes in short slices, because only a running main thread acts on Ctrl-C."""
    while futures.wait(passes, timeout=_SLICE).not_done:
        pass
    return True
