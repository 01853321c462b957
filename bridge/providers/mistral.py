"""Mistral's fine-tuning API, withdrawn from the public product in 2026: a legacy adapter.

Wire format: the last published OpenAPI document with ``/v1/fine_tuning/jobs`` and the replies that
users recorded. Jobs are paged by number; only a job's own reply has its checkpoints, newest first,
one row per step, without id or model name. Whether old jobs still answer depends on the account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from bridge.errors import BadReply
from bridge.http import Http, segment
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
from bridge.wire import Identifier, Number, Record, Step, milliseconds, read_record, read_rows

_PAGE_SIZE: Final = 100
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
    validation_files: list[object] | None = None
    hyperparameters: dict[str, object] | None = None
    events: list[EventRecord] | None = None
    checkpoints: list[CheckpointRecord] | None = None


class Mistral:
    """Jobs and their growing lists of checkpoints."""

    base_url: ClassVar = "https://api.mistral.ai/v1"
    key_variable: ClassVar = "MISTRAL_API_KEY"
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
    }

    def __init__(self, http: Http, *, curves: bool = True) -> None:
        self._http = http
        del curves  # The checkpoints are the curve: there is nothing beside them to leave out.

    def pages(self) -> Iterator[Page]:
        """All jobs, newest first."""
        number = listed = 0
        seen: set[str] = set()
        while True:
            query = {"page": number, "page_size": _PAGE_SIZE}
            reply = self._http.get_object("/fine_tuning/jobs", query)
            rows = reply.get("data") or []
            if not isinstance(rows, list) or not {"data", "total"} & reply.keys():
                raise BadReply("The reply to /fine_tuning/jobs has no list", "Check base_url")
            records, unreadable = read_rows(JobRecord, rows)
            yield Page(tuple(self._job(*record) for record in records), unreadable)
            number += 1
            listed += len(rows)
            total = reply.get("total")
            if not rows or (isinstance(total, int) and listed >= total):
                return
            fresh = {record.id for record, _ in records} - seen
            if not fresh:
                raise BadReply("The pages of /fine_tuning/jobs do not end: they repeat")
            seen |= fresh

    def read(self, job_id: str, *, listed: Job | None, is_logged: IsLogged) -> Snapshot:
        """One job with all its checkpoints: they come in one reply, logged or not."""
        del is_logged
        if listed is not None and not listed.status.has_started:
            return Snapshot(job=listed, skipped=listed.skipped)
        reply = self._http.get_object(f"/fine_tuning/jobs/{segment(job_id)}")
        record, problems = read_record(JobRecord, reply)
        skipped = list(problems)
        checkpoints = {
            row.step_number: _checkpoint(row, skipped) for row in record.checkpoints or ()
        }
        return Snapshot(
            job=self._job(record, problems),
            checkpoints=tuple(checkpoints[step] for step in sorted(checkpoints)),
            skipped=tuple(skipped),
        )

    def _job(self, record: JobRecord, skipped: tuple[str, ...]) -> Job:
        word = record.status or ""
        status = self.statuses.get(word, JobStatus.UNKNOWN)
        return Job(
            id=record.id,
            status=status,
            provider_status=word,
            created_at=milliseconds(record.created_at),
            finished_at=_finished_at(record) if status.is_final else None,
            base_model=record.model,
            fine_tuned_model=record.fine_tuned_model,
            suffix=record.suffix,
            trained_tokens=record.trained_tokens,
            error=_error(record) if status is JobStatus.FAILED else None,
            params=_params(record),
            has_validation=bool(record.validation_files),
            skipped=skipped,
        )


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
