"""The decision, pure: what one look at a job changes in MLflow.

    Snapshot (what the provider says)  ──┐
                                         ├── make_plan ──> Plan (what will be written)
    Recorded (what MLflow already has) ──┘

Does no I/O, reads no clock, and writes nothing that MLflow already has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bridge.model import JobStatus, MetricPoint, Scalar, Snapshot
from bridge.points import CLOCK_SKEW, is_time, new_points, times
from bridge.untrusted import clean, one_line
from bridge.vocabulary import LONGEST_NAME, Vocabulary, is_allowed_name

PROVIDER_TAG: Final = "fine_tuning_provider"
JOB_TAG: Final = "fine_tuning_job_id"
STATUS_TAG: Final = "fine_tuning_status"
CHECKPOINT_TAG: Final = "fine_tuned_model_checkpoint"
OWNER_TAG: Final = "fine_tuning_bridge"
"""On runs that the bridge created; it deletes no others."""
OWNER: Final = "ftbridge"

RUN_STATUS: Final[Mapping[JobStatus, str]] = {
    JobStatus.VALIDATING: "SCHEDULED",
    JobStatus.QUEUED: "SCHEDULED",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSED: "RUNNING",
    JobStatus.UNKNOWN: "RUNNING",
    JobStatus.SUCCEEDED: "FINISHED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "KILLED",
}
FINAL_RUN_STATUS: Final = frozenset({"FINISHED", "FAILED", "KILLED"})
NEW_RUN_STATUS: Final = "RUNNING"
"""What MLflow gives a run at its creation."""

SETTLING: Final = 5 * 60_000
"""Milliseconds. OpenAI publishes a job's checkpoints some seconds after its success."""
# MLflow's limits. Longer text would be cut there without a word.
_LONGEST_PARAM: Final = 6000
_LONGEST_TAG: Final = 5000
_LONGEST_ERROR: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What MLflow has of a job."""

    run_id: str
    status: str
    start_time: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    steps: Mapping[str, frozenset[int]]
    """The steps that are logged, by MLflow's metric name."""

    def has(self, name: str, step: int) -> bool:
        """Whether the metric that MLflow calls ``name`` is logged at ``step``."""
        return step in self.steps.get(name, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be written of one job. The final status comes last: it says all is there."""

    provider: str
    job_id: str
    run_id: str | None
    """``None``: a run has to be created."""
    run_name: str
    start_time: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: tuple[MetricPoint, ...]
    """By ascending step, so that an interrupted write leaves a curve without holes."""
    status: str | None
    """The run's new status; ``None``: as it is."""
    end_time: int | None
    is_final: bool
    """Whether MLflow has everything once this is written."""
    is_settling: bool
    """Whether the job has ended but its last data is still to come."""
    skipped: tuple[str, ...]
    """What of the provider's data is left out, a sentence each."""

    @property
    def is_new(self) -> bool:
        """Whether the job has no run yet."""
        return self.run_id is None

    @property
    def is_empty(self) -> bool:
        """Whether MLflow already has all of it."""
        return not (self.is_new or self.tags or self.params or self.points or self.status)

    def document(self) -> dict[str, object]:
        """The plan for a JSON document; its points are counted by metric."""
        return {
            "job": self.job_id,
            "run": self.run_id,
            "run_name": self.run_name,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "status": self.status,
            "tags": dict(self.tags),
            "params": dict(self.params),
            "points": dict(Counter(point.name for point in self.points)),
        }

    def __str__(self) -> str:
        """One line for ``--dry-run``."""
        if self.is_empty:
            return f"{self.run_name}: nothing to do"
        metrics = len({point.name for point in self.points})
        changes = [
            f"{len(self.points)} points of {metrics} metrics" if self.points else "",
            f"{len(self.params)} params" if self.params else "",
            f"{len(self.tags)} tags" if self.tags else "",
            self.status or "",
        ]
        verb = "create" if self.is_new else "update"
        return f"{verb} {self.run_name}: {', '.join(filter(None, changes))}"


def make_plan(
    provider: str,
    snapshot: Snapshot,
    recorded: Recorded | None,
    vocabulary: Vocabulary,
    *,
    now: int,
) -> Plan:
    """The difference between a snapshot and what is recorded.

    Args:
        provider: the provider's name in the configuration.
        snapshot: what the provider says.
        recorded: what MLflow has; ``None``: no run yet.
        vocabulary: the names that metrics get.
        now: Unix milliseconds.
    """
    job = snapshot.job
    skipped = list(snapshot.skipped)
    start = _start(snapshot, recorded, now)
    is_settling = _is_settling(snapshot, now)
    if job.status is JobStatus.UNKNOWN:
        word = clean(job.provider_status, 50)
        skipped.append(f"its status {word!r} is unknown: it counts as running")
    has = recorded.has if recorded else lambda _name, _step: False
    # While checkpoints are still to come, a rounded point must not take the place of theirs.
    points = (
        ()
        if is_settling
        else tuple(new_points(snapshot, vocabulary, has, skipped, fallback=start, now=now))
    )
    params = dict(_new_params(job.params, recorded.params if recorded else {}, skipped))
    wanted = dict(_tags(provider, snapshot, is_new=recorded is None))
    known = recorded.tags if recorded else {}
    tags = {name: value for name, value in wanted.items() if known.get(name) != value}
    is_final = job.status.is_final and not is_settling
    status = RUN_STATUS[JobStatus.RUNNING if is_settling else job.status]
    current = recorded.status if recorded else NEW_RUN_STATUS
    return Plan(
        provider=provider,
        job_id=job.id,
        run_id=recorded.run_id if recorded else None,
        run_name=f"{provider}/{one_line(job.suffix or '', LONGEST_NAME) or job.id}",
        start_time=start,
        tags=tags,
        params=params,
        points=points,
        status=status if status != current else None,
        end_time=_end(snapshot, start, now) if is_final else None,
        is_final=is_final,
        is_settling=is_settling,
        skipped=tuple(skipped),
    )


def _is_settling(snapshot: Snapshot, now: int) -> bool:
    """Whether a job has only just succeeded and its checkpoints are still to come."""
    job = snapshot.job
    if job.status is not JobStatus.SUCCEEDED or snapshot.checkpoints or job.finished_at is None:
        return False
    # Either clock may be ahead a little.
    return -CLOCK_SKEW < now - job.finished_at < SETTLING


def _start(snapshot: Snapshot, recorded: Recorded | None, now: int) -> int:
    if recorded is not None:
        return recorded.start_time
    created = snapshot.job.created_at
    if created is not None and is_time(created, now):
        return created
    return min(times(snapshot, now), default=now)


def _end(snapshot: Snapshot, start: int, now: int) -> int:
    """When the job ended: failed jobs often do not say, then the last that is known of them."""
    finished = snapshot.job.finished_at
    if finished is not None and is_time(finished, now):
        return max(start, finished)
    return max([start, *times(snapshot, now)])


def _new_params(
    wanted: Mapping[str, Scalar], known: Mapping[str, str], skipped: list[str]
) -> Iterator[tuple[str, str]]:
    for name, value in wanted.items():
        text = clean(str(value), _LONGEST_PARAM)
        if not is_allowed_name(name):
            skipped.append(f"param {clean(name, 100)!r} has a name that MLflow refuses")
        elif name not in known:
            yield name, text
        elif not _is_same(known[name], text):
            skipped.append(
                f"param {name} is {clean(known[name], 100)} in MLflow, which never changes a param,"
                f" and {clean(text, 100)} at the provider"
            )


def _is_same(left: str, right: str) -> bool:
    """Whether two texts are one value: 2 and 2.0 are."""
    try:
        return left == right or float(left) == float(right)
    except ValueError:
        return False


def _tags(provider: str, snapshot: Snapshot, *, is_new: bool) -> Iterator[tuple[str, str]]:
    job = snapshot.job
    newest = snapshot.newest_checkpoint
    values: dict[str, str | int | None] = {
        PROVIDER_TAG: provider,
        JOB_TAG: job.id,
        STATUS_TAG: job.provider_status,
        "base_model": job.base_model,
        "fine_tuned_model": job.fine_tuned_model,
        CHECKPOINT_TAG: newest.model if newest else None,
        "trained_tokens": job.trained_tokens,
        "fine_tuning_error": clean(job.error, _LONGEST_ERROR) if job.error else None,
    }
    if is_new:
        values |= {
            OWNER_TAG: OWNER,
            "mlflow.user": OWNER,
            "mlflow.source.type": "JOB",
            "mlflow.source.name": f"{provider} {job.id}",
        }
    for name, value in values.items():
        if value not in {None, ""}:
            yield name, clean(str(value), _LONGEST_TAG)
