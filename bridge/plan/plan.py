"""The decision, pure: what MLflow gets of a job.

    Snapshot (what the provider says)     ──┐
                                            ├── make_plan ──> Plan (what will be written)
    RecordedRun (what MLflow already has) ──┘

Does no I/O, reads no clock, and writes nothing that MLflow already has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bridge.model import Job, JobStatus, MetricPoint, Scalar, Snapshot
from bridge.plan import tags as run_tags
from bridge.plan.datasets import DatasetInput, datasets_of
from bridge.plan.description import counted
from bridge.plan.metric_names import LONGEST_NAME, MetricNames, is_allowed_name
from bridge.plan.models import HostedModel, Registration, hosted_models, registration_of
from bridge.plan.options import RecordingOptions
from bridge.plan.points import CLOCK_SKEW, all_metric_names, is_time, new_points, times
from bridge.plan.recorded import FINAL_RUN_STATUS, RecordedRun
from bridge.plan.routing import Route
from bridge.text import clean, one_line

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
NEW_RUN_STATUS: Final = "RUNNING"
"""What MLflow gives a run at its creation."""

SETTLING: Final = 5 * 60_000
"""Milliseconds. OpenAI publishes a job's checkpoints some seconds after its success."""
_LONGEST_PARAM: Final = 6000
"""Characters; MLflow would cut longer ones without a word."""


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
    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[HostedModel, ...] = ()
    registration: Registration | None = None
    documents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """What is archived, by file name."""
    files: tuple[str, ...] = ()
    """What is archived besides: the provider's ids of files."""
    status: str | None
    """The run's new status; ``None``: as it is."""
    end_time: int | None
    last_tags: Mapping[str, str] = field(default_factory=dict)
    """Written after everything else, where the status alone does not say that all is there."""
    is_final: bool
    """Whether MLflow has everything once this is written."""
    is_settling: bool
    """Whether the job has ended but its last data is still to come."""
    reason: str
    """Why it is as it is, in a few words, for the log."""
    skipped: tuple[str, ...]
    """What of the provider's data is left out, a sentence each."""

    @property
    def is_new(self) -> bool:
        """Whether the job has no run yet."""
        return self.run_id is None

    @property
    def is_empty(self) -> bool:
        """Whether MLflow already has all of it."""
        return not (self.is_new or self.status or self.last_tags or self.changes)

    @property
    def changes(self) -> str:
        """What is added to a run, in words; empty where that is nothing."""
        metrics = {point.name for point in self.points}
        parts = (
            f"{counted(self.points, 'point')} of {counted(metrics, 'metric')}" if metrics else "",
            counted(self.models, "model"),
            counted(self.datasets, "dataset"),
            counted(self.params, "param"),
            counted(self.tags, "tag"),
            counted([*self.documents, *self.files], "archived file"),
            "a registered version" if self.registration else "",
        )
        return ", ".join(filter(None, parts))

    def document(self) -> dict[str, object]:
        """The plan for a JSON document; its points are counted by metric."""
        return {
            "job": self.job_id,
            "run": self.run_id,
            "run_name": self.run_name,
            "reason": self.reason,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "status": self.status,
            "tags": {**self.tags, **self.last_tags},
            "params": dict(self.params),
            "points": dict(Counter(point.name for point in self.points)),
            "datasets": {each.file_id: each.context for each in self.datasets},
            "models": {each.name: each.model for each in self.models},
            "registered_model": self.registration.name if self.registration else None,
            "archive": sorted([*self.documents, *self.files]),
        }

    def __str__(self) -> str:
        """One line for ``--dry-run``."""
        if self.is_empty:
            return f"{self.run_name}: nothing to do"
        verb = "create" if self.is_new else "update"
        return f"{verb} {self.run_name}: {', '.join(filter(None, [self.changes, self.status]))}"


def make_plan(
    provider: str,
    snapshot: Snapshot,
    recorded: RecordedRun | None,
    options: RecordingOptions,
    *,
    now: int,
    route: Route | None = None,
) -> Plan:
    """Return the difference between a snapshot and what is recorded.

    Args:
        provider: the provider's name in the configuration.
        snapshot: what the provider says.
        recorded: what MLflow has; ``None``: no run yet.
        options: what of a job is recorded, and under which names.
        now: Unix milliseconds.
        route: where the run goes, if the job has been routed.
    """
    job, names = snapshot.job, options.metric_names
    start = _start(snapshot, recorded, now)
    is_settling = _is_settling(snapshot, now)
    is_final = job.status.is_final and not is_settling
    steps = recorded.steps if recorded else {}
    # While checkpoints are still to come, a rounded point must not take the place of theirs.
    points, left_out = (
        ((), ()) if is_settling else new_points(snapshot, names, steps, fallback=start, now=now)
    )
    params, refused = _new_params(job.params, recorded.params if recorded else {}, names)
    has_models = options.models and not is_settling
    return Plan(
        provider=provider,
        job_id=job.id,
        run_id=recorded.run_id if recorded else None,
        run_name=f"{provider}/{one_line(job.suffix or '', LONGEST_NAME) or job.id}",
        start_time=start,
        tags=_tags(provider, snapshot, recorded, names, route),
        params=params,
        points=points,
        datasets=_new_datasets(snapshot, recorded) if options.datasets else (),
        models=_new_models(provider, snapshot, recorded, points, names) if has_models else (),
        registration=(
            registration_of(options.register, provider, options.provider_type, snapshot)
            if options.models and is_final
            else None
        ),
        documents=snapshot.documents if is_final else {},
        files=_files(snapshot) if is_final and options.archives_files else (),
        status=_status(snapshot, recorded, is_settling=is_settling),
        end_time=_end(snapshot, start, now) if is_final else None,
        last_tags=_last_tags(recorded) if is_final else {},
        is_final=is_final,
        is_settling=is_settling,
        reason=_reason(job, recorded, is_settling=is_settling),
        skipped=(
            *(route.refused if route else ()),
            *snapshot.skipped,
            *_unknown_word(job),
            *left_out,
            *refused,
        ),
    )


def _reason(job: Job, recorded: RecordedRun | None, *, is_settling: bool) -> str:
    known = "it has no run yet" if recorded is None else f"its run is {recorded.status}"
    if is_settling:
        return f"{known}, and its checkpoints are still to come"
    return f"{known}, and the job {'has ended' if job.status.is_final else 'goes on'}"


def _unknown_word(job: Job) -> Iterator[str]:
    if job.status is JobStatus.UNKNOWN:
        yield f"its status {clean(job.provider_status, 50)!r} is unknown: it counts as running"


def _tags(
    provider: str,
    snapshot: Snapshot,
    recorded: RecordedRun | None,
    names: MetricNames,
    route: Route | None,
) -> dict[str, str]:
    belonging = run_tags.Belonging(
        is_new=recorded is None,
        is_adopted=recorded is not None and recorded.is_adopted,
        parent_run_id=route.parent_run_id if route else None,
    )
    known = recorded.tags if recorded else {}
    return run_tags.job_tags(provider, snapshot, names, known, belonging)


def _status(snapshot: Snapshot, recorded: RecordedRun | None, *, is_settling: bool) -> str | None:
    """The status that a run is to get; ``None`` where it has it already."""
    wanted = RUN_STATUS[JobStatus.RUNNING if is_settling else snapshot.job.status]
    current = recorded.status if recorded else NEW_RUN_STATUS
    if recorded is not None and recorded.is_adopted and wanted == "SCHEDULED":
        return None  # its user has begun it already
    if wanted in FINAL_RUN_STATUS and _last_tags(recorded):
        return wanted  # its user may have ended it long before the job
    return wanted if wanted != current else None


def _last_tags(recorded: RecordedRun | None) -> dict[str, str]:
    if recorded is None or not recorded.is_adopted:
        return {}
    done = recorded.tags.get(run_tags.BRIDGE) == run_tags.COMPLETED
    return {} if done else {run_tags.BRIDGE: run_tags.COMPLETED}


def steps_with(
    recorded: RecordedRun | None, points: tuple[MetricPoint, ...]
) -> dict[str, frozenset[int]]:
    """By MLflow's metric name the steps that are logged once the points are."""
    steps = {name: set(logged) for name, logged in (recorded.steps if recorded else {}).items()}
    for point in points:
        steps.setdefault(point.name, set()).add(point.step)
    return {name: frozenset(logged) for name, logged in steps.items()}


def _new_models(
    provider: str,
    snapshot: Snapshot,
    recorded: RecordedRun | None,
    points: tuple[MetricPoint, ...],
    metric_names: MetricNames,
) -> tuple[HostedModel, ...]:
    """The models that are not complete yet, or that one of the points measures too."""
    steps = steps_with(recorded, points)
    if recorded is not None and recorded.is_adopted:
        # Its user's own metrics measure something else than the provider's models.
        told = all_metric_names(snapshot, metric_names)
        steps = {name: logged for name, logged in steps.items() if name in told}
    known = recorded.models if recorded else {}
    new = {(point.name, point.step) for point in points}
    return tuple(
        model
        for model in hosted_models(provider, snapshot, steps)
        if model.model not in known or not new.isdisjoint(model.metrics)
    )


def _new_datasets(snapshot: Snapshot, recorded: RecordedRun | None) -> tuple[DatasetInput, ...]:
    known = recorded.datasets if recorded else frozenset()
    return tuple(each for each in datasets_of(snapshot.job) if each not in known)


def _files(snapshot: Snapshot) -> tuple[str, ...]:
    job = snapshot.job
    return tuple(dict.fromkeys([*job.training_files, *job.validation_files]))


def _is_settling(snapshot: Snapshot, now: int) -> bool:
    """Whether a job has only just succeeded and its checkpoints are still to come."""
    job = snapshot.job
    if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
        return False
    if snapshot.checkpoints or snapshot.is_whole:
        return False
    # Either clock may be ahead a little.
    return -CLOCK_SKEW < now - job.finished_at < SETTLING


def _start(snapshot: Snapshot, recorded: RecordedRun | None, now: int) -> int:
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
    wanted: Mapping[str, Scalar], known: Mapping[str, str], names: MetricNames
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the params that MLflow does not have, and a sentence for each that it cannot have."""
    new: dict[str, str] = {}
    refused: list[str] = []
    named = ((name, value) for own, value in wanted.items() for name in names.params(own))
    for name, value in named:
        text = clean(str(value), _LONGEST_PARAM)
        if not is_allowed_name(name):
            refused.append(f"param {clean(name, 100)!r} has a name that MLflow refuses")
        elif name not in known:
            new[name] = text
        elif not _is_same(known[name], text):
            refused.append(
                f"param {name} is {clean(known[name], 100)} in MLflow, which never changes a"
                f" param, and {clean(text, 100)} at the provider"
            )
    return new, tuple(refused)


def _is_same(left: str, right: str) -> bool:
    """Whether two texts are one value: 2 and 2.0 are."""
    try:
        return left == right or float(left) == float(right)
    except ValueError:
        return False
