"""The parts that a run lacks although it should have everything. Pure.

A pass asks for no more than it needs to go on from where it stopped: of a run that is final,
nothing. Here all that MLflow has of one is compared with all that its provider tells.
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
    """Names in the folder of its archive."""
    registered: frozenset[str] = frozenset()
    """The registered models that have, or once had, a version of it."""
    emptied: frozenset[int] = frozenset()
    """The steps of outputs whose models are deleted: nobody wants them."""


def lacking(plan: Plan, recorded: RecordedRun, inventory: Inventory, *, manifest: str) -> Plan:
    """Return a plan without what the run has, and without what its user changed or deleted.

    Args:
        plan: as for a run that lacks everything that ``recorded`` does not have.
        recorded: what MLflow has of the job.
        inventory: the rest of it.
        manifest: the name of the archived file whose presence says that the files are archived.
    """
    plan = _without_present(plan, recorded, inventory, manifest)
    if not (recorded.is_final and plan.is_final):
        return plan
    has_last_word = tags.STATUS not in plan.tags
    if has_last_word:
        plan = _without_edits(plan, recorded)
    if recorded.is_adopted or (has_last_word and not plan.points):
        return plan
    # The end of a job may be known only from its points, and a run that was ended too early may
    # have the right status but the wrong end.
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
    """Leave out tags that differ: the job's last word is recorded, so their user edited them."""
    added = {name: value for name, value in plan.tags.items() if name not in recorded.tags}
    rest = replace(plan, tags=added, status=None)
    # A description that nobody edited mentions what is added; it is not a reason to write.
    notes = {} if rest.is_empty else plan.tags.keys() & tags.NOTES
    return replace(rest, tags=added | {name: plan.tags[name] for name in notes})


def farewell(run: RecordedRun, last: JobStatus | None) -> Plan:
    """How the run of a job ends that its provider no longer has.

    Args:
        run: it has no final status.
        last: what the job was when it was last seen; how it ended is known only if it had.
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
