"""Amazon Bedrock's model customization jobs, of all kinds.

Wire format: the service model of AWS's SDK. The control plane returns state, hyperparameters and,
at the end, one loss. The metrics of each step are in CSV files that the job writes to its owner's
bucket, under its output address. A list row contains the job's ARN, whose last part is the bridge's
job id; data that only a job's own reply has, such as that address, is requested for each job. Rows
of these files have no time, so they are placed between the beginning and the end of training.

Not verified against the live service: whether the files grow while a job trains, the columns of
reinforcement jobs, and where the files of an imported model's job are, if it has any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Final

from bridge.errors import NotFound
from bridge.http.client import ApiClient, JsonObject, Query, segment
from bridge.http.s3 import Buckets
from bridge.model import CurvePoint, Job, JobStatus, LoggedSteps, Meaning, Page, Snapshot
from bridge.providers import bedrock_curves as curves_in
from bridge.providers.bedrock_records import (
    STATUSES,
    JobRecord,
    epochs,
    final_losses,
    job_id_of,
    model_of,
    params,
    started_at,
    status_of,
    trained_until,
    uris,
)
from bridge.providers.job_api import JobApi
from bridge.providers.parts import DETAILS, JOB_LIST, METRICS_FILE, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import Listed, read_page, read_record, reply_of
from bridge.providers.timeline import Timeline, steps_of
from bridge.providers.token_pages import token_pages

_JOBS: Final = "/model-customization-jobs"
_ROWS: Final = "modelCustomizationJobSummaries"
_TOKEN: Final = "nextToken"  # noqa: S105 - a key of the reply, not a secret
_PAGE_SIZE: Final = 100
_OUTPUT: Final = "outputDataConfig"
"""Keys that only a job's own reply contains."""


@dataclass(frozen=True, slots=True)
class _Files:
    """Files with a job's metrics."""

    contents: Mapping[str, bytes] = field(default_factory=dict)
    """Contents by address."""
    changed_at: int | None = None
    """Time of the last change of any of them, Unix milliseconds."""


class Bedrock(JobApi):
    """The jobs of one account in one region, and their files in S3."""

    base_url: ClassVar[str] = "https://bedrock.${AWS_REGION}.amazonaws.com"
    key_variable: ClassVar = "AWS_BEARER_TOKEN_BEDROCK"
    statuses: Mapping[str, JobStatus] = STATUSES
    meanings: ClassVar[Mapping[str, Meaning]] = {
        "training_loss": Meaning.TRAIN_LOSS,
        "validation_loss": Meaning.VALID_LOSS,
        "train_reward_mean": Meaning.REWARD,
        "epochCount": Meaning.EPOCHS,
        "batchSize": Meaning.BATCH_SIZE,
        "learningRate": Meaning.LEARNING_RATE,
    }

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
        buckets: Buckets | None = None,
    ) -> None:
        super().__init__(http, curves=curves, statuses=statuses)
        self._buckets = buckets
        self._arns: dict[str, str] = {}
        """ARNs of the listed jobs by id, because a job is requested by its ARN."""
        self._seen: dict[str, dict[int, int]] = {}
        """Last steps of open jobs with the time of reading, before which later steps cannot be."""

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job with all the metrics in its files, logged or not."""
        del logged  # The files can only be read as a whole.
        parts = self._parts()
        if job.status.has_started and _OUTPUT not in reply_of(job):
            arn = str(reply_of(job).get("jobArn") or self._arns[job.id])
            job = parts.one(DETAILS, lambda: self._asked(arn)) or job
        skipped = list(job.skipped)
        found = _Files()
        record, _ = read_record(JobRecord, reply_of(job) or {"jobArn": job.id})
        if job.status.has_started and (self._curves or keep):
            found = self._files(job, record, parts)
        curve = self._curve(job, record, found, skipped) if self._curves else ()
        kept = {}
        if keep:
            kept = documents(reply_of(job), skipped)
            kept |= {uri.rpartition("/")[2]: body for uri, body in found.contents.items()}
        return Snapshot(
            job=replace(job, total_steps=steps_of(job, (point.step for point in curve))),
            curve=curve,
            documents=kept,
            skipped=tuple(skipped),
            missing=parts.missing,
            # It has no checkpoints to wait for, but its files may be late.
            is_whole=bool(found.contents) or not self._curves,
        )

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the content of a training or validation file at its address in S3."""
        if self._buckets is None:
            raise NotFound(f"{file_id} cannot be reached")
        return self._buckets.stream(file_id)

    def _entry(self) -> JsonObject:
        return self._listed({"maxResults": 1})

    def _listed(self, query: Query) -> JsonObject:
        return self._http.get_object(_JOBS, query, is_entry=_TOKEN not in query)

    def _pages(self, parts: Parts) -> Iterator[Page]:
        # The default order is not documented.
        order: Query = {"sortBy": "CreationTime", "sortOrder": "Descending"}
        query: Query = {"maxResults": _PAGE_SIZE, **order}
        found = token_pages(self._listed, _JOBS, _ROWS, query, next_key=_TOKEN, page_key=_TOKEN)
        for rows in parts.pages(JOB_LIST, found, needs_first=True):
            page = read_page(JobRecord, rows, self._job)
            self._arns |= {job.id: str(reply_of(job)["jobArn"]) for job in page.jobs}
            yield page

    def _find(self, job_id: str) -> Job | None:
        arn = self._arns.get(job_id)
        if arn is None:
            return None
        reply = self._http.find_object(f"{_JOBS}/{segment(arn)}")
        return None if reply is None else self._job(*read_record(JobRecord, reply), reply)

    def _asked(self, arn: str) -> Job:
        reply = self._http.get_object(f"{_JOBS}/{segment(arn)}")
        return self._job(*read_record(JobRecord, reply), reply)

    def _files(self, job: Job, record: JobRecord, parts: Parts) -> _Files:
        """Return the files with metrics, if there are any."""
        output = record.output.uri if record.output else None
        buckets = self._buckets
        if buckets is None or not output:
            return _Files()
        folder = f"{output.rstrip('/')}/model-customization-job-{job.id}"
        listed = parts.one(METRICS_FILE, lambda: buckets.files(folder))
        if listed is None:
            return _Files()
        if listed.problem:
            parts.lacks(METRICS_FILE, listed.problem)
        wanted = {u: at for u, at in (listed.value or {}).items() if u.endswith(curves_in.SUFFIX)}
        contents: dict[str, bytes] = {}
        for uri in sorted(wanted):
            content = parts.one(METRICS_FILE, partial(buckets.content, uri))
            if content is not None and content.problem:
                parts.lacks(METRICS_FILE, f"{uri.rpartition('/')[2]}: {content.problem}")
            elif content is not None and content.value is not None:
                contents[uri] = content.value
                # A running job may have an empty file; a web page has no such column.
                if not curves_in.has_steps(content.value) and (
                    content.value.strip() or job.status.is_final
                ):
                    name = uri.rpartition("/")[2]
                    parts.lacks(METRICS_FILE, f"{name} has no column {curves_in.STEP}")
        moments = [at for at in wanted.values() if at is not None]
        return _Files(contents, max(moments, default=None))

    def _curve(
        self, job: Job, record: JobRecord, found: _Files, skipped: list[str]
    ) -> tuple[CurvePoint, ...]:
        """Return the points in the files, and the final losses of the job."""
        rows = curves_in.rows(found.contents, skipped)
        last = rows[-1].step if rows else 0
        ended = trained_until(record, found.changed_at)
        timeline = self._timeline(job, ended, last)
        points = [
            CurvePoint(name, row.step, value, timeline.at(row.step))
            for row in rows
            for name, value in row.metrics.items()
        ]
        losses = final_losses(record) if job.status is JobStatus.SUCCEEDED else {}
        points += [
            CurvePoint(name, last, value, ended or job.finished_at)
            for name, value in losses.items()
        ]
        return tuple(points)

    def _timeline(self, job: Job, ended: int | None, last: int) -> Timeline:
        """Return the times of steps: between start, readings of the files, and end."""
        began = replace(job, created_at=job.started_at or job.created_at, finished_at=ended)
        seen = self._seen.pop(job.id, {})
        known = {step: at for step, at in seen.items() if step < last and ended and at <= ended}
        if not job.status.is_final and ended:
            self._seen[job.id] = {**known, last: ended}
        return Timeline(began, known.items()).ending_at(max(last, 1))

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        status = status_of(record, self.statuses)
        chosen = params(record)
        validators = record.validation_data.validators if record.validation_data else None
        made = record.output_model or record.listed_model
        return Listed(
            id=job_id_of(record.arn),
            status=status,
            provider_status=record.status or "",
            created_at=record.created_at,
            started_at=started_at(record),
            finished_at=record.ended_at if status.is_final else None,
            base_model=model_of(record.base_model),
            fine_tuned_model=made if status is JobStatus.SUCCEEDED else None,
            suffix=record.name or None,
            error=record.failure or None,
            params=chosen,
            epochs=epochs(chosen),
            training_files=uris([record.training_data]),
            validation_files=uris(validators or ()),
            reply=raw if isinstance(raw, dict) else {},
            skipped=skipped,
        )
