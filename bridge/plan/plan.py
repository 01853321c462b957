"""The decision what to write to MLflow about a job. Pure.

    Snapshot (what the provider says)     ──┐
                                            ├── make_plan ──> Plan (what will be written)
    RecordedRun (what MLflow already has) ──┘

It does no I/O and reads no clock, and the plan contains nothing that MLflow already has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from bridge.model import Job, JobStatus, MetricPoint, Snapshot
from bridge.plan import tags as run_tags
from bridge.plan.cost import with_cost
from bridge.plan.datasets import DatasetInput, datasets_of
from bridge.plan.incomplete import Gaps, gaps_of
from bridge.plan.metric_names import LONGEST_NAME, MetricNames
from bridge.plan.models import HostedModel, Registration, hosted_models, registration_of, suffix_of
from bridge.plan.options import RecordingOptions
from bridge.plan.points import all_metric_names, new_params, new_points
from bridge.plan.recorded import RecordedRun, steps_with
from bridge.plan.routing import Route
from bridge.plan.run_state import RunState, last_tags, state_of
from bridge.text import clean, counted, one_line

_END: Final = 6
"""Characters of a job's id that distinguish jobs with one suffix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The changes to one job's run; the final status, written last, marks it as complete."""

    provider: str
    job_id: str
    run_id: str | None
    """Id of the run; ``None``: a run has to be created."""
    run_name: str
    start_time: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: tuple[MetricPoint, ...]
    """Points by ascending step, so that an interrupted write leaves no holes in a curve."""
    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[HostedModel, ...] = ()
    registration: Registration | None = None
    documents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Documents of the archive, by file name."""
    files: tuple[str, ...] = ()
    """The provider's ids of files to archive."""
    status: str | None
    """New status of the run; ``None``: unchanged."""
    end_time: int | None
    last_tags: Mapping[str, str] = field(default_factory=dict)
    """Tags that are written last, if the status does not mark the run as complete."""
    removed_tags: tuple[str, ...] = ()
    """Tags to remove because they are no longer true."""
    awaited: tuple[str, ...] = ()
    """A sentence for each part that could not be read now and will be read again."""
    lost: tuple[str, ...] = ()
    """A sentence for each part that the provider does not return."""
    is_final: bool
    """Whether MLflow has everything once the plan is written."""
    is_settling: bool
    """Whether the job has ended but its last data is still to come."""
    reason: str
    """Reason for the plan in a few words, for the log."""
    skipped: tuple[str, ...]
    """A sentence for each value of the provider that is left out."""

    @property
    def is_new(self) -> bool:
        """Whether the plan creates the job's run."""
        return self.run_id is None

    @property
    def is_empty(self) -> bool:
        """Whether MLflow already has everything."""
        return not (
            self.is_new or self.status or self.last_tags or self.removed_tags or self.changes
        )

    @property
    def changes(self) -> str:
        """The additions to the run in words; empty without any."""
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
        """Return the plan for a JSON document; its points are counted by metric."""
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
        """Return a line for ``--dry-run``."""
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
    """Return the difference between a snapshot and the recorded run.

    Args:
        provider: the provider's name in the configuration.
        snapshot: the provider's data.
        recorded: the job's run in MLflow; ``None``: no run yet.
        options: the parts of a job to record, and their names.
        now: Unix milliseconds.
        route: the place of the run, if the job has been routed.
    """
    snapshot = with_cost(snapshot, options.prices)
    job, names = snapshot.job, options.metric_names
    gaps = gaps_of(snapshot, recorded, now=now)
    state = state_of(snapshot, recorded, is_awaited=gaps.is_awaited, now=now)
    points, left_out = _new_points(snapshot, recorded, names, state, now)
    params, refused = new_params(job.params, recorded.params if recorded else {}, names)
    routed = route.refused if route else ()
    plan = replace(
        _outline(provider, job, recorded, state, gaps),
        tags={**_tags(provider, snapshot, recorded, names, route), **gaps.tags},
        params=params,
        points=points,
        skipped=tuple(
            chain(routed, snapshot.skipped, gaps.lost, _unknown_word(job), left_out, refused)
        ),
    )
    plan = _linked(plan, snapshot, recorded, options)
    return _completed(plan, snapshot, recorded, options) if plan.is_final else plan


def _outline(
    provider: str, job: Job, recorded: RecordedRun | None, state: RunState, gaps: Gaps
) -> Plan:
    """Return a plan with the run's name, state and tags, but without data."""
    return Plan(
        provider=provider,
        job_id=job.id,
        run_id=recorded.run_id if recorded else None,
        run_name=_run_name(provider, job),
        start_time=state.start_time,
        tags={},
        params={},
        points=(),
        status=state.status,
        end_time=state.end_time,
        removed_tags=gaps.removed_tags,
        awaited=gaps.awaited,
        lost=gaps.lost,
        is_final=state.is_final,
        is_settling=state.is_settling,
        reason=_reason(job, recorded, is_settling=state.is_settling),
        skipped=(),
    )


def _linked(
    plan: Plan, snapshot: Snapshot, recorded: RecordedRun | None, options: RecordingOptions
) -> Plan:
    """Return the plan with the datasets and models that MLflow links with the run."""
    has_models = options.models and not plan.is_settling
    return replace(
        plan,
        datasets=_new_datasets(snapshot, recorded) if options.datasets else (),
        models=_new_models(plan, snapshot, recorded, options.metric_names) if has_models else (),
    )


def _completed(
    plan: Plan, snapshot: Snapshot, recorded: RecordedRun | None, options: RecordingOptions
) -> Plan:
    """Return the plan with the parts that are written once, when the job is complete."""
    job = snapshot.job
    files = dict.fromkeys([*job.training_files, *job.validation_files])
    registration = registration_of(options.register, plan.provider, options.provider_type, snapshot)
    return replace(
        plan,
        registration=registration if options.models else None,
        documents=snapshot.documents,
        files=tuple(files) if options.archives_files else (),
        last_tags=last_tags(recorded),
    )


def _new_points(
    snapshot: Snapshot,
    recorded: RecordedRun | None,
    names: MetricNames,
    state: RunState,
    now: int,
) -> tuple[tuple[MetricPoint, ...], tuple[str, ...]]:
    # While checkpoints are still to come, rounded points must not take the place of theirs.
    if state.is_settling:
        return (), ()
    return new_points(
        snapshot,
        names,
        recorded.steps if recorded else {},
        fallback=state.start_time,
        now=now,
        newest=recorded.newest if recorded and recorded.is_ours else {},
    )


def _run_name(provider: str, job: Job) -> str:
    """Return the name of a new run, with the end of the job's id because suffixes repeat."""
    suffix = one_line(suffix_of(job), LONGEST_NAME)
    end = job.id[-_END:].lstrip("-_")
    return f"{provider}/{suffix}-{end}" if suffix else f"{provider}/{job.id}"


def _reason(job: Job, recorded: RecordedRun | None, *, is_settling: bool) -> str:
    known = "it has no run yet" if recorded is None else f"its run is {recorded.status}"
    if is_settling:
        return f"{known}, and its checkpoints are still to come"
    return f"{known}, and the job {'has ended' if job.status.is_final else 'is still open'}"


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


def _new_models(
    plan: Plan, snapshot: Snapshot, recorded: RecordedRun | None, metric_names: MetricNames
) -> tuple[HostedModel, ...]:
    """Return the models that are incomplete, or for which the plan has another point."""
    steps = steps_with(recorded, plan.points)
    if recorded is not None and recorded.is_adopted:
        # The user's own metrics do not measure the provider's models.
        theirs = all_metric_names(snapshot, metric_names)
        steps = {name: logged for name, logged in steps.items() if name in theirs}
    known = recorded.models if recorded else {}
    new = {(point.name, point.step) for point in plan.points}
    return tuple(
        model
        for model in hosted_models(plan.provider, snapshot, steps)
        if model.model not in known or not new.isdisjoint(model.metrics)
    )


def _new_datasets(snapshot: Snapshot, recorded: RecordedRun | None) -> tuple[DatasetInput, ...]:
    known = recorded.datasets if recorded else frozenset()
    return tuple(each for each in datasets_of(snapshot.job) if each not in known)
