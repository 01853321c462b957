"""Mistral's fine-tuning API, withdrawn from the public product in 2026: a legacy adapter.

Wire format: the last published OpenAPI document with ``/v1/fine_tuning/jobs`` and the replies that
users recorded. Jobs are paged by number; only a job's own reply has its checkpoints, newest first,
one row per step, without id or model name. Whether old jobs still answer depends on the account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Final

from bridge.errors import BadReply
from bridge.http.client import ApiClient, segment
from bridge.model import (
    Checkpoint,
    IsLogged,
    Job,
    JobStatus,
    Meaning,
    Page,
    Scalar,
    Snapshot,
    numbers,
)
from bridge.providers.model_shutdowns import read_shutdowns
from bridge.providers.raw_replies import documents
from bridge.providers.records import (
    Identifier,
    Number,
    Record,
    Step,
    is_step,
    milliseconds,
    read_page,
    read_record,
)
from bridge.text import one_line

_PAGE_SIZE: Final = 100
_PARTS: Final = ("checkpoints", "events")
"""What only a job's own reply has."""
_CENT: Final = 0.01
_HIGHEST_COST: Final = 1e9
"""More is no price."""
_VALIDATION: Final = ("valid_loss", "valid_mean_token_accuracy")


class EventRecord(Record):
    """A change of status."""

    created_at: float | None = None
    data: dict[str, object] | None = None


class CheckpointRecord(Record):
    """The metrics of one step; nothing that could be run."""

    step_number: Step
    created_at: float | None = None
    metrics: dict[str, Number | None] | None = None


class JobRecord(Record):
    """A job; ``events`` and ``checkpoints`` only in the job's own reply, not in lists."""

    wire_name: ClassVar = "job"

    id: Identifier
    status: str | None = None
    model: str | None = None
    created_at: float | None = None
    modified_at: float | None = None
    fine_tuned_model: str | None = None
    suffix: str | None = None
    trained_tokens: int | None = None
    training_files: list[str] | None = None
    validation_files: list[str] | None = None
    metadata: dict[str, object] | None = None
    hyperparameters: dict[str, object] | None = None
    events: list[EventRecord] | None = None
    checkpoints: list[CheckpointRecord] | None = None


class Mistral:
    """Jobs and their growing lists of checkpoints."""

    base_url: ClassVar = "https://api.mistral.ai/v1"
    key_variable: ClassVar = "MISTRAL_API_KEY"
    key_header: ClassVar[str | None] = None
    header_variables: ClassVar[Mapping[str, str]] = {}
    statuses: ClassVar[Mapping[str, JobStatus]] = {
        "QUEUED": JobStatus.QUEUED,
        "STARTED": JobStatus.RUNNING,
        "VALIDATING": JobStatus.VALIDATING,
        # Without auto_start a validated job waits for its owner, perhaps for ever.
        "VALIDATED": JobStatus.QUEUED,
        "RUNNING": JobStatus.RUNNING,
        "FAILED_VALIDATION": JobStatus.FAILED,
        "FAILED": JobStatus.FAILED,
        "SUCCESS": JobStatus.SUCCEEDED,
        "CANCELLED": JobStatus.CANCELLED,
        "CANCELLATION_REQUESTED": JobStatus.RUNNING,
    }

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

    def __init__(self, http: ApiClient, *, curves: bool = True) -> None:
        self._http = http
        del curves  # The checkpoints are the curve: there is nothing beside them to leave out.

    def pages(self) -> Iterator[Page]:
        """All jobs, newest first."""
        number = listed = 0
        seen: set[str] = set()
        while True:
            query = {"page": number, "page_size": _PAGE_SIZE}
            reply = self._http.get_object("/fine_tuning/jobs", query, is_entry=number == 0)
            rows = reply.get("data") or []
            if not isinstance(rows, list) or not {"data", "total"} & reply.keys():
                raise BadReply("The reply to /fine_tuning/jobs has no list", "Check base_url")
            page = read_page(JobRecord, rows, self._job)
            yield page
            number += 1
            listed += len(rows)
            total = reply.get("total")
            if not rows or (isinstance(total, int) and listed >= total):
                return
            fresh = {job.id for job in page.jobs} - seen
            if not fresh:
                raise BadReply("The pages of /fine_tuning/jobs do not end: they repeat")
            seen |= fresh

    def job(self, job_id: str) -> Job:
        """One job with its events and checkpoints: they come in one reply."""
        reply = self._http.get_object(f"/fine_tuning/jobs/{segment(job_id)}")
        return self._job(*read_record(JobRecord, reply), reply)

    def read(self, job: Job, *, is_logged: IsLogged, keep: bool = False) -> Snapshot:
        """One job with all its checkpoints, logged or not."""
        del is_logged
        if job.status.has_started and not _is_detailed(job):
            job = self.job(job.id)
        skipped = list(job.skipped)
        rows = {name: job.raw.get(name) for name in _PARTS}
        kept = documents(job.raw, skipped, **rows) if keep else {}
        if not _is_detailed(job):
            return Snapshot(job=job, documents=kept, skipped=tuple(skipped))
        record, _ = read_record(JobRecord, job.raw)
        checkpoints = {
            row.step_number: _checkpoint(row, skipped) for row in record.checkpoints or ()
        }
        return Snapshot(
            job=job,
            checkpoints=tuple(checkpoints[step] for step in sorted(checkpoints)),
            documents=kept,
            skipped=tuple(skipped),
        )

    def shutdowns(self) -> Mapping[str, int]:
        """From the list of models."""
        return read_shutdowns(self._http)

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a training or validation file."""
        return self._http.stream(f"/files/{segment(file_id)}/content")

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        word = record.status or ""
        status = self.statuses.get(word, JobStatus.UNKNOWN)
        chosen, _ = numbers(record.hyperparameters or {})
        return Job(
            id=record.id,
            status=status,
            provider_status=word,
            created_at=milliseconds(record.created_at),
            started_at=_started_at(record),
            finished_at=_finished_at(record) if status.is_final else None,
            base_model=record.model,
            fine_tuned_model=record.fine_tuned_model,
            suffix=record.suffix,
            trained_tokens=record.trained_tokens,
            error=_error(record) if status is JobStatus.FAILED else None,
            params=_params(record),
            total_steps=_total_steps(chosen.get("training_steps")),
            epochs=chosen.get("epochs"),
            training_files=tuple(record.training_files or ()),
            validation_files=tuple(record.validation_files or ()),
            cost=_cost(record.metadata or {}),
            raw=raw if isinstance(raw, dict) else {},
            skipped=skipped,
        )


def _is_detailed(job: Job) -> bool:
    """Whether this is the job's own reply: only that has these parts, if perhaps not all."""
    return any(part in job.raw for part in _PARTS)


def _started_at(record: JobRecord) -> int | None:
    """When it was first said to be running."""
    running = [
        event for event in record.events or () if (event.data or {}).get("status") == "RUNNING"
    ]
    times = [milliseconds(event.created_at) for event in running]
    return min((time for time in times if time is not None), default=None)


def _total_steps(number: float | None) -> int | None:
    if number is None or number <= 0 or not number.is_integer() or not is_step(int(number)):
        return None
    return int(number)


def _cost(metadata: Mapping[str, object]) -> str | None:
    """The price with its currency; to the cent, unless that would leave nothing of it."""
    amount = numbers({"cost": metadata.get("cost")})[0].get("cost", -1.0)
    if not 0 <= amount < _HIGHEST_COST:
        return None
    shown = f"{amount:.2f}" if amount >= _CENT or amount == 0 else f"{amount:.1g}"
    currency = metadata.get("cost_currency")
    return one_line(f"{shown} {currency}", 40) if isinstance(currency, str) else shown


def _finished_at(record: JobRecord) -> int | None:
    """The last change of status. There is no field for it, and events come in either order."""
    times = [milliseconds(event.created_at) for event in record.events or ()]
    return max((time for time in times if time), default=milliseconds(record.modified_at))


def _error(record: JobRecord) -> str | None:
    """What the newest event says of a failure, if it says anything."""
    newest_first = sorted(record.events or (), key=lambda e: e.created_at or 0, reverse=True)
    for event in newest_first:
        for key in ("error", "message", "reason", "detail"):
            said = (event.data or {}).get(key)
            if isinstance(said, str) and said:
                return said
    return "validation failed" if record.status == "FAILED_VALIDATION" else None


def _params(record: JobRecord) -> dict[str, Scalar]:
    chosen = record.hyperparameters or {}
    return {name: value for name, value in chosen.items() if isinstance(value, str | int | float)}


def _checkpoint(row: CheckpointRecord, skipped: list[str]) -> Checkpoint:
    metrics, broken = numbers(row.metrics or {})
    skipped += [f"step {row.step_number}: {name} is not a finite number" for name in broken]
    # A step without validation carries two exact zeros in place of nulls.
    if all(metrics.get(name) == 0.0 for name in _VALIDATION):
        for name in _VALIDATION:
            del metrics[name]
    return Checkpoint(
        step=row.step_number, created_at=milliseconds(row.created_at), metrics=metrics
    )
