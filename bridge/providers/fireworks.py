"""Fireworks' fine-tuning API: supervised, preference (DPO, ORPO) and reinforcement jobs.

Wire format: the types of the official SDK (1.x) and the API reference. Each kind of job is a
collection below the account, paged by token. An id is unique in its collection only, so
the bridge's ids are ``collection/id``, as in ``dpoJobs/my-job``.

Metrics are in a file behind a signed URL, which a supervised job contains and which has to be
requested for a preference job. Its format is not documented. Users have published JSON lines with a
``step`` and names such as ``train/loss``, beside the step or under ``data``, and Fireworks' open
training recipes write such lines; a table with a column for the step is read too. Any other format
is kept and reported. Lines without a time are placed between the known times of the job.

Checkpoints have neither step nor metrics, and cannot be called until a user promotes them, so they
are only kept with the other replies. Reinforcement jobs have no documented metrics: their state,
params and result are recorded.

Not verified against the live service: when the metrics file first appears while a job trains, how
it names the evaluation loss, and whether lists of all three kinds accept ``createTime desc``; if
they ignore it, every pass reads all pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import ClassVar, Final

from bridge.errors import NotFound, Refused
from bridge.http.client import ApiClient, JsonObject, Query, segment
from bridge.model import CurvePoint, Job, JobStatus, LoggedSteps, Meaning, Page, Snapshot
from bridge.providers import fireworks_metrics_file as metrics_file
from bridge.providers.fireworks_records import (
    STATUSES,
    JobRecord,
    cost_text,
    epochs_of,
    error_text,
    params,
)
from bridge.providers.job_api import JobApi, newest_first, not_started
from bridge.providers.parts import CHECKPOINTS, METRICS_FILE, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import Listed, only, read_page, read_record, reply_of
from bridge.providers.statuses import status_of
from bridge.providers.timeline import Timeline, steps_of
from bridge.providers.token_pages import token_pages

_SUPERVISED: Final = "supervisedFineTuningJobs"
_PREFERENCE: Final = "dpoJobs"
_REINFORCEMENT: Final = "reinforcementFineTuningJobs"
COLLECTIONS: Final = (_SUPERVISED, _PREFERENCE, _REINFORCEMENT)
_WITH_CHECKPOINTS: Final = frozenset({_SUPERVISED, _PREFERENCE})
_PAGE_SIZE: Final = 200
"""Largest page that Fireworks returns."""
_PUBLIC: Final = "https://api.fireworks.ai/v1/accounts"
_PAGES: Final[Mapping[str, str]] = {
    _SUPERVISED: "https://app.fireworks.ai/dashboard/fine-tuning/supervised",
    _REINFORCEMENT: "https://app.fireworks.ai/dashboard/fine-tuning/reinforcement",
}
"""Address of the jobs' pages for people."""


class Fireworks(JobApi):
    """The jobs of one account, which is part of the base URL."""

    base_url: ClassVar = f"{_PUBLIC}/${{FIREWORKS_ACCOUNT_ID}}"
    key_variable: ClassVar = "FIREWORKS_API_KEY"
    statuses: Mapping[str, JobStatus] = STATUSES

    # batchSize is left out: it counts tokens.
    meanings: ClassVar[Mapping[str, Meaning]] = {
        "train/loss": Meaning.TRAIN_LOSS,
        "eval/loss": Meaning.VALID_LOSS,
        "epochs": Meaning.EPOCHS,
        "batchSizeSamples": Meaning.BATCH_SIZE,
        "train/lr": Meaning.STEP_RATE,
        "train/grad_norm": Meaning.GRADIENT,
        "learningRate": Meaning.LEARNING_RATE,
        "loraRank": Meaning.RANK,
        "maxContextLength": Meaning.CONTEXT,
    }

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
    ) -> None:
        super().__init__(http, curves=curves, statuses=statuses)
        self._is_public = http.is_below(_PUBLIC)

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job with all the metrics of its file, logged or not."""
        del logged  # The file can only be read as a whole.
        if not job.status.has_started:
            return not_started(job, keep=keep)
        skipped = list(job.skipped)
        parts = self._parts()
        body = self._metrics(job, parts) if self._curves or keep else b""
        if body.strip() and metrics_file.form(body) is None:
            parts.lacks(METRICS_FILE, "its format is unknown: please report it")
        curve = _curve(job, body, skipped) if self._curves else ()
        kept = {}
        if keep:
            kept = documents(reply_of(job), skipped, checkpoints=self._checkpoints(job, parts))
            kept |= {f"metrics{_suffix(body)}": body} if body else {}
        return Snapshot(
            job=replace(job, total_steps=steps_of(job, (point.step for point in curve))),
            curve=curve,
            documents=kept,
            skipped=tuple(skipped),
            missing=parts.missing,
            # Its checkpoints have no steps and are not waited for, but its metrics may be late.
            is_whole=bool(curve) or not self._curves,
        )

    @contextmanager
    def file(self, file_id: str) -> Iterator[Iterator[bytes]]:
        """Open the content of a dataset, file by file."""
        identifier = segment(file_id.rpartition("/datasets/")[2])
        reply = self._http.get_object(f"/datasets/{identifier}:getDownloadEndpoint")
        urls = reply.get("filenameToSignedUrls")
        if not isinstance(urls, dict) or not urls:
            raise NotFound(f"The dataset {file_id} has no file")
        streams = (self._http.stream_signed(str(urls[name])) for name in sorted(urls))
        with closing(piece for stream in streams for piece in stream) as pieces:
            yield pieces

    def _entry(self) -> JsonObject:
        return self._listed({"pageSize": 1})

    def _listed(self, query: Query) -> JsonObject:
        """Return a page of the only collection that every account has."""
        is_entry = "pageToken" not in query
        return self._http.get_object(f"/{_SUPERVISED}", query, is_entry=is_entry)

    def _pages(self, parts: Parts) -> Iterator[Page]:
        """Yield pages that combine a page of every collection that has more.

        So if a combined page has nothing new, nothing new follows in any collection.
        """
        lists = [self._collection(collection, parts) for collection in COLLECTIONS]
        for each in zip_longest(*lists, fillvalue=Page(())):
            jobs = [job for part in each for job in part.jobs]
            unreadable = [sentence for part in each for sentence in part.unreadable]
            jobs.sort(key=lambda job: -(job.created_at or 0))
            yield Page(tuple(jobs), tuple(unreadable))

    def _collection(self, name: str, parts: Parts) -> Iterator[Page]:
        """Yield the pages of a collection; an account may lack any collection but the first."""
        path, is_first = f"/{name}", name == _SUPERVISED
        query: Query = {"pageSize": _PAGE_SIZE, "orderBy": "createTime desc"}
        ask = self._listed if is_first else partial(self._http.find_object, path)
        found = parts.pages(
            f"list of {name}", token_pages(ask, path, name, query), needs_first=is_first
        )
        return newest_first(found, partial(read_page, JobRecord, make_job=partial(self._job, name)))

    def _find(self, job_id: str) -> Job | None:
        collection, path = _path(job_id)
        reply = self._http.find_object(path)
        if reply is None:
            return None
        return self._job(collection, *read_record(JobRecord, reply), reply)

    def _metrics(self, job: Job, parts: Parts) -> bytes:
        """Return the metrics file; empty if there is none, or none yet."""
        problem: str | None = None
        for url in self._metrics_urls(job, parts):
            found = parts.one(METRICS_FILE, partial(self._http.find_signed, url))
            if found is None:
                return b""
            problem = found.problem
            if not problem:
                if found.body is None and job.status is JobStatus.SUCCEEDED:
                    parts.lacks(METRICS_FILE, "it is gone")
                return found.body or b""
        if problem:
            parts.lacks(METRICS_FILE, problem)
        return b""

    def _metrics_urls(self, job: Job, parts: Parts) -> Iterator[str]:
        """Yield the possible URLs of the file, because a listed one may have expired."""
        collection, path = _path(job.id)
        if collection == _PREFERENCE:
            path = f"{path}:getMetricsFileEndpoint"
            # Before the file exists, the request may be refused.
            ask = (
                partial(self._http.get_object, path)
                if job.status is JobStatus.SUCCEEDED
                else partial(self._http.find_object, path, is_optional=True)
            )
            yield from _urls(parts.one(METRICS_FILE, ask), "signedUrl")
        elif collection == _SUPERVISED:
            listed = _urls(reply_of(job), "metricsFileSignedUrl")
            yield from listed
            ask = partial(self._http.find_object, path)
            renewed = _urls(parts.one(METRICS_FILE, ask), "metricsFileSignedUrl")
            yield from (url for url in renewed if url not in listed)

    def _checkpoints(self, job: Job, parts: Parts) -> list[object]:
        collection, path = _path(job.id)
        if collection not in _WITH_CHECKPOINTS:
            return []
        path = f"{path}/checkpoints"
        is_due = job.status is JobStatus.SUCCEEDED
        ask = partial(self._http.get_object if is_due else self._http.find_object, path)
        found = token_pages(ask, path, "checkpoints", {"pageSize": _PAGE_SIZE})
        return [row for page in parts.pages(CHECKPOINTS, found) for row in page]

    def _job(
        self, collection: str, record: JobRecord, skipped: tuple[str, ...], raw: object
    ) -> Job:
        error = error_text(record.status)
        status = status_of(
            record.state,
            self.statuses,
            has_ended=record.ended_when is not None,
            has_failed=error is not None,
            has_model=record.trained_into is not None,
        )
        row = raw if isinstance(raw, dict) else {}
        chosen = params(row)
        identifier = record.name.rpartition(f"/{collection}/")[2]
        page = _PAGES.get(collection) if self._is_public else None
        return Listed(
            id=f"{collection}/{identifier}",
            status=status,
            provider_status=record.state or "",
            created_at=record.created_at,
            finished_at=record.ended_when if status.is_final else None,
            base_model=record.trained_from,
            # Before its success, a job has only reserved the name.
            fine_tuned_model=record.trained_into if status is JobStatus.SUCCEEDED else None,
            suffix=record.display_name or None,
            error=error,
            params=chosen,
            epochs=epochs_of(chosen),
            training_files=only(record.dataset),
            validation_files=only(record.evaluation_dataset),
            cost=cost_text(record.cost),
            page=f"{page}/{segment(identifier)}" if page else None,
            reply=row,
            skipped=skipped,
        )


def _path(job_id: str) -> tuple[str, str]:
    """Return the collection and the path of a job."""
    collection, _, identifier = job_id.partition("/")
    if collection not in COLLECTIONS or not identifier:
        raise Refused(
            f"{job_id} is not a job of Fireworks",
            f"Write it with its collection: {', '.join(f'{each}/ID' for each in COLLECTIONS)}",
        )
    return collection, f"/{collection}/{segment(identifier)}"


def _urls(reply: Mapping[str, object] | None, key: str) -> list[str]:
    url = (reply or {}).get(key)
    return [url] if isinstance(url, str) and url else []


def _suffix(body: bytes) -> str:
    form = metrics_file.form(body)
    return f".{form}" if form else ""


def _curve(job: Job, body: bytes, skipped: list[str]) -> tuple[CurvePoint, ...]:
    """Return the points in a metrics file."""
    rows = metrics_file.rows(body, skipped, _method(job))
    if not rows:
        return ()
    # While a job trains, its last change is its last known time.
    record, _ = read_record(JobRecord, reply_of(job))
    given = replace(job, finished_at=job.finished_at or record.updated_at)
    timeline = Timeline(given, [(row.step, row.at) for row in rows]).ending_at(rows[-1].step)
    return tuple(
        CurvePoint(name, row.step, value, timeline.at(row.step) if row.at is None else row.at)
        for row in rows
        for name, value in row.metrics.items()
    )


def _method(job: Job) -> str | None:
    """Return the training method of a job; all but supervised losses may be negative."""
    collection, _ = _path(job.id)
    return None if collection == _SUPERVISED else collection
