"""The simulated jobs and their lives, as pure functions of a job and a time in Unix seconds."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

from bridge.model import JobStatus

Provider = Literal[
    "openai",
    "azure",
    "nebius",
    "mistral",
    "together",
    "fireworks",
    "bedrock",
    "bedrock-mantle",
    "vertex",
    "prime",
]
Method = Literal["supervised", "dpo", "reinforcement"]
"""Training methods. A DPO job has the metrics of a supervised one, because no recording shows
OpenAI's. Only Vertex AI has reinforcement."""


class Outcome(StrEnum):
    """The outcome of a simulated job."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    """The job stops in the middle and never resumes. OpenAI only."""
    WAITING = "waiting"
    """The job never starts: queued at OpenAI, validated without auto-start at Mistral."""


@dataclass(frozen=True, slots=True)
class Failure:
    """OpenAI's error of a failed job. Mistral's job object has no field for a reason."""

    code: str
    message: str
    param: str | None = None


INVALID_TRAINING_FILE = Failure(
    "invalid_training_file",
    "The job failed due to an invalid training file. Invalid file format. "
    "Example 100, message 2 Discriminator 'role' is missing in value",
    "training_file",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedJob:
    """A job's whole life, fixed before it begins."""

    provider: Provider
    id: str
    created_at: float
    base_model: str
    """Base model, which may be another job's model."""
    suffix: str | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)
    """Metadata of the job's owner. OpenAI and Vertex AI only."""
    validating_seconds: float = 20.0
    queued_seconds: float = 10.0
    total_steps: int = 100
    seconds_per_step: float = 1.0
    finishing_seconds: float = 3.0
    """Seconds from the last step to the end, in which the provider saves the model."""
    late_seconds: float = 0.0
    """Seconds from the end until OpenAI's checkpoints and closing messages appear."""
    n_epochs: int = 3
    batch_size: int = 8
    learning_rate: float | None = None
    """Learning rate, for OpenAI its multiplier. ``None`` leaves it to the provider."""
    outcome: Outcome = Outcome.SUCCEEDED
    ends_at_step: int = 0
    """Last step of a job that does not succeed; 0 ends it before its first step."""
    failure: Failure = INVALID_TRAINING_FILE
    """Error of a job that fails."""
    validation: bool = True
    eval_every: int = 10
    seed: int = 1
    method: Method = "supervised"
    shutdown_at: float | None = None
    """Announced shutdown of its models. OpenAI and Azure only."""
    plain_result_file: bool = False
    """Whether the result file is plain CSV instead of base64, as for old jobs."""

    def __post_init__(self) -> None:
        if min(self.total_steps, self.n_epochs, self.batch_size, self.eval_every) < 1:
            raise ValueError("steps, epochs, batch size and evaluation interval start at 1")
        if self.seconds_per_step <= 0:
            raise ValueError("a step takes time")
        if self.provider == "mistral" and self.outcome is Outcome.PAUSED:
            raise ValueError("Mistral does not pause jobs")
        if self.provider == "mistral" and self.metadata is not None:
            raise ValueError("Mistral has no metadata on jobs")
        if self.provider == "together" and (self.metadata or self.outcome is Outcome.PAUSED):
            raise ValueError("Together neither pauses jobs nor has metadata on them")
        if self.method == "reinforcement" and self.provider != "vertex":
            raise ValueError("reinforcement is simulated for Vertex AI only")
        if self.provider == "prime" and self.metadata is not None:
            raise ValueError("Prime Intellect has no metadata on runs")
        if self.provider == "bedrock" and (self.metadata or self.outcome is Outcome.PAUSED):
            raise ValueError("Bedrock neither pauses jobs nor has metadata on them")
        if self.provider == "fireworks" and self.metadata is not None:
            raise ValueError("Fireworks has no metadata on jobs")

    @property
    def original_model(self) -> str:
        """The provider's own model from which all training started."""
        made, _, rest = self.base_model.partition(":")
        return rest.split(":")[0] if made == "ft" else self.base_model.split(".ft-")[0]

    @property
    def last_step(self) -> int:
        """The step that the job reaches in the end."""
        match self.outcome:
            case Outcome.SUCCEEDED:
                return self.total_steps
            case Outcome.WAITING:
                return 0
            case _:
                return min(self.ends_at_step, self.total_steps)

    @property
    def fails_validation(self) -> bool:
        """Whether the validation of its files fails."""
        return self.outcome is Outcome.FAILED and self.last_step == 0

    @property
    def validated_at(self) -> float:
        """Time at which the provider has validated the files."""
        return self.created_at + self.validating_seconds

    @property
    def started_at(self) -> float:
        """Time at which training begins, if it does."""
        return self.validated_at + self.queued_seconds

    def step_at(self, step: int) -> float:
        """Return the time at which ``step`` is done."""
        return self.started_at + step * self.seconds_per_step

    @property
    def stopped_at(self) -> float:
        """Time at which the last step is done or, without steps, the outcome is decided."""
        return self.validated_at if self.fails_validation else self.step_at(self.last_step)

    @property
    def settled_at(self) -> float:
        """Time of the last change of status; infinite for a job that waits for ever."""
        if self.outcome is Outcome.WAITING:
            return math.inf
        at_once = self.last_step == 0 or self.outcome is Outcome.PAUSED
        return self.stopped_at + (0 if at_once else self.finishing_seconds)

    @property
    def epoch_ends(self) -> tuple[int, ...]:
        """The steps that complete an epoch, ascending."""
        ends = {
            math.ceil(self.total_steps * n / self.n_epochs) for n in range(1, self.n_epochs + 1)
        }
        return tuple(sorted(ends))


class Change(NamedTuple):
    """A new status, and its beginning."""

    at: float
    status: JobStatus


def life(job: SimulatedJob) -> tuple[Change, ...]:
    """Return all statuses of ``job`` from its creation on, in order."""
    changes = [Change(job.created_at, JobStatus.VALIDATING)]
    if not job.fails_validation:
        changes.append(Change(job.validated_at, JobStatus.QUEUED))
    if job.last_step:
        changes.append(Change(job.started_at, JobStatus.RUNNING))
    if job.outcome is not Outcome.WAITING:
        changes.append(Change(job.settled_at, JobStatus(job.outcome)))
    return tuple(changes)


def life_until(job: SimulatedJob, now: float) -> tuple[Change, ...]:
    """Return the statuses that ``job`` has had by ``now``; empty before its creation."""
    return tuple(change for change in life(job) if change.at <= now)


def status(job: SimulatedJob, now: float) -> JobStatus:
    """Return the status of ``job`` at ``now``, which is not before its creation."""
    return life_until(job, now)[-1].status


def has_started(job: SimulatedJob, now: float) -> bool:
    """Return whether training has begun by ``now``; true for ever after."""
    return any(change.status is JobStatus.RUNNING for change in life_until(job, now))


def steps_done(job: SimulatedJob, now: float) -> int:
    """Return the newest step that is done at ``now``, 0 before the first."""
    # Compares with the times in the replies, because a division would differ in the last bit.
    return bisect_right(range(1, job.last_step + 1), now, key=job.step_at)


def newest_first(jobs: Iterable[SimulatedJob], now: float) -> list[SimulatedJob]:
    """Return the jobs that exist at ``now``, as the providers list them."""
    known = (job for job in jobs if job.created_at <= now)
    return sorted(known, key=lambda job: (-job.created_at, job.id))


def all_end_by(jobs: Iterable[SimulatedJob]) -> float:
    """Return the time after which ``jobs`` do not change, except those that wait for ever."""
    ends = (job.settled_at + job.late_seconds for job in jobs)
    return max((end for end in ends if math.isfinite(end)), default=0.0)
