"""The shares of MLflow, the provider and the bridge in the time of a backfill and of a start.

One job runs after the other, so that there is one stack to sample. It is sampled every few
milliseconds, and each sample belongs to the outermost library that the bridge has called.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_stack
from types import FrameType
from typing import Any, Final, Self

from rich.table import Table

from bridge.plan.options import RecordingOptions
from bridge.plan.routing import Router
from bridge.providers.registry import TYPES
from bridge.sync.find_run import RunFinder
from bridge.sync.job_sync import JobSync
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking
from tests.benchmarks.features import BARE
from tests.benchmarks.provider import APART, Provider, finished
from tests.benchmarks.stores import STORES
from tests.support.history import multiply
from tests.support.world import NOW, over_http

_EVERY: Final = 0.003
"""Seconds between two samples."""
_CALLS_SHOWN: Final = 3
_FOLDERS: Final = {"mlflow": "MLflow", "httpx": "provider"}
"""Packages with the names of their shares; everything else is the bridge."""


class Inline(Executor):
    """An executor that runs its work at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as its base class
        """Run the work."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@dataclass(slots=True)
class Looks:
    """Samples a thread within the context."""

    owners: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    """Samples by method of ``MlflowClient``."""
    _over: threading.Event = field(default_factory=threading.Event)
    _looking: threading.Thread | None = None
    _switching: float = 0.0

    def __enter__(self) -> Self:
        # Otherwise Python lets a thread compute for up to 5 ms before it can be sampled.
        self._switching = sys.getswitchinterval()
        sys.setswitchinterval(_EVERY / 30)
        self._looking = threading.Thread(target=self._look, args=[threading.get_ident()])
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._looking:
            self._looking.join()
        sys.setswitchinterval(self._switching)

    def _look(self, ident: int) -> None:
        while not self._over.wait(_EVERY):
            owner, call = _place(sys._current_frames()[ident])  # noqa: SLF001 - made for this
            self.owners[owner] += 1
            if call:
                self.calls[call] += 1

    def row(self) -> Iterator[str]:
        """Return the shares of all samples, and the calls of MLflow that take most."""
        seen = self.owners.total()
        for owner in ("MLflow", "provider", "bridge"):
            yield f"{self.owners[owner] / seen:.0%}"
        most = self.calls.most_common(_CALLS_SHOWN)
        yield ", ".join(f"{call} {times / seen:.0%}" for call, times in most)


def _place(frame: FrameType) -> tuple[str, str]:
    """Return the share that a stack belongs to, and its method of ``MlflowClient``."""
    owner, call = "bridge", ""
    for each, _ in walk_stack(frame):  # from the innermost on, so that the outermost counts
        _, _, inside = each.f_code.co_filename.rpartition("site-packages/")
        owner = _FOLDERS.get(Path(inside).parts[0] if inside else "", owner)
        if inside == "mlflow/tracking/client.py":
            call = each.f_code.co_name
    return owner, call


def tables(jobs: int, known: int, say: Callable[[str], None]) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(title=f"Where the time goes: backfill of {jobs} jobs of 90 steps, and a start")
    for heading in ("", "tracking store", *("MLflow", "provider", "bridge"), "most of it in"):
        table.add_column(heading, justify="right" if heading in {*_FOLDERS.values()} else "left")
    for store, open_store in STORES.items():
        say(store)
        with open_store() as uri, Provider(jobs=jobs) as provider:
            _looks_at_pass(provider, uri, "first calls", RecordingOptions(provider_type="openai"))
            for name, options in {
                "bare": BARE,
                "full": RecordingOptions(provider_type="openai"),
            }.items():
                looks = _looks_at_pass(provider, uri, name, options)
                table.add_row(f"backfill, {name}", store, *looks.row())
    say("start")
    with STORES["sqlite file"]() as uri, Provider(jobs=known) as provider:
        first, *others = (finished(number, "openai").id for number in range(known))
        with Provider(jobs=1) as one:
            _looks_at_pass(one, uri, "history", BARE)
        database = Path(uri.removeprefix("sqlite:///"))
        multiply(database, first, others, apart=int(APART * 1000))
        looks = _looks_at_pass(provider, uri, "history", BARE)
        table.add_row(f"start, {known:,} jobs known", "sqlite file", *looks.row())
    yield table


def _looks_at_pass(
    provider: Provider, uri: str, experiment: str, options: RecordingOptions
) -> Looks:
    tracking = Tracking(uri)
    tracking.ping()
    router = Router(provider="openai", experiment=experiment)
    job_sync = JobSync(
        name="openai",
        provider=TYPES["openai"](over_http(provider.openai_url), curves=True),
        tracking=tracking,
        finder=RunFinder(tracking=tracking, router=router),
        options=options,
        now=lambda: int((NOW + 1_000_000) * 1000),
    )
    sync = ProviderSync(job_sync, executor=Inline())
    with Looks() as looks:
        report = sync.run()
    assert report.is_well, report
    return looks
