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
    Scalar,
    Snapshot,
    numbers,
)
from bridge.providers import result_file
from bridge.untrusted import one_line
from bridge.wire import (
    Identifier,
    Number,
    Record,
    Step,
    is_step,
    milliseconds,
    read_record,
    read_rows,
)

_PAGE_SIZE: Final = 100
_UNRESOLVED: Final = ("auto", -1, None)
"""What stands for a hyperparameter that the provider has still to choose."""
_AXES: Final = frozenset({"step", "total_steps"})
"""Numbers that say where a point lies, not how the training went."""


class JobError(Record):
    """Of a healthy job either null or an object full of nulls."""

    code: str | None = None
    message: str | None = None


class JobRecord(Record):
    """``fine_tuning.job``: only the id is sure to be there."""

    wire_name: ClassVar = "job"

    id: Identifier
    status: str | None = None
    model: str | None = None
    created_at: float | None = None
    finished_at: float | None = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    validation_file: str | None = None
    result_files: list[str] | None = None
    user_provided_suffix: str | None = None
    suffix: str | None = None
    seed: int | None = None
    error: JobError | None = None
    hyperparameters: dict[str, object] | None = None
    method: dict[str, object] | None = None


class CheckpointRecord(Record):
    """``fine_tuning.job.checkpoint``."""

    wire_name: ClassVar = "checkpoint"

    id: str | None = None
    created_at: float | None = None
    step_number: Step
    fine_tuned_model_checkpoint: str | None = None
    metrics: dict[str, Number | None] | None = None


class EventRecord(Record):
    """``fine_tuning.job.event``: a message, or the metrics of one step."""

    wire_name: ClassVar = "event"

    created_at: float | None = None
    type: str | None = None
    data: dict[str, object] | None = None


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
            error=_error(record.error),
            params=_params(record),
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
            page = [point for event, _ in records for point in _event_points(event, skipped)]
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


def _error(error: JobError | None) -> str | None:
    said = [part for part in (error.code, error.message) if part] if error else []
    return ": ".join(said) or None


def _params(record: JobRecord) -> dict[str, Scalar]:
    """Hyperparameters once they are resolved: ``auto`` and -1 wait to be chosen."""
    method = record.method or {}
    kind = method.get("type")
    details = method.get(kind) if isinstance(kind, str) else None
    chosen: dict[str, object] = dict(record.hyperparameters or {})
    if isinstance(details, Mapping) and isinstance(details.get("hyperparameters"), Mapping):
        chosen |= {
            name: value
            for name, value in details["hyperparameters"].items()
            if name not in chosen or value not in _UNRESOLVED
        }
    chosen |= {"seed": record.seed, "method": kind}
    return {
        name: value
        for name, value in chosen.items()
        if isinstance(value, str | int | float) and value not in _UNRESOLVED
    }


def _event_points(record: EventRecord, skipped: list[str]) -> Iterator[CurvePoint]:
    data = record.data or {}
    step = data.get("step")
    if record.type not in {"metrics", None} or step is None:
        return
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if isinstance(step, bool) or not isinstance(step, int) or not is_step(step):
        skipped.append(f"event at step {one_line(str(step), 40)}: this is no step")
        return
    values, broken = numbers({name: value for name, value in data.items() if name not in _AXES})
    skipped += [f"event at step {step}: {name} is not a finite number" for name in broken]
    timestamp = milliseconds(record.created_at)
    for name, value in values.items():
        yield CurvePoint(name, step, value, timestamp)
