"""OpenAI's fine-tuning API, and any server that speaks it.

Wire format: the OpenAI API reference, ``/fine_tuning/jobs`` and below. Lists are newest first and
paged by cursor. While a job trains, each step is an event; its checkpoints appear at the end, all
at once and back-dated. A finished job may have a result file with one rounded row per step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import ClassVar

from bridge.http.client import ApiClient, segment
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
from bridge.providers import openai_result_file as result_file
from bridge.providers.model_shutdowns import read_shutdowns
from bridge.providers.openai_lists import JOBS, JobLists, job_path, newest_first, pages
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
    whole,
)
from bridge.providers.raw_replies import documents
from bridge.providers.records import milliseconds, read_page, read_record, read_rows
from bridge.providers.timeline import Timeline


class OpenAI:
    """Jobs, checkpoints, metric events and result files of an OpenAI-shaped server."""

    base_url: ClassVar = "https://api.openai.com/v1"
    key_variable: ClassVar = "OPENAI_API_KEY"
    header_variables: ClassVar[Mapping[str, str]] = {
        "OpenAI-Organization": "OPENAI_ORG_ID",
        "OpenAI-Project": "OPENAI_PROJECT_ID",
    }
    key_header: ClassVar[str | None] = None
    pages_url: ClassVar[str | None] = "https://platform.openai.com/finetune"
    """Where people look at their jobs, if there is an address for each."""
    is_whole: ClassVar[bool] = False
    """Whether every server of this kind has all lists below a job."""
    has_result_files: ClassVar[bool] = True
    """Whether a result file holds metrics."""
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
        # Of reinforcement fine-tuning, which maximises it.
        "train_mean_reward": Meaning.REWARD,
        "full_valid_mean_reward": Meaning.VALID_REWARD,
        "n_epochs": Meaning.EPOCHS,
        "batch_size": Meaning.BATCH_SIZE,
        "seed": Meaning.SEED,
        "method": Meaning.METHOD,
    }

    def __init__(self, http: ApiClient, *, curves: bool = True) -> None:
        self._http = http
        self._is_public = http.is_at(self.base_url)
        self._parts = JobLists(http, is_whole=self.is_whole or self._is_public)
        self._curves = curves

    def pages(self) -> Iterator[Page]:
        """All jobs, newest first."""
        for rows in newest_first(pages(self._http, JOBS)):
            yield read_page(JobRecord, rows, self._job)

    def job(self, job_id: str) -> Job:
        """One job, as its own address has it."""
        reply = self._http.get_object(job_path(job_id))
        return self._job(*read_record(JobRecord, reply), reply)

    def read(self, job: Job, *, is_logged: IsLogged, keep: bool = False) -> Snapshot:
        """One job: its checkpoints, and its curve as far back as it is not logged."""
        skipped = list(job.skipped)
        if not job.status.has_started:
            kept = documents(job.raw, skipped) if keep else {}
            return Snapshot(job=job, documents=kept, skipped=tuple(skipped))
        rows = [row for page in self._part(job, "checkpoints") for row in page]
        checkpoints = _checkpoints(rows, skipped)
        file = result_file.ResultFile(job, self._content, skipped)
        events = _Events(newest_first(self._part(job, "events")), skipped)
        told: Iterable[list[EventRecord]] = events.pages()
        if keep:
            told, is_logged = list(told), _nothing
        curve: list[CurvePoint] = []
        if self._curves:
            curve = _curve(job, told, checkpoints, file=file, is_logged=is_logged, skipped=skipped)
        kept = {}
        if keep:
            kept = documents(job.raw, skipped, checkpoints=rows, events=events.rows)
            kept |= file.document
        return Snapshot(
            job=_with_news(job, events.records, checkpoints, curve),
            checkpoints=checkpoints,
            curve=tuple(curve),
            documents=kept,
            skipped=(*skipped, *self._parts.news()),
        )

    def shutdowns(self) -> Mapping[str, int]:
        """From the list of models."""
        return read_shutdowns(self._http)

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a training or validation file."""
        return self._http.stream(_content_path(file_id))

    def _content(self, file_id: str) -> bytes | None:
        return self._http.find_bytes(_content_path(file_id))

    def _part(self, job: Job, name: str) -> Iterator[list[object]]:
        """The pages of a list below a job."""
        jobs = (each for page in self.pages() for each in page.jobs)
        return self._parts.pages(job, name, jobs)

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        word = record.status or ""
        chosen = params(record)
        is_shown = self._is_public and self.pages_url is not None
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
            total_steps=whole(record.total_steps),
            epochs=numbers(chosen)[0].get("n_epochs"),
            training_files=_known(record.training_file),
            validation_files=_known(record.validation_file),
            result_files=tuple(record.result_files or ()) if self.has_result_files else (),
            metadata=metadata(record),
            page=f"{self.pages_url}/{segment(record.id)}" if is_shown else None,
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
    return points + result_file.points(rest, Timeline(job, known))


def _with_news(
    job: Job,
    events: list[EventRecord],
    checkpoints: tuple[Checkpoint, ...],
    curve: list[CurvePoint],
) -> Job:
    """The job with what its parts tell of it."""
    steps = total_steps(events) or job.total_steps
    if steps is None and job.status is JobStatus.SUCCEEDED:
        reached = {*(point.step for point in curve), *(each.step for each in checkpoints)}
        steps = max((step for step in reached if step > 0), default=None)
    return replace(job, started_at=started_at(events), total_steps=steps)
