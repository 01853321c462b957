"""Amazon Bedrock's ``bedrock-mantle``: OpenAI's fine-tuning API at AWS, in a region.

Wire format: AWS's user guide on fine-tuning with OpenAI's API, and samples of the Bedrock team with
one recorded event. The guide covers reinforcement fine-tuning, whose metrics are rewards. The list
of jobs is not reliable about status and end, so each unsettled job is requested individually.
Checkpoints may be refused before training begins; a checkpoint without a reward gets that of its
step's event, so that the best one is known.

Not verified against the live service: which regions beside us-west-2 offer it, whether a job has
result files, and what its checkpoints measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import ClassVar, Final

from bridge.http.client import ApiClient
from bridge.model import CurvePoint, Job, JobStatus, LoggedSteps, Meaning, Snapshot
from bridge.providers.openai import OpenAI
from bridge.providers.openai_lists import PAGE_SIZE, job_path, pages
from bridge.providers.openai_records import JobRecord
from bridge.providers.parts import CHECKPOINTS, DETAILS, EVENTS, Parts
from bridge.providers.records import read_record

_REWARD: Final = "critic_rewards_mean"
"""Metric that training maximises."""


class BedrockMantle(OpenAI):
    """Jobs of one account in one region."""

    base_url: ClassVar[str] = "https://bedrock-mantle.${AWS_REGION}.api.aws/v1"
    key_variable: ClassVar = "AWS_BEARER_TOKEN_BEDROCK"
    header_variables: ClassVar[Mapping[str, str]] = {}
    pages_url: ClassVar[str | None] = None
    meanings: ClassVar[Mapping[str, Meaning]] = {
        **OpenAI.meanings,
        _REWARD: Meaning.REWARD,
    }

    def __init__(
        self,
        http: ApiClient,
        *,
        curves: bool = True,
        statuses: Mapping[str, JobStatus] | None = None,
    ) -> None:
        super().__init__(http, curves=curves, statuses=statuses)
        self._asked_for: dict[str, Job] = {}
        """Jobs from their own addresses, until they are read."""
        self._events: dict[str, Iterator[list[object]]] = {}
        """Pages of events whose reading has begun."""
        self._rewards: dict[str, dict[int, CurvePoint]] = {}
        """Rewards of open jobs by step; each job is read by one thread at a time."""

    def job(self, job_id: str) -> Job:
        """Return one job from its own address."""
        job = self._asked_for[job_id] = super().job(job_id)
        return job

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Return one job, with the rewards of its steps at its checkpoints."""
        known = self._rewards.pop(job.id, None)
        self._events.pop(job.id, None)  # left over from a read that broke off
        # This process has not read the rewards of steps that an earlier process logged.
        snapshot = super().read(job, logged={} if known is None else logged, keep=keep)
        fresh = {point.step: point for point in snapshot.curve if point.name == _REWARD}
        rewards = (known or {}) | fresh
        if not snapshot.job.status.is_final and not snapshot.missing:
            self._rewards[job.id] = rewards
        rewarded = {step: {_REWARD: point.value} for step, point in rewards.items()}
        return replace(
            snapshot,
            checkpoints=tuple(
                replace(each, metrics={**rewarded.get(each.step, {}), **each.metrics})
                for each in snapshot.checkpoints
            ),
            # With the time of its event, even if a checkpoint brings it to MLflow.
            curve=(*snapshot.curve, *(rewards[step] for step in rewards.keys() - fresh.keys())),
        )

    def _current(self, job: Job, parts: Parts) -> Job:
        """Return the job from its own address, unless it was just requested."""
        if self._asked_for.pop(job.id, None) is job:
            return job
        return parts.one(DETAILS, lambda: self._own(job)) or job

    def _own(self, job: Job) -> Job:
        reply = self._http.get_object(job_path(job.id))
        return self._job(*read_record(JobRecord, reply), reply)

    def _part(self, parts: Parts, job: Job, name: str) -> Iterator[list[object]]:
        """Yield the pages of a list below a job."""
        if name == EVENTS and job.id in self._events:
            return self._events.pop(job.id)
        if name != CHECKPOINTS or job.status is JobStatus.SUCCEEDED:
            return super()._part(parts, job, name)
        if not job.status.is_final and self._is_before_first_step(parts, job):
            # The job has none, and the answer may be any error.
            return iter(())
        path = f"{job_path(job.id)}/{name}"
        # They may be refused for good if a job ended before training began; while it is open, the
        # next pass requests them again.
        ask = partial(self._http.find_object, path, {"limit": PAGE_SIZE}, is_optional=True)
        first = parts.one(name, ask)
        return parts.pages(name, pages(self._http, path, first)) if first else iter(())

    def _is_before_first_step(self, parts: Parts, job: Job) -> bool:
        """Return whether there are events but none of a step; the pages read are kept."""
        pages = super()._part(parts, job, EVENTS)
        newest = next(pages, [])
        self._events[job.id] = chain([newest], pages)
        rows = [row.get("data") for row in newest if isinstance(row, dict)]
        return bool(rows) and not any(isinstance(data, dict) and "step" in data for data in rows)
