"""The parts that a complete run lacks. Pure.

A pass reads only what it needs to continue, and nothing for a final run. Here everything in MLflow
is compared with everything at the provider.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bridge.model import JobStatus
from bridge.plan import tags
from bridge.plan.plan import Plan
from bridge.plan.recorded import FINAL_RUN_STATUS, RecordedRun
from bridge.plan.run_state import RUN_STATUS

GONE: Final = "its provider no longer has the job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The parts of a run in MLflow that passes do not read."""

    archived: frozenset[str] = frozenset()
    """File names of the archive."""
    registered: frozenset[str] = frozenset()
    """Names of the registered models that have or had a version of the run."""
    emptied: frozenset[int] = frozenset()
    """Steps of outputs whose models were deleted, which are not created again."""


def lacking(plan: Plan, recorded: RecordedRun, inventory: Inventory, *, manifest: str) -> Plan:
    """Return the plan without what the run has, and without what its user changed or deleted.

    Args:
        plan: the plan for everything that ``recorded`` lacks.
        recorded: the job's run in MLflow.
        inventory: the parts of the run that passes do not read.
        manifest: the name of the archived file that marks the files as archived.
    """
    plan = _without_present(plan, recorded, inventory, manifest)
    if not (recorded.is_final and plan.is_final):
        return plan
    has_last_word = tags.STATUS not in plan.tags
    if has_last_word:
        plan = _without_edits(plan, recorded)
    if recorded.is_adopted or (has_last_word and not plan.points):
        return plan
    # The end of a job may be known only from its points, so a run that was ended too early may have
    # the right status but the wrong end.
    return replace(plan, status=plan.status or recorded.status)


def _without_present(
    plan: Plan, recorded: RecordedRun, inventory: Inventory, manifest: str
) -> Plan:
    models = tuple(model for model in plan.models if model.step not in inventory.emptied)
    there = {*recorded.models, *(model.model for model in models)}
    registration = plan.registration
    if registration and (
        registration.name in inventory.registered or registration.model not in there
    ):
        registration = None
    return replace(
        plan,
        models=models,
        registration=registration,
        documents={
            name: content
            for name, content in plan.documents.items()
            if name not in inventory.archived
        },
        files=() if manifest in inventory.archived else plan.files,
    )


def _without_edits(plan: Plan, recorded: RecordedRun) -> Plan:
    """Leave out tags that differ: everything is recorded, so a user has edited them."""
    added = {name: value for name, value in plan.tags.items() if name not in recorded.tags}
    rest = replace(plan, tags=added, status=None)
    # An unedited description mentions what is added, but is not in itself a reason to write.
    notes = {} if rest.is_empty else plan.tags.keys() & tags.NOTES
    return replace(rest, tags=added | {name: plan.tags[name] for name in notes})


def farewell(run: RecordedRun, last: JobStatus | None) -> Plan:
    """Return the plan that ends the run of a job that its provider no longer has.

    Args:
        run: a run without final status.
        last: the job as last seen, whose outcome is known only if it had ended.
    """
    known = RUN_STATUS[last] if last is not None and last.is_final else "KILLED"
    return Plan(
        provider=run.provider,
        job_id=run.job_id,
        run_id=run.run_id,
        run_name=run.name,
        start_time=run.start_time,
        tags={},
        params={},
        points=(),
        status=None if run.status in FINAL_RUN_STATUS else known,
        end_time=max([run.start_time, *(moment for _, moment in run.newest.values())]),
        last_tags={} if run.is_ours else {tags.BRIDGE: tags.COMPLETED},
        is_final=True,
        is_settling=False,
        reason=GONE,
        skipped=(GONE,),
    )
