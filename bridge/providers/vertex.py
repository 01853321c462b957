"""Gemini tuning jobs on Vertex AI, Google Cloud: one project and one location.

Wire format: the types of google-genai and of google-cloud-aiplatform's protocol buffers, and
Google's documentation. Jobs are asked of ``v1beta1``, the only version that has all kinds: ``v1``
has no reinforcement tuning and leaves fields out. Lists contain complete jobs. A job's metrics are
in a TensorBoard, even while it trains: the job names an experiment, the experiment names the
TensorBoard, and each metric there is a time series. The list of series shows the length of each, so
that only those that have grown are read again; all of their points are requested, because otherwise
a long series is returned as a random sample. A checkpoint has its step, and gets the metrics and
the time of that step.

Not verified against the live service: the order of jobs in lists (if they do not come newest first,
every pass reads all pages), the largest page, how long a TensorBoard stays, and whether a value of
zero is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

from bridge.errors import NotFound
from bridge.http.client import ApiClient, JsonObject, Query, segment
from bridge.model import (
    Checkpoint,
    CurvePoint,
    Job,
    JobStatus,
    LoggedSteps,
    Meaning,
    Page,
    Snapshot,
)
from bridge.providers.job_api import JobApi, newest_first, not_started
from bridge.providers.parts import JOB_LIST, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import Listed, read_page, read_record, read_rows, reply_of
from bridge.providers.statuses import Words, status_of
from bridge.providers.timeline import Timeline, steps_of
from bridge.providers.token_pages import token_pages
from bridge.providers.vertex_curves import Curves, Series, is_name
from bridge.providers.vertex_records import (
    JOBS,
    CheckpointRecord,
    JobRecord,
    TunedModel,
    count_of,
    dataset_of,
    epochs_of,
    error_text,
    evaluations_of,
    labels_of,
    params_of,
    whole,
)

_PAGE_SIZE: Final = 100
LOCATION: Final = "us-central1"
"""Default location, where tuning features are offered first."""
_CONSOLE: Final = "https://console.cloud.google.com/vertex-ai/generative/language"
"""Address of the jobs' pages for people."""


def address(location: str) -> str:
    """Return the address of the public service in a location."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in {"us", "eu"}:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


class Vertex(JobApi):
    """The tuning jobs of one project in one location."""

    base_url: ClassVar = address(LOCATION)
    key_variable: ClassVar = "CLOUDSDK_AUTH_ACCESS_TOKEN"
    header_variables: ClassVar[Mapping[str, str]] = {
        "x-goog-user-project": "GOOGLE_CLOUD_QUOTA_PROJECT"
    }
    statuses: Mapping[str, JobStatus] = Words(
        {
            "JOB_STATE_UNSPECIFIED": JobStatus.UNKNOWN,
            "JOB_STATE_QUEUED": JobStatus.QUEUED,
            "JOB_STATE_PENDING": JobStatus.QUEUED,
            "JOB_STATE_RUNNING": JobStatus.RUNNING,
            "JOB_STATE_UPDATING": JobStatus.RUNNING,
            "JOB_STATE_CANCELLING": JobStatus.RUNNING,
            "JOB_STATE_PAUSED": JobStatus.PAUSED,
            "JOB_STATE_SUCCEEDED": JobStatus.SUCCEEDED,
            # There is a model, which may lack some checkpoints.
            "JOB_STATE_PARTIALLY_SUCCEEDED": JobStatus.SUCCEEDED,
            "JOB_STATE_FAILED": JobStatus.FAILED,
            "JOB_STATE_EXPIRED": JobStatus.FAILED,
            "JOB_STATE_CANCELLED": JobStatus.CANCELLED,
        }
    )
    meanings: ClassVar[Mapping[str, Meaning]] = {
        "train_total_loss": Meaning.TRAIN_LOSS,
        "preference_optimization_train_loss": Meaning.TRAIN_LOSS,
        "eval_total_loss": Meaning.VALID_LOSS,
        "train_fraction_of_correct_next_step_preds": Meaning.TRAIN_ACCURACY,
        "eval_fraction_of_correct_next_step_preds": Meaning.VALID_ACCURACY,
        "train_mean_reward": Meaning.REWARD,
        "eval_mean_reward": Meaning.VALID_REWARD,
        "epochCount": Meaning.EPOCHS,
        "stepCount": Meaning.STEPS,
        "batchSize": Meaning.BATCH_SIZE,
    }

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
        project: str = "-",
        location: str = LOCATION,
    ) -> None:
        super().__init__(http, curves=curves, statuses=statuses)
        self._project = project
        self._location = location
        self._jobs = f"/v1beta1/projects/{segment(project)}/locations/{segment(location)}/{JOBS}"
        self._is_public = http.is_at(address(location))
        self._series = Curves(http)

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job with all of its points; for an open job only new points are requested."""
        del logged  # A series shows its length, so the logged steps are not needed.
        if not job.status.has_started:
            return not_started(job, keep=keep)
        skipped = list(job.skipped)
        parts = self._parts()
        tuned = _tuned(job)
        series = (
            self._metrics(job, parts, reread=keep)
            if self._curves or keep or tuned.checkpoints
            else []
        )
        points = [point for each in series for point in each.points(skipped)]
        points.sort(key=lambda point: point.step)
        checkpoints = _checkpoints(job, tuned, points, skipped)
        curve = tuple(points) if self._curves else ()
        kept = {}
        if keep:
            kept = documents(reply_of(job), skipped, metrics=[each.document() for each in series])
        return Snapshot(
            job=replace(job, total_steps=steps_of(job, (point.step for point in points))),
            checkpoints=checkpoints,
            curve=curve,
            documents=kept,
            skipped=tuple(skipped),
            missing=parts.missing,
            is_whole=bool(curve) or not self._curves,
        )

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Raise ``NotFound``, because datasets are in their owner's Cloud Storage."""
        raise NotFound(
            f"{file_id} is in Google Cloud, which the bridge does not copy data from",
            "Keep it there, or copy it with: gcloud storage cp",
        )

    def _entry(self) -> JsonObject:
        return self._listed({"pageSize": 1})

    def _listed(self, query: Query) -> JsonObject:
        return self._http.get_object(self._jobs, query, is_entry="pageToken" not in query)

    def _pages(self, parts: Parts) -> Iterator[Page]:
        found = token_pages(self._listed, self._jobs, JOBS, {"pageSize": _PAGE_SIZE})
        lists = parts.pages(JOB_LIST, found, needs_first=True)
        return newest_first(lists, partial(read_page, JobRecord, make_job=self._job))

    def _find(self, job_id: str) -> Job | None:
        reply = self._http.find_object(f"{self._jobs}/{segment(job_id)}")
        return None if reply is None else self._job(*read_record(JobRecord, reply), reply)

    def _metrics(self, job: Job, parts: Parts, *, reread: bool) -> list[Series]:
        experiment = reply_of(job).get("experiment")
        if not is_name(experiment):
            # Jobs that ended before training, and some kinds of jobs, have neither.
            return []
        return self._series.read(experiment, parts, reread=reread, status=job.status)

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        error = error_text(record.error)
        tuned = record.tuned or TunedModel()
        status = status_of(
            record.state,
            self.statuses,
            has_ended=record.ended_at is not None,
            has_failed=error is not None,
            has_model=bool(tuned.model or tuned.endpoint),
        )
        row = raw if isinstance(raw, dict) else {}
        chosen = params_of(row)
        epochs = epochs_of(chosen)
        tokens = count_of(row, "totalBillableTokenCount")
        done = status is JobStatus.SUCCEEDED
        return Listed(
            id=record.id,
            status=status,
            provider_status=record.state or "",
            created_at=record.created_at,
            started_at=record.started_at,
            finished_at=record.ended_at if status.is_final else None,
            base_model=record.trained_from,
            # The model is named while the job trains, but answers 404 until the job has succeeded.
            fine_tuned_model=(tuned.model or tuned.endpoint or None) if done else None,
            suffix=record.display_name or None,
            # The tokens are those of the dataset, which is used in each epoch.
            trained_tokens=int(tokens * epochs) if done and tokens and epochs else None,
            error=error,
            params=chosen,
            total_steps=count_of(row, "tuningStepCount") or whole(chosen.get("stepCount")),
            epochs=epochs,
            training_files=dataset_of(row, "trainingDatasetUri", "promptDatasetUri"),
            validation_files=dataset_of(row, "validationDatasetUri"),
            metadata=labels_of(record),
            page=self._page(record.id),
            evaluation=evaluations_of(row),
            reply=row,
            skipped=skipped,
        )

    def _page(self, job_id: str) -> str | None:
        if not self._is_public:
            return None
        place = f"locations/{segment(self._location)}/tuning/tuningJob/{segment(job_id)}"
        return f"{_CONSOLE}/{place}?project={segment(self._project)}"


def _tuned(job: Job) -> TunedModel:
    record, _ = read_record(JobRecord, reply_of(job))
    return record.tuned or TunedModel()


def _checkpoints(
    job: Job, tuned: TunedModel, points: Iterable[CurvePoint], skipped: list[str]
) -> tuple[Checkpoint, ...]:
    """Return the checkpoints by ascending step, with the metrics and times of their steps."""
    measured: dict[int, dict[str, float]] = {}
    times: list[tuple[int, int | None]] = []
    for point in points:
        measured.setdefault(point.step, {}).setdefault(point.name, point.value)
        times.append((point.step, point.created_at))
    timeline = Timeline(job, times)
    records, unreadable = read_rows(CheckpointRecord, tuned.checkpoints or [])
    skipped += unreadable
    found: dict[int, Checkpoint] = {}
    for record, problems in sorted(records, key=lambda each: each[0].step):
        skipped += [f"checkpoint at step {record.step}: {problem}" for problem in problems]
        model = record.endpoint
        if not model and tuned.model and record.id and job.status is JobStatus.SUCCEEDED:
            model = f"{tuned.model}/checkpoints/{record.id}"
        found.setdefault(
            record.step,
            Checkpoint(
                id=record.id,
                step=record.step,
                created_at=timeline.at(record.step) if measured else None,
                model=model or None,
                metrics=measured.get(record.step, {}),
            ),
        )
    return tuple(found.values())
