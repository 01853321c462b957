"""OpenAI's fine-tuning API, and any server that speaks it.

Wire format: the OpenAI API reference, ``/fine_tuning/jobs`` and below. Lists are newest first and
paged by cursor. While a job trains, each step is an event; its checkpoints appear at the end, all
at once and back-dated. A finished job may have a result file with one rounded row per step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
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
from bridge.providers.documents import documents
from bridge.providers.openai_records import (
    CheckpointRecord,
    EventRecord,
    JobRecord,
    error_text,
    event_points,
    metadata,
    params,
    started_at,
    total_steps,
)
from bridge.providers.page import read_page
from bridge.wire import (
    milliseconds,
    read_record,
    read_rows,
)

_PAGE_SIZE: Final = 100
_PAGES: Final = "https://platform.openai.com/finetune"
"""Where people look at their jobs."""


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
        "n_epochs": Meaning.EPOCHS,
        "batch_size": Meaning.BATCH_SIZE,
    }

    def __init__(self, http: Http, *, curves: bool = True) -> None:
        self._http = http
        self._is_public = http.is_at(self.base_url)
        self._curves = curves

    def pages(self) -> Iterator[Page]:
        """All jobs, newest first."""
        for rows in self._rows("/fine_tuning/jobs"):
            yield read_page(JobRecord, rows, self._job)

    def job(self, job_id: str) -> Job:
        """One job, as its own address has it."""
        reply = self._http.get_object(_path(job_id))
        return self._job(*read_record(JobRecord, reply), reply)

    def read(self, job: Job, *, is_logged: IsLogged, keep: bool = False) -> Snapshot:
        """One job: its checkpoints, and its curve as far back as it is not logged."""
        skipped = list(job.skipped)
        if not job.status.has_started:
            kept = documents(job.raw, skipped) if keep else {}
            return Snapshot(job=job, documents=kept, skipped=tuple(skipped))
        rows = [row for page in self._rows(f"{_path(job.id)}/checkpoints") for row in page]
        checkpoints = _checkpoints(rows, skipped)
        file = result_file.ResultFile(job, self._content, skipped)
        events = _Events(self._rows(f"{_path(job.id)}/events"), skipped)
        pages: Iterable[list[EventRecord]] = events.pages()
        if keep:
            pages, is_logged = list(pages), _nothing
        curve: list[CurvePoint] = []
        if self._curves:
            curve = _curve(job, pages, checkpoints, file=file, is_logged=is_logged, skipped=skipped)
        kept = {}
        if keep:
            kept = documents(job.raw, skipped, checkpoints=rows, events=events.rows)
            kept |= file.document
        return Snapshot(
            job=_with_news(job, events.records, checkpoints, curve),
            checkpoints=checkpoints,
            curve=tuple(curve),
            documents=kept,
            skipped=tuple(skipped),
        )

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a training or validation file."""
        return self._http.stream(_content_path(file_id))

    def _content(self, file_id: str) -> bytes | None:
        return self._http.find_bytes(_content_path(file_id))

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

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        word = record.status or ""
        chosen = params(record)
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
            params=chosen,
            epochs=numbers(chosen)[0].get("n_epochs"),
            training_files=_known(record.training_file),
            validation_files=_known(record.validation_file),
            result_files=tuple(record.result_files or ()),
            metadata=metadata(record),
            page=f"{_PAGES}/{segment(record.id)}" if self._is_public else None,
            raw=raw if isinstance(raw, dict) else {},
            skipped=skipped,
        )


class _Events:
    """A job's events: their pages as they are asked for, and all that have been read."""

    def __init__(self, pages: Iterator[list[object]], skipped: list[str]) -> None:
        self._pages = pages
        self._skipped = skipped
        self.rows: list[object] = []
        self.records: list[EventRecord] = []

    def pages(self) -> Iterator[list[EventRecord]]:
        """The rest of the pages."""
        for rows in self._pages:
            self.rows += rows
            found, unreadable = read_rows(EventRecord, rows)
            self._skipped += unreadable
            records = [record for record, _ in found]
            self.records += records
            yield records


def _path(job_id: str) -> str:
    return f"/fine_tuning/jobs/{segment(job_id)}"


def _content_path(file_id: str) -> str:
    return f"/files/{segment(file_id)}/content"


def _nothing(_name: str, _step: int) -> bool:
    return False


def _known(file_id: str | None) -> tuple[str, ...]:
    return (file_id,) if file_id else ()


def _checkpoints(rows: list[object], skipped: list[str]) -> tuple[Checkpoint, ...]:
    checkpoints: dict[int, Checkpoint] = {}
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
    job: Job,
    pages: Iterable[list[EventRecord]],
    checkpoints: tuple[Checkpoint, ...],
    *,
    file: result_file.ResultFile,
    is_logged: IsLogged,
    skipped: list[str],
) -> list[CurvePoint]:
    """Events from the newest back to what is logged.

    The result file has the rest of a finished job's steps in one request, but rounded and without
    the metrics over the whole validation set. Which of the two a point comes from depends on the
    provider's data alone, so an interrupted read is resumed with the same points.
    """
    points: list[CurvePoint] = []
    # A checkpoint may be logged before the events of the steps that led to it.
    own_steps = {checkpoint.step for checkpoint in checkpoints}
    has_file = file.exists
    may_replace_events = not job.validation_files
    oldest: int | None = None
    for events in pages:
        page = [point for event in events for point in event_points(event, skipped)]
        points += page
        if any(is_logged(p.name, p.step) for p in page if p.step not in own_steps):
            return points
        oldest = min((point.step for point in points), default=None)
        if oldest is not None and oldest <= 1:
            has_file = False  # It has nothing to add.
        if has_file and may_replace_events:
            if result_file.has_all_before(oldest, file.rows):
                break
            may_replace_events = False
    rows = file.rows if has_file else []
    known = [(checkpoint.step, checkpoint.created_at) for checkpoint in checkpoints]
    known += [(point.step, point.created_at) for point in points]
    rest = [row for row in rows if oldest is None or row[0] < oldest]
    return points + result_file.points(rest, result_file.Timeline(job, known))


def _with_news(
    job: Job,
    events: list[EventRecord],
    checkpoints: tuple[Checkpoint, ...],
    curve: list[CurvePoint],
) -> Job:
    """The job with what its parts tell of it."""
    steps = total_steps(events)
    if steps is None and job.status is JobStatus.SUCCEEDED:
        reached = {*(point.step for point in curve), *(each.step for each in checkpoints)}
        steps = max((step for step in reached if step > 0), default=None)
    return replace(job, started_at=started_at(events), total_steps=steps)


def _cursor(rows: list[object]) -> str | None:
    """The id of the last row that has one."""
    for row in reversed(rows):
        identifier = row.get("id") if isinstance(row, dict) else None
        if isinstance(identifier, str) and identifier:
            return identifier
    return None
