"""OpenAI's fine-tuning API, and any server that speaks it.

Wire format: the OpenAI API reference, ``/fine_tuning/jobs`` and below. Lists are newest first and
paged by cursor. While a job trains, each step is an event; its checkpoints appear at the end, all
at once and back-dated. A finished job may have a result file with one rounded row per step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from bridge.errors import BadReply
from bridge.http import Http, segment
from bridge.model import (
    Checkpoint,
    CurvePoint,
    IsLogged,
    Job,
    JobStatus,
    Meaning,
    Page,
    Snapshot,
    numbers,
)
from bridge.providers import result_file
from bridge.providers.openai_records import (
    CheckpointRecord,
    EventRecord,
    JobRecord,
    error_text,
    event_points,
    params,
)
from bridge.wire import (
    milliseconds,
    read_record,
    read_rows,
)

_PAGE_SIZE: Final = 100


class OpenAI:
    """Jobs, checkpoints, metric events and result files of an OpenAI-shaped server."""

    base_url: ClassVar = "https://api.openai.com/v1"
    key_variable: ClassVar = "OPENAI_API_KEY"
    header_variables: ClassVar[Mapping[str, str]] = {
        "OpenAI-Organization": "OPENAI_ORG_ID",
        "OpenAI-Project": "OPENAI_PROJECT_ID",
    }
    statuses: ClassVar[Mapping[str, JobStatus]] = {
        "created": JobStatus.QUEUED,
        "pending": JobStatus.QUEUED,
        "validating_files": JobStatus.VALIDATING,
        "queued": JobStatus.QUEUED,
        "running": JobStatus.RUNNING,
        "pausing": JobStatus.RUNNING,
        "paused": JobStatus.PAUSED,
        "succeeded": JobStatus.SUCCEEDED,
        "failed": JobStatus.FAILED,
        "cancelled": JobStatus.CANCELLED,
    }

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "train_loss": Meaning.TRAIN_LOSS,
        "valid_loss": Meaning.BATCH_VALID_LOSS,
        "full_valid_loss": Meaning.VALID_LOSS,
        "train_mean_token_accuracy": Meaning.TRAIN_ACCURACY,
        "valid_mean_token_accuracy": Meaning.BATCH_VALID_ACCURACY,
        "full_valid_mean_token_accuracy": Meaning.VALID_ACCURACY,
    }

    def __init__(self, http: Http, *, curves: bool = True) -> None:
        self._http = http
        self._curves = curves

    def pages(self) -> Iterator[Page]:
        """All jobs, newest first."""
        for rows in self._rows("/fine_tuning/jobs"):
            records, unreadable = read_rows(JobRecord, rows)
            yield Page(tuple(self._job(*record) for record in records), unreadable)

    def read(self, job_id: str, *, listed: Job | None, is_logged: IsLogged) -> Snapshot:
        """One job: its checkpoints, and its curve as far back as it is not logged."""
        path = f"/fine_tuning/jobs/{segment(job_id)}"
        job = listed or self._job(*read_record(JobRecord, self._http.get_object(path)))
        if not job.status.has_started:
            return Snapshot(job=job, skipped=job.skipped)
        skipped = list(job.skipped)
        checkpoints = self._checkpoints(path, skipped)
        curve = self._curve(job, path, checkpoints, is_logged, skipped) if self._curves else []
        return Snapshot(
            job=job, checkpoints=checkpoints, curve=tuple(curve), skipped=tuple(skipped)
        )

    def _rows(self, path: str) -> Iterator[list[object]]:
        """The pages of a list. The cursor is the last row's id."""
        after: str | None = None
        seen: set[str] = set()
        while True:
            query: dict[str, str | int] = {"limit": _PAGE_SIZE}
            if after is not None:
                query["after"] = after
            reply = self._http.get_object(path, query)
            if "data" not in reply:
                raise BadReply(f"The reply to {path} has no list", "Check base_url")
            rows = reply["data"] or []
            if not isinstance(rows, list):
                raise BadReply(f"The list in the reply to {path} is no list", "Check base_url")
            yield rows
            more = reply.get("has_more")
            if not rows or more is False:
                return
            after = _cursor(rows)
            if after is not None and after not in seen:
                seen.add(after)
            elif more:
                raise BadReply(f"The pages of {path} do not end: there is no new cursor to go on")
            else:
                return

    def _job(self, record: JobRecord, skipped: tuple[str, ...]) -> Job:
        word = record.status or ""
        return Job(
            id=record.id,
            status=self.statuses.get(word, JobStatus.UNKNOWN),
            provider_status=word,
            created_at=milliseconds(record.created_at),
            finished_at=milliseconds(record.finished_at),
            base_model=record.model,
            fine_tuned_model=record.fine_tuned_model,
            suffix=record.user_provided_suffix or record.suffix,
            trained_tokens=record.trained_tokens,
            error=error_text(record.error),
            params=params(record),
            has_validation=bool(record.validation_file),
            result_files=tuple(record.result_files or ()),
            skipped=skipped,
        )

    def _checkpoints(self, path: str, skipped: list[str]) -> tuple[Checkpoint, ...]:
        checkpoints: dict[int, Checkpoint] = {}
        for rows in self._rows(f"{path}/checkpoints"):
            records, unreadable = read_rows(CheckpointRecord, rows)
            skipped += unreadable
            for record, problems in records:
                where = f"checkpoint at step {record.step_number}"
                metrics, broken = numbers(record.metrics or {})
                skipped += [f"{where}: {problem}" for problem in problems]
                skipped += [f"{where}: {name} is not a finite number" for name in broken]
                metrics.pop("step", None)
                checkpoints[record.step_number] = Checkpoint(
                    id=record.id,
                    step=record.step_number,
                    created_at=milliseconds(record.created_at),
                    model=record.fine_tuned_model_checkpoint,
                    metrics=metrics,
                )
        return tuple(checkpoints[step] for step in sorted(checkpoints))

    def _curve(
        self,
        job: Job,
        path: str,
        checkpoints: tuple[Checkpoint, ...],
        is_logged: IsLogged,
        skipped: list[str],
    ) -> list[CurvePoint]:
        """Events from the newest back to what is logged.

        The result file has the rest of a finished job's steps in one request, but rounded and
        without the metrics over the whole validation set. Which of the two a point comes from
        depends on the provider's data alone, so an interrupted read is resumed with the same
        points.
        """
        points: list[CurvePoint] = []
        # A checkpoint may be logged before the events of the steps that led to it.
        own_steps = {checkpoint.step for checkpoint in checkpoints}
        has_file = job.status.is_final and bool(job.result_files)
        file: list[result_file.Row] | None = None
        oldest: int | None = None
        for rows in self._rows(f"{path}/events"):
            records, unreadable = read_rows(EventRecord, rows)
            skipped += unreadable
            page = [point for event, _ in records for point in event_points(event, skipped)]
            points += page
            if any(is_logged(p.name, p.step) for p in page if p.step not in own_steps):
                return points
            oldest = min((point.step for point in points), default=None)
            if oldest is not None and oldest <= 1:
                has_file = False  # It has nothing to add.
            if has_file and not job.has_validation and file is None:
                file = self._result_file(job, skipped)
                if result_file.has_all_before(oldest, file):
                    break
        if has_file and file is None:
            file = self._result_file(job, skipped)
        known = [(checkpoint.step, checkpoint.created_at) for checkpoint in checkpoints]
        known += [(point.step, point.created_at) for point in points]
        rest = [row for row in file or () if oldest is None or row[0] < oldest]
        return points + result_file.points(rest, result_file.Timeline(job, known))

    def _result_file(self, job: Job, skipped: list[str]) -> list[result_file.Row]:
        """The result file's rows; none where it is gone or unreadable."""
        body = self._http.find_bytes(f"/files/{segment(job.result_files[0])}/content")
        rows = result_file.rows(body) if body is not None else None
        if rows is None:
            skipped.append(f"result file {job.result_files[0]} is gone or unreadable")
        return rows or []


def _cursor(rows: list[object]) -> str | None:
    """The id of the last row that has one."""
    for row in reversed(rows):
        identifier = row.get("id") if isinstance(row, dict) else None
        if isinstance(identifier, str) and identifier:
            return identifier
    return None
