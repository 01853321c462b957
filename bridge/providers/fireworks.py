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

from bridge.errors import BadReply, NotFound, Refused
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
from bridge.providers.parts import CHECKPOINTS, METRICS_FILE, ById, Parts
from bridge.providers.raw_replies import documents
from bridge.providers.records import Listed, read_page, read_record, reply_of
from bridge.providers.statuses import extended, status_of
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
        self.statuses = extended(self.statuses, statuses)
        self._http = http
        self._is_public = http.is_below(_PUBLIC)
        self._curves = curves
        self._by_id = ById(self._find, self.pages)

    def pages(self) -> Iterator[Page]:
        """All jobs, newest first, as far as one list can be made of three.

        Each page has one of every collection that is not at its end. So a page without anything new
        says of all of them that nothing new follows.
        """
        parts = self._parts()
        lists = [self._pages(collection, parts) for collection in COLLECTIONS]
        for each in zip_longest(*lists, fillvalue=Page(())):
            jobs = [job for part in each for job in part.jobs]
            unreadable = [sentence for part in each for sentence in part.unreadable]
            jobs.sort(key=lambda job: -(job.created_at or 0))
            yield Page(tuple(jobs), tuple(unreadable))
        for cut in parts.missing:
            yield Page((), cut=cut)

    def job(self, job_id: str) -> Job:
        """One job, as its own address has it."""
        return self._by_id(job_id)

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """One job with all the metrics of its file, logged or not."""
        del logged  # The file comes as a whole.
        skipped = list(job.skipped)
        reply = reply_of(job)
        if not job.status.has_started:
            kept = documents(reply, skipped) if keep else {}
            return Snapshot(job=job, documents=kept, skipped=tuple(skipped))
        parts = self._parts()
        body = self._metrics(job, parts) if self._curves or keep else b""
        if body.strip() and metrics_file.form(body) is None:
            parts.lacks(METRICS_FILE, "its format is not known: please report it")
        curve = _curve(job, body, skipped) if self._curves else ()
        kept = {}
        if keep:
            kept = documents(reply, skipped, checkpoints=self._checkpoints(job, parts))
            kept |= {f"metrics{_suffix(body)}": body} if body else {}
        return Snapshot(
            job=replace(job, total_steps=_total_steps(job, curve)),
            curve=curve,
            documents=kept,
            skipped=tuple(skipped),
            missing=parts.missing,
            # Its checkpoints have no steps, so none is waited for; but its metrics may be late.
            is_whole=bool(curve) or not self._curves,
        )

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

    def _parts(self) -> Parts:
        path = f"/{_SUPERVISED}"
        return Parts(lambda: self._http.get_object(path, {"pageSize": 1}, is_entry=True))

    def _find(self, job_id: str) -> Job | None:
        collection, path = _path(job_id)
        reply = self._http.find_object(path)
        if reply is None:
            return None
        return self._job(collection, *read_record(JobRecord, reply), reply)

    def _metrics(self, job: Job, parts: Parts) -> bytes:
        """The metrics file; empty where there is none yet, or none at all."""
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
        """Where the file is said to be; a URL that was listed may have expired since."""
        collection, path = _path(job.id)
        if collection == _PREFERENCE:
            path = f"{path}:getMetricsFileEndpoint"
            # While there is no file it may as well be refused.
            is_optional = job.status is not JobStatus.SUCCEEDED
            ask = partial(self._reply, path, is_optional=is_optional)
            yield from _urls(parts.one(METRICS_FILE, ask), "signedUrl")
        elif collection == _SUPERVISED:
            listed = _urls(reply_of(job), "metricsFileSignedUrl")
            yield from listed
            ask = partial(self._http.find_object, path)
            anew = _urls(parts.one(METRICS_FILE, ask), "metricsFileSignedUrl")
            yield from (url for url in anew if url not in listed)

    def _checkpoints(self, job: Job, parts: Parts) -> list[object]:
        collection, path = _path(job.id)
        if collection not in _WITH_CHECKPOINTS:
            return []
        is_optional = job.status is not JobStatus.SUCCEEDED
        rows = self._rows(f"{path}/checkpoints", "checkpoints", is_optional=is_optional)
        return [row for page in parts.pages(CHECKPOINTS, rows) for row in page]

    def _pages(self, collection: str, parts: Parts) -> Iterator[Page]:
        """The pages of a collection. An account may lack all but the first, or a key their use."""
        make_job = partial(self._job, collection)
        is_first = collection == _SUPERVISED
        path, order = f"/{collection}", "createTime desc"
        rows = self._rows(path, collection, is_optional=not is_first, orderBy=order)
        lists = parts.pages(f"list of {collection}", rows, needs_first=is_first)
        for first in lists:
            page = read_page(JobRecord, first, make_job)
            if not _descends(page):
                # The order that was asked for is not kept: a new job may be on any page.
                page = read_page(JobRecord, [*first, *chain.from_iterable(lists)], make_job)
            yield page

    def _reply(
        self, path: str, query: Query | None = None, *, is_optional: bool
    ) -> JsonObject | None:
        return (
            self._http.find_object(path, query, is_optional=True)
            if is_optional
            else self._http.get_object(path, query)
        )

    def _rows(
        self, path: str, key: str, *, is_optional: bool = False, **query: str
    ) -> Iterator[list[object]]:
        """The pages of a list, down to one without a token; none of an optional one not had."""
        seen: set[str] = set()
        while True:
            asked: Query = {"pageSize": _PAGE_SIZE, **query}
            if is_optional:
                reply = self._http.find_object(path, asked)
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
            # Before its success a job has reserved no more than the name.
            fine_tuned_model=record.trained_into if status is JobStatus.SUCCEEDED else None,
            suffix=record.display_name or None,
            error=error,
            params=chosen,
            epochs=epochs_of(chosen),
            training_files=_known(record.dataset),
            validation_files=_known(record.evaluation_dataset),
            cost=cost_text(record.cost),
            page=f"{page}/{segment(identifier)}" if page else None,
            reply=row,
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
    rows = metrics_file.rows(body, skipped, _method(job))
    if not rows:
        return ()
    # While a job trains, its last change is the last that is known of it.
    record, _ = read_record(JobRecord, reply_of(job))
    told = replace(job, finished_at=job.finished_at or record.updated_at)
    timeline = Timeline(told, [(row.step, row.at) for row in rows]).ending_at(rows[-1].step)
    return tuple(
        CurvePoint(name, row.step, value, timeline.at(row.step) if row.at is None else row.at)
        for row in rows
        for name, value in row.metrics.items()
    )


def _method(job: Job) -> str | None:
    """How a job trains: the losses of all but supervised ones may be negative."""
    collection, _ = _path(job.id)
    return None if collection == _SUPERVISED else collection


def _total_steps(job: Job, curve: tuple[CurvePoint, ...]) -> int | None:
    """How many steps a job had that went to its end."""
    if job.status is not JobStatus.SUCCEEDED:
        return None
    return max((point.step for point in curve if point.step > 0), default=None)
