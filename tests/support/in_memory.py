"""A provider that returns what a test puts into it, for jobs that no real provider shows twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import ClassVar

from bridge.errors import NotFound
from bridge.model import Checkpoint, Job, JobStatus, LoggedSteps, Meaning, Page, Snapshot
from bridge.plan.metric_names import MetricNames
from bridge.plan.options import RecordingOptions
from bridge.plan.routing import Router
from bridge.providers.registry import TYPES
from bridge.providers.statuses import Words
from bridge.sync.find_run import RunFinder
from bridge.sync.job_sync import JobSync
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking

START = 1_760_000_000_000
"""Creation of these jobs in Unix milliseconds, long before any pass over them."""


class InMemoryProvider:
    """Returns the snapshots that a test puts into it, and makes no requests."""

    base_url: ClassVar = "https://api.example.com/v1"
    key_variable: ClassVar = "EXAMPLE_API_KEY"
    key_header: ClassVar[str | None] = None
    header_variables: ClassVar[Mapping[str, str]] = {}
    statuses: Mapping[str, JobStatus] = Words()
    meanings: ClassVar[Mapping[str, Meaning]] = TYPES["openai"].meanings

    def __init__(self, *snapshots: Snapshot) -> None:
        self.snapshots = {snapshot.job.id: snapshot for snapshot in snapshots}

    def tell(self, snapshot: Snapshot) -> None:
        """Add a job, or replace it."""
        self.snapshots[snapshot.job.id] = snapshot

    def pages(self) -> Iterator[Page]:
        """Return all jobs at once, in the order in which they were added."""
        yield Page(tuple(snapshot.job for snapshot in self.snapshots.values()))

    def job(self, job_id: str) -> Job:
        """Return one job."""
        if job_id not in self.snapshots:
            raise NotFound("no such job")
        return self.snapshots[job_id].job

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return the snapshot of a job."""
        del logged, keep
        return self.snapshots[job.id]

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Return an empty list."""
        raise NotFound(f"no file {file_id}")

    def sync(
        self,
        tracking: Tracking,
        executor: ThreadPoolExecutor,
        *,
        experiment: str = "hosted-fine-tunes",
        register: str | None = None,
        models: bool = True,
    ) -> ProviderSync:
        """Make passes over it, as a new process does."""
        router = Router(provider="openai", experiment=experiment)
        job_sync = JobSync(
            name="openai",
            provider=self,
            tracking=tracking,
            finder=RunFinder(tracking=tracking, router=router),
            options=RecordingOptions(
                provider_type="openai",
                metric_names=MetricNames.of("provider", self.meanings),
                archive=False,
                models=models,
                register=register,
            ),
            now=lambda: START + 10**9,
        )
        return ProviderSync(job_sync, executor=executor)


def ended_job(job_id: str, **changes: object) -> Job:
    """Return a job that has succeeded."""
    settings: dict[str, object] = {
        "status": JobStatus.SUCCEEDED,
        "provider_status": "succeeded",
        "created_at": START,
        "finished_at": START + 60_000,
        "base_model": "gpt-4.1-mini",
        "fine_tuned_model": f"ft:{job_id}",
    }
    return Job(id=job_id, **(settings | changes))  # type: ignore[arg-type] # as the test says


def snapshot_of(job_id: str, *losses: float | None, **changes: object) -> Snapshot:
    """Return a job with a checkpoint for each validation loss (``None``: not measured).

    The steps count from 1, and the last checkpoint is the job's result.
    """
    job = ended_job(job_id, **changes)
    return Snapshot(
        job=job,
        checkpoints=tuple(
            Checkpoint(
                step=step,
                created_at=START + step * 1000,
                metrics={"train_loss": 1.0 / step} | ({"valid_loss": loss} if loss else {}),
                id=f"ckpt-{step}",
                model=f"ft:{job_id}:{step}" if step < len(losses) else job.fine_tuned_model,
            )
            for step, loss in enumerate(losses, start=1)
        ),
    )
