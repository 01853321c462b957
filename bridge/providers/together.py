"""Together AI's fine-tuning API.

Wire format: Together's OpenAPI document and the types of its official client; no recorded reply was
at hand. Jobs are listed all at once, in shortened rows; a job's own reply fills in what they lack.
Metrics have a separate address and can be requested from a step on; checkpoints have none, and get
those of their step. Only the last checkpoint, the job's result, has a name to call it by.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import ClassVar, Final

from bridge.http.client import ApiClient, Query, segment
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
from bridge.providers.job_api import JobApi, not_started
from bridge.providers.parts import CHECKPOINTS, DETAILS, EVENTS, METRICS, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import (
    Listed,
    only,
    read_page,
    read_record,
    read_rows,
    reply_of,
    rows_of,
)
from bridge.providers.statuses import Words, status_of
from bridge.providers.together_events import with_events
from bridge.providers.together_metrics import Measured, measured, points, with_metrics
from bridge.providers.together_records import (
    CheckpointRecord,
    JobRecord,
    params,
    price,
    source,
)
from bridge.providers.wandb import run_page

_JOBS: Final = "/fine-tunes"
_PAGES: Final = "https://api.together.ai/fine-tuning"
"""Address of the jobs' pages for people."""
_DETAILS: Final = frozenset(
    {
        *("job_id", "eval_steps", "train_on_inputs", "param_count", "epochs_completed"),
        *("queue_depth", "model_output_path", "trainingfile_numlines", "trainingfile_size"),
    }
)
"""Keys that only a job's own reply contains."""
_LOSS: Final = "train/loss"


class Together(JobApi):
    """Jobs of Together, with their metrics by step and checkpoints."""

    base_url: ClassVar = "https://api.together.ai/v1"
    key_variable: ClassVar = "TOGETHER_API_KEY"
    statuses: Mapping[str, JobStatus] = Words(
        {
            "pending": JobStatus.QUEUED,
            "queued": JobStatus.QUEUED,
            "running": JobStatus.RUNNING,
            "compressing": JobStatus.RUNNING,
            "uploading": JobStatus.RUNNING,
            "cancel_requested": JobStatus.RUNNING,
            "cancelled": JobStatus.CANCELLED,
            "error": JobStatus.FAILED,
            # Documented only in the official client.
            "user_error": JobStatus.FAILED,
            "completed": JobStatus.SUCCEEDED,
        }
    )

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "train/loss": Meaning.TRAIN_LOSS,
        "eval/loss": Meaning.VALID_LOSS,
        "n_epochs": Meaning.EPOCHS,
        "batch_size": Meaning.BATCH_SIZE,
        "warmup_ratio": Meaning.WARMUP,
        "train/grad_norm": Meaning.GRADIENT,
        "train/learning_rate": Meaning.STEP_RATE,
        "learning_rate": Meaning.LEARNING_RATE,
        "lora_r": Meaning.RANK,
        "max_seq_length": Meaning.CONTEXT,
        "random_seed": Meaning.SEED,
        "training_method": Meaning.METHOD,
    }

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
    ) -> None:
        super().__init__(http, curves=curves, statuses=statuses)
        # Caches. Each job is read by one thread at a time.
        self._models: dict[str, str] = {}
        """Models that jobs make, by job id, from which other jobs may continue."""
        self._at_checkpoints: dict[str, dict[int, Measured]] = {}
        """Metrics of open jobs at their checkpoints, which every reading of a job returns."""

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job with its checkpoints and the unlogged part of its curve."""
        if not job.status.has_started:
            return not_started(job, keep=keep)
        parts = self._parts()
        if _DETAILS.isdisjoint(reply_of(job)):
            job = self._detailed(job, parts)
        skipped = list(job.skipped)
        events = self._part(parts, job, EVENTS)
        rows = self._part(parts, job, CHECKPOINTS)
        checkpoints = _checkpoints(job, rows, skipped)
        # The last reading covers everything, because an evaluation may have been late.
        is_whole = keep or job.status.is_final
        known = {} if is_whole else self._at_checkpoints.get(job.id, {})
        start = 0 if is_whole else self._start(checkpoints.keys() - known.keys(), logged)
        metrics = self._metrics(parts, job, start)
        found = known | measured(metrics, str(job.params.get("method", "")), skipped)
        if not parts.is_awaited(METRICS):
            self._remember(job, checkpoints.keys(), found)
        kept = {}
        if keep:
            lists = {"checkpoints": rows, "events": events, "metrics": metrics}
            kept = documents(reply_of(job), skipped, **lists)
        return Snapshot(
            job=with_events(job, events, skipped, statuses=self.statuses, steps=found),
            checkpoints=tuple(
                with_metrics(checkpoints[step], found.get(step)) for step in sorted(checkpoints)
            ),
            curve=tuple(points(found, beside=checkpoints.keys())) if self._curves else (),
            documents=kept,
            skipped=tuple(skipped),
            missing=parts.missing,
        )

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the content of a training or validation file."""
        return self._http.stream(f"/files/{segment(file_id)}/content")

    def _entry(self) -> list[object]:
        """Return the rows of all jobs, which come in one reply."""
        return rows_of(self._http.get_object(_JOBS, is_entry=True), "data", _JOBS)

    def _pages(self, parts: Parts) -> Iterator[Page]:
        del parts  # There is only one page, without which nothing is known.
        rows = self._entry()
        self._models = dict(_models(rows))
        page = read_page(JobRecord, rows, self._job)
        yield replace(page, jobs=tuple(sorted(page.jobs, key=_age)))

    def _find(self, job_id: str) -> Job | None:
        reply = self._http.find_object(_path(job_id))
        if reply is None:
            return None
        record, skipped = read_record(JobRecord, reply)
        origin = source(record)
        if origin and not _is_name(origin) and origin not in self._models:
            self._models = dict(_models(self._entry()))
        return self._job(record, skipped, reply)

    def _part(self, parts: Parts, job: Job, name: str, query: Query | None = None) -> list[object]:
        """Return the rows of a list below a job; none if it cannot be read."""
        path = f"{_path(job.id)}/{name}"
        is_metrics = name == METRICS  # an empty object until there are rows

        def ask() -> list[object]:
            reply = self._http.get_object(path, query)
            key = "metrics" if is_metrics else "data"
            return rows_of(reply, key, path, may_be_empty=is_metrics)

        return parts.one(name, ask) or []

    def _metrics(self, parts: Parts, job: Job, start: float) -> list[object]:
        """Return the rows of metrics from a step on, in order of time."""
        if start == math.inf:
            return []
        query = {"global_step_from": int(start)} if start > 0 else None
        return self._part(parts, job, METRICS, query)

    def _start(self, unknown: AbstractSet[int], logged: LoggedSteps) -> float:
        """Return the first step of an open job whose metrics are needed; infinite if none are.

        Points are logged by ascending step, so everything before the newest is logged. The
        evaluation of the newest may still be to come.
        """
        newest = max(logged.get(_LOSS, ()), default=0)
        return min([max(newest, 0) if self._curves else math.inf, *unknown])

    def _remember(self, job: Job, steps: AbstractSet[int], found: Mapping[int, Measured]) -> None:
        if job.status.is_final:
            self._at_checkpoints.pop(job.id, None)
        else:
            self._at_checkpoints[job.id] = {step: found.get(step, Measured()) for step in steps}

    def _detailed(self, job: Job, parts: Parts) -> Job:
        """Return the job, completed with data that its list row lacks."""
        reply = parts.one(DETAILS, lambda: self._http.get_object(_path(job.id)))
        if reply is None:
            return job
        # Known values are kept, because the pass relies on the status in the list.
        raw = reply | {name: value for name, value in reply_of(job).items() if value is not None}
        return self._job(*read_record(JobRecord, raw), raw)

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        status = status_of(
            record.status,
            self.statuses,
            has_ended=record.ended_when is not None,
            has_failed=False,
            has_model=bool(record.model_output_name),
        )
        chosen = params(record)
        base_model = self._base_model(record)
        if record.model and record.model != base_model:
            chosen["model"] = record.model
        return Listed(
            id=record.id,
            status=status,
            provider_status=record.status or "",
            created_at=record.created_at,
            finished_at=(record.ended_when or record.updated_at) if status.is_final else None,
            base_model=base_model,
            # The model has its name from the beginning, and exists at the end.
            fine_tuned_model=record.model_output_name if status is JobStatus.SUCCEEDED else None,
            suffix=record.suffix,
            trained_tokens=(record.token_count or None) if status.is_final else None,
            params=chosen,
            epochs=numbers({"epochs": record.n_epochs})[0].get("epochs"),
            training_files=only(record.training_file),
            validation_files=only(record.validation_file),
            cost=price(record),
            wandb_run=run_page(record.wandb_url),
            page=f"{_PAGES}/{segment(record.id)}" if self._is_public else None,
            reply=raw if isinstance(raw, dict) else {},
            skipped=skipped,
        )

    def _base_model(self, record: JobRecord) -> str | None:
        """Return the model that training started from, possibly another job's."""
        origin = source(record)
        if origin is None:
            return record.model or None
        return self._models.get(origin) or (origin if _is_name(origin) else record.model or None)


def _path(job_id: str) -> str:
    return f"{_JOBS}/{segment(job_id)}"


def _is_name(origin: str) -> bool:
    """Return whether this is the name of a model rather than the id of a job."""
    return "/" in origin


def _models(rows: Iterable[object]) -> Iterator[tuple[str, str]]:
    """Yield job ids with the models that the jobs make."""
    for row in rows:
        if isinstance(row, dict):
            job_id, model = row.get("id"), row.get("model_output_name")
            if isinstance(job_id, str) and isinstance(model, str) and model:
                yield job_id, model


def _age(job: Job) -> float:
    """Return the key that sorts the newest job first, after those without a time."""
    return -math.inf if job.created_at is None else -job.created_at


def _checkpoints(job: Job, rows: list[object], skipped: list[str]) -> dict[int, Checkpoint]:
    """Return the checkpoints by step, without metrics."""
    checkpoints: dict[int, Checkpoint] = {}
    records, unreadable = read_rows(CheckpointRecord, rows)
    skipped += unreadable
    # The model has precedence over the adapter of the same step.
    for record, problems in sorted(records, key=lambda each: each[0].checkpoint != "adapter"):
        skipped += [f"checkpoint at step {record.step}: {problem}" for problem in problems]
        if record.is_final and record.step == 0:
            continue  # servers of 2025 did not return the result's step
        checkpoints[record.step] = Checkpoint(
            id=record.object_id,
            step=record.step,
            created_at=record.created_at,
            model=job.fine_tuned_model if record.is_final else None,
            metrics={},
        )
    return checkpoints
