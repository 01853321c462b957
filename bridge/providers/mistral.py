"""Mistral's fine-tuning API, withdrawn from the public product in 2026: a legacy adapter.

Wire format: the last published OpenAPI document with ``/v1/fine_tuning/jobs`` and the replies that
users recorded. Jobs are paged by number; only a job's own reply has its checkpoints, newest first,
one row per step, without id or model name. Whether old jobs still answer depends on the account.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Final

from bridge.http.client import JsonObject, segment
from bridge.model import (
    Checkpoint,
    Job,
    JobStatus,
    LoggedSteps,
    Meaning,
    Page,
    Snapshot,
    numbers,
)
from bridge.providers.credentials import scalars
from bridge.providers.job_api import JobApi
from bridge.providers.measurements import Metric, measurements
from bridge.providers.model_shutdowns import read_shutdowns
from bridge.providers.new_ids import NewIds
from bridge.providers.parts import DETAILS, JOB_LIST, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import (
    Identifier,
    Listed,
    Record,
    Step,
    is_step,
    read_page,
    read_record,
    reply_of,
    rows_of,
)
from bridge.providers.statuses import Words, status_of
from bridge.providers.times import Moment
from bridge.providers.token_pages import repeated
from bridge.providers.wandb import integrated_run
from bridge.text import one_line

_JOBS: Final = "/fine_tuning/jobs"
_PAGE_SIZE: Final = 100
_PARTS: Final = ("checkpoints", "events")
"""Keys that only a job's own reply contains."""
_CENT: Final = 0.01
_HIGHEST_COST: Final = 1e9
"""Highest credible price."""


class EventRecord(Record):
    """A change of status."""

    created_at: Moment = None
    data: dict[str, object] | None = None


class CheckpointRecord(Record):
    """The metrics of one step, without a model to call."""

    step_number: Step
    created_at: Moment = None
    metrics: dict[str, Metric] | None = None


class JobRecord(Record):
    """A job; ``events`` and ``checkpoints`` only in the job's own reply, not in lists."""

    wire_name: ClassVar = "job"

    id: Identifier
    status: str | None = None
    model: str | None = None
    created_at: Moment = None
    modified_at: Moment = None
    finished_at: Moment = None
    completed_at: Moment = None
    ended_at: Moment = None
    fine_tuned_model: str | None = None
    suffix: str | None = None
    trained_tokens: int | None = None
    training_files: list[str] | None = None
    validation_files: list[str] | None = None
    metadata: dict[str, object] | None = None
    integrations: object = None
    hyperparameters: dict[str, object] | None = None
    events: list[EventRecord] | None = None
    checkpoints: list[CheckpointRecord] | None = None


class Mistral(JobApi):
    """Jobs of Mistral, with their growing lists of checkpoints."""

    base_url: ClassVar = "https://api.mistral.ai/v1"
    key_variable: ClassVar = "MISTRAL_API_KEY"
    statuses: Mapping[str, JobStatus] = Words(
        {
            "QUEUED": JobStatus.QUEUED,
            "STARTED": JobStatus.RUNNING,
            "VALIDATING": JobStatus.VALIDATING,
            # Without auto_start, a validated job waits for its owner, possibly for ever.
            "VALIDATED": JobStatus.QUEUED,
            "RUNNING": JobStatus.RUNNING,
            "FAILED_VALIDATION": JobStatus.FAILED,
            "FAILED": JobStatus.FAILED,
            "SUCCESS": JobStatus.SUCCEEDED,
            "CANCELLED": JobStatus.CANCELLED,
            "CANCELLATION_REQUESTED": JobStatus.RUNNING,
        }
    )

    # valid_mean_token_accuracy is left out: it equals 2 ** valid_loss, a perplexity.
    meanings: ClassVar[Mapping[str, Meaning]] = {
        "train_loss": Meaning.TRAIN_LOSS,
        "valid_loss": Meaning.VALID_LOSS,
        "epochs": Meaning.EPOCHS,
        "training_steps": Meaning.STEPS,
        "warmup_fraction": Meaning.WARMUP,
        "learning_rate": Meaning.LEARNING_RATE,
        "seq_len": Meaning.CONTEXT,
    }

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job with all its checkpoints, which are also its curve."""
        del logged  # A job and its checkpoints come in one reply.
        parts = self._parts()
        if job.status.has_started and not _is_detailed(job):
            job = parts.one(DETAILS, lambda: self._own(job)) or job
        reply = reply_of(job)
        skipped = list(job.skipped)
        rows = {name: reply.get(name) for name in _PARTS}
        kept = documents(reply, skipped, **rows) if keep else {}
        record = read_record(JobRecord, reply)[0] if _is_detailed(job) else None
        checkpoints = {
            row.step_number: _checkpoint(row, skipped)
            for row in (record.checkpoints if record else None) or ()
        }
        return Snapshot(
            job=job,
            checkpoints=tuple(checkpoints[step] for step in sorted(checkpoints)),
            documents=kept,
            skipped=tuple(skipped),
            missing=parts.missing,
        )

    def shutdowns(self) -> Mapping[str, int] | None:
        """Return the dates in the list of models."""
        return read_shutdowns(self._http)

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the content of a training or validation file."""
        return self._http.stream(f"/files/{segment(file_id)}/content")

    def _entry(self) -> JsonObject:
        return self._page(0, size=1)

    def _page(self, number: int, *, size: int = _PAGE_SIZE) -> JsonObject:
        query = {"page": number, "page_size": size}
        return self._http.get_object(_JOBS, query, is_entry=number == 0)

    def _pages(self, parts: Parts) -> Iterator[Page]:
        for rows in parts.pages(JOB_LIST, self._lists(), needs_first=True):
            yield read_page(JobRecord, rows, self._job)

    def _lists(self) -> Iterator[list[object]]:
        """Yield the rows of each page."""
        listed = 0
        seen: set[str] = set()
        new_ids = NewIds(_JOBS, lambda: _rows(self._page(0)))
        for number in itertools.count():
            reply = self._page(number)
            rows = _rows(reply)
            new_ids.check(rows)
            yield rows
            listed += len(rows)
            total = reply.get("total")
            if not rows or (isinstance(total, int) and listed >= total):
                return
            ids = {str(row.get("id")) for row in rows if isinstance(row, dict)}
            if ids <= seen:
                raise repeated(_JOBS)
            seen |= ids

    def _find(self, job_id: str) -> Job | None:
        reply = self._http.find_object(f"{_JOBS}/{segment(job_id)}")
        return None if reply is None else self._job(*read_record(JobRecord, reply), reply)

    def _own(self, job: Job) -> Job:
        """Return a listed job from its own reply."""
        reply = self._http.get_object(f"{_JOBS}/{segment(job.id)}")
        return self._job(*read_record(JobRecord, reply), reply)

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        error = _error(record)
        ended_at = record.finished_at or record.completed_at or record.ended_at
        status = status_of(
            record.status,
            self.statuses,
            has_ended=ended_at is not None,
            has_failed=error is not None,
            has_model=bool(record.fine_tuned_model),
        )
        chosen, _ = numbers(record.hyperparameters or {})
        return Listed(
            id=record.id,
            status=status,
            provider_status=record.status or "",
            created_at=record.created_at,
            started_at=_started_at(record),
            finished_at=(ended_at or _finished_at(record)) if status.is_final else None,
            base_model=record.model,
            fine_tuned_model=record.fine_tuned_model if status is JobStatus.SUCCEEDED else None,
            suffix=record.suffix,
            trained_tokens=record.trained_tokens,
            error=error if status is JobStatus.FAILED else None,
            params=scalars(record.hyperparameters or {}),
            total_steps=_total_steps(chosen.get("training_steps")),
            epochs=chosen.get("epochs"),
            training_files=tuple(record.training_files or ()),
            validation_files=tuple(record.validation_files or ()),
            cost=_cost(record.metadata or {}),
            wandb_run=integrated_run(record.integrations, record.id),
            reply=raw if isinstance(raw, dict) else {},
            skipped=skipped,
        )


def _rows(reply: JsonObject) -> list[object]:
    return rows_of(reply, "data", _JOBS, others={"total"})


def _is_detailed(job: Job) -> bool:
    """Return whether this is the job's own reply, which has at least one of these parts."""
    return any(part in reply_of(job) for part in _PARTS)


def _started_at(record: JobRecord) -> int | None:
    """Return the time of the first event that reports the job as running."""
    running = [
        event for event in record.events or () if (event.data or {}).get("status") == "RUNNING"
    ]
    return min((event.created_at for event in running if event.created_at), default=None)


def _total_steps(number: float | None) -> int | None:
    if number is None or number <= 0 or not number.is_integer() or not is_step(int(number)):
        return None
    return int(number)


def _cost(metadata: Mapping[str, object]) -> str | None:
    """Return the price with its currency, rounded to cents unless that would be zero."""
    amount = numbers({"cost": metadata.get("cost")})[0].get("cost", -1.0)
    if not 0 <= amount < _HIGHEST_COST:
        return None
    shown = f"{amount:.2f}" if amount >= _CENT or amount == 0 else f"{amount:.1g}"
    currency = metadata.get("cost_currency")
    return one_line(f"{shown} {currency}", 40) if isinstance(currency, str) else shown


def _finished_at(record: JobRecord) -> int | None:
    """Return the time of the last change of status, from events in any order."""
    times = (event.created_at for event in record.events or () if event.created_at)
    return max(times, default=record.modified_at)


def _error(record: JobRecord) -> str | None:
    """Return the newest event's message about a failure, if there is one."""
    newest_first = sorted(record.events or (), key=lambda e: e.created_at or 0, reverse=True)
    for event in newest_first:
        for key in ("error", "message", "reason", "detail"):
            said = (event.data or {}).get(key)
            if isinstance(said, str) and said:
                return said
    return "validation failed" if record.status == "FAILED_VALIDATION" else None


def _checkpoint(row: CheckpointRecord, skipped: list[str]) -> Checkpoint:
    metrics, broken = measurements(row.metrics or {})
    skipped += [f"step {row.step_number}: {name} is not a finite number" for name in broken]
    return Checkpoint(step=row.step_number, created_at=row.created_at, metrics=metrics)
