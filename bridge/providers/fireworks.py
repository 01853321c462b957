"""Fireworks' fine-tuning API: supervised, preference (DPO, ORPO) and reinforcement jobs.

Wire format: the types of the official SDK (1.x) and the API reference. Each kind of job is a
collection of its own below the account, paged by token. An id is unique in its collection alone, so
the bridge's ids are ``collection/id``, as in ``dpoJobs/my-job``.

Metrics are in a file behind a signed URL, which a supervised job names and a preference job is
asked for. Its format is not documented. Users have published JSON lines with a ``step`` and names
such as ``train/loss``, beside the step or under ``data``, and Fireworks' open training recipes
write such lines; a table with a column for the step is read too. Whatever else comes is kept and
reported, not guessed at. Lines without a time are placed between the moments that the job tells.

Checkpoints come without step and metrics and cannot be called before somebody promotes them: they
are kept with the other replies, and that is all. Reinforcement jobs tell no metrics that are
documented: their state, params and result are recorded.

Not verified against the live service: when the metrics file first appears while a job trains, how
it names the evaluation loss, and that lists take ``createTime desc`` for all three kinds: where
they ignore it, all pages are read at each pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, zip_longest
from typing import ClassVar, Final

from bridge.errors import BadReply, Forbidden, NotFound, NotOffered, Refused
from bridge.http.client import ApiClient, JsonObject, Query, segment
from bridge.http.signed_urls import Found
from bridge.model import CurvePoint, IsLogged, Job, JobStatus, Meaning, Page, Snapshot
from bridge.providers import fireworks_metrics_file as metrics_file
from bridge.providers.fireworks_records import (
    JobRecord,
    cost_text,
    epochs_of,
    error_text,
    params,
    without_secrets,
)
from bridge.providers.raw_replies import documents
from bridge.providers.records import read_page, read_record
from bridge.providers.timeline import Timeline

_SUPERVISED: Final = "supervisedFineTuningJobs"
_PREFERENCE: Final = "dpoJobs"
_REINFORCEMENT: Final = "reinforcementFineTuningJobs"
COLLECTIONS: Final = (_SUPERVISED, _PREFERENCE, _REINFORCEMENT)
_WITH_CHECKPOINTS: Final = frozenset({_SUPERVISED, _PREFERENCE})
_PAGE_SIZE: Final = 200
"""The most that Fireworks gives."""
_PUBLIC: Final = "https://api.fireworks.ai/v1/accounts"
_PAGES: Final[Mapping[str, str]] = {
    _SUPERVISED: "https://app.fireworks.ai/dashboard/fine-tuning/supervised",
    _REINFORCEMENT: "https://app.fireworks.ai/dashboard/fine-tuning/reinforcement",
}
"""Where people look at their jobs."""


class Fireworks:
    """The jobs of one account, which is part of the base URL."""

    base_url: ClassVar = f"{_PUBLIC}/${{FIREWORKS_ACCOUNT_ID}}"
    key_variable: ClassVar = "FIREWORKS_API_KEY"
    key_header: ClassVar[str | None] = None
    header_variables: ClassVar[Mapping[str, str]] = {}
    statuses: ClassVar[Mapping[str, JobStatus]] = {
        "JOB_STATE_UNSPECIFIED": JobStatus.UNKNOWN,
        "JOB_STATE_CREATING": JobStatus.QUEUED,
        "JOB_STATE_PENDING": JobStatus.QUEUED,
        "JOB_STATE_RE_QUEUEING": JobStatus.QUEUED,
        "JOB_STATE_CREATING_INPUT_DATASET": JobStatus.VALIDATING,
        "JOB_STATE_VALIDATING": JobStatus.VALIDATING,
        "JOB_STATE_RUNNING": JobStatus.RUNNING,
        "JOB_STATE_WRITING_RESULTS": JobStatus.RUNNING,
        "JOB_STATE_CANCELLING": JobStatus.RUNNING,
        "JOB_STATE_IDLE": JobStatus.PAUSED,
        "JOB_STATE_PAUSED": JobStatus.PAUSED,
        "JOB_STATE_COMPLETED": JobStatus.SUCCEEDED,
        # There is a model: training went on for as long as it helped.
        "JOB_STATE_EARLY_STOPPED": JobStatus.SUCCEEDED,
        "JOB_STATE_FAILED": JobStatus.FAILED,
        "JOB_STATE_EXPIRED": JobStatus.FAILED,
        "JOB_STATE_CANCELLED": JobStatus.CANCELLED,
        # What had become of it before nobody tells any more.
        "JOB_STATE_DELETING": JobStatus.CANCELLED,
        "JOB_STATE_DELETING_CLEANING_UP": JobStatus.CANCELLED,
        "JOB_STATE_DELETED": JobStatus.CANCELLED,
        "JOB_STATE_ARCHIVED": JobStatus.CANCELLED,
    }

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

    def __init__(self, http: ApiClient, *, curves: bool = True) -> None:
        self._http = http
        self._is_public = http.is_below(_PUBLIC)
        self._curves = curves

    def pages(self) -> Iterator[Page]:
        """All jobs, newest first, as far as one list can be made of three.

        Each page has one of every collection that is not at its end. So a page without anything new
        says of all of them that nothing new follows.
        """
        others = (self._other_pages(collection) for collection in COLLECTIONS[1:])
        lists = [self._pages(_SUPERVISED), *others]
        for parts in zip_longest(*lists, fillvalue=Page(())):
            jobs = [job for part in parts for job in part.jobs]
            unreadable = [sentence for part in parts for sentence in part.unreadable]
            jobs.sort(key=lambda job: -(job.created_at or 0))
            yield Page(tuple(jobs), tuple(unreadable))

    def job(self, job_id: str) -> Job:
        """One job, as its own address has it."""
        collection, path = _path(job_id)
        reply = self._http.get_object(path)
        return self._job(collection, *read_record(JobRecord, reply), reply)

    def read(self, job: Job, *, is_logged: IsLogged, keep: bool = False) -> Snapshot:
        """One job with all the metrics of its file, logged or not."""
        del is_logged  # The file comes as a whole.
        skipped = list(job.skipped)
        reply = without_secrets(job.raw)
        if not job.status.has_started:
            kept = documents(reply, skipped) if keep else {}
            return Snapshot(job=job, documents=kept, skipped=tuple(skipped))
        body = self._metrics(job, skipped) if self._curves or keep else b""
        curve = _curve(job, body, skipped) if self._curves else ()
        kept = {}
        if keep:
            kept = documents(reply, skipped, checkpoints=self._checkpoints(job, skipped))
            kept |= {f"metrics{_suffix(body)}": body} if body else {}
        return Snapshot(
            job=replace(job, total_steps=_total_steps(job, curve)),
            curve=curve,
            documents=kept,
            skipped=tuple(skipped),
            # Its checkpoints have no steps, so none is waited for; but its metrics may be late.
            is_whole=bool(curve) or not self._curves,
        )

    def shutdowns(self) -> Mapping[str, int]:
        """It tells of none."""
        return {}

    @contextmanager
    def file(self, file_id: str) -> Iterator[Iterator[bytes]]:
        """The content of a dataset: its files one after the other."""
        identifier = segment(file_id.rpartition("/datasets/")[2])
        reply = self._http.get_object(f"/datasets/{identifier}:getDownloadEndpoint")
        urls = reply.get("filenameToSignedUrls")
        if not isinstance(urls, dict) or not urls:
            raise NotFound(f"There is no file of the dataset {file_id}")
        streams = (self._http.stream_signed(str(urls[name])) for name in sorted(urls))
        with closing(piece for stream in streams for piece in stream) as pieces:
            yield pieces

    def _metrics(self, job: Job, skipped: list[str]) -> bytes:
        """The metrics file; empty where there is none yet, or none at all."""
        found: Found | None = None
        for url in self._metrics_urls(job):
            found = self._http.find_signed(url)
            if not found.problem:
                break
        if found is None:
            return b""
        if found.problem:
            skipped.append(f"no metrics file: {found.problem}")
        elif found.body is None and job.status is JobStatus.SUCCEEDED:
            skipped.append("its metrics file is gone")
        return found.body or b""

    def _metrics_urls(self, job: Job) -> Iterator[str]:
        """Where the file is said to be; a URL that was listed may have expired since."""
        collection, path = _path(job.id)
        if collection == _PREFERENCE:
            # While there is no file it may as well be refused.
            path = f"{path}:getMetricsFileEndpoint"
            yield from _urls(self._http.find_object(path, is_optional=True), "signedUrl")
        elif collection == _SUPERVISED:
            listed = _urls(job.raw, "metricsFileSignedUrl")
            yield from listed
            anew = _urls(self._http.find_object(path), "metricsFileSignedUrl")
            yield from (url for url in anew if url not in listed)

    def _checkpoints(self, job: Job, skipped: list[str]) -> list[object]:
        collection, path = _path(job.id)
        if collection not in _WITH_CHECKPOINTS:
            return []
        pages = list(self._rows(f"{path}/checkpoints", "checkpoints", is_optional=True))
        if not pages:
            skipped.append("its checkpoints cannot be listed")
        return [row for page in pages for row in page]

    def _other_pages(self, collection: str) -> Iterator[Page]:
        """The pages of a collection that an account may lack or a key may not read."""
        pages = self._pages(collection)
        try:
            first = next(pages)
        except (NotFound, NotOffered):
            return
        except (Forbidden, Refused) as error:
            yield Page((), (f"No {collection}: {error.sentence}",))
            return
        yield first
        yield from pages

    def _pages(self, collection: str) -> Iterator[Page]:
        make_job = partial(self._job, collection)
        lists = self._rows(f"/{collection}", collection, orderBy="createTime desc")
        for rows in lists:
            page = read_page(JobRecord, rows, make_job)
            if not _descends(page):
                # The order that was asked for is not kept: a new job may be on any page.
                page = read_page(JobRecord, [*rows, *chain.from_iterable(lists)], make_job)
            yield page

    def _rows(
        self, path: str, key: str, *, is_optional: bool = False, **query: str
    ) -> Iterator[list[object]]:
        """The pages of a list, down to one without a token; none of an optional one not had."""
        seen: set[str] = set()
        while True:
            asked: Query = {"pageSize": _PAGE_SIZE, **query}
            if is_optional:
                reply = self._http.find_object(path, asked, is_optional=True)
            else:
                is_entry = key == _SUPERVISED and "pageToken" not in query
                reply = self._http.get_object(path, asked, is_entry=is_entry)
            if reply is None:
                return
            yield _list(reply, path, key)
            token = reply.get("nextPageToken")
            if not token or not isinstance(token, str):
                return
            if token in seen:
                raise BadReply(f"The pages of {path} do not end: they repeat")
            seen.add(token)
            query["pageToken"] = token

    def _job(
        self, collection: str, record: JobRecord, skipped: tuple[str, ...], raw: object
    ) -> Job:
        word = record.state or ""
        status = self.statuses.get(word, JobStatus.UNKNOWN)
        row = raw if isinstance(raw, dict) else {}
        chosen = params(row)
        identifier = record.name.rpartition(f"/{collection}/")[2]
        page = _PAGES.get(collection) if self._is_public else None
        return Job(
            id=f"{collection}/{identifier}",
            status=status,
            provider_status=word,
            created_at=record.created_at,
            finished_at=record.completed_at if status.is_final else None,
            base_model=record.trained_from,
            # Before its success a job has reserved no more than the name.
            fine_tuned_model=record.trained_into if status is JobStatus.SUCCEEDED else None,
            suffix=record.display_name or None,
            error=error_text(record.status),
            params=chosen,
            epochs=epochs_of(chosen),
            training_files=_known(record.dataset),
            validation_files=_known(record.evaluation_dataset),
            cost=cost_text(record.cost),
            page=f"{page}/{segment(identifier)}" if page else None,
            raw=row,
            skipped=skipped,
        )


def _path(job_id: str) -> tuple[str, str]:
    """The collection and the address of a job."""
    collection, _, identifier = job_id.partition("/")
    if collection not in COLLECTIONS or not identifier:
        raise Refused(
            f"{job_id} is no job of Fireworks",
            f"Write it with its collection: {', '.join(f'{each}/ID' for each in COLLECTIONS)}",
        )
    return collection, f"/{collection}/{segment(identifier)}"


def _list(reply: JsonObject, path: str, key: str) -> list[object]:
    """The rows in a reply. An object without anything is what some servers make of no rows."""
    rows = reply.get(key) or []
    if not isinstance(rows, list) or (reply and not {key, "nextPageToken"} & reply.keys()):
        raise BadReply(f"The reply to {path} has no list", "Check base_url")
    return rows


def _descends(page: Page) -> bool:
    """Whether the newest job comes first."""
    times = [job.created_at for job in page.jobs if job.created_at is not None]
    return times == sorted(times, reverse=True)


def _known(name: str | None) -> tuple[str, ...]:
    return (name,) if name else ()


def _urls(reply: Mapping[str, object] | None, key: str) -> list[str]:
    url = (reply or {}).get(key)
    return [url] if isinstance(url, str) and url else []


def _suffix(body: bytes) -> str:
    form = metrics_file.form(body)
    return f".{form}" if form else ""


def _curve(job: Job, body: bytes, skipped: list[str]) -> tuple[CurvePoint, ...]:
    """The points in a metrics file."""
    if body.strip() and metrics_file.form(body) is None:
        skipped.append("its metrics file has a format that is not known: please report it")
    rows = metrics_file.rows(body, skipped)
    if not rows:
        return ()
    # While a job trains, its last change is the last that is known of it.
    record, _ = read_record(JobRecord, job.raw)
    told = replace(job, finished_at=job.finished_at or record.updated_at)
    timeline = Timeline(told, [(row.step, row.at) for row in rows]).ending_at(rows[-1].step)
    return tuple(
        CurvePoint(name, row.step, value, timeline.at(row.step) if row.at is None else row.at)
        for row in rows
        for name, value in row.metrics.items()
    )


def _total_steps(job: Job, curve: tuple[CurvePoint, ...]) -> int | None:
    """How many steps a job had that went to its end."""
    if job.status is not JobStatus.SUCCEEDED:
        return None
    return max((point.step for point in curve if point.step > 0), default=None)
