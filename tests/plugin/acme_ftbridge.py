"""Fine-tuning at Acme, a service that does not exist: a provider in a separate package.

Wire format: trainings come newest first, in pages that name the next one; times are ISO 8601. Below
a training are its snapshots, each with a model to call, and its measurements, one for each step,
both newest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Final

from bridge.providers.base import (
    CHECKPOINTS,
    JOB_LIST,
    ApiClient,
    BadReply,
    ById,
    Checkpoint,
    CurvePoint,
    Identifier,
    Job,
    JobStatus,
    Listed,
    LoggedSteps,
    Meaning,
    Metric,
    Moment,
    Page,
    Parts,
    Record,
    Snapshot,
    Step,
    Words,
    documents,
    extended,
    measurements,
    numbers,
    read_page,
    read_record,
    read_rows,
    reply_of,
    scalars,
    segment,
    status_of,
)

_TRAININGS: Final = "/trainings"
_PAGE_SIZE: Final = 100


class TrainingRecord(Record):
    """A job; only its id is always present."""

    wire_name: ClassVar = "job"

    uid: Identifier
    phase: str | None = None
    created_at: Moment = None
    ended_at: Moment = None
    parent_model: str | None = None
    model: str | None = None
    label: str | None = None
    lesson: str | None = None
    exam: str | None = None
    tokens: int | None = None
    problem: str | None = None
    settings: dict[str, object] | None = None


class MeasuredRecord(Record):
    """The metrics of a step; a snapshot also has a model to call."""

    wire_name: ClassVar = "measurement"

    step: Step
    created_at: Moment = None
    metrics: dict[str, Metric] | None = None
    model: str | None = None


class Acme:
    """Trainings at Acme, with their snapshots and measurements."""

    base_url: ClassVar = "https://api.acme.example/v1"
    key_variable: ClassVar = "ACME_API_KEY"
    key_header: ClassVar[str | None] = "X-Acme-Key"
    header_variables: ClassVar[Mapping[str, str]] = {}
    statuses: Mapping[str, JobStatus] = Words(
        {
            "waiting": JobStatus.QUEUED,
            "reading": JobStatus.VALIDATING,
            "learning": JobStatus.RUNNING,
            "resting": JobStatus.PAUSED,
            "graduated": JobStatus.SUCCEEDED,
            "failed": JobStatus.FAILED,
            "expelled": JobStatus.CANCELLED,
        }
    )
    meanings: ClassVar[Mapping[str, Meaning]] = {
        "loss": Meaning.TRAIN_LOSS,
        "exam_loss": Meaning.VALID_LOSS,
        "rounds": Meaning.EPOCHS,
    }

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
    ) -> None:
        self.statuses = extended(self.statuses, statuses)
        self._http = http
        self._curves = curves
        self._by_id = ById(self._find, self.pages)

    def pages(self) -> Iterator[Page]:
        """Yield all jobs, newest first."""
        parts = self._parts()
        for rows in parts.pages(JOB_LIST, self._pages(_TRAININGS), needs_first=True):
            yield read_page(TrainingRecord, rows, self._job)
        for cut in parts.missing:
            yield Page((), cut=cut)

    def job(self, job_id: str) -> Job:
        """Return one job from its own address."""
        return self._by_id(job_id)

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job with its checkpoints and the unlogged part of its curve."""
        snapshots: list[object] = []
        measured: list[object] = []
        curve: list[CurvePoint] = []
        checkpoints: dict[int, Checkpoint] = {}
        skipped = list(job.skipped)
        parts = self._parts()
        if job.status.has_started:
            path = _path(job.id)
            for rows in parts.pages(CHECKPOINTS, self._pages(f"{path}/snapshots")):
                snapshots += rows
                checkpoints |= {each.step: each for each in _measured(rows, skipped)}
            pages = self._pages(f"{path}/measurements") if self._curves or keep else ()
            for rows in parts.pages("measurements", pages):
                measured += rows
                points = list(_points(_measured(rows, skipped)))
                curve += points if self._curves else ()
                # Points are logged by ascending step, but a checkpoint may come before them.
                beside = (point for point in points if point.step not in checkpoints)
                if not keep and any(p.step in logged.get(p.name, ()) for p in beside):
                    break
        lists = {"checkpoints": snapshots, "measurements": measured}
        return Snapshot(
            job=job,
            checkpoints=tuple(checkpoints[step] for step in sorted(checkpoints)),
            curve=tuple(curve),
            documents=documents(reply_of(job), skipped, **lists) if keep else {},
            skipped=tuple(skipped),
            missing=parts.missing,
        )

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the content of a training or validation file."""
        return self._http.stream(f"/lessons/{segment(file_id)}/raw")

    def _pages(self, path: str) -> Iterator[list[object]]:
        """Yield the pages of a list, up to one that does not name another."""
        query: dict[str, str | int] = {"size": _PAGE_SIZE}
        seen: set[object] = set()
        while True:
            is_entry = path == _TRAININGS and not seen
            reply = self._http.get_object(path, query, is_entry=is_entry)
            rows = reply["items"] or [] if "items" in reply else None
            if not isinstance(rows, list):
                raise BadReply(f"The reply to {path} has no list", "Check base_url")
            yield rows
            following = reply.get("next")
            if not isinstance(following, str) or not following:
                return
            if following in seen:
                raise BadReply(f"The pages of {path} do not end: they repeat")
            seen.add(following)
            query["page"] = following

    def _parts(self) -> Parts:
        return Parts(lambda: self._http.get_object(_TRAININGS, {"size": 1}, is_entry=True))

    def _find(self, job_id: str) -> Job | None:
        reply = self._http.find_object(_path(job_id))
        return None if reply is None else self._job(*read_record(TrainingRecord, reply), reply)

    def _job(self, record: TrainingRecord, skipped: tuple[str, ...], raw: object) -> Job:
        chosen = record.settings or {}
        status = status_of(
            record.phase,
            self.statuses,
            has_ended=record.ended_at is not None,
            has_failed=bool(record.problem),
            has_model=record.model is not None,
        )
        return Listed(
            id=record.uid,
            status=status,
            provider_status=record.phase or "",
            created_at=record.created_at,
            finished_at=record.ended_at,
            base_model=record.parent_model,
            fine_tuned_model=record.model if status is JobStatus.SUCCEEDED else None,
            suffix=record.label,
            trained_tokens=record.tokens,
            error=record.problem or None,
            params=scalars(chosen),
            epochs=numbers(chosen)[0].get("rounds"),
            training_files=(record.lesson,) if record.lesson else (),
            validation_files=(record.exam,) if record.exam else (),
            reply=raw if isinstance(raw, dict) else {},
            skipped=skipped,
        )


def _path(job_id: str) -> str:
    return f"{_TRAININGS}/{segment(job_id)}"


def _measured(rows: Iterable[object], skipped: list[str]) -> Iterator[Checkpoint]:
    """Return the rows as checkpoints; ``skipped`` receives a sentence about each bad value."""
    records, unreadable = read_rows(MeasuredRecord, rows)
    skipped += unreadable
    for record, problems in records:
        metrics, broken = measurements(record.metrics or {})
        skipped += [f"step {record.step}: {problem}" for problem in problems]
        skipped += [f"step {record.step}: {name} is not a finite number" for name in broken]
        yield Checkpoint(
            step=record.step, created_at=record.created_at, model=record.model, metrics=metrics
        )


def _points(measured: Iterable[Checkpoint]) -> Iterator[CurvePoint]:
    for each in measured:
        for name, value in each.metrics.items():
            yield CurvePoint(name, each.step, value, each.created_at)
