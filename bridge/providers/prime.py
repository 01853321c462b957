"""Prime Intellect's Hosted Training: reinforcement runs of one account, or of one of its teams.

Wire format: the types of Prime's own command line, 0.18. Runs come in pages; servers of an earlier
version sent them all at once. A run's metrics have a separate address, with one row per step under
the names of the open trainer, and can be requested from a step on: for an open run, its newest step
and later ones are requested. Checkpoints have steps but no metrics, and get those of their steps;
none has a name to call it by. The cost of a run is in the account's billing. A run's progress is
its newest row of metrics; the separate address for progress returns no more.

Not verified against the live service: the order of the runs (if they do not come newest first,
every pass reads all pages), the number of rows of metrics in a reply (if there are many, the steps
before and after them are requested until there are none), and whether rows have a time (rows
without one are placed between the times of the run and its checkpoints).
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
    Job,
    JobStatus,
    LoggedSteps,
    Meaning,
    Page,
    Snapshot,
)
from bridge.providers.job_api import JobApi, newest_first, not_started
from bridge.providers.new_ids import NewIds
from bridge.providers.parts import CHECKPOINTS, JOB_LIST, Parts
from bridge.providers.prime_metrics import Measured, Metrics, measured, points
from bridge.providers.prime_records import (
    CheckpointRecord,
    JobRecord,
    UsageRecord,
    environments,
    params,
)
from bridge.providers.raw_replies import documents
from bridge.providers.records import Listed, read_page, read_record, read_rows, reply_of, rows_of
from bridge.providers.statuses import Words, status_of
from bridge.providers.timeline import Timeline
from bridge.providers.token_pages import repeated

_RUNS: Final = "/rft/runs"
_PAGE_SIZE: Final = 20
"""Page size that Prime's command line requests; the largest one is not documented."""
_PAGES: Final = "https://app.primeintellect.ai/dashboard/training"
"""Address of the runs' pages for people."""
_NOT_SAVED: Final = frozenset({"PENDING", "UPLOADING", "FAILED"})
"""Statuses of checkpoints that do not exist, or not yet."""


class Prime(JobApi):
    """Runs, their metrics by step, their checkpoints and their cost."""

    base_url: ClassVar = "https://api.primeintellect.ai/api/v1"
    key_variable: ClassVar = "PRIME_API_KEY"
    statuses: Mapping[str, JobStatus] = Words(
        {
            "QUEUED": JobStatus.QUEUED,
            "PENDING": JobStatus.QUEUED,
            "RUNNING": JobStatus.RUNNING,
            "PAUSED": JobStatus.PAUSED,
            "COMPLETED": JobStatus.SUCCEEDED,
            "FAILED": JobStatus.FAILED,
            "STOPPED": JobStatus.CANCELLED,
        }
    )
    meanings: ClassVar[Mapping[str, Meaning]] = {
        "reward/all/mean": Meaning.REWARD,
        "maxSteps": Meaning.STEPS,
        "batchSize": Meaning.BATCH_SIZE,
        "learningRate": Meaning.LEARNING_RATE,
        "seqLen": Meaning.CONTEXT,
    }

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
        team: str | None = None,
    ) -> None:
        super().__init__(http, curves=curves, statuses=statuses)
        self._query: Query = {"team_id": team} if team else {}
        self._metrics = Metrics(self._part)

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one run with all of its points; for an open run only new steps are requested."""
        del logged  # Rows are kept as long as a run is open.
        if not job.status.has_started:
            return not_started(job, keep=keep)
        skipped = list(job.skipped)
        parts = self._parts()
        saved = self._part(parts, job, CHECKPOINTS)
        wants_metrics = self._curves or keep or saved
        rows = self._metrics.read(job, parts, reread=keep) if wants_metrics else []
        found = measured(rows, skipped)
        records, unreadable = read_rows(CheckpointRecord, saved)
        skipped += unreadable
        timeline = _timeline(job, found, [record for record, _ in records])
        found = [replace(each, at=each.at or timeline.at(each.step)) for each in found]
        for record, problems in records:
            skipped += [f"checkpoint at step {record.step}: {problem}" for problem in problems]
        if job.status.is_final:
            job = self._with_bill(parts, job, skipped)
        curve = points(found) if self._curves else ()
        is_kept = {"metrics": rows, "checkpoints": [_without_signature(row) for row in saved]}
        return Snapshot(
            job=job,
            checkpoints=_checkpoints([record for record, _ in records], found),
            curve=curve,
            documents=documents(reply_of(job), skipped, **is_kept) if keep else {},
            skipped=tuple(skipped),
            missing=parts.missing,
            is_whole=bool(curve) or not self._curves,
        )

    def file(self, file_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Raise ``NotFound``, because runs learn from environments, which are programs."""
        raise NotFound(
            f"{file_id} is an environment, not a file",
            "Keep its version, or copy it with: prime env pull",
        )

    def _entry(self) -> JsonObject:
        return self._listed(1, limit=1)

    def _listed(self, number: int, *, limit: int = _PAGE_SIZE) -> JsonObject:
        query = {"page": number, "limit": limit, **self._query}
        return self._http.get_object(_RUNS, query, is_entry=number == 1)

    def _pages(self, parts: Parts) -> Iterator[Page]:
        lists = parts.pages(JOB_LIST, self._lists(), needs_first=True)
        return newest_first(lists, partial(read_page, JobRecord, make_job=self._job))

    def _find(self, job_id: str) -> Job | None:
        reply = self._http.find_object(_path(job_id))
        if reply is None:
            return None
        row = reply.get("run")
        return self._job(*read_record(JobRecord, row), row)

    def _lists(self) -> Iterator[list[object]]:
        """Yield the pages of runs as long as the server reports more."""
        seen: set[str] = set()
        new_ids = NewIds(_RUNS, lambda: rows_of(self._listed(1), "runs", _RUNS))
        number = 1
        while True:
            reply = self._listed(number)
            rows = rows_of(reply, "runs", _RUNS)
            new_ids.check(rows)
            yield rows
            total = reply.get("total_pages")
            # A server without pages has sent everything.
            if not rows or not isinstance(total, int) or number >= total:
                return
            ids = [row.get("id") for row in rows if isinstance(row, dict)]
            names = {each for each in ids if isinstance(each, str)}
            if names <= seen:
                raise repeated(_RUNS)
            seen |= names
            number += 1

    def _part(self, parts: Parts, job: Job, name: str, query: Query | None = None) -> list[object]:
        """Return the rows of a list below a run; while the run is open, it may not exist yet."""

        def ask() -> list[object]:
            path = f"{_path(job.id)}/{name}"
            if not job.status.is_final:
                reply = self._http.find_object(path, query, is_optional=True) or {}
                rows = reply.get(name)
                return rows if isinstance(rows, list) else []
            return rows_of(self._http.get_object(path, query), name, path, may_be_empty=True)

        return parts.one(name, ask) or []

    def _with_bill(self, parts: Parts, job: Job, skipped: list[str]) -> Job:
        """Return a run that has ended with its cost, if the key may read it."""
        path = f"/billing/runs/{segment(job.id)}/usage"
        reply = parts.one("bill", lambda: self._http.find_object(path, is_optional=True))
        if reply is None:
            return job
        bill, problems = read_record(UsageRecord, reply)
        skipped += [f"its bill: {problem}" for problem in problems]
        tokens = bill.training.tokens if bill.training else None
        return replace(job, cost=bill.text, trained_tokens=tokens)

    def _job(self, record: JobRecord, skipped: tuple[str, ...], raw: object) -> Job:
        status = status_of(
            record.status,
            self.statuses,
            has_ended=record.completed_at is not None,
            has_failed=bool(record.error),
            has_model=False,
        )
        row = raw if isinstance(raw, dict) else {}
        ended = record.completed_at or record.updated_at
        return Listed(
            id=record.id,
            status=status,
            provider_status=record.status or "",
            created_at=record.created_at,
            started_at=record.started_at,
            finished_at=ended if status.is_final else None,
            base_model=record.base_model or None,
            suffix=record.name or None,
            error=record.error or None,
            params=params(row),
            total_steps=record.max_steps,
            training_files=environments(record),
            page=f"{_PAGES}/{segment(record.id)}" if self._is_public else None,
            reply=row,
            skipped=skipped,
        )


def _path(job_id: str) -> str:
    return f"{_RUNS}/{segment(job_id)}"


def _timeline(job: Job, found: list[Measured], saved: list[CheckpointRecord]) -> Timeline:
    known = [(each.step, each.at) for each in found]
    known += [(each.step, each.created_at) for each in saved]
    known.append((0, job.started_at))
    record, _ = read_record(JobRecord, reply_of(job))
    # While a run trains, its last change is its last known time.
    given = replace(job, finished_at=job.finished_at or record.updated_at)
    return Timeline(given, known).ending_at(max((each.step for each in found), default=0))


def _checkpoints(
    saved: Iterable[CheckpointRecord], found: Iterable[Measured]
) -> tuple[Checkpoint, ...]:
    """Return the saved states by ascending step, with the metrics of their steps."""
    metrics: dict[int, dict[str, float]] = {}
    for each in found:
        metrics[each.step] = {**each.metrics, **metrics.get(each.step, {})}
    checkpoints: dict[int, Checkpoint] = {}
    for record in sorted(saved, key=lambda each: each.step):
        if record.status not in _NOT_SAVED:
            checkpoints[record.step] = Checkpoint(
                id=record.id,
                step=record.step,
                created_at=record.created_at,
                metrics=metrics.get(record.step, {}),
            )
    return tuple(checkpoints.values())


def _without_signature(row: object) -> object:
    """Return a checkpoint without the signed URL that would let anyone read it."""
    url = row.get("storageUrl") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(url, str):
        return row
    return {**row, "storageUrl": url.partition("?")[0]}
