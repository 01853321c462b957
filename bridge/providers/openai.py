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

from bridge.http.client import JsonObject, segment
from bridge.model import (
    Checkpoint,
    CurvePoint,
    Job,
    JobStatus,
    LoggedSteps,
    Meaning,
    Page,
    Snapshot,
    numbers,
)
from bridge.providers import openai_result_file as result_file
from bridge.providers.job_api import JobApi, not_started
from bridge.providers.measurements import measurements
from bridge.providers.model_shutdowns import read_shutdowns
from bridge.providers.openai_lists import JOBS, first_page, job_path, newest_first, pages
from bridge.providers.openai_records import (
    CheckpointRecord,
    EventRecord,
    JobRecord,
    error_text,
    event_points,
    last_moment,
    metadata,
    params,
    started_at,
    total_steps,
    whole,
)
from bridge.providers.parts import CHECKPOINTS, EVENTS, JOB_LIST, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import Listed, read_page, read_record, read_rows, reply_of
from bridge.providers.statuses import COMMON, status_of
from bridge.providers.timeline import Timeline, steps_of
from bridge.providers.times import end_of
from bridge.providers.wandb import integrated_run


class OpenAI(JobApi):
    """Jobs, checkpoints, metric events and result files of an OpenAI-shaped server."""

    base_url: ClassVar = "https://api.openai.com/v1"
    key_variable: ClassVar = "OPENAI_API_KEY"
    header_variables: ClassVar[Mapping[str, str]] = {
        "OpenAI-Organization": "OPENAI_ORG_ID",
        "OpenAI-Project": "OPENAI_PROJECT_ID",
    }
    pages_url: ClassVar[str | None] = "https://platform.openai.com/finetune"
    """Template of the address of a job's page for people, if there is one."""
    has_result_files: ClassVar[bool] = True
    """Whether a result file contains metrics."""
    statuses: Mapping[str, JobStatus] = COMMON

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "train_loss": Meaning.TRAIN_LOSS,
        "valid_loss": Meaning.BATCH_VALID_LOSS,
        "full_valid_loss": Meaning.VALID_LOSS,
        "train_mean_token_accuracy": Meaning.TRAIN_ACCURACY,
        "valid_mean_token_accuracy": Meaning.BATCH_VALID_ACCURACY,
        "full_valid_mean_token_accuracy": Meaning.VALID_ACCURACY,
        # Reinforcement fine-tuning maximises it.
        "train_mean_reward": Meaning.REWARD,
        "full_valid_mean_reward": Meaning.VALID_REWARD,
        "n_epochs": Meaning.EPOCHS,
        "batch_size": Meaning.BATCH_SIZE,
        "seed": Meaning.SEED,
        "method": Meaning.METHOD,
    }

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job with its checkpoints and the unlogged part of its curve."""
        parts = self._parts()
        job = self._current(job, parts)
        if not job.status.has_started:
            return not_started(job, keep=keep, missing=parts.missing)
        skipped = list(job.skipped)
        method = str(job.params.get("method", ""))
        rows = [row for page in self._part(parts, job, CHECKPOINTS) for row in page]
        checkpoints = _checkpoints(rows, method, skipped)
        file = result_file.ResultFile(job, method, self._content, parts)
        events = _Events(newest_first(self._part(parts, job, EVENTS)), skipped)
        given: Iterable[list[CurvePoint]] = events.points(method)
        if keep:
            given, logged = list(given), {}
        curve: list[CurvePoint] = []
        if self._curves:
            curve = _curve(job, given, checkpoints, file=file, logged=logged, parts=parts)
        kept = {}
        if keep:
            lists = {"checkpoints": rows, "events": events.rows}
            kept = documents(reply_of(job), skipped, **lists) | file.document
        return Snapshot(
            job=_with_news(job, events.records, checkpoints, curve),
            checkpoints=checkpoints,
            curve=tuple(curve),
            documents=kept,
            skipped=tuple(skipped),
            missing=parts.missing,
        )

    def shutdowns(self) -> Mapping[str, int] | None:
        """Return the dates in the list of models."""
        return read_shutdowns(self._http)

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the content of a training or validation file."""
        return self._http.stream(_content_path(file_id))

    def _find(self, job_id: str) -> Job | None:
        reply = self._http.find_object(job_path(job_id))
        return None if reply is None else self._job(*read_record(JobRecord, reply), reply)

    def _content(self, file_id: str) -> bytes | None:
        return self._http.find_bytes(_content_path(file_id))

    def _current(self, job: Job, parts: Parts) -> Job:
        """Return the job to read; a list row contains all that the job's own reply does."""
        del parts
        return job

    def _entry(self) -> JsonObject:
        return first_page(self._http)

    def _pages(self, parts: Parts) -> Iterator[Page]:
        found = parts.pages(JOB_LIST, pages(self._http, JOBS), needs_first=True)
        for rows in newest_first(found):
            yield read_page(JobRecord, rows, self._job)

    def _part(self, parts: Parts, job: Job, name: str) -> Iterator[list[object]]:
        """Yield the pages of a list below a job."""
        return parts.pages(name, pages(self._http, f"{job_path(job.id)}/{name}"))

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        chosen = params(record)
        is_shown = self._is_public and self.pages_url is not None
        error = error_text(record.error)
        reply = raw if isinstance(raw, dict) else {}
        doubtful = list(skipped)
        ended = end_of(reply, doubtful)
        status = status_of(
            record.status,
            self.statuses,
            has_ended=ended is not None,
            has_failed=error is not None,
            has_model=bool(record.fine_tuned_model),
        )
        return Listed(
            id=record.id,
            status=status,
            provider_status=record.status or "",
            created_at=record.created_at,
            started_at=record.started_at,
            finished_at=ended,
            base_model=record.model,
            # Some servers name the model from the beginning, even if it is never made.
            fine_tuned_model=record.fine_tuned_model if status is JobStatus.SUCCEEDED else None,
            suffix=record.user_provided_suffix or record.suffix,
            trained_tokens=record.trained_tokens,
            error=error,
            params=chosen,
            total_steps=whole(record.total_steps),
            epochs=numbers(chosen)[0].get("n_epochs"),
            training_files=record.training_file,
            validation_files=record.validation_file,
            result_files=record.result_files if self.has_result_files else (),
            metadata=metadata(record),
            page=f"{self.pages_url}/{segment(record.id)}" if is_shown else None,
            wandb_run=integrated_run(record.integrations, record.id),
            evaluation=record.eval_id,
            reply=reply,
            skipped=tuple(doubtful),
        )


class _Events:
    """A job's events: pages are read on demand and kept."""

    def __init__(self, pages: Iterator[list[object]], skipped: list[str]) -> None:
        self._pages = pages
        self._skipped = skipped
        self.rows: list[object] = []
        self.records: list[EventRecord] = []

    def points(self, method: str) -> Iterator[list[CurvePoint]]:
        """Yield the points of each page that has not been read yet."""
        for rows in self._pages:
            self.rows += rows
            found, unreadable = read_rows(EventRecord, rows)
            self._skipped += unreadable
            records = [record for record, _ in found]
            self.records += records
            yield [
                point for record in records for point in event_points(record, method, self._skipped)
            ]


def _content_path(file_id: str) -> str:
    return f"/files/{segment(file_id)}/content"


def _checkpoints(rows: list[object], method: str, skipped: list[str]) -> tuple[Checkpoint, ...]:
    checkpoints: dict[int, Checkpoint] = {}
    records, unreadable = read_rows(CheckpointRecord, rows)
    skipped += unreadable
    for record, problems in records:
        where = f"checkpoint at step {record.step_number}"
        metrics, broken = measurements(record.metrics or {}, method)
        skipped += [f"{where}: {problem}" for problem in problems]
        skipped += [f"{where}: {name} is not a finite number" for name in broken]
        metrics.pop("step", None)
        checkpoints[record.step_number] = Checkpoint(
            id=record.id,
            step=record.step_number,
            created_at=record.created_at,
            model=record.fine_tuned_model_checkpoint,
            metrics=metrics,
        )
    return tuple(checkpoints[step] for step in sorted(checkpoints))


def _curve(
    job: Job,
    pages: Iterable[list[CurvePoint]],
    checkpoints: tuple[Checkpoint, ...],
    *,
    file: result_file.ResultFile,
    logged: LoggedSteps,
    parts: Parts,
) -> list[CurvePoint]:
    """Return the events from the newest back to the logged steps.

    The result file has the other steps of a finished job in one request, but rounded, and without
    the metrics over the whole validation set. The source of a point depends only on the provider's
    data, so that an interrupted read resumes with the same points; and while exact points may still
    come, no rounded ones are used.
    """
    points: list[CurvePoint] = []
    # A checkpoint may be logged before the events of the preceding steps.
    own_steps = {checkpoint.step for checkpoint in checkpoints}
    has_file = file.exists and not parts.is_awaited(CHECKPOINTS)
    may_replace_events = not job.validation_files
    oldest: int | None = None
    for page in pages:
        points += page
        if any(p.step in logged.get(p.name, ()) for p in page if p.step not in own_steps):
            return points
        oldest = min((point.step for point in points), default=None)
        if oldest is not None and oldest <= 1:
            has_file = False  # It has nothing to add.
        if has_file and may_replace_events:
            if result_file.has_all_before(oldest, file.rows):
                break
            may_replace_events = False
    rows = file.rows if has_file and not parts.is_awaited(EVENTS) else []
    known = [(point.step, point.created_at) for point in points]
    known += [(checkpoint.step, checkpoint.created_at) for checkpoint in checkpoints]
    rest = [row for row in rows if oldest is None or row[0] < oldest]
    return points + result_file.points(rest, Timeline(job, known))


def _with_news(
    job: Job,
    events: list[EventRecord],
    checkpoints: tuple[Checkpoint, ...],
    curve: list[CurvePoint],
) -> Job:
    """Return the job, completed from its parts."""
    reached = {*(point.step for point in curve), *(each.step for each in checkpoints)}
    finished_at = job.finished_at
    if finished_at is None and job.status.is_final:
        finished_at = last_moment(events)
    return replace(
        job,
        started_at=started_at(events) or job.started_at,
        finished_at=finished_at,
        total_steps=total_steps(events) or steps_of(job, reached),
    )
